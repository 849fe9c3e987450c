"""Running one program to its end: bounded in time and output, stoppable, and safe from our own death.

Its output goes to memory that the child itself holds open, not to a pipe: if this process is killed, the child neither
dies of a broken pipe (Terraform would leave its lock and forget what it just made) nor blocks on a full one. And what
it says, secrets included, is in no file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICK = 0.25
"""Seconds between two looks at `stop`, the time and the output."""

LARGEST = 512 * 1024 * 1024
"""Bytes of output at which a program is taken to have lost its way."""


_STOLEN = "nobody told gitopsd how the program ended; whoever starts gitopsd must not ignore SIGCHLD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run, and when to end it. `stop` is asked at each tick; then, as after `timeout` seconds, the program gets
    one SIGINT, and after `patience` seconds more SIGKILL. `line` is given every whole line of its output, `started` its
    process id. `inherit` are descriptors that it holds open as long as it lives."""

    argv: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = field(repr=False)
    timeout: float
    patience: float
    stop: Callable[[], bool] = lambda: False
    line: Callable[[str], None] | None = None
    started: Callable[[int], None] | None = None
    inherit: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `status` is negative for a signal. `timed_out` is the limit in seconds, if it met it;
    `interrupted` tells that it was stopped on demand; `flooded` that it wrote too much."""

    status: int
    out: str = field(repr=False)
    err: str = field(repr=False)
    timed_out: float | None = None
    interrupted: bool = False
    flooded: bool = False
    killed: bool = False

    @property
    def ok(self) -> bool:
        return self.status == 0


def run(order: Order) -> Ended:
    """Run a program in a session of its own, with its input closed. No process of its group outlives it. Raises OSError
    if it cannot be started, or if nobody can tell how it ended."""
    with contextlib.ExitStack() as stack:
        out, err = (_memory(stack, name) for name in ("out", "err"))
        process = subprocess.Popen(
            order.argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=order.directory,
            env=dict(order.environment),
            start_new_session=True,
            pass_fds=tuple(order.inherit),
        )
        watch = _Watch(order, process, out, err)
        try:
            if order.started is not None:
                order.started(process.pid)
            watch.follow()
        finally:
            _signal_group(process.pid, signal.SIGKILL)  # what is left of it
            ours = _is_ours(process.pid)
            process.wait()
        if not ours:  # without this, Python would call it a success
            raise ChildProcessError(errno.ECHILD, _STOLEN, str(order.argv[0]))
        return watch.result()


class _Watch:
    def __init__(self, order: Order, process: subprocess.Popen[bytes], out: int, err: int) -> None:
        self.order, self.process, self.out, self.err = order, process, out, err
        self.read = 0
        self.rest = b""
        self.asked: float | None = None
        self.error: Exception | None = None
        self.timed_out = self.interrupted = self.flooded = self.killed = False

    def follow(self) -> None:
        begun = time.monotonic()
        with _ended_signal(self.process.pid) as ended:
            while not ended(TICK):
                self.judge(time.monotonic() - begun)
        self.feed()
        if self.error is not None:
            raise self.error

    def judge(self, elapsed: float) -> None:
        if self.asked is not None:
            self.feed()
            if elapsed > self.asked + self.order.patience and not self.killed:
                self.killed = True
                _signal_group(self.process.pid, signal.SIGKILL)
            return
        try:
            self.feed()
            self.interrupted = self.order.stop()
        except Exception as error:  # noqa: BLE001 - whoever listens may fail, but not at the expense of the program
            self.error, self.interrupted = error, True
        self.timed_out = not self.interrupted and elapsed > self.order.timeout
        self.flooded = os.fstat(self.out).st_size + os.fstat(self.err).st_size > LARGEST
        if self.interrupted or self.timed_out or self.flooded:
            self.asked = elapsed
            _signal_group(self.process.pid, signal.SIGINT)

    def feed(self) -> None:
        if self.order.line is None or self.error is not None:
            return
        while block := os.pread(self.out, 1 << 20, self.read):
            self.read += len(block)
            *lines, self.rest = (self.rest + block).split(b"\n")
            for line in lines:
                self.order.line(line.decode(errors="replace"))

    def result(self) -> Ended:
        if self.rest and self.order.line is not None:
            self.order.line(self.rest.decode(errors="replace"))
        return Ended(
            self.process.returncode,
            "" if self.order.line is not None else _text(self.out),
            _text(self.err),
            self.order.timeout if self.timed_out else None,
            self.interrupted,
            self.flooded,
            self.killed,
        )


def _memory(stack: contextlib.ExitStack, name: str) -> int:
    descriptor = os.memfd_create(name)
    stack.callback(os.close, descriptor)
    return descriptor


def _text(descriptor: int) -> str:
    size = min(os.fstat(descriptor).st_size, LARGEST)
    parts, read = [], 0
    while read < size and (block := os.pread(descriptor, min(1 << 24, size - read), read)):
        parts.append(block)
        read += len(block)
    return b"".join(parts).decode(errors="replace")


@contextlib.contextmanager
def _ended_signal(pid: int) -> Iterator[Callable[[float], bool]]:
    """A function that waits so many seconds for the end of our child, and answers whether it came. The child is not
    reaped: until then nobody else can get its number."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # gone and forgotten
        yield lambda _seconds: True
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        yield lambda seconds: bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _is_ours(pid: int) -> bool:
    """Whether our child, dead or alive, still has its number. If SIGCHLD is ignored in this process (who started it may
    have left it so), the system forgets children as they end, and gives their numbers away."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    """Signal the group that our child leads; nobody, once its number may be somebody else's."""
    if not _is_ours(pid):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
