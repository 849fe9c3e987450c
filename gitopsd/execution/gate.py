"""What must hold after a wave: the dirty units healthy, the stack's own checks green, for as long as asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import structlog

from gitopsd.execution.clocks import SETTLED, Watch
from gitopsd.execution.session import Session
from gitopsd.execution.stuck import Unblocker
from gitopsd.kinds.builtin import gates
from gitopsd.kinds.health import STUCK, assess
from gitopsd.kinds.jobs import job_digest
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Assessment, Health, Workload
from gitopsd.model.memory import JobDone
from gitopsd.model.plan import Change
from gitopsd.model.run import Observation
from gitopsd.model.spec import HttpCheck

log = structlog.get_logger("gitopsd.gate")

FIRST_LOOK, SLOWEST_LOOK = 0.2, 1.0
"""Seconds between two looks at the cluster: quick at first, for most waves are healthy at once."""

LONGEST_LOOK = 5.0
"""Seconds of a look that count as gate time; in the rest of it the API server let us wait, and nothing was seen."""

USABLE_KINDS = frozenset({"CustomResourceDefinition", "Namespace", "APIService"})
"""Kinds that others cannot even be sent without."""


Subject = UnitId | HttpCheck
"""What a gate looks at."""


class GateFailure(Exception):
    """A gate that did not hold; `unit` is None when one of the stack's own checks failed."""

    def __init__(self, reason: str, unit: UnitId | None) -> None:
        super().__init__(reason)
        self.reason, self.unit = reason, unit


