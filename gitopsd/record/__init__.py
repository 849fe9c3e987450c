"""The host's durable memory: `state.db`, the audit log, `cache.db` and `status.json`.

Knows the model alone. Importing this package is cheap, so that a command which only reads `status.json` stays fast:
the names below are imported when they are first used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gitopsd.model.ports import Clock
    from gitopsd.record.cache import BlobStore
    from gitopsd.record.store import SqliteRecord

__all__ = ["BlobStore", "SqliteRecord", "open_record"]


def open_record(state_dir: Path, clock: Clock) -> SqliteRecord:
    """Open (or make) the record of this host for writing; close it, or use it as a context manager.

    Raises EnvironmentFault when another process has it, when the directory or disk cannot be used, when `state.db` is
    damaged or was written by a newer version.
    """
    from gitopsd.record.store import SqliteRecord

    return SqliteRecord(state_dir, clock)


def __getattr__(name: str) -> Any:
    if name == "SqliteRecord":
        from gitopsd.record.store import SqliteRecord

        return SqliteRecord
    if name == "BlobStore":
        from gitopsd.record.cache import BlobStore

        return BlobStore
    raise AttributeError(name)
