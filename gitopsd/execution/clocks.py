"""How long each subject of a gate has been looked at and been healthy. Pure: time is handed in."""

from __future__ import annotations

from dataclasses import dataclass, field

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.spec import GateSpec

SURE_LOOKS = 2
"""Looks in a row that must agree on a failure that waiting cannot mend: the first may catch a state in passing."""

SETTLED = frozenset({Health.HEALTHY, Health.SUSPENDED})
"""Suspended is what its author asked for."""


NOT_SEEN = Assessment(Health.UNKNOWN, "not seen yet")


@dataclass
class Watch:
    """How long one subject has been looked at, and been healthy, in seconds of fresh observation."""

    timeout: float
    stable_for: float
    waited: float = 0.0
    healthy_for: float = -1.0  # below zero: not healthy now
    sure: int = 0
    seen: Assessment = NOT_SEEN

    @property
    def passed(self) -> bool:
        return self.healthy_for >= 0 and self.healthy_for >= self.stable_for

    @property
    def failed(self) -> bool:
        return self.sure >= SURE_LOOKS or (self.waited >= self.timeout and not self.passed)

    def look(self, seen: Assessment, elapsed: float) -> None:
        """Take in one observation; `elapsed` is the time since the one before, 0 if the view was blind between."""
        self.waited += elapsed
        if seen.health in SETTLED:
            self.healthy_for = self.healthy_for + elapsed if self.healthy_for >= 0 else 0.0
        else:
            self.healthy_for = -1.0
        self.sure = self.sure + 1 if seen.final else 0
        self.seen = seen

    def why(self) -> str:
        text = ": ".join(part for part in (self.seen.reason, self.seen.message) if part) or self.seen.health.value
        if self.sure >= SURE_LOOKS:
            return text
        if self.healthy_for >= 0:
            return f"not healthy for {self.stable_for:g} s without a break within {self.timeout:g} s"
        return f"not healthy after {self.timeout:g} s: {text}"


@dataclass
class GateClocks:
    """Watches that outlive a run: a commit that leaves a unit unchanged does not give it more time."""

    watches: dict[tuple[UnitId, str], Watch] = field(default_factory=dict)

    def watch(self, unit: UnitId, digest: str, spec: GateSpec) -> Watch:
        """The unit's watch at the start of a gate. One that had passed gets the time of this gate; else it goes on."""
        watch = self.watches.setdefault((unit, digest), Watch(spec.timeout, spec.stable_for))
        if watch.passed:
            watch.waited = 0.0
        watch.timeout, watch.stable_for, watch.sure = spec.timeout, spec.stable_for, 0
        return watch

    def reset(self) -> None:
        """After a verdict: what is tried next gets its full time, though it be the same again."""
        self.watches.clear()
