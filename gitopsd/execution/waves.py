"""A plan carried out: first deletions, waves with their gates, the prune, the last gate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from functools import partial

import structlog

from gitopsd.execution.actuate import actuate, former_values
from gitopsd.execution.gate import Gate, GateFailure, Subject
from gitopsd.execution.preflight import preflight
from gitopsd.execution.session import Interrupted, Session
from gitopsd.model.errors import Cause, CommitError, EnvironmentFault, GitopsdError
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Rejection, RejectionKind
from gitopsd.model.memory import Dirty
from gitopsd.model.plan import Action, Change, Layer, Plan, Wave
from gitopsd.model.ports import Effect
from gitopsd.model.run import Result, Verdict
from gitopsd.model.units import KubernetesUnit, Order
from gitopsd.planning.creators import is_job
from gitopsd.planning.graph import wave_text
from gitopsd.planning.judge import told
from gitopsd.planning.select import Candidate

log = structlog.get_logger("gitopsd.run")

LAST: Order = (2**31, 0)
"""Beyond every wave."""

LEASE_LOOK = 5.0
"""Seconds after which a wave that still waits for an answer renews its lease."""

SPREAD = 8
"""Faults of the environment in one wave after which the rest of it waits: the cluster itself is away then."""

NOT_YET = frozenset({RejectionKind.KIND_UNSERVED, RejectionKind.NAMESPACE_MISSING, RejectionKind.TERMINATING})
"""Refusals of a refinement that discovery's or a cache's delay explains."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its verdict, and for a failure why, whose cause it is and at which unit."""

    verdict: Verdict
    reason: str = ""
    cause: Cause | None = None
    failing: UnitId | None = None


class _Failed(Exception):
    def __init__(self, reason: str, unit: UnitId | None) -> None:
        super().__init__(reason)
        self.reason, self.unit = reason, unit


def execute(session: Session, plan: Plan, dirty: Sequence[Dirty], excused: Mapping[Subject, Assessment]) -> Ending:
    """Carry out `plan`. Raises Interrupted at a safe point if the run is no longer wanted.

    `dirty` is what earlier runs left ungated: it is gated (and undone) together with what this run touches.
    `excused` is what was degraded before the run, and how: the same again fails nothing.
    """
    executor = _Executor(session, plan, dirty, excused)
    try:
        executor.run()
    except _Failed as failed:
        return Ending(Verdict.FAILED, failed.reason, Cause.COMMIT, failed.unit)
    if executor.shortcomings:
        return _fallen_short(executor.shortcomings, plan)
    waiting = session.open_approvals
    if waiting:
        reason = f"everything else is back; waits for approval: {'; '.join(a.summary for a in waiting)}"
        return Ending(Verdict.HELD, reason, Cause.PERSON, waiting[0].units[0])
    return Ending(Verdict.GOOD)


def _fallen_short(shortcomings: Sequence[tuple[UnitId | None, str]], plan: Plan) -> Ending:
    """How a rollback ends that is not whole. Where nothing but keys is missing, no commit is at fault."""
    lacking = {left.unit for left in plan.leftovers if left.environment}
    faulty = [(unit, reason) for unit, reason in shortcomings if unit not in lacking]
    unit, reason = (faulty or shortcomings)[0]
    return Ending(Verdict.FAILED, reason, Cause.COMMIT if faulty else Cause.ENVIRONMENT, unit)