class Gate:
    """The gates of one run. `excused` is what was degraded, and which checks failed, before it, and how."""

    def __init__(self, session: Session, excused: Mapping[Subject, Assessment]) -> None:
        self.session, self.excused = session, excused
        self._unblocker = Unblocker(session)
        self._blind = False

    def watch(self, units: Iterable[UnitId], *, components: Collection[str]) -> None:
        """Return when all of `units` that gate, and the checks of `components`, are good.

        Raises GateFailure, or Interrupted: a gate is a safe point.
        """
        watched = {u: w for u in units if (w := self._watch(u)) is not None}
        checks = {
            check: Watch(c.gate.timeout, c.gate.stable_for)
            for c in self.session.spec.components
            if c.name in components
            for check in c.gate.checks
        }
        self._until_good(watched, checks)

    def wait_usable(self, changes: Sequence[Change]) -> None:
        """Return when what the next layer needs of these changes can be used. Raises GateFailure or Interrupted."""
        self._until_good(
            {
                c.unit: self.session.clocks.watch(c.unit, c.digest, self.session.spec.component(c.component).gate)
                for c in changes
                if c.unit.kind in USABLE_KINDS
            },
            {},
        )

    def healthy_now(self) -> dict[UnitId, tuple[int, int]]:
        """Every gating unit of the stack that is healthy at this moment, with its order."""
        gating = [u for u in self.session.units if self._gates(u)]
        seen = self.session.through_faults(lambda: look(self.session, gating), interruptible=True)
        return {u: self.session.units[u].order for u, found in seen.items() if found.health in SETTLED}

    def green_now(self) -> set[str]:
        """The components that have checks, all of which are good at this moment."""
        return {
            c.name
            for c in self.session.spec.components
            if c.gate.checks and all(self.session.probe(check).health in SETTLED for check in c.gate.checks)
        }

    # ------------------------------------------------------------ the loop

    def _watch(self, unit: UnitId) -> Watch | None:
        if not self._gates(unit):
            return None
        wanted = self.session.units[unit]
        return self.session.clocks.watch(unit, wanted.digest, self.session.spec.component(wanted.component).gate)

    def _gates(self, unit: UnitId) -> bool:
        wanted = self.session.units.get(unit)
        return wanted is not None and gates(unit.group, unit.kind, wanted.options.gate, wanted.manifest)

    def _until_good(self, units: Mapping[UnitId, Watch], checks: Mapping[HttpCheck, Watch]) -> None:
        if not units and not checks:
            return
        delay, last_look, clock = FIRST_LOOK, None, self.session.clock
        while True:
            self.session.safe_point()
            asked, pauses = clock.monotonic(), self.session.pauses
            seen = self._look(list(units))
            now = clock.monotonic()
            elapsed = asked - last_look + min(now - asked, LONGEST_LOOK) if last_look is not None else 0.0
            last_look = None
            if seen is not None:
                self._take_in(units, seen, elapsed)
                for check, watch in checks.items():
                    watch.look(self._excuse(check, self.session.probe(check)), elapsed)
                self._record(units, checks)
                if self._verdict(units, checks):
                    return
                self._unblock(units)
                last_look = now if pauses == self.session.pauses else None
            self.session.try_lease()
            self.session.attention.wait(delay)
            delay = min(delay * 1.5, SLOWEST_LOOK)

    def _look(self, units: Sequence[UnitId]) -> dict[UnitId, Assessment] | None:
        """One look; None while the gate is blind, and its time stands still."""
        try:
            seen = look(self.session, units)
        except EnvironmentFault as fault:
            if not self._blind:
                log.warning("gate is blind", run=self.session.run, fault=str(fault))
            self.session.paused(fault)
            self._blind = True
            return None
        if self._blind:
            log.info("gate sees again", run=self.session.run)
            self.session.paused(None)
            self._blind = False
        return seen

    def _take_in(self, units: Mapping[UnitId, Watch], seen: Mapping[UnitId, Assessment], elapsed: float) -> None:
        for unit, watch in units.items():
            found = self._job_view(unit, seen[unit]) if unit.kind == "Job" else seen[unit]
            watch.look(self._unblocker.told(unit, self._excuse(unit, found)), elapsed)

    def _excuse(self, subject: Subject, found: Assessment) -> Assessment:
        """What was the same before the run fails nothing."""
        before = self.excused.get(subject)
        if before is None or (before.health, before.reason) != (found.health, found.reason):
            return found
        return Assessment(Health.SUSPENDED, found.reason, f"as before this run: {found.message}")

    def _unblock(self, units: Mapping[UnitId, Watch]) -> None:
        """Mend what no controller mends. A heal has nothing to take back, so that it leaves pods alone."""
        for unit, watch in units.items():
            if self.session.soils and watch.seen.reason == STUCK:
                self._unblocker.attend(unit, watch.timeout)

    def _job_view(self, unit: UnitId, seen: Assessment) -> Assessment:
        """A Job that its own time-to-live took away was done; one that finished is remembered for ever."""
        manifest = self.session.units[unit].manifest
        if seen.health is Health.MISSING and "ttlSecondsAfterFinished" in manifest.get("spec", {}):
            seen = Assessment(Health.HEALTHY, "finished", "gone by its time to live")
        if seen.health is Health.HEALTHY:
            done = JobDone(unit, job_digest(manifest), self.session.now())
            self.session.through_faults(lambda: self.session.job_done(done), interruptible=False)
        return seen

    def _verdict(self, units: Mapping[UnitId, Watch], checks: Mapping[HttpCheck, Watch]) -> bool:
        """True if all is good. Raises GateFailure for the first that failed, in the order of the units."""
        for unit, watch in sorted(units.items()):
            if watch.failed:
                raise GateFailure(watch.why(), unit)
        for check, watch in checks.items():
            if watch.failed:
                raise GateFailure(f"check {check.url}: {watch.why()}", None)
        return all(w.passed for w in (*units.values(), *checks.values()))

    def _record(self, units: Mapping[UnitId, Watch], checks: Mapping[HttpCheck, Watch]) -> None:
        at = self.session.now()
        subjects = [(str(u), w.seen) for u, w in units.items()] + [(c.url, w.seen) for c, w in checks.items()]
        changed = [(name, seen) for name, seen in subjects if self.session.observed.get(name) != seen]
        if changed:
            waiting = [name for name, seen in subjects if seen.health not in SETTLED]
            if waiting:
                others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
                self.session.progress(f"waiting for {waiting[0]}{others}")
            self.session.observed.update(changed)
            found = [Observation(name, s.health, s.reason, s.message, s.final, at) for name, s in changed]
            self.session.through_faults(
                lambda: self.session.record.observed(self.session.run, found), interruptible=True
            )


def look(session: Session, units: Sequence[UnitId]) -> dict[UnitId, Assessment]:
    """The health of these units now. Raises EnvironmentFault if one of their clusters cannot be asked."""
    found: dict[UnitId, Workload | Absence] = {}
    for name in {u.cluster for u in units}:
        found |= session.clusters[name].workloads([u for u in units if u.cluster == name])
    now = session.clock.now()
    return {unit: assess(unit, found[unit], now) for unit in units}
