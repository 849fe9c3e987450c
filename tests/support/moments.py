"""Ways to hold a run at a moment of the test's choice, so that something can go wrong just then."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.faults import FaultProxy, Rule
from tests.support.world import World, config_map, deployment, wait_until

GOOD, NEWER, BROKEN, STUCK = (f"registry.example/app:{tag}" for tag in ("good", "newer", "pull-error", "never-ready"))

REAL = r"^(?!.*dryRun=)"
"""Begins a pattern for the proxy: requests that are meant, dry runs left out."""

NEVER_FORWARDED = 600.0
"""Seconds that a request is held which shall never reach the API server: longer than any test."""


class Doorkeeper:
    """The HTTP check of a gate: lets runs through, or holds them, as it is told."""

    def __init__(self, *, is_open: bool = True) -> None:
        self._open = threading.Event()
        self.asked = threading.Event()
        self._grace = 0
        if is_open:
            self.open()
        keeper = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                before_the_run, keeper._grace = keeper._grace > 0, max(keeper._grace - 1, 0)
                self.send_response(200 if before_the_run or keeper._open.is_set() else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if not before_the_run:
                    keeper.asked.set()

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def open(self) -> None:
        self._open.set()

    def shut(self, *, first: bool = False) -> None:
        """From now on gates wait; `wait_asked` tells when one has come. The look before the next run still finds it
        open, for what is red before a run does not hold it; there is no such look before a `first` delivery."""
        self._grace = 0 if first else 1
        self._open.clear()
        self.asked.clear()

    def quiet(self, seconds: float = 2.0) -> bool:
        """Whether nobody asks for so long."""
        self.asked.clear()
        return not self.asked.wait(seconds)

    def wait_asked(self, timeout: float = 60) -> None:
        assert self.asked.wait(timeout), "no gate has asked"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def two_waves(
    world: World,
    space: str,
    greeting: str,
    image: str,
    *,
    keeper: Doorkeeper | None = None,
    timeout: str = "60s",
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """ConfigMaps `settings` and `beside` in wave 0, the Deployment `web` in wave 10, whose gate `keeper` holds."""
    gate: dict[str, Any] = {"timeout": timeout}
    if keeper is not None:
        gate["checks"] = [{"http": {"url": keeper.url}}]
    return {
        "gitopsd.yaml": world.stack_file(
            {"name": "base", "path": "base", "namespace": space},
            {"name": "app", "path": "app", "namespace": space, "wave": 10, "gate": gate},
        ),
        "base/settings.yaml": config_map("settings", {"greeting": greeting}),
        "base/beside.yaml": config_map("beside", {"greeting": greeting}),
        "app/web.yaml": deployment("web", image),
        **(more or {}),
    }


def lose(proxy: FaultProxy, method: str, path: str) -> Rule:
    """Hold the next such request for ever: it never reaches the API server."""
    rule = proxy.delay(NEVER_FORWARDED, times=1, method=method, path=path)
    proxy.cut(times=1, method=method, path=path)
    return rule


def wait_hit(rule: Rule, times: int = 1) -> None:
    wait_until(lambda: rule.hits >= times, "the request that is waited for came by")


def real_patches(world: World, since: int) -> dict[str, int]:
    """How often the API server got a real PATCH for each object: `resource/name` -> count."""
    counts: dict[str, int] = {}
    for verb, resource, place in world.writes(since):
        if verb == "patch":
            name = f"{resource}/{place.rpartition('/')[2]}"
            counts[name] = counts.get(name, 0) + 1
    return counts


def terminate(daemon: subprocess.Popen[bytes], within: float) -> int:
    """SIGTERM; the exit code. Fails if the process does not end in time."""
    daemon.send_signal(signal.SIGTERM)
    return daemon.wait(within)


def processes_of(world: World) -> list[str]:
    """Every process that works for this world: those with its configuration in their environment."""
    wanted = f"GITOPSD_CONFIG={world.config}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it is gone, or somebody else's
            continue
        if wanted in environment and int(path.name) != os.getpid() and command:
            found.append(command)
    return found
