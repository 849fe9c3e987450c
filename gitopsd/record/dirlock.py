"""The state directory: private, of one owner, and of one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gitopsd.model.errors import EnvironmentFault, Problem

LOCK_FILE = "lock"
_OURS = {"state.db", "audit.jsonl", "cache.db", LOCK_FILE}
_PATIENCE = 1.0  # seconds; `owner` holds the lock for an instant when it asks


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that has a state directory; `started` is ISO 8601 in UTC."""

    pid: int
    started: str


class DirectoryLock:
    """An flock on a file of the directory: the kernel gives it up when the process dies, however it dies. The file
    is not inherited by children, so that a child that outlives us holds nothing."""

    def __init__(self, directory: Path, now: datetime) -> None:
        prepare(directory)
        path = directory / LOCK_FILE
        try:
            self._fd = open_ours(path, os.O_RDWR, 0o600)
        except OSError as error:
            raise EnvironmentFault(Problem(f"cannot be opened: {error.strerror}", str(path))) from error
        if not _acquire(self._fd):
            held = _parse(os.pread(self._fd, 4096, 0))
            os.close(self._fd)
            raise EnvironmentFault(_taken(directory, held))
        os.ftruncate(self._fd, 0)
        text = json.dumps({"pid": os.getpid(), "started": now.isoformat(timespec="seconds")})
        os.pwrite(self._fd, text.encode(), 0)

    @property
    def released(self) -> bool:
        return self._fd < 0

    def release(self) -> None:
        """Let the next process in; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def prepare(directory: Path) -> None:
    """Make the state directory, or make it private if it is ours. A directory of somebody else that was named by
    mistake (`/tmp`) is refused instead: narrowing it would break its other users."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stat = directory.stat()
        if stat.st_mode & 0o077 == 0:
            return
        names = {entry.name for entry in os.scandir(directory)}
        if stat.st_uid == os.geteuid() and (not names or names & _OURS):
            directory.chmod(0o700)
            return
    except OSError as error:
        remedy = "name a directory that the user of gitopsd may write, or one that it can make"
        problem = Problem(f"cannot be used: {error.strerror}", str(directory), field="stateDir", remedy=remedy)
        raise EnvironmentFault(problem) from error
    raise EnvironmentFault(
        Problem(
            "is open to other users and holds files that are not gitopsd's, or belongs to somebody else",
            str(directory),
            field="stateDir",
            remedy=f"name an own directory, or run: chmod 700 {directory}",
        )
    )


def open_ours(path: Path, flags: int, mode: int) -> int:
    """Open or make a file of the state directory. One that root makes (`gitopsd once` by hand) is given to whoever owns
    the directory: the daemon, under its own user, has to open it later. Raises OSError."""
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, mode)
    os.fchmod(fd, mode)
    if os.geteuid() == 0:
        home = path.parent.stat()
        os.fchown(fd, home.st_uid, home.st_gid)
    return fd


def owner(directory: Path) -> Owner | None:
    """The process that has the directory now; None if none has (whatever a dead one left in the file)."""
    path = directory / LOCK_FILE
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFault(Problem(f"cannot be read: {error.strerror}", str(path))) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parse(os.pread(fd, 4096, 0)) or Owner(0, "")
    else:
        return None
    finally:
        os.close(fd)


class Anchor:
    """Files of the directory that this process has open, and that must stay what they are. Whoever removes or replaces
    the directory under us takes lock and record away: what is written then is kept nowhere."""

    def __init__(self, *paths: Path) -> None:
        self._files = {path: _identity(path) for path in paths}

    def check(self) -> None:
        """Raise EnvironmentFault if one of them is gone or another file. Costs a `stat` for each."""
        for path, opened in self._files.items():
            if _identity(path) != opened:
                raise EnvironmentFault(
                    Problem(
                        "was removed or replaced while gitopsd has it open: nothing can be recorded any more",
                        str(path),
                        remedy="start gitopsd anew; what a stack needs is rebuilt from its cluster",
                    )
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _acquire(fd: int) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _parse(text: bytes) -> Owner | None:
    try:
        value = json.loads(text)
        return Owner(int(value["pid"]), str(value["started"]))
    except (ValueError, TypeError, KeyError):
        return None


def _taken(directory: Path, held: Owner | None) -> Problem:
    who = f"process {held.pid} (since {held.started})" if held else "another process"
    return Problem(
        f"is in use by {who}",
        str(directory),
        field="stateDir",
        remedy="only one gitopsd may use a state directory: stop that one, or give this one a stateDir of its own",
    )
