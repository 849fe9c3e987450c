"""The process that owns the components of one sandbox: `python -m sandbox.supervisor DIR LAUNCHER_PID [OWNER_PID]`.

It has one thread on purpose: a child's parent-death signal is bound to the thread that forked it. It ends, and takes
all components with it, on `down`, on a signal, when the owner is gone, or when the launcher is gone before `commit`. If
it is killed itself, the kernel kills the components. The file descriptors it inherits (the lock on the directory,
the reserved ports) do their work by being open.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.layout import Layout, component_environment
from sandbox.process import die_with_parent

STOP_GRACE = 5.0
RESTART_PAUSE = 0.5


@dataclass
class Component:
    """`wanted` tells a component that died by itself (it is started again) from one that a test has ended."""

    name: str
    argv: list[str]
    log: Path
    environment: dict[str, str]
    wanted: bool = False
    process: subprocess.Popen[bytes] | None = None
    restart_at: float | None = None
    restarts: int = 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.wanted, self.restart_at = True, None
        if self.alive:
            return
        with self.log.open("ab") as log:
            # The preexec function is safe here: this process never has a second thread.
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509
            )

    def stop(self) -> None:
        """Politely first. kube-apiserver would wait a minute for open watches, hence the limit."""
        self.wanted = False
        if self.process is None or not self.alive:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.wanted = False
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def send(self, number: signal.Signals) -> None:
        if self.process is None or not self.alive:
            raise ValueError(f"{self.name} is not running")
        self.process.send_signal(number)

    def revive(self, now: float) -> None:
        if not self.wanted or self.alive:
            return
        if self.restart_at is None:
            self.restart_at = now + RESTART_PAUSE
        elif now >= self.restart_at:
            self.restarts += 1
            self.start()


@dataclass
class Supervisor:
    layout: Layout
    components: dict[str, Component]
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    launcher: int | None = None
    ending: bool = False

    def watch_process(self, pid: int) -> int | None:
        """A descriptor that becomes readable when the process is gone; at once if it is gone already."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self.ending = True
            return None
        self.selector.register(descriptor, selectors.EVENT_READ, self.end)
        return descriptor

    def end(self) -> None:
        self.ending = True

    def run(self, listener: socket.socket, wakeup: int) -> None:
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, lambda: self.serve(listener))
        self.selector.register(wakeup, selectors.EVENT_READ, lambda: os.read(wakeup, 512))
        try:
            while not self.ending:
                for key, _ in self.selector.select(1.0 if self.quiet else 0.1):
                    handler: Callable[[], object] = key.data
                    handler()
                for component in self.components.values():
                    component.revive(time.monotonic())
        finally:
            self.kill_all()

    @property
    def quiet(self) -> bool:
        return all(component.alive or not component.wanted for component in self.components.values())

    def kill_all(self) -> None:
        # kube-apiserver first: the others then cannot use a shutdown to write anything more.
        for component in sorted(self.components.values(), key=lambda each: each.name != "kube-apiserver"):
            component.kill()
        self.layout.ready.unlink(missing_ok=True)

    def serve(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            with connection.makefile("rwb") as stream:
                line = stream.readline()
                if not line:
                    return
                try:
                    answer = {"ok": True, **self.handle(json.loads(line))}
                except (KeyError, ValueError, OSError) as problem:
                    answer = {"ok": False, "error": f"{type(problem).__name__}: {problem}"}
                stream.write(json.dumps(answer).encode() + b"\n")

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        verb = request["do"]
        if verb == "down":
            # Answered when all is over: who asked may remove the directory then.
            self.kill_all()
            self.ending = True
        elif verb == "commit":
            if self.launcher is not None:
                self.selector.unregister(self.launcher)
                os.close(self.launcher)
                self.launcher = None
        elif verb != "status":
            self.act(self.components[request["component"]], verb)
        return {"pid": os.getpid(), "components": {name: self.describe(each) for name, each in self.components.items()}}

    def act(self, component: Component, verb: str) -> None:
        if verb in ("start", "stop", "kill"):
            {"start": component.start, "stop": component.stop, "kill": component.kill}[verb]()
        elif verb in ("pause", "resume"):
            component.send(signal.SIGSTOP if verb == "pause" else signal.SIGCONT)
        else:
            raise ValueError(f"unknown request {verb!r}")

    @staticmethod
    def describe(component: Component) -> dict[str, Any]:
        pid = component.process.pid if component.process else None
        return {"alive": component.alive, "pid": pid, "restarts": component.restarts}


def _listen(layout: Layout) -> socket.socket:
    """A Unix socket's address may have no more than 107 bytes: bound by a relative name."""
    layout.control.unlink(missing_ok=True)
    os.chdir(layout.control.parent)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(layout.control.name)
    listener.listen(16)
    return listener


def main(arguments: list[str]) -> None:
    layout = Layout(Path(arguments[0]))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    environment = component_environment(layout)
    commands: dict[str, list[str]] = json.loads(layout.plan.read_text())["commands"]
    components = {
        name: Component(name, argv, layout.logs / f"{name}.log", environment) for name, argv in commands.items()
    }
    supervisor = Supervisor(layout, components)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.end())
    # Only so that the end of a component wakes the loop.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    supervisor.launcher = supervisor.watch_process(int(arguments[1]))
    for owner in arguments[2:]:
        supervisor.watch_process(int(owner))
    supervisor.run(_listen(layout), reader)


if __name__ == "__main__":
    main(sys.argv[1:])
