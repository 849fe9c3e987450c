"""One run from its first word in the record to what the stack remembers of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from gitopsd.execution.bench import Bench
from gitopsd.execution.clocks import SETTLED, GateClocks
from gitopsd.execution.gate import Subject, look
from gitopsd.execution.session import Interrupted, Session
from gitopsd.execution.waves import Ending, execute
from gitopsd.kinds.builtin import gates
from gitopsd.model.audit import Actor, ActorKind
from gitopsd.model.errors import Cause, EnvironmentFault, GitopsdError, NeedsPerson
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.memory import Attempt, Baseline, HoldReason, Memory
from gitopsd.model.plan import Action, Approval, Plan
from gitopsd.model.ports import Attention, Cluster, Interrupt, Probe
from gitopsd.model.run import RunKind, RunRecord, Verdict
from gitopsd.model.spec import HttpCheck, StackSpec
from gitopsd.model.units import Desired, KubernetesUnit, Person
from gitopsd.planning.fill import filled_digest
from gitopsd.planning.modules import module_memories, remembered_module
from gitopsd.planning.send import autoscaled_targets
from gitopsd.stack import remember
from gitopsd.stack.approvals import Approvals
from gitopsd.stack.facts import Facts
from gitopsd.stack.ledger import DAEMON, Ledger

log = structlog.get_logger("gitopsd.stack")

PARALLEL = 8
"""Requests of one run at the same time: more gain nothing (they end in the API server's queue)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is asked to do. `undoes` is the failed run that a rollback takes back; `old_checks` are the checks of
    the good revision."""

    kind: RunKind
    spec: StackSpec
    desired: Desired
    plan: Plan
    clusters: Mapping[str, Cluster]
    applysets: Mapping[str, str]
    bench: Bench
    templates: Mapping[UnitId, KubernetesUnit] = field(default_factory=dict)
    old_checks: frozenset[HttpCheck] = frozenset()
    undoes: str = ""
    suspects: tuple[str, ...] = ()
    by: str = ""  # the local user who wants it, if it is not git


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished run; `interrupt` says why it ended early, if it did. `approvals` are what keeps a rollback from being
    whole."""

    run: RunRecord
    interrupt: Interrupt | None = None
    approvals: tuple[Approval, ...] = ()


class Runner:
    """Carries out the runs of one stack, one at a time."""

    def __init__(  # noqa: PLR0917 - what one stack has once
        self,
        ledger: Ledger,
        facts: Facts,
        attention: Attention,
        probe: Probe,
        clocks: GateClocks,
        approvals: Approvals,
    ) -> None:
        self.ledger, self.facts, self.attention, self.probe, self.clocks = ledger, facts, attention, probe, clocks
        self.approvals = approvals
        self._excused: dict[Subject, Assessment] = {}

    def run(self, order: Order) -> Ended:
        """Do what `order` says. Raises EnvironmentFault or NeedsPerson only while nothing has been touched yet."""
        actor, author = _people(order)
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix=f"run-{order.spec.name}") as pool:
            session = self._session(order, actor, pool)
            excused = self._excuses(session, order)
            session.keep_lease()
            run = self._begin(order, session, author)
            try:
                ended = self._carry_out(order, session, run, excused)
            finally:
                order.bench.discard()
                self.facts.current = None
                self.facts.progress = ""
        if ended.run.verdict is not Verdict.SUPERSEDED:
            self.clocks.reset()  # only what supersedes a run inherits its deadlines
        self._note_moved_outputs(order)
        self._release(order)
        return ended

    def _note_moved_outputs(self, order: Order) -> None:
        """Who takes outputs as they were recorded, which Terraform then made otherwise (a resource that came back has
        another name): nobody knows any more that they are as asked, so that they are healed."""
        if order.kind is RunKind.DEPLOY or not any(c.unit.is_terraform for c in order.plan.applies()):
            return
        baselines = self.ledger.record.baselines(self.ledger.stack)
        now = {u: filled_digest(template, order.bench.outputs) or "" for u, template in order.templates.items()}
        now |= {u: order.bench.inputs(module) for u, module in order.desired.modules.items() if module.variables}
        moved = [
            replace(base, certain=False)
            for unit, digest in now.items()
            if digest and (base := baselines.get(unit)) is not None and digest != base.digest
        ]
        if moved:
            self.ledger.record.rebase(self.ledger.stack, moved)

    # ------------------------------------------------------------ begin

    def _session(self, order: Order, actor: Actor, pool: ThreadPoolExecutor) -> Session:
        memory = self.ledger.memory
        return Session(
            spec=order.spec,
            run=f"{order.spec.name}-{memory.runs + 1}",
            kind=order.kind,
            commit=order.desired.revision.commit,
            actor=actor,
            instance=self.ledger.instance,
            desired=order.desired,
            bench=order.bench,
            templates=order.templates,
            clusters=order.clusters,
            record=self.ledger.record,
            clock=self.ledger.clock,
            attention=self.attention,
            pool=pool,
            probe=self.probe,
            clocks=self.clocks,
            applysets=order.applysets,
            autoscaled=autoscaled_targets(order.desired),
            dirty_before=self.ledger.state.dirty,
            progress=self._progress,
            paused=self._paused,
            decided=self._decided,
            waiting=partial(self._waiting, timeout=order.spec.approval_timeout),
            job_done=lambda done: self.ledger.note_jobs([done], order.clusters),
        )

    def _excuses(self, session: Session, order: Order) -> Mapping[Subject, Assessment]:
        """What was degraded before we touched it: its staying so fails nothing, neither in this run nor in one that
        goes on after it or takes it back. What is dirty is degraded by our own doing, unless it was so before that."""
        marks = self.ledger.state.dirty
        dirty = {d.unit for d in marks}
        there = [
            c.unit
            for c in order.plan.applies()
            if c.action is not Action.CREATE and c.unit not in dirty and not c.unit.is_terraform
        ]
        gating = [u for u in there if gates(u.group, u.kind, session.units[u].options.gate, session.units[u].manifest)]
        found: dict[Subject, Assessment] = {
            u: seen for u, seen in look(session, gating).items() if seen.health is Health.DEGRADED
        }
        kept: set[Subject] = {*dirty, *_checks(session.spec, {d.component for d in marks})}
        earlier = {s: seen for s, seen in self._excused.items() if s in kept}
        self._excused = {**earlier, **found, **self._failing_checks(session, order)}
        return self._excused

    def _failing_checks(self, session: Session, order: Order) -> dict[Subject, Assessment]:
        """Checks that fail now, of components that were delivered before and that no run has left half done. The first
        delivery is what has to make its checks good, and so has the commit that brings a new one."""
        delivered = {b.component for b in self.ledger.record.baselines(self.ledger.stack).values()}
        whole = delivered - {d.component for d in self.ledger.state.dirty}
        touched = {c.component for c in order.plan.changes()} & whole
        old = [check for check in _checks(session.spec, touched) if check in order.old_checks]
        asked = {check: session.probe(check) for check in old}
        return {check: seen for check, seen in asked.items() if seen.health not in SETTLED}

    def _begin(self, order: Order, session: Session, author: Person) -> RunRecord:
        ledger = self.ledger
        revision = order.desired.revision
        run = RunRecord(
            id=session.run,
            stack=ledger.stack,
            kind=order.kind,
            revision=revision.commit,
            digest=order.desired.digest,
            author=author,
            started=ledger.now(),
            subject=revision.subject,
            undoes=order.undoes,
            cause=Cause.PERSON if order.by else None,
            plan=order.plan,
        )
        # A heal says nothing about the commit that waits; that the clusters answer and are ours is known by now.
        overcome = {HoldReason.BLOCKED, HoldReason.INSTANCE} if order.kind is RunKind.HEAL else remember.RUN_HOLDS
        ledger.lift(*overcome)
        memory = replace(ledger.memory, runs=ledger.memory.runs + 1)
        if order.kind is RunKind.HEAL:
            memory = replace(memory, attempting=None)
        else:
            attempt = Attempt(run.id, order.kind, run.revision, run.digest, run.started)
            memory = remember.attempting(memory, attempt)
        memory = _inventory(memory, order.desired, ledger.record.baselines(ledger.stack))
        ledger.remember(memory, order.clusters)
        event = ledger.event(
            "run-start",
            actor=session.actor,
            run=run.id,
            revision=run.revision,
            after=run.digest,
            detail=order.kind.value,
        )
        ledger.record.begin(run, [event])
        ledger.record.save_plan(run.id, order.plan)
        self.facts.current = run
        self.facts.publish()
        log.info("run", stack=ledger.stack, run=run.id, kind=order.kind.value, revision=run.revision[:12])
        return run

    # ------------------------------------------------------------ carry out and end

    def _carry_out(
        self, order: Order, session: Session, run: RunRecord, excused: Mapping[Subject, Assessment]
    ) -> Ended:
        dirty = self.ledger.state.dirty
        interrupt: Interrupt | None = None
        try:
            ending = execute(session, order.plan, dirty, excused)
        except Interrupted as interrupted:
            interrupt = interrupted.interrupt
            ending = _interrupted(interrupt)
        except NeedsPerson as refusal:  # another instance took the stack over
            ending = Ending(Verdict.HELD, str(refusal), Cause.PERSON)
            self.ledger.hold(HoldReason.INSTANCE, str(refusal))
        self._see_observed(session)
        leftovers = (*order.plan.leftovers, *session.leftovers)
        ended = replace(
            run,
            finished=self.ledger.now(),
            verdict=ending.verdict,
            reason=ending.reason,
            cause=ending.cause or run.cause,
            failing=ending.failing,
            leftovers=tuple(dict.fromkeys(leftovers)),
            suspects=order.suspects if ending.verdict is Verdict.FAILED else (),
        )
        event = self.ledger.event(
            "run-end",
            actor=session.actor,
            run=run.id,
            revision=run.revision,
            unit=str(ending.failing or ""),
            result=ending.verdict.value,
            detail=ending.reason,
        )
        self.ledger.record.finish(ended, [event])
        log.info("run ended", stack=run.stack, run=run.id, verdict=ending.verdict.value, reason=ending.reason)
        return Ended(ended, interrupt, tuple(session.open_approvals))

    def _see_observed(self, session: Session) -> None:
        found = ((_unit(name), seen) for name, seen in session.observed.items())
        self.facts.see({unit: seen for unit, seen in found if unit is not None and unit in session.units})

    def _progress(self, text: str) -> None:
        self.facts.progress = text
        self.facts.publish()

    def _paused(self, fault: EnvironmentFault | None) -> None:
        """The run waits for its environment, or (None) goes on. If the record itself is at fault, the log says so."""
        try:
            if fault is not None:
                self.ledger.hold(HoldReason.BLOCKED, str(fault))
            else:
                self.ledger.lift(HoldReason.BLOCKED)
            self.facts.publish()
        except EnvironmentFault as error:
            log.error("hold not recorded", stack=self.ledger.stack, error=str(error))

    def _decided(self, digest: str) -> bool | None:
        """What a person answered to an approval, if anybody did."""
        return next((g.allowed for g in self.ledger.record.grants(self.ledger.stack) if g.digest == digest), None)

    def _waiting(self, asked: Approval | None, timeout: float) -> None:
        """The run waits for a person, or (None) goes on."""
        run = self.facts.current
        if asked is not None and run is not None:
            self.approvals.ask([asked], commit=run.revision, desired=run.digest, timeout=timeout)
        elif asked is None:
            self.ledger.lift(HoldReason.APPROVAL)
        self.facts.publish()

    def _release(self, order: Order) -> None:
        """Give the leases back. They expire by themselves where that fails."""
        for cluster in order.clusters.values():
            try:
                cluster.release_lease(self.ledger.stack, self.ledger.instance)
            except GitopsdError as error:
                log.warning("lease not given back; it expires by itself", stack=self.ledger.stack, error=str(error))


