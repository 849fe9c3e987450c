"""Drift of one stack: who is suspected of it, what has become of them, and the run that mends it."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import structlog

from gitopsd.execution.sweep import Survey, due, survey, suspicious
from gitopsd.model.errors import SHOWN, CommitError, EnvironmentFault, GitopsdError, NeedsPerson
from gitopsd.model.ids import UnitId, clusters_of
from gitopsd.model.live import Absence, Assessment, Health
from gitopsd.model.memory import Baseline, HoldReason, StackState
from gitopsd.model.ports import Cluster, Probe
from gitopsd.model.run import RunKind, Verdict
from gitopsd.model.spec import DriftMode
from gitopsd.model.status import UnitDrift
from gitopsd.planning.send import all_ignored
from gitopsd.stack.approvals import Approvals
from gitopsd.stack.contests import Contests
from gitopsd.stack.differences import awaited, drift_of
from gitopsd.stack.facts import Facts
from gitopsd.stack.keyuse import key_use
from gitopsd.stack.parents import Parents
from gitopsd.stack.pipeline import Ask, Planned
from gitopsd.stack.rest import AGAIN, RETRY, Next
from gitopsd.stack.runner import Ended
from gitopsd.stack.tracked import Tracked
from gitopsd.stack.verdicts import Verdicts
from gitopsd.stack.vigil import NEVER, Vigil

log = structlog.get_logger("gitopsd.stack")

WHOLE_EVERY = 6 * 3600.0
"""Seconds between two looks at everything tracked, also at what is watched; give or take a fifth."""

HEAL_AGAIN = 60.0
"""Seconds until what could not be healed is tried again."""

EXAMINE_AGAIN = 30.0
"""Seconds until the health of a unit is looked at again that could not be seen."""

NO_LOOK = frozenset({HoldReason.ROLLBACK_FAILED, HoldReason.FAILED, HoldReason.SUSPENDED})
"""A stack with dirty units is looked at only while it waits for one of these: else a run is about to gate them."""


@dataclass(slots=True)
class Drift:
    """`suspects` are the units whose live state may not be what was applied. `run` carries out a plan, `after` says
    what follows a run."""

    verdicts: Verdicts
    tracked: Tracked
    approvals: Approvals
    facts: Facts
    parents: Parents
    probe: Probe
    vigil: Vigil
    run: Callable[[RunKind, Ask, Planned], Ended]
    after: Callable[[Ended], Next]
    suspects: frozenset[UnitId] = field(default=frozenset(), init=False)
    _whole_at: float = field(default=NEVER, init=False)  # when everything is next looked at, watched or not
    _ignored_of: str = field(default="", init=False)  # the digest of the revision whose ignored fields are known
    _contests: Contests = field(default_factory=Contests, init=False)
    _keyless: frozenset[UnitId] = field(default=frozenset(), init=False)  # suspects again as soon as the keys change
    _keys: str = field(default="", init=False)  # those that did not open them
    _examined: bool = field(default=False, init=False)  # whether the health of everything was seen

    # ------------------------------------------------------------ who is suspected

    def allow(self, state: StackState) -> None:
        """Modules that wait for a person, who has allowed by now what mends them, are looked at again."""
        self.suspects |= allowed_heals(state)

    def over(self, ended: Ended) -> None:
        """A run over the whole stack has ended: it has looked at everybody."""
        if ended.run.verdict is Verdict.GOOD:
            self.suspects = frozenset()
            self.facts.drift({})

    def know_ignored(self) -> None:
        """Tell the vigil which fields of the live revision are left to others. Where it cannot be read now, a look too
        many is the worst that comes of it."""
        live = self.verdicts.ledger.memory.live
        if live is None or live.digest == self._ignored_of:
            return
        try:
            target = self.verdicts.target.ask()
            desired = self.verdicts.pipeline.desired(target) if target else None
        except GitopsdError as error:
            log.info("not known which fields are ignored", stack=self.verdicts.ledger.stack, error=str(error))
            return
        if desired is not None:
            self.vigil.ignored, self._ignored_of = all_ignored(desired), live.digest

    def notice(self) -> None:
        """Take in what the watches have seen, as far as it deserves a look by now."""
        if self._keyless and self._keys != self.verdicts.pipeline.vault.digest():
            self.suspects, self._keyless = self.suspects | self._keyless, frozenset()
        look = self.vigil.take()
        if look.suspects:
            self.suspects |= look.suspects - {d.unit for d in self.verdicts.ledger.state.dirty}
        if look.ailing:
            self._examine(look.ailing)

    def _examine(self, units: frozenset[UnitId]) -> None:
        """See how units are that somebody has written the status of."""
        pipeline = self.verdicts.pipeline
        try:
            target = self.verdicts.target.ask()
            desired = pipeline.desired_now(target) if target else None
            if target is not None and desired is not None:
                clusters = pipeline.clusters(clusters_of(units) | set(target.spec.clusters))
                self._see(survey(clusters, desired, self._now(), among=units), clusters)
        except (CommitError, NeedsPerson, EnvironmentFault) as error:
            log.info("health not seen now", stack=self.verdicts.ledger.stack, error=str(error))
            self.vigil.defer_health(units, EXAMINE_AGAIN)

    def sweep_unless_spoiled(self, before: EnvironmentFault | None) -> EnvironmentFault | None:
        """Look for drift. The first fault is handed back, not raised: the newest commit may be what ends it, such as
        one that gives up a kind which is not served any more. Raises EnvironmentFault if it was spoiled `before`."""
        try:
            self._sweep()
        except EnvironmentFault as fault:
            if before is not None:
                raise
            log.warning("no look for drift now", stack=self.facts.ledger.stack, error=str(fault))
            return fault
        return None

    def _sweep(self) -> None:
        """Find units whose live state may not be what was applied, and look at everybody's health."""
        ledger, pipeline = self.verdicts.ledger, self.verdicts.pipeline
        state = ledger.state
        if state.dirty and not any(hold.reason in NO_LOOK for hold in state.memory.holds):
            return
        try:
            target = self.verdicts.target.ask()
            desired = pipeline.desired_now(target) if target else None
        except (CommitError, NeedsPerson) as error:
            log.warning("no look for drift: the good revision cannot be read", stack=ledger.stack, error=str(error))
            return
        if target is None or desired is None:
            return
        baselines = ledger.record.baselines(ledger.stack)
        clusters = pipeline.clusters(clusters_of(baselines) | set(target.spec.clusters))
        applysets = pipeline.applysets(ledger.stack, clusters)
        self.parents.tend(clusters)
        self.verdicts.reopen(target, self.probe)
        modules = due(baselines, desired.modules, self._now(), pipeline.terraform.drift_interval)
        unseen = self._unseen(baselines)
        found = suspicious(clusters, applysets, {u: baselines[u] for u in unseen})
        self.suspects |= (found | modules) - {d.unit for d in state.dirty}
        self._see(survey(clusters, desired, self._now(), among=unseen if self._examined else None), clusters)
        self._examined = True
        self.facts.use_keys(key_use(pipeline.vault, desired))
        self.tracked.tidy()
        self._clear_out(desired.modules)
        self.vigil.forget(baselines)
        self._contests.forget(baselines)

    def _unseen(self, baselines: Mapping[UnitId, Baseline]) -> frozenset[UnitId]:
        """What no watch tells of, or from time to time everything: some changes show in no event."""
        now = self.verdicts.ledger.clock.monotonic()
        whole, first = now >= self._whole_at, self._whole_at == NEVER
        if whole or first:
            self._whole_at = now + WHOLE_EVERY * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
        return frozenset(unit for unit in baselines if whole or not self.vigil.covers(unit))

    def _see(self, seen: Survey, clusters: Mapping[str, Cluster]) -> None:
        self.facts.see(seen.health)
        self.verdicts.ledger.note_jobs(seen.jobs, clusters)

    def _now(self) -> datetime:
        return self.verdicts.ledger.clock.now()

    def _clear_out(self, wanted: Iterable[UnitId]) -> None:
        """Remove what destroyed and abandoned Terraform components have left on this host."""
        ledger = self.verdicts.ledger
        state = ledger.state
        units = (*wanted, *ledger.record.baselines(ledger.stack), *(d.unit for d in state.dirty))
        keep = {m.component for m in state.memory.modules}
        keep |= {unit.name for unit in (*units, *(i.unit for i in state.intents)) if unit.is_terraform}
        try:
            self.verdicts.pipeline.terraform.program.clear_out(ledger.stack, keep)
        except EnvironmentFault as fault:
            log.warning("left on the disk for now", stack=ledger.stack, why=str(fault))

    # ------------------------------------------------------------ what is done about it

    def heal(self, ask: Ask, *, report: bool = False) -> Next:
        """Bring the suspects, and what nobody is sure of, back to the good revision; with `report`, or where the stack
        file wants it so, only say what differs."""
        ledger = self.verdicts.ledger
        uncertain = {u for u, b in ledger.record.baselines(ledger.stack).items() if not b.certain}
        waiting = self._contested()
        scope = (self.suspects - waiting) | uncertain
        keys = self.verdicts.pipeline.vault.digest()
        if not scope:
            self.suspects = frozenset()
            return AGAIN
        hopeless: dict[UnitId, str] = {}
        try:
            target = self.verdicts.target.ask() or ask
            found = self._plan_what_can_be(target, scope, hopeless)
        except (CommitError, NeedsPerson) as error:
            return self._cannot_heal(scope, error)
        self._give_up(hopeless)
        self.suspects = frozenset()
        if found is None:
            return RETRY if uncertain else AGAIN
        planned, waiting_for_people = found
        scope -= hopeless.keys()
        self.facts.only_reported = target.spec.drift is DriftMode.REPORT
        wanted = planned.desired.units
        planned_for = {*planned.plan.equal, *(c.unit for c in planned.plan.applies())}
        # A Secret that no key opens stays suspected; only what nobody is sure of has to end here, or it never would.
        untold = planned.locked.keys() - uncertain
        self._keyless, self._keys = (self._keyless - scope) | planned.locked.keys(), keys
        self.tracked.account_for(
            scope - planned_for - untold, wanted
        )  # finished Jobs, too, of which no plan says anything
        locked = {**self._locked(planned.locked), **waiting_for_people}
        changing = {c.unit for c in planned.plan.applies()}
        self.vigil.clean(set(planned.plan.equal) - changing)
        self.vigil.mended(changing)
        self._tell(scope, {**drift_of(planned.plan, planned.foreign.managers), **locked})
        self.facts.add(planned.foreign.additions)
        if planned.plan.empty or report or target.spec.drift is DriftMode.REPORT:
            planned.bench.discard()
            self.tracked.take_note(planned)
            self.tracked.account_for({c.unit for c in planned.plan.applies()}, wanted)
            return AGAIN
        ended = self.run(RunKind.HEAL, target, planned)
        if ended.run.verdict is Verdict.GOOD:
            self._contests.note(planned.plan.applies(), ledger.clock.monotonic())
            self._tell(scope, locked)
            self.facts.back(changing)
        elif ended.run.verdict is Verdict.FAILED:
            self.vigil.defer(changing, HEAL_AGAIN)
            return RETRY
        else:  # ended early: whatever it has not come to is as it was
            self.suspects |= changing
        return self.after(ended)

    def _locked(self, found: Mapping[UnitId, str]) -> dict[UnitId, UnitDrift | str]:
        """Suspects whose values no key opens: nobody can compare them, but whether they are there shows."""
        told: dict[UnitId, UnitDrift | str] = {}
        for unit, why in found.items():
            there = unit.is_terraform or self.verdicts.pipeline.cluster(unit.cluster).get(unit) is not Absence.GONE
            words = "cannot be compared or healed" if there else "is gone, and cannot be made again"
            text = told[unit] = f"{words}: {why}"
            if there:
                self.facts.back([unit])
            else:
                self.facts.see({unit: Assessment(Health.MISSING, "gone", text)})
        return told

    def _tell(self, scope: Collection[UnitId], found: Mapping[UnitId, UnitDrift | str]) -> None:
        """What has become of the units in `scope`; nobody has looked at the others."""
        self.facts.drift(found, kept=[unit for unit in self.facts.drifted if unit not in scope])

    def _contested(self) -> frozenset[UnitId]:
        """Suspects that somebody writes again as often as they are mended: each waits longer than the time before."""
        early = self._contests.too_early(self.suspects, self.verdicts.ledger.clock.monotonic())
        for unit, left in early.items():
            self.vigil.defer([unit], left)
        told = {unit: self._contests.words(unit) for unit in early}
        self.facts.contest(told)
        fights = {str(unit): why for unit, why in told.items() if why}
        if fights:
            log.warning("contested", stack=self.verdicts.ledger.stack, units=fights)
        return frozenset(early)

    def _plan(self, target: Ask, scope: Collection[UnitId]) -> tuple[Planned, Mapping[UnitId, UnitDrift]]:
        """What mends the units in `scope`. Changes of Terraform that need a person are reported and left out, unless
        they are allowed: they keep nothing else from being healed."""
        ledger = self.verdicts.ledger
        state = ledger.state
        plan = partial(self.verdicts.pipeline.plan, target, state, at=ledger.now(), granted=state.granted)
        planned = plan(scope=scope, drifted=scope)
        missing = self.approvals.missing(planned.plan.approvals, target.digest)
        if not missing:
            self.approvals.granted(planned.plan.approvals, target.digest)
            return planned, {}
        planned.bench.discard()
        self.approvals.ask(missing, commit=target.commit, desired=target.digest, timeout=None)
        asking = {unit for approval in missing for unit in approval.units}
        self.tracked.account_for(asking, asking)
        rest = [unit for unit in scope if unit not in asking]
        return plan(scope=rest, drifted=rest), awaited(planned.plan, asking)

    def _plan_what_can_be(
        self, target: Ask, scope: Collection[UnitId], hopeless: dict[UnitId, str]
    ) -> tuple[Planned, Mapping[UnitId, UnitDrift]] | None:
        """What mends the units in `scope`; those that the good revision cannot be applied to go to `hopeless`, with the
        reason, and keep nobody else from being healed. None if nobody else is left."""
        while len(hopeless) < len(scope):
            try:
                return self._plan(target, [unit for unit in scope if unit not in hopeless])
            except (CommitError, EnvironmentFault) as error:
                problems = {p.unit: str(replace(p, unit="")) for p in error.problems}
                found = {u: problems[str(u)] for u in scope if u not in hopeless and str(u) in problems}
                if not found:
                    raise
                hopeless |= found
        return None

    def _give_up(self, hopeless: Mapping[UnitId, str]) -> None:
        """Somebody made of these what the good revision cannot be applied to, or they are still on their way out: told,
        and looked at again later, or as soon as the watch has news of them."""
        if not hopeless:
            return
        self._tell(hopeless.keys(), {unit: f"cannot be healed: {why}" for unit, why in hopeless.items()})
        self.vigil.defer(hopeless, HEAL_AGAIN)
        told = {str(unit): why for unit, why in hopeless.items()}
        log.error("cannot be healed", stack=self.verdicts.ledger.stack, units=told)

    def _cannot_heal(self, scope: Collection[UnitId], error: GitopsdError) -> Next:
        """Somebody made of an object what the good revision cannot be applied to: reported, and looked at again."""
        problems = {p.unit: str(replace(p, unit="")) for p in error.problems}
        told: dict[UnitId, UnitDrift | str] = {
            u: f"cannot be healed: {problems.get(str(u), str(error))}" for u in scope
        }
        self._tell(scope, told)
        log.error(
            "cannot be healed", stack=self.verdicts.ledger.stack, problems=[str(p) for p in error.problems[:SHOWN]]
        )
        return RETRY


def allowed_heals(state: StackState) -> frozenset[UnitId]:
    """Modules that wait for a person, who has allowed by now what mends them."""
    allowed = (q.approval for q in state.questions if q.approval.digest in state.granted)
    return frozenset(unit for approval in allowed for unit in approval.units if unit.is_terraform)


def modules_of(units: Iterable[UnitId]) -> set[UnitId]:
    return {unit for unit in units if unit.is_terraform}
