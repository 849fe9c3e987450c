"""What every other module of the sandbox needs: the error type, progress lines, the cache directory, file locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class SandboxError(Exception):
    """Something a person must act on; the message says what to do."""


def say(message: str) -> None:
    """Progress belongs on stderr: stdout carries only the answer (a path), so that `KUBECONFIG=$(...)` works."""
    print(f"sandbox: {message}", file=sys.stderr, flush=True)


def cache_dir() -> Path:
    chosen = os.environ.get("GITOPSD_SANDBOX_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gitopsd-sandbox"


@contextlib.contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`; say `waiting` once when somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_private(path: Path, text: str) -> None:
    """Write atomically with mode 0600: most of what the sandbox writes are credentials."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    temporary.replace(path)


def wait_until(condition: Callable[[], bool], what: Callable[[], str], timeout: float, interval: float = 0.03) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise SandboxError(f"gave up after {timeout:.0f} s waiting for {what()}")
        time.sleep(interval)