def _unit(name: str) -> UnitId | None:
    """The unit that a gate has looked at by this name; None for a check."""
    try:
        return UnitId.parse(name)
    except ValueError:
        return None


def _checks(spec: StackSpec, components: Collection[str]) -> list[HttpCheck]:
    return [check for c in spec.components if c.name in components for check in c.gate.checks]


def _inventory(memory: Memory, desired: Desired, baselines: Mapping[UnitId, Baseline]) -> Memory:
    """With all that a rebuilt host has to look for: kinds, namespaces, Terraform's states. Written before the first
    effect, so that it names what this run is about to make, too."""
    distinct = {(u.group, u.kind): u for units in (desired.units, baselines) for u in units}
    kinds = {u.group_kind for u in distinct.values() if not u.is_terraform}
    spaces = {u.namespace for u in desired.units} - {""}
    known = {m.component: m for m in module_memories(baselines)}
    new = {m.component: remembered_module(m, desired.revision.commit) for m in desired.modules.values()}
    modules = sorted({**new, **known}.values(), key=lambda m: m.component)
    return replace(memory, kinds=tuple(sorted(kinds)), namespaces=tuple(sorted(spaces)), modules=tuple(modules))


def _people(order: Order) -> tuple[Actor, Person]:
    """Who acts, and whose name the run carries: the person who ordered it, the commit's author for a deploy, else the
    daemon."""
    if order.by:
        return Actor(ActorKind.USER, order.by), Person(order.by)
    if order.kind is RunKind.DEPLOY:
        author = order.desired.revision.author
        return Actor(ActorKind.GIT, author.name, author.email), author
    return DAEMON, Person(DAEMON.name)


def _interrupted(interrupt: Interrupt) -> Ending:
    """How a run ends that was told to: something else comes instead, or a person wants it to wait."""
    if interrupt.superseded_by is None and interrupt.order:
        return Ending(Verdict.HELD, f"stopped at a safe point: {interrupt.order}", Cause.PERSON)
    if interrupt.superseded_by is None:
        return Ending(Verdict.SUPERSEDED, "gitopsd was stopped; the next start goes on")
    by = f" ({interrupt.order})" if interrupt.order else ""
    return Ending(Verdict.SUPERSEDED, f"superseded by {interrupt.superseded_by[:12]}{by}")
