"""One run while it goes on: its collaborators, its journal, its pauses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from gitopsd.execution.bench import Bench
from gitopsd.execution.clocks import GateClocks
from gitopsd.model.audit import Actor, AuditEvent
from gitopsd.model.errors import CommitError, EnvironmentFault, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, LiveObject
from gitopsd.model.memory import Dirty, Intent, JobDone
from gitopsd.model.plan import Approval, Change
from gitopsd.model.ports import Attention, Clock, Cluster, Effect, Interrupt, Probe, Record
from gitopsd.model.run import Leftover, Outcome, Result, RunKind
from gitopsd.model.spec import ApprovalMode, StackSpec
from gitopsd.model.times import timestamp
from gitopsd.model.units import Desired, KubernetesUnit, Order, TerraformUnit
from gitopsd.planning.resources import done_text

log = structlog.get_logger("gitopsd.run")
T = TypeVar("T")

LEASE_RENEWAL = 20.0
"""Seconds between renewals: a third of the lease's duration."""

APPROVAL_LOOK = 1.0
"""Seconds between two looks for a person's answer."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two tries while the environment is at fault in the middle of a run."""


class Interrupted(Exception):
    """The run ends here, at a safe point, with what it has done so far still dirty."""

    def __init__(self, interrupt: Interrupt) -> None:
        super().__init__(interrupt)
        self.interrupt = interrupt


