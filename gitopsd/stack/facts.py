"""What the host knows of a stack at this moment, gathered while it works and published at each change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from threading import Lock

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.run import RunRecord
from gitopsd.model.status import Addition, StackFacts, UnitDrift, UnitHealth, Wanted
from gitopsd.stack.differences import bounded
from gitopsd.stack.keyuse import KeyUse
from gitopsd.stack.ledger import Ledger

DETAILED = 300
"""Drifted units whose fields are kept; and units whose additions by others are."""

MENDED = 50
"""Units of which it is kept how they had drifted, after they were mended: for when that turns out to be a contest."""

AGAIN = "written again since it was mended"

Publish = Callable[[StackFacts], None]


class Facts:
    """The mutable side of `StackFacts`: kept by the worker, read by whoever shows the state."""

    def __init__(self, ledger: Ledger, publish: Publish) -> None:
        self.ledger, self._publish = ledger, publish
        self._lock = Lock()
        self.wanted: Wanted | None = None
        self.current: RunRecord | None = None
        self.progress = ""
        self.only_reported = False
        self.unwatched: Mapping[str, str] = {}
        self._health: dict[UnitId, UnitHealth] = {}
        self._drifted: dict[UnitId, UnitDrift] = {}
        self._mended: dict[UnitId, UnitDrift] = {}
        self._additions: dict[UnitId, tuple[Addition, ...]] = {}
        self._unlisted: set[UnitId] = set()  # others that have additions
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

    def back(self, units: Iterable[UnitId]) -> None:
        """These are there again, if they were missing."""
        with self._lock:
            for unit in units:
                known = self._health.get(unit)
                if known is not None and known.assessment.health is Health.MISSING:
                    del self._health[unit]

    def drift(self, found: Mapping[UnitId, UnitDrift | str], *, kept: Collection[UnitId] = ()) -> None:
        """Replace what is known to have drifted; a unit that stays in it keeps its time. Nobody looked at what is
        `kept`: of that nothing new is known. A text is all that is known of its unit."""
        now = self.ledger.now()
        with self._lock:
            old = self._drifted
            same = {u: d for u, d in old.items() if u in kept}
            drifts = {u: d if isinstance(d, UnitDrift) else UnitDrift(detail=d) for u, d in found.items()}
            seen = {u: replace(d, since=old[u].since if u in old else now) for u, d in drifts.items()}
            self._drifted = bounded((same | seen).items(), DETAILED)
            self._keep_mended({u: d for u, d in old.items() if u not in self._drifted and d.fields})

    def contest(self, found: Mapping[UnitId, str]) -> None:
        """These were written again after they were mended, and wait now; the text says who fights, "" if nobody does
        yet. Nobody has looked at them since: what had drifted the last time is told once more."""
        now = self.ledger.now()
        with self._lock:
            for unit, words in found.items():
                known = self._drifted.get(unit) or replace(self._mended.get(unit, UnitDrift()), since=now)
                again = AGAIN if not known.detail else f"{AGAIN}: {known.detail.removeprefix(AGAIN).lstrip(': ')}"
                self._drifted[unit] = replace(known, detail=again, contested=words)

    def add(self, found: Mapping[UnitId, tuple[Addition, ...]]) -> None:
        """Replace what others have added to these units: nothing, or this."""
        with self._lock:
            for unit, additions in found.items():
                self._add(unit, additions)

    def glimpse(self, unit: UnitId, additions: tuple[Addition, ...]) -> None:
        """The same from a unit's metadata alone, from any thread. Of what has drifted a look knows better: metadata do
        not tell what somebody took from us from what he added."""
        with self._lock:
            if unit not in self._drifted:
                self._add(unit, additions)

    def _add(self, unit: UnitId, additions: tuple[Addition, ...]) -> None:
        self._unlisted.discard(unit)
        if not additions:
            self._additions.pop(unit, None)
        elif unit in self._additions or len(self._additions) < DETAILED:
            self._additions[unit] = additions
        else:
            self._unlisted.add(unit)

    def _keep_mended(self, gone: Mapping[UnitId, UnitDrift]) -> None:
        self._mended = dict([*self._mended.items(), *gone.items()][-MENDED:])

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
            drifted = {u: d for u, d in self._drifted.items() if u in tracked}
            self._additions = {u: a for u, a in self._additions.items() if u in tracked}
            self._unlisted = {u for u in self._unlisted if u in tracked}
            additions, unlisted = dict(self._additions), len(self._unlisted)
            locked = {u: d for u, d in self._locked.items() if u in tracked}
            keys = self._key_use.secrets
            health = dict.fromkeys((*drifted, *additions, *locked), unseen)
            health |= {u: touched for u in dirty if u in tracked}
            health |= {u: h for u, h in self._health.items() if u in tracked}
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
            presumed=len(tracked) - len(health),
            orphans=tuple(p for p in (state.postponed if state else ()) if p.reason.startswith("is being deleted")),
            progress=self.progress,
            locked=locked,
            keys=keys,
            additions=additions,
            more_additions=unlisted,
            only_reported=self.only_reported,
            unwatched=self.unwatched,
        )
