"""Objects that go from one stack to another: who holds them, who lets go of them, who gets them as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import structlog

from gitopsd.model.errors import GitopsdError
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline
from gitopsd.stack.claims import Asked, Reader

log = structlog.get_logger("gitopsd.stack")


class Inventories(Protocol):
    """What is on record of the inventories."""

    def stacks(self) -> tuple[str, ...]: ...

    def baselines(self, _stack: str, /) -> Mapping[UnitId, Baseline]: ...


class Handover:
    """The other stacks of this host, as far as one of them gives up or gets something of theirs."""

    def __init__(self, read: Reader, record: Inventories) -> None:
        self._read, self._record = read, record

    def held(self, stack: str) -> dict[UnitId, str]:
        """What the others hold."""
        others = (other for other in self._record.stacks() if other != stack)
        return {unit: other for other in others for unit in self._record.baselines(other)}

    def let_go(self, ask: Asked, held: Mapping[UnitId, str]) -> frozenset[UnitId]:
        """Of units that others hold, those that they no longer ask for at this commit. A stack that the commit has not
        gives up nothing, nor does one that cannot be rendered."""
        there = {spec.name for spec in self._read.specs(ask.spec.source, ask.commit)} if held else set()
        asked = {stack: self._wanted(ask, stack) for stack in there & set(held.values())}
        wanted = {stack: units for stack, units in asked.items() if units is not None}
        return frozenset(unit for unit, stack in held.items() if stack in wanted and unit not in wanted[stack])

    def heirs(self, ask: Asked, removed: Collection[Baseline]) -> dict[UnitId, str]:
        """Which others ask at this commit for what this stack gives up: they get it as it is. A stack that cannot be
        rendered asks for nothing; it is held itself."""
        units = {baseline.unit for baseline in removed}
        heirs: dict[UnitId, str] = {}
        for spec in self._read.specs(ask.spec.source, ask.commit) if units else ():
            if spec.name != ask.spec.name:
                heirs |= dict.fromkeys(units & set(self._wanted(ask, spec.name) or ()), spec.name)
        return heirs

    def _wanted(self, ask: Asked, stack: str) -> Collection[UnitId] | None:
        """The units of another stack of the commit; None if it cannot be rendered."""
        try:
            return self._read.desired(self._read.ask(ask.spec.source, stack, ask.commit)).units
        except GitopsdError as error:
            log.warning("another stack of the commit is not asked what it wants", stack=stack, why=str(error))
            return None
