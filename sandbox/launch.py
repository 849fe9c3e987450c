"""Start and end the sandbox of a directory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sandbox import components, control
from sandbox import layout as files
from sandbox.client import Client
from sandbox.common import SandboxError, locked, say, wait_until, write_private
from sandbox.layout import Layout
from sandbox.process import port_of, reserve_port
from sandbox.seed import objects, settled
from sandbox.toolsets import tool

DEFAULT_USERS: dict[str, Sequence[str]] = {f"user-{number}": () for number in range(1, 65)}
START_TIMEOUT = 120.0
GIVE_UP_AFTER = 4
# The supervisors that this process has started: whoever starts a process should also collect it.
_SUPERVISORS: dict[Path, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class _Wishes:
    nodes: int
    audit: bool
    users: Mapping[str, Sequence[str]]
    owner_pid: int | None


def up(
    directory: Path,
    *,
    nodes: int = 1,
    audit: bool = False,
    users: Mapping[str, Sequence[str]] | None = None,
    owner_pid: int | None = None,
) -> Layout:
    """Start a cluster and return when it is ready for work. One that runs is left as it is; one whose processes are
    gone without a `down` is started again on its data."""
    layout = Layout(directory)
    layout.create()
    with _exclusive(layout):
        lock = control.try_lock(layout)
        if lock is None:
            if layout.ready.exists():
                say(f"the sandbox in {layout.directory} is already up")
                return layout
            # Its launcher was killed half-way, and it is about to notice.
            _end(layout)
            layout.create()
            lock = control.try_lock(layout)
            if lock is None:
                raise SandboxError(f"the supervisor of {layout.directory} does not end; see {layout.logs}")
        try:
            _start(layout, lock, _Wishes(nodes, audit, users or DEFAULT_USERS, owner_pid))
        finally:
            os.close(lock)
    return layout


def down(directory: Path, *, keep_data: bool = False) -> None:
    """End all processes of the sandbox and remove its data; nothing to do is no error. The logs stay."""
    layout = Layout(directory)
    if not layout.directory.is_dir():
        return
    with _exclusive(layout):
        _end(layout)
        if not keep_data:
            layout.forget()


def is_up(directory: Path) -> bool:
    layout = Layout(directory)
    return layout.ready.exists() and _answers(layout)


def _exclusive(layout: Layout) -> contextlib.AbstractContextManager[None]:
    return locked(layout.directory / "up.lock", f"another process starts or ends {layout.directory}; waiting for it")


def _end(layout: Layout) -> None:
    """Ask the supervisor, then wait until its lock is free: that is the end of the process, whatever ended it."""
    deadline = time.monotonic() + 30
    while True:
        lock = control.try_lock(layout)
        if lock is not None:
            os.close(lock)
            ours = _SUPERVISORS.pop(layout.directory, None)
            if ours is not None:
                ours.wait()
            return
        if time.monotonic() > deadline:
            raise SandboxError(f"the supervisor of {layout.directory} does not end; see {layout.logs}")
        with contextlib.suppress(OSError, SandboxError):
            control.request(layout, "down")
        time.sleep(0.02)


def _start(layout: Layout, lock: int, wishes: _Wishes) -> None:
    layout.ready.unlink(missing_ok=True)
    binaries = tool("kube-apiserver").parent
    reservations = _reserve_ports(layout)
    try:
        ports = {name: port_of(reservation) for name, reservation in reservations.items()}
        _write_files(layout, binaries, ports, wishes)
        owner = [str(wishes.owner_pid)] if wishes.owner_pid else []
        arguments = [str(layout.directory), str(os.getpid()), *owner]
        supervisor = _spawn(layout, arguments, [lock, *(each.fileno() for each in reservations.values())])
    finally:
        for reservation in reservations.values():
            reservation.close()
    try:
        _bring_up(layout, ports, wishes.nodes, supervisor)
    except BaseException:
        supervisor.terminate()
        supervisor.wait()
        raise
    _SUPERVISORS[layout.directory] = supervisor


def _reserve_ports(layout: Layout) -> dict[str, socket.socket]:
    """The ports of the time before, when they are free: copies of kubeconfigs stay valid after a restart."""
    before: dict[str, int] = json.loads(layout.plan.read_text())["ports"] if layout.plan.exists() else {}
    return {name: reserve_port(before.get(name, 0)) for name in components.PORTS}


def _write_files(layout: Layout, binaries: Path, ports: Mapping[str, int], wishes: _Wishes) -> None:
    if not layout.signing_key.exists():
        # New data: lines of an earlier cluster in the same directory would only confuse.
        layout.audit_log.unlink(missing_ok=True)
        shutil.rmtree(layout.logs, ignore_errors=True)
        layout.logs.mkdir()
        files.write_signing_key(layout.signing_key)
    files.write_tokens(layout.tokens, wishes.users)
    files.write_audit_policy(layout.audit_policy)
    server = f"https://127.0.0.1:{ports['kube-apiserver']}"
    for user, token in files.read_tokens(layout.tokens).items():
        files.write_kubeconfig(layout.user_kubeconfig(user), server, layout.certificate_authority, user, token)
    commands = components.command_lines(layout, binaries, ports, wishes.audit)
    write_private(
        layout.plan, json.dumps({"ports": dict(ports), "audit": wishes.audit, "commands": commands}, indent=2)
    )


def _spawn(layout: Layout, arguments: Sequence[str], inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    """In a session of its own: a Ctrl-C meant for the caller must not reach it."""
    environment = dict(os.environ)
    root = str(Path(__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    with (layout.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "sandbox.supervisor", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=inherited,
            start_new_session=True,
        )


def _bring_up(layout: Layout, ports: Mapping[str, int], nodes: int, supervisor: subprocess.Popen[bytes]) -> None:
    def until(condition: Callable[[], bool], what: str) -> None:
        def check() -> bool:
            if supervisor.poll() is not None:
                raise SandboxError(f"the supervisor ended:\n{_tail(layout, 'supervisor')}")
            _fail_when_hopeless(layout)
            return condition()

        wait_until(check, lambda: f"{what} (logs: {layout.logs})", START_TIMEOUT)

    until(lambda: _answers(layout), "the supervisor")
    for name in components.FIRST:
        control.request(layout, "start", name)
    token = files.read_tokens(layout.tokens)[files.ADMIN]
    server = f"https://127.0.0.1:{ports['kube-apiserver']}"
    admin = Client(server, layout.certificate_authority, token)
    until(partial(admin.healthy, "/readyz"), "kube-apiserver")
    for name in components.COMPONENTS:
        control.request(layout, "start", name)
    for path, body in objects(nodes):
        status, text = admin.call("POST", path, body)
        if status not in (201, 409):
            raise SandboxError(f"POST {path}: {status} {text.decode(errors='replace')}")
    for name in ("kube-controller-manager", "kube-scheduler"):
        client = Client(f"https://127.0.0.1:{ports[name]}", layout.certificates(name) / f"{name}.crt")
        until(partial(client.healthy, "/healthz"), name)
    until(lambda: settled(admin, nodes), "the default service account and the nodes")
    control.request(layout, "commit")
    layout.ready.touch()


def _fail_when_hopeless(layout: Layout) -> None:
    """A program that ends again and again will not come up by waiting."""
    with contextlib.suppress(OSError):
        for name, state in control.request(layout, "status")["components"].items():
            if state["restarts"] >= GIVE_UP_AFTER:
                raise SandboxError(f"{name} does not stay up:\n{_tail(layout, name)}")


def _tail(layout: Layout, name: str) -> str:
    path = layout.logs / f"{name}.log"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(f"  {line}" for line in [*lines[-10:], f"(from {path})"])


def _answers(layout: Layout) -> bool:
    try:
        control.request(layout, "status")
    except OSError:
        return False
    return True
