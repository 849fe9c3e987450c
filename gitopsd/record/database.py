"""Connections to SQLite files, and SQLite's failures as a person has to read them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.record.blobs import DamagedValue
from gitopsd.record.dirlock import open_ours

BUSY_TIMEOUT = 10.0  # seconds to wait for somebody who looks at the file with another tool
REBUILD = (
    "stop gitopsd, move state.db, state.db-wal and state.db-shm away (keep audit*.jsonl) and start it again: "
    "what a stack needs is rebuilt from its cluster"
)
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The one writer: 0600, WAL, on disk at every commit, transactions by hand. For use under `faults`."""
    os.close(open_ours(path, os.O_RDWR, 0o600))  # SQLite would make it as wide as the umask lets it
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("PRAGMA journal_size_limit=16777216")
    except sqlite3.Error:
        db.close()
        raise
    return db


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A reader that writes nothing, not even a lock file, whether or not somebody is writing. For use under `faults`.

    Without a write-ahead log nobody has the file open, and all of it is in the main file; `immutable` then spares the
    reader the making of a shared index, which it may lack the right to. With one, the index is only read; it is missing
    (a copied directory) only in the last case.
    """
    if not path.exists():
        raise EnvironmentFault(Problem("there is no record of this host yet", str(path), remedy="start gitopsd first"))
    uri = path.absolute().as_uri()
    wal = path.with_name(path.name + "-wal")
    if not wal.exists():
        return _reading(f"{uri}?immutable=1")
    try:
        return _reading(f"{uri}?mode=ro&readonly_shm=1")
    except sqlite3.OperationalError:
        return _reading(f"{uri}?mode=ro")


def _reading(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA query_only=ON")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the file: connect alone does not
    except sqlite3.Error:
        db.close()
        raise
    return db


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Turn what SQLite or the file system says about `path` into EnvironmentFault."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
        raise  # our own mistake, not the host's
    except sqlite3.DatabaseError as error:
        raise EnvironmentFault(_explain(path, error)) from error
    except UnicodeDecodeError as error:  # the text of an error that quotes damaged bytes
        raise EnvironmentFault(Problem(f"is damaged: {error}", str(path), remedy=REBUILD)) from error
    except DamagedValue as error:
        raise EnvironmentFault(
            Problem(f"holds what this version cannot read: {error}", str(path), remedy=REBUILD)
        ) from error
    except OSError as error:
        raise EnvironmentFault(Problem(f"cannot be used: {error.strerror or error}", str(path))) from error


def require_sound(path: Path, verdict: str) -> None:
    """Raise EnvironmentFault unless SQLite's own check said `ok`."""
    if verdict != "ok":
        raise EnvironmentFault(Problem(f"is damaged: {verdict}", str(path), remedy=REBUILD))


def primary_code(error: Exception) -> int:
    """SQLite's result code without its extension (SQLITE_IOERR for SQLITE_IOERR_WRITE)."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _explain(path: Path, error: sqlite3.Error) -> Problem:
    code = primary_code(error)
    if code in _DAMAGED:
        return Problem(f"is damaged: {error}", str(path), remedy=REBUILD)
    if code in _FULL:
        remedy = f"free some space on its file system ({_free(path)}) or mend the disk"
        return Problem(f"cannot be written: {error}", str(path), remedy=remedy)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        waited = f"is locked by another process for over {BUSY_TIMEOUT:.0f} s"
        return Problem(waited, str(path), remedy="close the tool that has it open")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return Problem(f"cannot be opened: {error}", str(path), remedy="check owner and mode of the file and directory")
    return Problem(f"failed: {error}", str(path))


def _free(path: Path) -> str:
    try:
        stat = os.statvfs(path.parent)
    except OSError:
        return "free space unknown"
    return f"{stat.f_bavail * stat.f_frsize // 2**20} MiB free"
