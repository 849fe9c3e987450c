"""What the host knows of a stack at this moment, gathered while it works and published at each change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from threading import Lock

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.run import RunRecord
from gitopsd.model.status import StackFacts, UnitDrift, UnitHealth, Wanted
from gitopsd.stack.keyuse import KeyUse
from gitopsd.stack.ledger import Ledger

Publish = Callable[[StackFacts], None]


class Facts:
    """The mutable side of `StackFacts`: kept by the worker, read by whoever shows the state."""

    def __init__(self, ledger: Ledger, publish: Publish) -> None:
        self.ledger, self._publish = ledger, publish
        self._lock = Lock()
        self.wanted: Wanted | None = None
        self.current: RunRecord | None = None
        self.progress = ""
        self._health: dict[UnitId, UnitHealth] = {}
        self._drifted: dict[UnitId, UnitDrift] = {}
        self._key_use = KeyUse()
        self._locked: dict[UnitId, UnitDrift] = {}

    @property
    def drifted(self) -> Collection[UnitId]:
        return tuple(self._drifted)

    def see(self, seen: Mapping[UnitId, Assessment]) -> None:
        """Take in health; a unit keeps its time as long as health and reason stay."""
        now = self.ledger.now()
        with self._lock:
            for unit, found in seen.items():
                old = self._health.get(unit)
                same = old is not None and (old.assessment.health, old.assessment.reason) == (
                    found.health,
                    found.reason,
                )
                self._health[unit] = UnitHealth(found, old.since if old is not None and same else now)

    def drift(self, found: Mapping[UnitId, str], *, kept: Collection[UnitId] = ()) -> None:
        """Replace what is known to have drifted; a unit that stays in it keeps its time. Nobody looked at what is
        `kept`: of that nothing new is known."""
        now = self.ledger.now()
        with self._lock:
            old = self._drifted
            same = {u: d for u, d in old.items() if u in kept}
            seen = {u: UnitDrift(old[u].since if u in old else now, detail) for u, detail in found.items()}
            self._drifted = same | seen

    def use_keys(self, found: KeyUse) -> None:
        """Replace what is known of sealing keys; a unit that stays locked keeps its time."""
        now = self.ledger.now()
        with self._lock:
            old = self._locked
            self._key_use = found
            self._locked = {u: UnitDrift(old[u].since if u in old else now, why) for u, why in found.locked.items()}

    def publish(self) -> None:
        self._publish(self.snapshot())

    def snapshot(self) -> StackFacts:
        """Everything known now, as one value."""
        record, stack = self.ledger.record, self.ledger.stack
        state = record.state(stack)
        tracked = record.baselines(stack)
        newest = [r for r in record.runs(stack, limit=2) if r.verdict is not None]
        with self._lock:
            # What nobody has looked at since the start was healthy when its run was called good.
            unseen = UnitHealth(Assessment(Health.HEALTHY, "good when last gated"))
            touched = UnitHealth(Assessment(Health.UNKNOWN, "not looked at since it was touched"))
            dirty = {d.unit for d in state.dirty} if state else set()
            health = {u: self._health.get(u, touched if u in dirty else unseen) for u in tracked}
            drifted = {u: d for u, d in self._drifted.items() if u in tracked}
            locked = {u: d for u, d in self._locked.items() if u in tracked}
            keys = self._key_use.secrets
        return StackFacts(
            name=stack,
            source=self.ledger.source,
            state=state,
            desired=self.wanted,
            current=self.current,
            last=newest[0] if newest else None,
            health=health,
            drifted=drifted,
            tracked=len(tracked),
            orphans=tuple(p for p in (state.postponed if state else ()) if p.reason.startswith("is being deleted")),
            progress=self.progress,
            locked=locked,
            keys=keys,
        )
