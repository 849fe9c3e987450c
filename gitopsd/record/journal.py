"""From events to audit entries that are in the database and in the file exactly once, whenever the power fails.

An entry gets its number and hash in the transaction of what it tells of, and waits in the outbox of that transaction.
After the commit it is appended to the file and made durable there; only then, in a later transaction, does it leave the
outbox.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gitopsd.model.audit import AuditEvent
from gitopsd.model.memory import AuditHead, Memory
from gitopsd.model.ports import Clock
from gitopsd.record import queries
from gitopsd.record.audit import entry, gap_event, line_of
from gitopsd.record.audit_file import CURRENT, AuditFile, find_hash

Made = tuple[tuple[int, bytes], ...]


class AuditJournal:
    """The audit side of the record's connection. Its caller holds the record's lock around every call."""

    def __init__(self, db: sqlite3.Connection, directory: Path, clock: Clock) -> None:
        self._db = db
        self._directory = directory
        self._clock = clock
        self._file = AuditFile(directory)
        self._delivered = 0  # entries up to this number are surely in the file
        self.trouble = ""
        notices = [self._continue_found_log(), self._recover()]
        self.notices = tuple(filter(None, notices))

    def chain(self, events: Sequence[AuditEvent]) -> Made:
        """Inside a transaction: number and store the events, and drop what is safe in the file."""
        if self._delivered:
            self._db.execute("DELETE FROM audit_outbox WHERE seq <= ?", (self._delivered,))
        if not events:
            return ()
        head, now, made = queries.audit_head(self._db), self._clock.now(), []
        for event in events:
            sealed = entry(event, time=now, head=head)
            head = AuditHead(sealed["seq"], sealed["hash"])
            made.append((head.seq, line_of(sealed)))
        self._db.executemany("INSERT INTO audit_outbox VALUES (?, ?)", made)
        self._db.execute("UPDATE audit_head SET seq = ?, hash = ?", (head.seq, head.hash))
        return tuple(made)

    def deliver(self, made: Made) -> None:
        """After the commit: append to the file. A failure leaves the entries in the outbox and says so in `trouble`."""
        if self.trouble:
            self._recover()
        elif made:
            try:
                self._file.append([line for _, line in made])
                self._delivered = made[-1][0]
            except OSError as error:
                self._fail(error)

    def gap(self, stored: Memory | None, memory: Memory) -> tuple[AuditEvent, ...]:
        """The event that replacing the stored memory of a stack by one of its cluster deserves: none if the log has the
        entry that this one knows, or if the gap was told of when it was first seen."""
        known = memory.audit
        if not known.seq or (stored and stored.audit == known) or self._hash_of(known.seq) == known.hash:
            return ()
        never_saved = stored is None or stored.generation == 0  # generation 0 is a place for holds, no memory yet
        (origin,) = self._db.execute("SELECT origin FROM audit_head").fetchone()
        return (gap_event(memory.stack, known, lost=never_saved and origin == 1),)

    def close(self) -> None:
        """Empty the outbox of what is safe, so that a directory at rest has every entry in one place."""
        with contextlib.suppress(sqlite3.Error):  # they are in the file as well, and the next start knows it
            self._db.execute("DELETE FROM audit_outbox WHERE seq <= ?", (self._delivered,))
        self._file.close()

    def _hash_of(self, seq: int) -> str | None:
        head = queries.audit_head(self._db)
        return head.hash if seq == head.seq else find_hash(self._directory, seq, queries.outbox(self._db))

    def _recover(self) -> str:
        pending = queries.outbox(self._db)
        try:
            notice = self._file.recover([line for _, line in pending])
        except OSError as error:
            self._fail(error)
            return self.trouble
        self._delivered = pending[-1][0] if pending else self._delivered
        self.trouble = ""
        return notice

    def _fail(self, error: OSError) -> None:
        self.trouble = (
            f"{self._directory / CURRENT}: cannot be written ({error.strerror or error}); "
            f"entries wait in state.db until it can"
        )

    def _continue_found_log(self) -> str:
        """A new `state.db` beside an old log goes on where that log ends."""
        if queries.audit_head(self._db).seq:
            return ""
        found = self._file.last()
        if not found.seq:
            return ""
        values = (found.seq, found.hash, found.seq + 1)
        self._db.execute("UPDATE audit_head SET seq = ?, hash = ?, origin = ?", values)
        return f"{self._directory / CURRENT}: state.db is new; the log goes on after its entry {found.seq}"
