"""What can be asked of `state.db`: the writer and the reader ask alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import orjson

from gitopsd.model.errors import Problem, UsageError
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import AuditHead, Baseline, Dirty, Intent, Memory, StackState
from gitopsd.model.orders import Grant, Order, Question
from gitopsd.model.plan import Action, Change, Plan, Postponed
from gitopsd.model.run import Leftover, Observation, Outcome, RunRecord, Touch
from gitopsd.record.blobs import COMPRESSED, unpack
from gitopsd.record.merge import without_effect
from gitopsd.record.rows import BASELINE_COLUMNS, RUN_COLUMNS, baseline_of, run_of, unit_of

T = TypeVar("T")

LAST = "last"


def memory(db: sqlite3.Connection, stack: str) -> Memory | None:
    row = db.execute("SELECT body FROM memory WHERE stack = ?", (stack,)).fetchone()
    return unpack(Memory, row[0]) if row else None


def stacks(db: sqlite3.Connection) -> tuple[str, ...]:
    return tuple(row[0] for row in db.execute("SELECT stack FROM memory ORDER BY stack"))


def state(db: sqlite3.Connection, stack: str) -> StackState | None:
    known = memory(db, stack)
    if known is None:
        return None
    return StackState(
        memory=known,
        dirty=tuple(unpack(Dirty, body) for (body,) in _of_stack(db, "dirty", stack)),
        intents=tuple(unpack(Intent, body) for (body,) in _of_stack(db, "intents", stack)),
        postponed=tuple(
            Postponed(unit_of(unit), reason, since)
            for unit, reason, since in db.execute(
                "SELECT unit, reason, since FROM postponed WHERE stack = ? ORDER BY unit", (stack,)
            )
        ),
        questions=tuple(unpack(Question, body) for (body,) in _of_stack(db, "questions", stack)),
        grants=grants(db, stack),
    )


def grants(db: sqlite3.Connection, stack: str) -> tuple[Grant, ...]:
    return tuple(unpack(Grant, body) for (body,) in _of_stack(db, "grants", stack))


def orders(db: sqlite3.Connection, stack: str) -> tuple[Order, ...]:
    """Orders that were not carried out yet, oldest first."""
    rows = db.execute("SELECT seq, body FROM orders WHERE stack = ? ORDER BY seq", (stack,))
    return tuple(replace(unpack(Order, body), seq=seq) for seq, body in rows)


def _of_stack(db: sqlite3.Connection, table: str, stack: str) -> Iterable[tuple[bytes]]:
    return db.execute(f"SELECT body FROM {table} WHERE stack = ? ORDER BY rowid", (stack,))  # noqa: S608


def baselines(db: sqlite3.Connection, stack: str) -> dict[UnitId, Baseline]:
    rows = db.execute(f"SELECT {BASELINE_COLUMNS} FROM baselines WHERE stack = ?", (stack,))  # noqa: S608
    return {b.unit: b for b in map(baseline_of, rows)}


def baseline(db: sqlite3.Connection, stack: str, unit: UnitId) -> Baseline | None:
    query = f"SELECT {BASELINE_COLUMNS} FROM baselines WHERE stack = ? AND unit = ?"  # noqa: S608
    row = db.execute(query, (stack, str(unit))).fetchone()
    return baseline_of(row) if row else None


def runs(db: sqlite3.Connection, stack: str = "", limit: int = 50) -> tuple[RunRecord, ...]:
    """Newest first, without their details; of every stack if none is named."""
    where, values = ("WHERE stack = ?", (stack, limit)) if stack else ("", (limit,))
    query = f"SELECT {RUN_COLUMNS} FROM runs {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608
    return tuple(map(run_of, db.execute(query, values)))


def run(db: sqlite3.Connection, id_: str) -> RunRecord | None:
    """A run with everything that is kept of it."""
    row = db.execute(f"SELECT seq, {RUN_COLUMNS} FROM runs WHERE id = ?", (id_,)).fetchone()  # noqa: S608
    return _whole(db, row) if row else None


def find_run(db: sqlite3.Connection, name: str, stack: str = "") -> RunRecord:
    """The run that a person means by a whole id, the beginning of one, or `last`. Raises UsageError if that is none, or
    more than one."""
    of_stack = "(?2 = '' OR stack = ?2)"
    matches = "?1 = ?1" if name == LAST else "substr(id, 1, length(?1)) = ?1"
    query = f"SELECT seq, {RUN_COLUMNS} FROM runs WHERE {matches} AND {of_stack} ORDER BY seq DESC LIMIT 6"  # noqa: S608
    rows = {row[1]: row for row in db.execute(query, (name, stack))}
    if not rows:
        where = f" of stack {stack}" if stack else ""
        text = f"there was no run{where} yet" if name == LAST else f"no run{where} is called {name!r}"
        raise UsageError(Problem(text, remedy="`gitopsd history` lists those that are kept"))
    if name == LAST:
        return _whole(db, next(iter(rows.values())))
    if name not in rows and len(rows) > 1:
        raise UsageError(Problem(f"{name!r} begins more than one run: {', '.join(rows)}", remedy="write more of it"))
    return _whole(db, rows.get(name) or next(iter(rows.values())))


def _whole(db: sqlite3.Connection, row: tuple[Any, ...]) -> RunRecord:
    of = (row[0],)
    plan = db.execute("SELECT body FROM plans WHERE run = ?", of).fetchone()
    return replace(
        run_of(row[1:]),
        plan=unpack(Plan, plan[0]) if plan else None,
        outcomes=_details(db, Outcome, "SELECT body FROM outcomes WHERE run = ? ORDER BY n", of),
        observations=_details(db, Observation, "SELECT body FROM observations WHERE run = ? ORDER BY subject", of),
        leftovers=tuple(
            Leftover(unit_of(unit), reason, bool(environment))
            for unit, reason, environment in db.execute(
                "SELECT unit, reason, environment FROM leftovers WHERE run = ? ORDER BY n", of
            )
        ),
        suspects=tuple(s for (s,) in db.execute("SELECT suspect FROM suspects WHERE run = ? ORDER BY n", of)),
    )


def _details(db: sqlite3.Connection, kind: type[T], query: str, of: tuple[int]) -> tuple[T, ...]:
    return tuple(unpack(kind, body) for (body,) in db.execute(query, of))


def touches(db: sqlite3.Connection, stack: str, unit: UnitId) -> Iterator[Touch]:
    """The changes of a unit that had an effect, newest first, of the runs that are kept; without what was planned."""
    columns = ", ".join(f"runs.{name}" for name in RUN_COLUMNS.split(", "))
    rows = db.execute(
        f"SELECT outcomes.body, {columns} FROM outcomes JOIN runs ON runs.seq = outcomes.run "  # noqa: S608
        "WHERE runs.stack = ? AND (instr(outcomes.body, ?) OR substr(outcomes.body, 1, 1) = ?) "
        "ORDER BY outcomes.n DESC",
        (stack, orjson.dumps(str(unit)), COMPRESSED),
    )
    for body, *run_row in rows:
        outcome = unpack(Outcome, body)
        released = outcome.action is Action.RELEASE
        if outcome.unit == unit and (released or not without_effect(outcome.result)):
            yield Touch(run_of(tuple(run_row)), outcome)


def change(db: sqlite3.Connection, run_id: str, unit: UnitId) -> Change | None:
    """What a run had planned for a unit; None if that is not kept."""
    query = "SELECT plans.body FROM plans JOIN runs ON runs.seq = plans.run WHERE runs.id = ?"
    row = db.execute(query, (run_id,)).fetchone()
    plan = unpack(Plan, row[0]) if row else None
    return next((c for c in plan.changes() if c.unit == unit), None) if plan else None


def audit_head(db: sqlite3.Connection) -> AuditHead:
    return AuditHead(*db.execute("SELECT seq, hash FROM audit_head").fetchone())


def outbox(db: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """Entries that may not be in the audit file yet, oldest first."""
    return db.execute("SELECT seq, line FROM audit_outbox ORDER BY seq").fetchall()
