"""Everything that one stack does, step by step, in the thread that calls it. Only this changes the stack's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from gitopsd.execution.clocks import GateClocks
from gitopsd.model.errors import CommitError, EnvironmentFault, NeedsPerson, Problem
from gitopsd.model.ids import clusters_of
from gitopsd.model.memory import HoldReason
from gitopsd.model.orders import UNASKED
from gitopsd.model.plan import Approval
from gitopsd.model.ports import Probe
from gitopsd.model.run import RunKind, Verdict
from gitopsd.model.status import Wanted
from gitopsd.stack import remember
from gitopsd.stack.approvals import Approvals
from gitopsd.stack.attention import StackAttention
from gitopsd.stack.decide import Situation, Step, decide
from gitopsd.stack.detours import Detours
from gitopsd.stack.drift import Drift
from gitopsd.stack.facts import Facts, Publish
from gitopsd.stack.flapping import definition
from gitopsd.stack.good import GoodRevision
from gitopsd.stack.keywatch import KeyWatch, why_not_back
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.parents import OtherCluster, Parents
from gitopsd.stack.people import People
from gitopsd.stack.pipeline import Ask, Pipeline, Planned
from gitopsd.stack.recover import recover
from gitopsd.stack.rest import AGAIN, RETRY, SETTLED, STOPPED, Next, Rest
from gitopsd.stack.runner import Ended, Order, Runner
from gitopsd.stack.tracked import Tracked
from gitopsd.stack.verdicts import Verdicts
from gitopsd.stack.vigil import Interest, Vigil

log = structlog.get_logger("gitopsd.stack")

Watch = Callable[[Mapping[str, Interest]], None]
"""Has what a stack has in each cluster watched from now on."""

REMEDY = "push a fix, or `gitopsd retry %s` tries it once more"

NEWER = "; the newest commit "
"""Where a hold's text goes on about a commit that came after what it is about."""

__all__ = ["Rest", "StackWorker"]


