"""The writing side of `state.db`: every change of the record is one transaction here, with its audit entries."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from gitopsd.model.audit import AuditEvent
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import AuditHead, Baseline, Dirty, Hold, Intent, Memory, StackState
from gitopsd.model.orders import Grant, Order, Question
from gitopsd.model.plan import Plan, Postponed
from gitopsd.model.ports import Clock, Effect
from gitopsd.model.run import Observation, RunRecord
from gitopsd.record import queries
from gitopsd.record.blobs import pack, printable, unpack
from gitopsd.record.database import faults, open_for_writing, require_sound
from gitopsd.record.dirlock import LOCK_FILE, Anchor, DirectoryLock
from gitopsd.record.inventory import Inventory
from gitopsd.record.journal import AuditJournal
from gitopsd.record.merge import KEEP_RUNS, mentioned_runs, touched, without_effect
from gitopsd.record.rows import BASELINE_COLUMNS, RUN_COLUMNS, baseline_row, run_row
from gitopsd.record.schema import migrate

STATE_DB = "state.db"


class SqliteRecord:
    """The `Record` of the model over SQLite: one connection behind a lock, `synchronous=FULL`, WAL for the readers.

    Holds the lock of the state directory until `close`. A method that raises has changed nothing. `trouble` is why
    audit entries wait in `state.db` instead of standing in their file ("" if none do); `notices` is what opening found
    and a person should know.
    """

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._path = state_dir / STATE_DB
        self._lock = threading.RLock()
        self._inventory = Inventory()
        self._states: dict[str, StackState | None] = {}  # what was read since the last write
        self._directory_lock = DirectoryLock(state_dir, clock.now())
        try:
            with faults(self._path):
                self._db = _open(self._path)
                try:
                    self._anchor = Anchor(self._path, state_dir / LOCK_FILE)
                    self._journal = AuditJournal(self._db, state_dir, clock)
                except BaseException:
                    self._db.close()
                    raise
        except BaseException:
            self._directory_lock.release()
            raise

    @property
    def trouble(self) -> str:
        return self._journal.trouble

    @property
    def notices(self) -> tuple[str, ...]:
        return self._journal.notices

    def require_in_place(self) -> None:
        """Raise EnvironmentFault if the files of the record were removed or replaced under this process: it can only
        end. Every transaction checks it, too."""
        self._anchor.check()

    def close(self) -> None:
        """Give everything back; idempotent. Entries that are safe in the audit file leave the outbox."""
        with self._lock:
            if self._directory_lock.released:
                return
            try:
                with faults(self._path), contextlib.closing(self._db):
                    self._journal.close()
            finally:
                self._directory_lock.release()

    def __enter__(self) -> SqliteRecord:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ what a stack is

    def state(self, stack: str) -> StackState | None:
        with self._reading() as db:
            if stack not in self._states:
                self._states[stack] = queries.state(db, stack)
            return self._states[stack]

    def stacks(self) -> tuple[str, ...]:
        """Every stack that this host remembers, by name."""
        with self._reading() as db:
            return queries.stacks(db)

    def baselines(self, stack: str) -> dict[UnitId, Baseline]:
        with self._reading() as db:
            return self._inventory.read(db, stack)

    def save_memory(self, memory: Memory, events: Sequence[AuditEvent] = ()) -> Memory:
        with self._writing(events) as db:
            return _save_memory(db, memory)

    def adopt_memory(self, memory: Memory) -> None:
        """Also writes an audit entry if the memory's audit head is not in this host's log: the log was lost or cut."""
        with self._lock, faults(self._path):
            gap = self._journal.gap(queries.memory(self._db, memory.stack), memory)
            with self._writing(gap) as db:
                _put_memory(db, memory)

    def set_holds(self, stack: str, holds: Sequence[Hold], events: Sequence[AuditEvent] = ()) -> None:
        """Raises ValueError for a stack without a memory: a stored one would hide that its cluster was never asked."""
        with self._writing(events) as db:
            memory = queries.memory(db, stack)
            if memory is None:
                raise ValueError(f"stack {stack!r} has no memory yet to keep holds in")
            _put_memory(db, replace(memory, holds=tuple(holds)))

    def set_postponed(self, stack: str, postponed: Sequence[Postponed]) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM postponed WHERE stack = ?", (stack,))
            rows = [(stack, str(p.unit), printable(p.reason), p.since) for p in postponed]
            db.executemany("INSERT OR REPLACE INTO postponed VALUES (?, ?, ?, ?)", rows)

    # ------------------------------------------------------------ people

    def order(self, stack: str, order: Order, events: Sequence[AuditEvent] = ()) -> Order:
        with self._writing(events) as db:
            row = db.execute("INSERT INTO orders (stack, body) VALUES (?, ?) RETURNING seq", (stack, pack(order)))
            return replace(order, seq=int(row.fetchone()[0]))

    def orders(self, stack: str) -> tuple[Order, ...]:
        with self._reading() as db:
            return queries.orders(db, stack)

    def obey(self, memory: Memory, orders: Sequence[Order], events: Sequence[AuditEvent] = ()) -> Memory:
        with self._writing(events) as db:
            saved = _save_memory(db, memory)
            db.executemany("DELETE FROM orders WHERE seq = ?", [(order.seq,) for order in orders])
            return saved

    def grant(self, stack: str, grant: Grant, events: Sequence[AuditEvent] = ()) -> None:
        with self._writing(events) as db:
            db.execute("INSERT OR REPLACE INTO grants VALUES (?, ?, ?)", (stack, grant.digest, pack(grant)))

    def grants(self, stack: str) -> tuple[Grant, ...]:
        with self._reading() as db:
            return queries.grants(db, stack)

    def ask_people(self, stack: str, questions: Sequence[Question], drop: Sequence[str] = ()) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM questions WHERE stack = ?", (stack,))
            asked = [(stack, q.approval.digest, pack(q)) for q in questions]
            db.executemany("INSERT OR REPLACE INTO questions VALUES (?, ?, ?)", asked)
            ended = [(stack, digest) for digest in drop]
            db.executemany("DELETE FROM grants WHERE stack = ? AND digest = ?", ended)

    # ------------------------------------------------------------ the journal of effects

    def intend(self, stack: str, intents: Sequence[Intent]) -> None:
        with self._writing() as db:
            self._inventory.touch(stack, [i.unit for i in intents])
            # a second intent for a unit keeps what was known before the first: nothing became known in between
            db.executemany(
                "INSERT INTO intents (stack, unit, run, was_certain, body) VALUES (?1, ?2, ?3, coalesce("
                "(SELECT certain FROM baselines WHERE stack = ?1 AND unit = ?2), 0), ?4) "
                "ON CONFLICT (stack, unit) DO UPDATE SET run = excluded.run, body = excluded.body",
                [(stack, str(i.unit), i.run, pack(i)) for i in intents],
            )
            uncertain = [(stack, str(i.unit)) for i in intents]
            db.executemany("UPDATE baselines SET certain = 0 WHERE stack = ? AND unit = ?", uncertain)

    def conclude(self, stack: str, run: str, effects: Sequence[Effect], events: Sequence[AuditEvent] = ()) -> None:
        """An outcome without a baseline leaves the recorded one as certain as it was before the intent if it had no
        effect (refused, unchanged, kept), and uncertain otherwise."""
        with self._writing(events) as db:
            self._inventory.touch(stack, [e.outcome.unit for e in effects])
            of = _run_number(db, run)
            outcomes = [(of, pack(e.outcome)) for e in effects]
            db.executemany("INSERT INTO outcomes (run, body) VALUES (?, ?)", outcomes)
            restored = [
                (stack, str(e.outcome.unit))
                for e in effects
                if e.baseline is None and not e.forget and without_effect(e.outcome.result)
            ]
            db.executemany(
                "UPDATE baselines SET certain = coalesce((SELECT was_certain FROM intents "
                "WHERE stack = ?1 AND unit = ?2), certain) WHERE stack = ?1 AND unit = ?2",
                restored,
            )
            _forget(db, stack, [e.outcome.unit for e in effects if e.forget])
            _put_baselines(db, stack, [e.baseline for e in effects if e.baseline is not None and not e.forget])
            _soil(db, stack, [e.dirty for e in effects if e.dirty is not None])
            _end_intents(db, stack, [e.outcome.unit for e in effects])

    def rebase(self, stack: str, baselines: Sequence[Baseline], forget: Sequence[UnitId] = ()) -> None:
        with self._writing() as db:
            self._inventory.touch(stack, [*(b.unit for b in baselines), *forget])
            _forget(db, stack, forget)
            _put_baselines(db, stack, baselines)
            _end_intents(db, stack, [*(b.unit for b in baselines), *forget])

    def clean(self, stack: str, units: Sequence[UnitId]) -> None:
        with self._writing() as db:
            rows = [(stack, str(unit)) for unit in units]
            db.executemany("DELETE FROM dirty WHERE stack = ? AND unit = ?", rows)

    def soil(self, stack: str, dirty: Sequence[Dirty]) -> None:
        with self._writing() as db:
            _soil(db, stack, dirty)

    # ------------------------------------------------------------ runs

    def begin(self, run: RunRecord, events: Sequence[AuditEvent] = ()) -> None:
        """Also makes room: a stack keeps its last runs, and those that something still refers to. A run that is begun
        again (it went on after a restart) keeps what was already recorded of it."""
        with self._writing(events) as db:
            _put_run(db, run)
            of = _run_number(db, run.id)
            _put_endings(db, of, run)
            if run.plan is not None:
                db.execute("INSERT OR REPLACE INTO plans VALUES (?, ?)", (of, pack(run.plan)))
            db.executemany("INSERT INTO outcomes (run, body) VALUES (?, ?)", [(of, pack(o)) for o in run.outcomes])
            _put_observations(db, of, run.observations)
            _forget_old_runs(db, run.stack)

    def save_plan(self, run: str, plan: Plan) -> None:
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO plans VALUES (?, ?)", (_run_number(db, run), pack(plan)))

    def observed(self, run: str, observations: Sequence[Observation]) -> None:
        with self._writing() as db:
            _put_observations(db, _run_number(db, run), observations)

    def finish(self, run: RunRecord, events: Sequence[AuditEvent] = ()) -> None:
        """Plan, outcomes and observations of `run` are not looked at: they were stored as they came."""
        with self._writing(events) as db:
            of = _run_number(db, run.id)
            _put_run(db, run)
            _put_endings(db, of, run)

    def run(self, run: str) -> RunRecord | None:
        with self._reading() as db:
            return queries.run(db, run)

    def runs(self, stack: str = "", limit: int = 50) -> tuple[RunRecord, ...]:
        with self._reading() as db:
            return queries.runs(db, stack, limit)

    # ------------------------------------------------------------ audit and transactions

    def audit(self, events: Sequence[AuditEvent]) -> AuditHead:
        with self._writing(events) as db:
            return queries.audit_head(db)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, faults(self._path):
            yield self._db

    @contextmanager
    def _writing(self, events: Sequence[AuditEvent] = ()) -> Iterator[sqlite3.Connection]:
        """One transaction, with the entries of `events` in it; afterwards they go to the audit file. What the file
        will not take stays in the outbox and fails nobody: the entries are safe, and the next transaction tries again.
        """
        with self._lock, faults(self._path):
            self._states.clear()
            self._anchor.check()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                made = self._journal.chain(events)
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                raise
            self._journal.deliver(made)


def _open(path: Path) -> sqlite3.Connection:
    db = open_for_writing(path)
    try:
        migrate(db, path)
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        require_sound(path, str(verdict))
    except BaseException:
        db.close()
        raise
    return db


def _save_memory(db: sqlite3.Connection, memory: Memory) -> Memory:
    stored = queries.memory(db, memory.stack)
    newest = max(memory.generation, stored.generation if stored else 0)
    saved = replace(memory, generation=newest + 1, audit=queries.audit_head(db))
    _put_memory(db, saved)
    return saved


def _put_memory(db: sqlite3.Connection, memory: Memory) -> None:
    db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (memory.stack, pack(memory)))


def _put_baselines(db: sqlite3.Connection, stack: str, baselines: Iterable[Baseline]) -> None:
    rows = [(stack, *baseline_row(b)) for b in baselines]
    columns = f"stack, {BASELINE_COLUMNS}"
    marks = ", ".join("?" * len(columns.split(",")))
    db.executemany(f"INSERT OR REPLACE INTO baselines ({columns}) VALUES ({marks})", rows)  # noqa: S608


def _forget(db: sqlite3.Connection, stack: str, units: Iterable[UnitId]) -> None:
    db.executemany("DELETE FROM baselines WHERE stack = ? AND unit = ?", [(stack, str(u)) for u in units])


def _end_intents(db: sqlite3.Connection, stack: str, units: Iterable[UnitId]) -> None:
    db.executemany("DELETE FROM intents WHERE stack = ? AND unit = ?", [(stack, str(u)) for u in units])


def _soil(db: sqlite3.Connection, stack: str, dirty: Iterable[Dirty]) -> None:
    for mark in dirty:
        where = (stack, str(mark.unit))
        row = db.execute("SELECT body FROM dirty WHERE stack = ? AND unit = ?", where).fetchone()
        merged = touched(unpack(Dirty, row[0]) if row else None, mark)
        db.execute(
            "INSERT INTO dirty (stack, unit, run, body) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (stack, unit) DO UPDATE SET run = excluded.run, body = excluded.body",
            (*where, merged.run, pack(merged)),
        )


def _put_run(db: sqlite3.Connection, run: RunRecord) -> None:
    columns = RUN_COLUMNS.split(", ")
    marks = ", ".join("?" * len(columns))
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    query = f"INSERT INTO runs ({RUN_COLUMNS}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changes}"  # noqa: S608
    db.execute(query, run_row(run))


def _put_endings(db: sqlite3.Connection, of: int, run: RunRecord) -> None:
    db.execute("DELETE FROM leftovers WHERE run = ?", (of,))
    db.execute("DELETE FROM suspects WHERE run = ?", (of,))
    leftovers = [(of, str(item.unit), printable(item.reason), item.environment) for item in run.leftovers]
    db.executemany("INSERT INTO leftovers (run, unit, reason, environment) VALUES (?, ?, ?, ?)", leftovers)
    suspects = [(of, printable(suspect)) for suspect in run.suspects]
    db.executemany("INSERT INTO suspects (run, suspect) VALUES (?, ?)", suspects)


def _put_observations(db: sqlite3.Connection, of: int, observations: Iterable[Observation]) -> None:
    rows = [(of, o.unit, pack(o)) for o in observations]
    db.executemany("INSERT OR REPLACE INTO observations VALUES (?, ?, ?)", rows)


def _run_number(db: sqlite3.Connection, run: str) -> int:
    row = db.execute("SELECT seq FROM runs WHERE id = ?", (run,)).fetchone()
    if row is None:
        raise ValueError(f"run {run!r} was never begun")
    return int(row[0])


def _forget_old_runs(db: sqlite3.Connection, stack: str) -> None:
    """Drop what is older than the newest runs and not referred to: by the memory, by a dirty unit, by an intent, or as
    the run that made a good revision good."""
    memory = queries.memory(db, stack)
    keep: set[Any] = mentioned_runs(memory)
    for table in ("dirty", "intents"):
        keep.update(row[0] for row in db.execute(f"SELECT DISTINCT run FROM {table} WHERE stack = ?", (stack,)))  # noqa: S608
    for good in memory.good if memory else ():
        found = db.execute(
            "SELECT id FROM runs WHERE stack = ? AND revision = ? AND digest = ? AND verdict = 'good' "
            "AND kind != 'heal' ORDER BY seq DESC LIMIT 1",
            (stack, good.commit, good.digest),
        ).fetchone()
        keep.update(found or ())
    marks = ", ".join("?" * len(keep))
    db.execute(
        f"DELETE FROM runs WHERE stack = ? AND id NOT IN ({marks}) AND seq NOT IN "  # noqa: S608
        "(SELECT seq FROM runs WHERE stack = ? ORDER BY seq DESC LIMIT ?)",
        (stack, *keep, stack, KEEP_RUNS),
    )
