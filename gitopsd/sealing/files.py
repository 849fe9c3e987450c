"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Make a file that was not there, whole and on disk at once, for the owner of its directory if root makes it.
    Raises FileExistsError, and leaves what is there alone; OSError."""
    with _draft(path, data, mode) as draft:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(draft, owner.st_uid, owner.st_gid)
        os.link(draft, path)
    _sync_directory(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Give a file other contents in one step; mode and, where that is allowed, owner stay. Raises OSError."""
    before = path.stat()
    with _draft(path, data, stat.S_IMODE(before.st_mode)) as draft:
        with contextlib.suppress(PermissionError):  # only root gives files away, and the contents matter more
            os.chown(draft, before.st_uid, before.st_gid)
        draft.replace(path)
    _sync_directory(path.parent)


@contextlib.contextmanager
def _draft(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A file beside `path` with this content, which is gone afterwards unless it was renamed."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
