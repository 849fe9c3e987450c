"""The record for those who only look: the command line, beside a running daemon or after its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline, StackState
from gitopsd.model.orders import Order
from gitopsd.model.plan import Change
from gitopsd.model.run import RunRecord, Touch
from gitopsd.record import queries
from gitopsd.record.database import faults, open_for_reading
from gitopsd.record.schema import require_current

T = TypeVar("T")


def open_reader(state_dir: Path) -> Reader:
    """Open `state.db` without writing anything, not even beside it. Raises EnvironmentFault if there is none, if it
    cannot be read, or if it needs another version of gitopsd."""
    path = state_dir / "state.db"
    with faults(path):
        db = open_for_reading(path)
        try:
            require_current(db, path)
        except BaseException:
            db.close()
            raise
    return Reader(db, path)


class Reader:
    """What the record holds, each answer as of one instant. For one thread and a short life."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stacks(self) -> tuple[str, ...]:
        return self._ask(queries.stacks)

    def state(self, stack: str) -> StackState | None:
        """None for a stack that this host has never seen."""
        return self._ask(lambda db: queries.state(db, stack))

    def orders(self, stack: str) -> tuple[Order, ...]:
        """What people ordered and the stack has not done yet, oldest first."""
        return self._ask(lambda db: queries.orders(db, stack))

    def baselines(self, stack: str) -> dict[UnitId, Baseline]:
        return self._ask(lambda db: queries.baselines(db, stack))

    def runs(self, stack: str = "", limit: int = 50) -> tuple[RunRecord, ...]:
        """Newest first, without plan, outcomes and observations."""
        return self._ask(lambda db: queries.runs(db, stack, limit))

    def run(self, name: str, stack: str = "") -> RunRecord:
        """A whole run by its id, the beginning of its id, or `last` (of `stack`, or of all). Raises UsageError if that
        names no run or more than one."""
        return self._ask(lambda db: queries.find_run(db, name, stack))

    def touches(self, stack: str, unit: UnitId, limit: int) -> tuple[Touch, ...]:
        """The newest changes of a unit that had an effect, newest first, of the runs that are kept."""
        return self._ask(lambda db: tuple(islice(queries.touches(db, stack, unit), limit)))

    def change(self, run: str, unit: UnitId) -> Change | None:
        """What a run had planned for a unit; None if that is not kept."""
        return self._ask(lambda db: queries.change(db, run, unit))

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with faults(self._path):
            self._db.execute("BEGIN")
            try:
                return question(self._db)
            finally:
                self._db.execute("ROLLBACK")
