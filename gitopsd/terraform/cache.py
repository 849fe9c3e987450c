"""The providers of all modules, kept once. Terraform lets nobody else write there while it does, and does not notice
what a killed init left half unpacked: both are seen to here."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gitopsd.model.errors import EnvironmentFault, Problem

_PACKAGE = "*/*/*/*/*"
"""HOST/NAMESPACE/NAME/VERSION/PLATFORM, a directory or a link to one."""


class PluginCache:
    """The directory that the host's modules share. Safe to use from several threads and processes."""

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / "terraform" / "plugins"
        self._lock = self.directory.with_name("plugins.lock")
        self._busy = self.directory.with_name("plugins.busy")

    @contextlib.contextmanager
    def turn(self, patience: float, given_up: Callable[[], bool]) -> Iterator[int]:
        """One init at a time on this host. Gives the descriptor of the lock, for the program to inherit: if we are
        killed, it holds the lock as long as it lives. Raises EnvironmentFault after `patience` seconds, or once
        `given_up`."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._lock.open("a")
        except OSError as error:
            text = f"providers cannot be kept there: {error.strerror}"
            raise EnvironmentFault(Problem(text, str(error.filename or self.directory))) from None
        with file:
            _wait(lambda: _try_lock(file.fileno()), patience, given_up)
            self._drop_torn()
            self._busy.touch(0o600)
            yield file.fileno()
            self._busy.unlink(missing_ok=True)

    def _drop_torn(self) -> None:
        """Remove the packages that an init may have been writing when it was killed; whole ones are fetched again."""
        try:
            begun = self._busy.stat().st_mtime
        except FileNotFoundError:
            return
        for package in self.directory.glob(_PACKAGE):
            if package.lstat().st_ctime >= begun:
                if package.is_symlink():
                    package.unlink()
                else:
                    shutil.rmtree(package)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(attempt: Callable[[], bool], patience: float, given_up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + patience
    while not attempt():
        if given_up() or time.monotonic() > deadline:
            raise EnvironmentFault("another module's init on this host does not end")
        time.sleep(0.05)
