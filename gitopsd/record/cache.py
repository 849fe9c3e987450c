"""`cache.db`: what was computed from blobs before. Losing it costs time, so it goes at the first doubt."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from gitopsd.record.database import primary_code
from gitopsd.record.dirlock import open_ours

CACHE_DB = "cache.db"
DEFAULT_LIMIT = 256 * 2**20  # bytes of contents
_VERSION = 2
_CHUNK = 500  # keys of one query; old SQLite takes 999
_BUSY_TIMEOUT = 1.0  # seconds: asking again is dearer than computing
_REFUSALS = (sqlite3.Error, UnicodeDecodeError)  # the second for an error text that quotes damaged bytes
_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_HOST = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
}


class BlobStore:
    """The `BlobCache` of the model: one file of the state directory, of bounded size (`limit`, in bytes of contents).
    What was used longest ago leaves first.

    Nothing here ever raises for the host's sake. Contents carry a checksum, because SQLite's pages do not and a flipped
    bit must not become a manifest: a wrong one, like any damage of the file, makes the cache start empty. When the file
    cannot be used at all (disk full, no right), the cache answers nothing and `trouble` says why. Safe from several
    threads.
    """

    def __init__(self, state_dir: Path, limit: int = DEFAULT_LIMIT) -> None:
        self._path = state_dir / CACHE_DB
        self._limit = limit
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._size = 0
        self._generation = 0
        self._db: sqlite3.Connection | None = None
        self.trouble = ""
        self._open()

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is known of these keys."""
        with self._lock:
            if self._db is None:
                return {}
            try:
                found = self._select(self._db, keys)
            except _REFUSALS as error:
                self._give_up(error)
                return {}
            if any(_checksum(key, body) != check for key, (body, check) in found.items()):
                self._start_over()
                return {}
            self._used.update(found)
            return {key: body for key, (body, _) in found.items()}

    def put(self, items: Mapping[str, bytes]) -> None:
        """Remember; replaces what was known of the same keys."""
        with self._lock:
            if self._db is None:
                return
            try:
                self._store(self._db, items)
            except _REFUSALS as error:
                self._give_up(error)

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                with contextlib.suppress(*_REFUSALS):  # what was used last is a hint
                    self._note_used(self._db)
                self._db.close()
                self._db = None

    def __enter__(self) -> BlobStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _select(self, db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, tuple[bytes, int]]:
        found: dict[str, tuple[bytes, int]] = {}
        for start in range(0, len(keys), _CHUNK):
            part = keys[start : start + _CHUNK]
            marks = ", ".join("?" * len(part))
            query = f"SELECT key, CAST(body AS BLOB), checksum FROM blobs WHERE key IN ({marks})"  # noqa: S608
            rows = db.execute(query, tuple(part))
            found.update((key, (body, checksum)) for key, body, checksum in rows)
        return found

    def _store(self, db: sqlite3.Connection, items: Mapping[str, bytes]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            self._generation += 1
            self._note_used(db)
            former = sum(len(body) for body, _ in self._select(db, tuple(items)).values())
            rows = [(key, self._generation, _checksum(key, body), body) for key, body in items.items()]
            db.executemany("INSERT OR REPLACE INTO blobs (key, generation, checksum, body) VALUES (?, ?, ?, ?)", rows)
            size = self._size - former + sum(len(body) for body in items.values())
            if size > self._limit:
                size -= self._evict(db, size - self._limit * 9 // 10)
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                db.execute("ROLLBACK")
            raise
        self._size = size

    def _note_used(self, db: sqlite3.Connection) -> None:
        rows = [(self._generation, key) for key in self._used]
        db.executemany("UPDATE blobs SET generation = ? WHERE key = ?", rows)
        self._used.clear()

    def _evict(self, db: sqlite3.Connection, excess: int) -> int:
        """Make room for at least `excess` bytes, oldest use first; returns how many were freed."""
        freed, gone = 0, []
        for key, size in db.execute("SELECT key, length(body) FROM blobs ORDER BY generation, rowid"):
            if freed >= excess:
                break
            freed += size
            gone.append((key,))
        db.executemany("DELETE FROM blobs WHERE key = ?", gone)
        return freed

    def _open(self) -> None:
        """Open the file; a spoilt one, or one of another version, is replaced by a new one."""
        try:
            try:
                self._db = self._connect()
            except _REFUSALS as error:
                if primary_code(error) in _TRANSIENT:
                    raise
                self._delete()
                self._db = self._connect()
            self._size, self._generation = self._db.execute(
                "SELECT coalesce(sum(length(body)), 0), CAST(coalesce(max(generation), 0) AS INTEGER) FROM blobs"
            ).fetchone()
        except (*_REFUSALS, OSError) as error:
            self._disable(error)

    def _connect(self) -> sqlite3.Connection:
        os.close(open_ours(self._path, os.O_RDWR, 0o600))
        db = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and version != _VERSION:
                raise sqlite3.DatabaseError("another version wrote it")
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "CREATE TABLE IF NOT EXISTS blobs (key TEXT PRIMARY KEY, generation INTEGER NOT NULL, "
                "checksum INTEGER NOT NULL, body BLOB NOT NULL)"
            )
            db.execute("CREATE INDEX IF NOT EXISTS blobs_by_use ON blobs (generation)")
            db.execute(f"PRAGMA user_version={_VERSION}")
            db.execute("COMMIT")
        except _REFUSALS:
            db.close()
            raise
        return db

    def _start_over(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        self._used.clear()
        try:
            self._delete()
        except OSError as error:
            self._disable(error)
            return
        self._open()

    def _give_up(self, error: Exception) -> None:
        """After a failed question: nothing if somebody was in the way, no cache if the host is the reason, and an
        empty one for all else, which means that the file is spoilt."""
        code = primary_code(error)
        if code in _HOST:
            self._disable(error)
        elif code not in _TRANSIENT:
            self._start_over()

    def _disable(self, error: Exception) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # it is of no use any more
                self._db.close()
            self._db = None
        self.trouble = f"{self._path}: cannot be used ({error}); going on without the cache, which costs time only"

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _checksum(key: str, body: bytes) -> int:
    """Of both: a flipped bit may also give one key the whole and sound body of another."""
    return zlib.crc32(body, zlib.crc32(key.encode()))