class _Executor:
    def __init__(
        self, session: Session, plan: Plan, dirty: Sequence[Dirty], excused: Mapping[Subject, Assessment]
    ) -> None:
        self.session, self.plan = session, plan
        # A rollback never runs a Job again: how the last one ended says nothing about the good revision.
        # Where a unit stands is for the commit to say; the mark knows only where it stood when it was touched.
        self.touched: dict[UnitId, Order] = {
            d.unit: session.order_of(d.unit) or d.order for d in dirty if not (session.best_effort and is_job(d.unit))
        }
        self.gate = Gate(session, excused)
        self.green: set[str] = set()  # components whose checks were good before the prune
        changing = {c.unit for c in plan.changes()}
        self.ungated = {unit: order for unit, order in self.touched.items() if unit not in changing}
        # What a rollback plan cannot take back to the good revision fails it, but only after the rest was done.
        self.shortcomings: list[tuple[UnitId | None, str]] = [
            (left.unit, left.reason)
            for left in plan.leftovers
            if (left.unit in session.units and not is_job(left.unit)) or left.environment
        ]

    def run(self) -> None:
        if self.plan.first:
            self._delete_all(self.plan.first)
        for number, wave in enumerate(self.plan.waves):
            self.session.safe_point()
            self._pass_earlier(wave.order, {c.component for w in self.plan.waves[number:] for c in changes_of(w)})
            later = {c.component for w in self.plan.waves[number + 1 :] for c in changes_of(w)}
            self._wave(wave, later)
        self._pass_gate(LAST, frozenset())
        if self.plan.prune:
            self.session.safe_point()
            healthy, self.green = self.gate.healthy_now(), self.gate.green_now()
            self._delete_all(self.plan.prune)
            self.touched.update(healthy)
            self._pass_gate(LAST, frozenset())

    # ------------------------------------------------------------ one wave

    def _wave(self, wave: Wave, later: set[str]) -> None:
        changes = changes_of(wave)
        log.info("wave", run=self.session.run, wave=wave_text(wave.order), changes=len(changes))
        amount = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
        self.session.progress(f"wave {wave_text(wave.order)}: {amount}")
        self._intend(changes)
        for layer in wave.layers:
            self._refine(layer)
            self._perform(layer.changes)
            if layer.gated:
                self._pass_gate(wave.order, later)
            else:
                self._gate_failures(partial(self.gate.wait_usable, layer.changes))

    def _intend(self, changes: Sequence[Change]) -> None:
        adopted: dict[UnitId, Dirty] = {}
        for change in changes:
            if change.action is Action.ADOPT:
                look = partial(former_values, self.session, change)
                mark = self.session.through_faults(look, interruptible=True)
                if mark is not None:
                    adopted[change.unit] = mark
        self._journal(changes, adopted)
        self.touched.update({c.unit: c.order for c in changes})

    def _journal(self, changes: Sequence[Change], adopted: Mapping[UnitId, Dirty]) -> None:
        """The last word before effects. Nothing has happened yet, so that a newer commit may come instead."""
        self.session.through_faults(self.session.keep_lease, interruptible=True)
        self.session.through_faults(lambda: self.session.intend(changes, adopted), interruptible=True)

    def _refine(self, layer: Layer) -> None:
        """Ask the API server about what the preflight could not know yet; only values may have become known."""
        self._fill(layer)
        waiting = [c for c in layer.changes if c.deferred and not c.unit.is_terraform]
        if not waiting:
            return
        for cluster in self.session.clusters.values():
            self.session.through_faults(partial(cluster.catalog, refresh=True), interruptible=False)
        candidates = [Candidate(self.session.units[c.unit], c.reason) for c in waiting]
        refused = self.session.through_faults(lambda: self._refusals(candidates), interruptible=False)
        for unit, rejection in refused:
            self._shortcoming(unit, told(unit, rejection))

    def _fill(self, layer: Layer) -> None:
        """Put outputs that are known by now into the objects of a layer: those that waited for them, and those for
        which Terraform had said another value before it was applied."""
        session, filled = self.session, {}
        for change in layer.changes:
            template = session.templates.get(change.unit)
            if template is None or not template.values:
                continue
            try:
                unit = session.through_faults(partial(session.bench.filled, template), interruptible=False)
            except CommitError as error:
                self._shortcoming(change.unit, str(error))
                continue
            if unit is None:
                self._shortcoming(change.unit, f"uses {_unknown(session, template)}, which does not exist")
            else:
                filled[change.unit] = unit
        if filled:
            session.desired = replace(session.desired, units={**session.desired.units, **filled})

    def _refusals(self, candidates: Sequence[Candidate]) -> list[tuple[UnitId, Rejection]]:
        session = self.session
        findings = preflight(session.clusters, session.spec, session.desired, candidates, session.applysets)
        refused = [(u, f.dry_run) for u, f in findings.items() if isinstance(f.dry_run, Rejection)]
        for unit, rejection in refused:
            if rejection.kind in NOT_YET:
                raise EnvironmentFault(f"{unit}: {told(unit, rejection)}")
        return refused

    # ------------------------------------------------------------ effects

    def _perform(self, changes: Sequence[Change]) -> None:
        """Make changes in parallel; what the environment spoils is tried again until it has an outcome."""
        left = [c for c in changes if c.unit not in self._given_up()]
        while left:
            left = self.session.through_faults(partial(self._attempt, left), interruptible=False)

    def _given_up(self) -> set[UnitId | None]:
        return {unit for unit, _ in self.shortcomings}

    def _attempt(self, changes: list[Change]) -> list[Change]:
        """Try every change once. Mutates `changes` to those without an outcome, and raises the fault of one of them."""
        running: dict[Future[Effect], Change] = {self.session.pool.submit(actuate, self.session, c): c for c in changes}
        ends: list[Exception] = []
        while running:  # every request that is under way gets its outcome recorded, whatever happens to the others
            done, _ = wait(running, LEASE_LOOK, return_when=FIRST_COMPLETED)
            if not done:  # Terraform takes its time, or the API server does not answer
                self._say_silent([change.unit for change in running.values() if not change.unit.is_terraform])
                self.session.try_lease()
                continue
            batch: list[tuple[Change, Effect]] = []
            for future in done:
                change = running.pop(future)
                try:
                    batch.append((change, future.result()))
                except (GitopsdError, Interrupted) as found:
                    ends.append(found)
            try:
                self._settle(batch, changes)
                self.session.keep_lease()
            except (GitopsdError, _Failed) as found:
                ends.append(found)
            if _hopeless(ends):  # what has not been sent yet is not sent any more
                running = {future: change for future, change in running.items() if not future.cancel()}
        self.session.unanswered.update(change.unit for change in changes)
        if ends:  # a failure of the run weighs more than a pause of it
            raise min(ends, key=lambda end: isinstance(end, EnvironmentFault))
        return []

    def _say_silent(self, units: Sequence[UnitId]) -> None:
        if units:
            others = f" and {len(units) - 1} more" if len(units) > 1 else ""
            self.session.progress(f"no answer yet about {min(units)}{others}")

    def _settle(self, batch: Sequence[tuple[Change, Effect]], changes: list[Change]) -> None:
        """Record the outcomes of `batch` and take them off `changes`. Raises _Failed if one of them fails the run."""
        if not batch:
            return
        self.session.conclude([c for c, _ in batch], [e for _, e in batch])
        for change, effect in batch:
            changes.remove(change)
            if effect.outcome.result is Result.REFUSED:
                who = "Terraform" if change.unit.is_terraform else "the API server"
                self._shortcoming(change.unit, f"refused by {who}: {effect.outcome.detail}")

    def _delete_all(self, changes: Sequence[Change]) -> None:
        """Delete in the order of the plan: neighbours of one order and kind together, everything else one by one."""
        self._journal(changes, {})
        batch: list[Change] = []
        for change in changes:
            if batch and (batch[-1].order, batch[-1].unit.group_kind) != (change.order, change.unit.group_kind):
                self._perform(batch)
                batch = []
            batch.append(change)
        self._perform(batch)

    # ------------------------------------------------------------ gates

    def _pass_gate(self, upto: Order, later: set[str] | frozenset[str]) -> None:
        self._watch([unit for unit, order in self.touched.items() if order <= upto], later, self.green)

    def _pass_earlier(self, order: Order, unfinished: set[str]) -> None:
        """What an earlier run left ungated in lower waves has to be healthy, too, before this wave starts."""
        earlier = [unit for unit, place in self.ungated.items() if place < order]
        for unit in earlier:
            del self.ungated[unit]
        self._watch(earlier, unfinished, set())

    def _watch(self, units: Sequence[UnitId], unfinished: Collection[str], green: set[str]) -> None:
        """Gate `units` and the checks of their components, which wait for those that have more to come (`unfinished`).
        A unit that does not gate itself, as a ConfigMap, is judged by these checks alone."""
        watched = [unit for unit in units if unit not in self._given_up()]
        theirs = {component for unit in watched if (component := self.session.component_of(unit)) is not None}
        components = (theirs | green) - set(unfinished)
        self._gate_failures(lambda: self.gate.watch(watched, components=components))

    def _gate_failures(self, work: Callable[[], None]) -> None:
        try:
            work()
        except GateFailure as failure:
            self._shortcoming(failure.unit, failure.reason)

    def _shortcoming(self, unit: UnitId | None, reason: str) -> None:
        """A failure of the run; in a rollback a line in the list of what is left, and the rest goes on."""
        if not self.session.best_effort:
            raise _Failed(reason, unit)
        self.shortcomings.append((unit, reason))
        if unit is not None:
            self.session.leave(unit, reason)


def _unknown(session: Session, template: KubernetesUnit) -> str:
    return next(str(ref) for ref in template.values.values() if ref not in session.bench.outputs)


def _hopeless(ends: Sequence[Exception]) -> bool:
    """Whether the rest of a wave should not be tried now: the run is over, or it is not one object that is at fault."""
    return len(ends) >= SPREAD or any(not isinstance(end, EnvironmentFault) for end in ends)


def changes_of(wave: Wave) -> list[Change]:
    return [change for layer in wave.layers for change in layer.changes]
