"""The baselines of the stacks as model values, beside their table: a run asks for them many times, and decoding a
thousand of them takes longer than its requests."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable

from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline
from gitopsd.record import queries

FEW = 200
"""Changed units that are read one by one; from more on the whole table of the stack is quicker."""


class Inventory:
    """For the writer alone, which tells of everything that it touches and holds its lock around every call."""

    def __init__(self) -> None:
        self._known: dict[str, dict[UnitId, Baseline]] = {}
        self._stale: dict[str, set[UnitId]] = defaultdict(set)

    def touch(self, stack: str, units: Iterable[UnitId]) -> None:
        """These rows are about to change. Should the transaction fail, they are read once more than needed."""
        if stack in self._known:
            self._stale[stack].update(units)

    def read(self, db: sqlite3.Connection, stack: str) -> dict[UnitId, Baseline]:
        """What the table says of a stack. The caller may do with the answer what it wants."""
        known, stale = self._known.get(stack), self._stale[stack]
        if known is None or len(stale) > FEW:
            known = self._known[stack] = queries.baselines(db, stack)
        else:
            for unit in stale:
                found = queries.baseline(db, stack, unit)
                if found is None:
                    known.pop(unit, None)
                else:
                    known[unit] = found
        stale.clear()
        return dict(known)