@dataclass
class Session:
    """Everything that the parts of one run share.

    `best_effort` (rollbacks): a unit that cannot go back is listed, and the rest goes on. `soils` is false for heals:
    what they touch is already good. `progress` is told in a few words what goes on, `paused` why the run waits for its
    environment, and None when it goes on. `decided` says whether a person allowed what an approval's digest gates, or
    forbade it, or (None) has not answered; `waiting` is told what the run waits for, and None when it goes on. What a
    rollback does not wait for is in `open_approvals`. `templates` are units as the commit has them, before outputs took
    the place of their values. `unanswered` are changes that were tried without an outcome on record: the
    next try may find its own work.
    """

    spec: StackSpec
    run: str
    kind: RunKind
    commit: str
    actor: Actor
    instance: str
    desired: Desired
    bench: Bench
    clusters: Mapping[str, Cluster]
    record: Record
    clock: Clock
    attention: Attention
    pool: ThreadPoolExecutor
    probe: Probe
    clocks: GateClocks
    applysets: Mapping[str, str]
    dirty_before: Sequence[Dirty] = ()
    autoscaled: Collection[tuple[str, str, str]] = frozenset()
    paused: Callable[[EnvironmentFault | None], None] = lambda _: None
    progress: Callable[[str], None] = lambda _: None
    job_done: Callable[[JobDone], None] = lambda _: None
    decided: Callable[[str], bool | None] = lambda _: None
    waiting: Callable[[Approval | None], None] = lambda _: None
    open_approvals: list[Approval] = field(default_factory=list)
    templates: Mapping[UnitId, KubernetesUnit] = field(default_factory=dict)
    leftovers: list[Leftover] = field(default_factory=list)
    leased_at: float | None = None
    pauses: int = 0
    observed: dict[str, Assessment] = field(default_factory=dict)
    unanswered: set[UnitId] = field(default_factory=set)

    @property
    def units(self) -> Mapping[UnitId, KubernetesUnit]:
        return self.desired.units

    @property
    def best_effort(self) -> bool:
        return self.kind is RunKind.ROLLBACK

    @property
    def soils(self) -> bool:
        return self.kind is not RunKind.HEAL

    def cluster(self, unit: UnitId) -> Cluster:
        return self.clusters[unit.cluster]

    def now(self) -> str:
        return timestamp(self.clock.now())

    def component_of(self, unit: UnitId) -> str | None:
        """The component that wants a unit; None if none does."""
        wanted = self.desired.units.get(unit) or self.desired.modules.get(unit)
        return wanted.component if wanted else None

    def order_of(self, unit: UnitId) -> Order | None:
        wanted = self.desired.units.get(unit) or self.desired.modules.get(unit)
        return wanted.order if wanted else None

    def approval_mode(self, unit: TerraformUnit) -> ApprovalMode:
        """Going back needs a person only where it would take something away."""
        careful = self.best_effort and unit.approval is ApprovalMode.ALWAYS
        return ApprovalMode.DESTROY if careful else unit.approval

    # ------------------------------------------------------------ waiting

    def stopping(self) -> bool:
        """Whether the process ends."""
        interrupt = self.attention.interrupt()
        return interrupt is not None and interrupt.stops

    def await_approval(self, asked: Approval) -> bool:
        """Wait until a person allows it; a rollback does not wait, and gets False if nobody has yet.

        Raises CommitError if it is rejected or nobody answers in time, Interrupted if the run is no longer wanted.
        """
        deadline = self.clock.monotonic() + self.spec.approval_timeout
        told = False
        while True:
            answer = self.decided(asked.digest)
            if answer is not None and told:
                self.waiting(None)
            if answer:
                return True
            if answer is False:
                raise CommitError(Problem(f"a person rejected it: {asked.summary}"))
            if self.best_effort:
                self.open_approvals.append(asked)
                return False
            if self.clock.monotonic() >= deadline:
                raise CommitError(
                    Problem(f"nobody approved it within {self.spec.approval_timeout:g} s: {asked.summary}")
                )
            if not told:
                self.waiting(asked)
                told = True
            self.safe_point()
            self.try_lease()
            self.attention.wait(APPROVAL_LOOK)

    def safe_point(self) -> None:
        """Between intent and outcome nobody may call this. Raises Interrupted if the run is no longer wanted."""
        interrupt = self.attention.interrupt()
        if interrupt is not None and (interrupt.superseded_by is None or self.kind is not RunKind.ROLLBACK):
            raise Interrupted(interrupt)

    def stop_point(self) -> None:
        """Where a newer commit has to wait, but the end of the process does not. Raises Interrupted."""
        interrupt = self.attention.interrupt()
        if interrupt is not None and interrupt.superseded_by is None:
            raise Interrupted(interrupt)

    def keep_lease(self) -> None:
        """Renew the leases when it is time. Raises NeedsPerson if another instance took the stack over."""
        now = self.clock.monotonic()
        if self.leased_at is None or now - self.leased_at >= LEASE_RENEWAL:
            for cluster in self.clusters.values():
                cluster.hold_lease(self.spec.name, self.instance)
            self.leased_at = now

    def try_lease(self) -> None:
        """Renew the leases if their clusters answer; a blind gate must not end over it. Raises NeedsPerson."""
        try:
            self.keep_lease()
        except EnvironmentFault as fault:
            log.warning("lease not renewed", stack=self.spec.name, run=self.run, fault=str(fault))

    def through_faults(self, work: Callable[[], T], *, interruptible: bool) -> T:
        """Do `work` until the environment lets it succeed, pausing in between; any other exception passes.

        `interruptible` says whether a newer commit may end the wait, as at a safe point.
        """
        delay = FIRST_PAUSE
        while True:
            try:
                result = work()
            except EnvironmentFault as fault:
                log.warning("paused", stack=self.spec.name, run=self.run, fault=str(fault))
                self.pauses += 1
                self.paused(fault)
                (self.safe_point if interruptible else self.stop_point)()
                self.attention.wait(min(fault.retry_after or delay, LONGEST_PAUSE))
                delay = min(delay * 2, LONGEST_PAUSE)
            else:
                if delay > FIRST_PAUSE:
                    log.info("goes on", stack=self.spec.name, run=self.run)
                    self.paused(None)
                return result

    # ------------------------------------------------------------ journal

    def intend(self, changes: Sequence[Change], adopted: Mapping[UnitId, Dirty]) -> None:
        """Make the intents durable: no effect without them."""
        at = self.now()
        intents = [Intent(self.run, c.unit, c.action, c.order, c.component, c.digest, c.live_uid, at) for c in changes]
        if self.soils and adopted:
            self.record.soil(self.spec.name, tuple(adopted.values()))
        self.record.intend(self.spec.name, intents)

    def conclude(self, changes: Sequence[Change], effects: Sequence[Effect]) -> None:
        """Store the outcomes of changes that were tried, with their audit events, in one transaction. What was taken
        away from an owner keeps its uid: there the audit names the owner's."""
        events = []
        for change, effect in zip(changes, effects, strict=True):
            event = self.event(change, effect.outcome)
            events.append(replace(event, before=effect.freed) if effect.freed else event)
        self.record.conclude(self.spec.name, self.run, effects, events)

    def event(self, change: Change, outcome: Outcome) -> AuditEvent:
        """What the audit log says of a change that was tried: of a Terraform module with its resources, by address."""
        return AuditEvent(
            actor=self.actor,
            action=change.action.value,
            stack=self.spec.name,
            run=self.run,
            revision=self.commit,
            unit=str(change.unit),
            before=change.live_uid,
            after=change.digest,
            result=outcome.result.value,
            detail="; ".join(filter(None, (change.reason, outcome.detail, done_text(outcome.resources)))),
        )

    def dirty(self, change: Change, *, created: bool, uid: str) -> Dirty | None:
        """The mark that a touched unit gets, if this run's effects have to be gated and undone at all."""
        if not self.soils:
            return None
        return Dirty(change.unit, self.run, change.action, change.order, change.component, created, uid)

    def outcome(
        self, change: Change, result: Result, detail: str = "", live: LiveObject | None = None, created: bool = False
    ) -> Outcome:
        return Outcome(
            change.unit, change.action, result, self.now(), detail, uid=live.uid if live else "", created=created
        )

    def leave(self, unit: UnitId, reason: str) -> None:
        """List something that this run leaves as it is although it was asked to change it."""
        self.leftovers.append(Leftover(unit, reason))