class StackWorker:
    """One stack. `settle` is not reentrant: one thread calls it."""

    def __init__(
        self,
        ledger: Ledger,
        pipeline: Pipeline,
        attention: StackAttention,
        probe: Probe,
        publish: Publish,
        *,
        approvers: str = "root",
        watch: Watch = lambda _: None,
    ) -> None:
        self.ledger, self.pipeline, self.attention = ledger, pipeline, attention
        self.facts = Facts(ledger, publish)
        self.clocks = GateClocks()
        self.approvals = Approvals(ledger, approvers)
        self.runner = Runner(ledger, self.facts, attention, probe, self.clocks, self.approvals)
        self.target = GoodRevision(ledger, pipeline)
        self.verdicts = Verdicts(ledger, pipeline, self.target)
        self.keys = KeyWatch(ledger, pipeline, self.target, self.facts)
        self.tracked = Tracked(ledger, pipeline.cluster)
        self.people = People(ledger)
        self.parents = Parents(ledger, pipeline.terraform.cluster)
        self.vigil = Vigil(ledger.clock.monotonic)
        self.vigil.noted = self.facts.glimpse
        self._watch = watch
        self.drift = Drift(
            self.verdicts,
            self.tracked,
            self.approvals,
            self.facts,
            self.parents,
            probe,
            self.vigil,
            run=self._run,
            after=self._after,
        )
        self.detours = Detours(self.verdicts, self.approvals, self._plan_back, self._run_for, self._after)
        self._trouble = ""
        self._unreadable = False  # the commit that is asked for
        self._rewound = ""

    @property
    def name(self) -> str:
        return self.ledger.stack

    def trouble(self, detail: str) -> None:
        """The source cannot be read now: hold the stack for it; or it can be read again ("")."""
        self._trouble = detail
        if detail:
            self.ledger.hold(HoldReason.SOURCE, detail)
            self.facts.publish()

    def due_in(self) -> float | None:
        """Seconds until something of the stack ends by itself: a suspension, the wait for an answer."""
        return self.people.due_in()

    def judge(self) -> None:
        """Decide which of the things that the watches have seen deserve a look, and when."""
        self.vigil.judge(self.ledger.record.baselines(self.name))
        unwatched = self.vigil.unwatched()
        if unwatched != self.facts.unwatched:
            self.facts.unwatched = unwatched
            self.facts.publish()

    def _keep_watch(self, ask: Ask) -> None:
        """Have everything watched that the stack tracks."""
        kinds = frozenset((group, kind) for kind, _, group in (k.partition(".") for k in self.ledger.memory.kinds))
        applysets = self.pipeline.applysets(self.name, ask.spec.clusters)
        self.drift.know_ignored()
        self._watch({name: Interest(applyset, kinds) for name, applyset in applysets.items()})

    def settle(self, commit: str, *, sweep: bool = False) -> Rest:
        """Bring the stack to `commit`, or as near as rules and environment allow. With `sweep`, look for drift too."""
        spoiled: EnvironmentFault | None = None
        try:
            while True:
                ask = self._ask(commit)
                if ask is None:
                    self.drift.notice()  # it is kept in mind until there is something to compare with
                    self._obey_blindly(commit)
                    return Rest.SETTLED
                self._prepare(ask)
                self._keep_watch(ask)
                self.people.obey(commit, self.pipeline.clusters(ask.spec.clusters), partial(self.pipeline.unlock, ask))
                self.drift.notice()
                if sweep:
                    spoiled = self.drift.sweep_unless_spoiled(spoiled)
                    sweep = spoiled is not None
                rest = self._step(self._unfinished(ask)).rest
                if rest is Rest.SETTLED and spoiled is not None:
                    raise spoiled
                if rest is Rest.SETTLED:  # not sooner: what is tried again and again is one hold, with one beginning
                    self.ledger.lift(HoldReason.BLOCKED, HoldReason.INSTANCE, HoldReason.CLUSTER)
                if rest is not None:
                    return rest
                if self._stopping:
                    return Rest.STOPPED
                commit = self.attention.head or commit
        except EnvironmentFault as fault:
            if self._stopping:  # a fault may be the end itself: what was being planned was interrupted for it
                return Rest.STOPPED
            self.ledger.hold(HoldReason.BLOCKED, str(fault), about=commit)
            return Rest.RETRY
        except NeedsPerson as need:  # a cluster says that the stack is somebody else's
            self.ledger.hold(HoldReason.CLUSTER if isinstance(need, OtherCluster) else HoldReason.INSTANCE, str(need))
            return Rest.RETRY
        finally:
            self.keys.tell()
            self.pipeline.rest(self.name)
            self.facts.publish()

    @property
    def _stopping(self) -> bool:
        newer = self.attention.interrupt()
        return newer is not None and newer.stops

    # ------------------------------------------------------------ before a decision

    def _ask(self, commit: str) -> Ask | None:
        """What a commit asks of this stack. One that cannot be read holds the stack: what was begun before it is still
        ended, and what is good is still kept. None if there is nothing of either."""
        try:
            ask = self.pipeline.ask(self.ledger.source, self.name, commit)
            self._check_rewind(ask)
            self.pipeline.claims.check(ask)
        except (CommitError, NeedsPerson) as error:
            self.facts.wanted = Wanted(commit)
            self._unreadable = True
            self.ledger.hold(HoldReason.SOURCE, str(error))
            return self._ask_before(commit)
        except EnvironmentFault:  # the host cannot tell what the commit asks; which one it is, people see all the same
            if self.facts.wanted is None or self.facts.wanted.commit != commit:
                self.facts.wanted = Wanted(commit)
            raise
        self._unreadable = False
        self.facts.wanted = Wanted(commit, ask.digest)
        self.attention.work_on(commit, ask.digest)
        return ask

    def _ask_before(self, commit: str) -> Ask | None:
        memory = self.ledger.memory
        before = memory.attempting.commit if memory.attempting else memory.good[0].commit if memory.good else ""
        if not before or before == commit:
            return None
        try:
            return self.pipeline.ask(self.ledger.source, self.name, before)
        except (CommitError, NeedsPerson) as error:
            log.warning("cannot be read any more", stack=self.name, commit=before[:12], error=str(error))
            return None

    def _obey_blindly(self, commit: str) -> None:
        """Nothing can be read of what the stack is to be; what people ordered counts all the same, if it has a place on
        record: a memory that a cluster may have is not to be forestalled."""
        if self.ledger.record.state(self.name) is not None:
            self.people.obey(commit, {})

    def _unfinished(self, ask: Ask) -> Ask:
        """What is to be reached now: what is asked for; of a suspended stack what it was at when a person said so."""
        memory = self.ledger.memory
        attempt = memory.attempting
        suspended = memory.held(HoldReason.SUSPENDED)
        bound = suspended is not None and not suspended.now and attempt is not None and attempt.kind is RunKind.DEPLOY
        self.attention.heed(commits=not bound and memory.pin is None and memory.destruction is None)
        if attempt is None or not bound or attempt.commit == ask.commit:
            return ask
        return self.pipeline.ask(self.ledger.source, self.name, attempt.commit)

    def _check_rewind(self, ask: Ask) -> None:
        """A signature does not stop a replay: going back is a decision of the host's configuration."""
        good = self.ledger.memory.good
        why = self.pipeline.rewind(self.ledger.source, good[0].commit, ask.commit) if good else ""
        if not why or ask.digest == good[0].digest:
            return
        if self.pipeline.origins[self.ledger.source].force_push == "hold":
            remedy = "push a commit on top of the deployed one, or set `forcePush: allow` for the source"
            raise NeedsPerson(Problem(why, f"source {self.ledger.source}", remedy=remedy))
        if self._rewound != ask.commit:
            self._rewound = ask.commit
            self.ledger.record.audit(
                [self.ledger.event("rewind", revision=ask.commit, before=good[0].commit, detail=why)]
            )

    def _prepare(self, ask: Ask) -> None:
        clusters = self.pipeline.clusters(ask.spec.clusters)
        applysets = self.pipeline.applysets(self.name, ask.spec.clusters)
        self.parents.read(clusters, applysets, self.target.units)
        recover(
            self.ledger,
            self.pipeline.cluster,
            lambda name: self.pipeline.applyset(self.name, name),
            self.pipeline.terraform.program.settle,
        )
        self.keys.resume()
        event = self.target.moved_to(ask)
        if event is not None:
            self.verdicts.remember(remember.same_good(self.ledger.memory, ask.commit), ask.spec, [event])
            self.target.keep()
        if not self._trouble and not self._unreadable:
            self.ledger.lift(HoldReason.SOURCE)

    def _step(self, ask: Ask) -> Next:
        state = self.ledger.state
        self.drift.allow(state)
        baselines = self.ledger.record.baselines(self.name)
        decision = decide(
            Situation(
                memory=state.memory,
                digest=ask.digest,
                dirty=bool(state.dirty),
                uncertain=any(not b.certain for b in baselines.values()),
                drifted=bool(self.drift.suspects),
                on_failure=ask.spec.on_failure,
                open=self.approvals.open,
                allowed=any(digest.startswith(UNASKED) for digest in state.granted),
            )
        )
        steps: dict[Step, Callable[[Ask], Next]] = {
            Step.DEPLOY: self._deploy,
            Step.ROLL_BACK: self._roll_back,
            Step.GO_BACK: self._detour,
            Step.DESTROY: self._detour,
            Step.HEAL: self.drift.heal,
            Step.REPORT: partial(self.drift.heal, report=True),
        }
        if decision.step is Step.DEPLOY and state.memory.quarantined(ask.digest) is None:
            self.ledger.lift(HoldReason.QUARANTINED)  # it was about another commit
        if decision.step in steps:
            return steps[decision.step](ask)
        if decision.hold is not HoldReason.APPROVAL:  # what a heal asks stays open: drift goes on
            self.approvals.close(but=state.memory.live.digest if state.memory.live else "")
        if decision.hold is None:
            self.ledger.lift(HoldReason.QUARANTINED)
        elif decision.hold not in {*remember.OF_PEOPLE, HoldReason.APPROVAL}:  # those are set by who knows more
            self.ledger.hold(decision.hold, self._hold_text(decision.hold, ask))
        return SETTLED

    def _hold_text(self, reason: HoldReason, ask: Ask) -> str:
        memory = self.ledger.memory
        bad = memory.quarantined(ask.digest)
        if reason is HoldReason.QUARANTINED:
            why = f"{bad.unit}: {bad.reason}" if bad and bad.unit else bad.reason if bad else ""
            run = bad.run if bad else ""
            return f"commit {ask.commit[:12]} asks what failed in run {run}: {why}; {REMEDY % self.name}"
        old = memory.held(reason)
        text = old.detail if old else "the run failed and `onFailure: hold` leaves it as it is; push a fix"
        text = text.partition(NEWER)[0]
        if bad is None or bad == memory.quarantine[0]:  # that one the text is about
            return text
        return f"{text}{NEWER}{ask.commit[:12]} asks what failed before, in run {bad.run}"

    # ------------------------------------------------------------ deploy

    def _plan(self, ask: Ask, *, best_effort: bool = False) -> Planned:
        """The plan of the whole of a commit. Raises CommitError."""
        state, at = self.ledger.state, self.ledger.now()
        return self.pipeline.plan(
            ask, state, at=at, drifted=self.drift.suspects, granted=state.granted, best_effort=best_effort
        )

    def _plan_back(self, ask: Ask) -> Planned:
        """The same for a person who goes back to it: what no key opens keeps nothing else from going back."""
        self.keys.note()
        return self._plan(ask, best_effort=True)

    def _deploy(self, ask: Ask) -> Next:
        try:
            planned = self._plan(ask)
        except CommitError as error:
            self.verdicts.refuse(ask, error)
            self.clocks.reset()
            return AGAIN
        missing = self.approvals.missing(planned.plan.approvals, ask.digest)
        if missing:
            planned.bench.discard()
            return self._wait_for_people(ask, planned.plan.approvals)
        self.approvals.granted(planned.plan.approvals, ask.digest)
        ended = self._run(RunKind.DEPLOY, ask, planned)
        self.drift.over(ended)
        if ended.run.verdict is Verdict.GOOD:
            self.verdicts.good(ask, ended.run)
        elif ended.run.verdict is Verdict.FAILED:
            self.verdicts.failed(ask, ended.run, definition=definition(planned, ended.run.failing))
        self._answers_are_used(ended)
        return self._after(ended)

    def _wait_for_people(self, ask: Ask, approvals: Sequence[Approval]) -> Next:
        """Hold the stack until people allow what this commit asks for. If the answer is no, the commit has failed."""
        self.approvals.ask(approvals, commit=ask.commit, desired=ask.digest, timeout=ask.spec.approval_timeout)
        refusal = self.approvals.refusal(approvals)
        if not refusal:
            return SETTLED
        self.verdicts.refuse(ask, NeedsPerson(Problem(refusal)))
        self.approvals.close()
        self.clocks.reset()
        return AGAIN

    def _answers_are_used(self, ended: Ended) -> None:
        """A run that has come to its end has used up what people allowed; one that goes on later has not."""
        if ended.run.verdict in {Verdict.GOOD, Verdict.FAILED}:
            self.approvals.close(deletions=True)

    # ------------------------------------------------------------ rollback

    def _roll_back(self, ask: Ask) -> Next:
        state = self.ledger.state
        undoes = state.memory.quarantine[0].run if state.memory.quarantine else ""
        self.keys.note()
        try:
            target = self.target.ask()
            spec = target.spec if target else ask.spec
            planned = self.pipeline.plan_rollback(target, spec, state, at=self.ledger.now())
        except (CommitError, NeedsPerson) as error:
            return self._cannot_roll_back(ask, f"the good revision cannot be rendered any more: {error}")
        ended = self._run(RunKind.ROLLBACK, target or ask, planned, undoes=undoes)
        if ended.approvals and ended.run.verdict is Verdict.HELD and ended.interrupt is None:
            return self._rollback_asks(ask, target or ask, ended.approvals)
        self._answers_are_used(ended)
        if ended.run.verdict is Verdict.GOOD:
            self.tracked.note_unwanted(planned.desired.units)
            self.verdicts.remember(remember.settled(self.ledger.memory), spec, clean=True)
            self.ledger.record.clean(self.name, [d.unit for d in self.ledger.state.dirty])
        elif ended.run.verdict is Verdict.FAILED:
            return self._cannot_roll_back(ask, why_not_back(ended.run, target.commit if target else ""))
        return self._after(ended)

    def _rollback_asks(self, ask: Ask, target: Ask, missing: Sequence[Approval]) -> Next:
        """Everything is back at the target but for what a person has to allow. A no leaves it as it is."""
        self.approvals.ask(missing, commit=target.commit, desired=ask.digest, timeout=None)
        refusal = self.approvals.refusal(missing)
        if refusal:
            self.approvals.close()
            return self._cannot_roll_back(ask, refusal)
        return AGAIN

    def _cannot_roll_back(self, ask: Ask, detail: str) -> Next:
        self.verdicts.remember(remember.settled(self.ledger.memory), ask.spec)
        self.ledger.hold(HoldReason.ROLLBACK_FAILED, f"{detail}; push a fix")
        return AGAIN

    def _detour(self, ask: Ask) -> Next:
        """What a person wants instead of the newest commit."""
        memory = self.ledger.memory
        if memory.destruction is not None:
            return self.detours.destroy(ask, memory.destruction)
        return self.detours.go_back(memory.pin) if memory.pin is not None else AGAIN

    def _run_for(self, kind: RunKind, ask: Ask, planned: Planned, by: str) -> Ended:
        ended = self._run(kind, ask, planned, by=by)
        self.drift.over(ended)
        self._answers_are_used(ended)
        return ended

    # ------------------------------------------------------------ shared by all runs

    def _run(self, kind: RunKind, ask: Ask, planned: Planned, *, undoes: str = "", by: str = "") -> Ended:
        """Carry out a plan whose effects nothing stands against any more."""
        self.tracked.take_note(planned)
        if kind is RunKind.DEPLOY:  # the other kinds do not look at what is no longer wanted
            self.tracked.postpone(planned.plan)
        touched = clusters_of([*planned.desired.units, *(c.unit for c in planned.plan.changes())])
        clusters = self.pipeline.clusters(touched | set(ask.spec.clusters))
        ended = self.runner.run(
            Order(
                kind=kind,
                spec=ask.spec,
                desired=planned.desired,
                plan=planned.plan,
                clusters=clusters,
                applysets=self.pipeline.applysets(self.name, clusters),
                bench=planned.bench,
                templates=planned.templates,
                old_checks=self.target.checks(),
                undoes=undoes,
                by=by,
                suspects=self.verdicts.suspected(ask) if kind is RunKind.DEPLOY else (),
            )
        )
        self.tracked.note_orphans(ended.run.id)
        return ended

    def _after(self, ended: Ended) -> Next:
        self.keys.tell()
        if ended.interrupt is not None:
            return STOPPED if ended.interrupt.stops else AGAIN
        return RETRY if ended.run.verdict is Verdict.HELD else AGAIN
