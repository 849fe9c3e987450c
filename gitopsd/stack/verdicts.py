"""What follows from the verdict on a deploy: what is remembered, audited, cleaned or quarantined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from gitopsd.execution.clocks import SETTLED
from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.errors import SHOWN, CommitError, NeedsPerson
from gitopsd.model.memory import Attempt, Good, HoldReason, Memory, Quarantined
from gitopsd.model.ports import Probe
from gitopsd.model.run import RunKind, RunRecord, Verdict
from gitopsd.model.spec import OnFailure, StackSpec
from gitopsd.model.units import Revision
from gitopsd.planning.modules import recorded_outputs, remembered_modules, shared_outputs
from gitopsd.stack import remember
from gitopsd.stack.flapping import flaps
from gitopsd.stack.good import GoodRevision
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.pipeline import Ask, Pipeline

log = structlog.get_logger("gitopsd.stack")

SUSPECTS_SHOWN = 20
"""Commits that a failed run names at most."""


class Verdicts:
    """Writes down how deploys of one stack ended."""

    def __init__(self, ledger: Ledger, pipeline: Pipeline, target: GoodRevision) -> None:
        self.ledger, self.pipeline, self.target = ledger, pipeline, target

    def good(self, ask: Ask, run: RunRecord) -> None:
        """A deploy whose every gate held: everything of it is clean, and everyone since the last one is delivered."""
        before = self.ledger.memory.good
        outputs = shared_outputs(recorded_outputs(self.ledger.record.baselines(self.ledger.stack)), ask.spec.uses)
        memory = remember.good(self.ledger.memory, Good(ask.commit, ask.digest, self.ledger.now(), outputs))
        source = self.pipeline.source(self.ledger.source)
        delivered = source.between(before[0].commit, ask.commit) if before else (source.revision(ask.commit),)
        events = [
            self.ledger.event(
                "delivered", actor=git_actor(r), run=run.id, revision=r.commit, result="good", detail=r.subject
            )
            for r in delivered
        ]
        self.remember(
            memory,
            ask.spec,
            [*events, self.ledger.event("good", run=run.id, revision=ask.commit, after=ask.digest)],
            clean=True,
        )
        self.ledger.record.clean(self.ledger.stack, [d.unit for d in self.ledger.state.dirty])
        self.target.keep()

    def refuse(self, ask: Ask, error: CommitError | NeedsPerson) -> None:
        """A commit that cannot be carried out, or that a person will not have: recorded as a failed run in which
        nothing was touched."""
        revision = self.pipeline.source(self.ledger.source).revision(ask.commit)
        now = self.ledger.now()
        reason = str(error)  # the first of hundreds: `gitopsd plan` has all of them
        run = RunRecord(
            id=f"{self.ledger.stack}-{self.ledger.memory.runs + 1}",
            stack=self.ledger.stack,
            kind=RunKind.DEPLOY,
            revision=ask.commit,
            digest=ask.digest,
            author=revision.author,
            subject=revision.subject,
            started=now,
            finished=now,
            verdict=Verdict.FAILED,
            reason=f"refused before the first effect: {reason}",
            cause=error.cause,
            suspects=self.suspected(ask),
        )
        self.ledger.record.begin(run)
        self.ledger.record.finish(
            run, [self.ledger.event("refuse", run=run.id, revision=ask.commit, result="failed", detail=reason)]
        )
        log.error(
            "refused",
            stack=self.ledger.stack,
            run=run.id,
            revision=ask.commit[:12],
            problems=[str(p) for p in error.problems[:SHOWN]],
        )
        self.failed(ask, run, counted=False)

    def failed(self, ask: Ask, run: RunRecord, *, definition: str = "", counted: bool = True) -> None:
        """Quarantine what was asked, and in the same breath write down that a rollback follows, if one does, and that
        no further deploy does where one too many has failed the same way. `definition` is that of the failing unit."""
        now = self.ledger.now()
        unit = str(run.failing or "")
        found = Quarantined(ask.digest, ask.commit, run.id, run.reason, now, unit, definition)
        back = None
        if self.ledger.state.dirty and ask.spec.on_failure is OnFailure.ROLLBACK:
            good = self.ledger.memory.good
            back = Attempt(
                run.id, RunKind.ROLLBACK, good[0].commit if good else "", good[0].digest if good else "", now
            )
        event = self.ledger.event(
            "quarantine", run=run.id, revision=ask.commit, unit=unit, after=ask.digest, detail=run.reason
        )
        memory = self.ledger.memory if counted else replace(self.ledger.memory, runs=self.ledger.memory.runs + 1)
        memory, events = self._held_if_flapping(remember.failed(memory, found, back), ask.spec)
        self.remember(memory, ask.spec, [event, *events])
        if self.ledger.state.dirty and back is None:
            self.ledger.hold(
                HoldReason.FAILED, f"run {run.id} failed and is left as it is (onFailure: hold): {run.why}"
            )

    def _held_if_flapping(self, memory: Memory, spec: StackSpec) -> tuple[Memory, list[AuditEvent]]:
        """Where nothing is rolled back (onFailure: hold), nothing goes up and down: a newer commit mends what is."""
        hold = flaps(memory, self.ledger.now()) if spec.on_failure is OnFailure.ROLLBACK else None
        if hold is None:
            return memory, []
        known = memory.held(hold.reason) is not None
        events = [] if known else [self.ledger.event("hold", result=hold.reason.value, detail=hold.detail)]
        log.warning("held", stack=memory.stack, reason=hold.reason.value, detail=hold.detail)
        return replace(memory, holds=remember.with_hold(memory.holds, hold)), events

    def reopen(self, ask: Ask, probe: Probe) -> None:
        """Let a rollback go on that failed for checks alone, all of which are good by now: what it asks for is live.
        `ask` is the good revision."""
        memory, record = self.ledger.memory, self.ledger.record
        if memory.held(HoldReason.ROLLBACK_FAILED) is None or memory.pin is not None or memory.destruction is not None:
            return
        last = next((r for r in record.runs(self.ledger.stack, limit=1)), None)
        whole = record.run(last.id) if last is not None else None
        if whole is None or whole.kind is not RunKind.ROLLBACK or whole.failing is not None or whole.leftovers:
            return
        checks = [check for component in ask.spec.components for check in component.gate.checks]
        if not checks or any(probe(check).health not in SETTLED for check in checks):
            return
        log.info("the checks of the rollback are good by now", stack=self.ledger.stack, run=whole.id)
        self.ledger.lift(HoldReason.ROLLBACK_FAILED)
        back = Attempt(whole.undoes, RunKind.ROLLBACK, ask.commit, ask.digest, self.ledger.now())
        self.remember(replace(self.ledger.memory, attempting=back), ask.spec)

    def suspected(self, ask: Ask) -> tuple[str, ...]:
        """The commits that came since the good one: what broke is in one of them."""
        good = self.ledger.memory.good
        source = self.pipeline.source(self.ledger.source)
        if not good:
            return (ask.commit,)
        return tuple(r.commit for r in source.between(good[0].commit, ask.commit)[-SUSPECTS_SHOWN:])

    def remember(
        self, memory: Memory, spec: StackSpec, events: Sequence[AuditEvent] = (), *, clean: bool = False
    ) -> None:
        """On the host at once; in the clusters as soon as they can be written to. `clean`: everything dirty was found
        good, and its marks are about to go."""
        state, baselines = self.ledger.state, self.ledger.record.baselines(self.ledger.stack)
        modules = remembered_modules(memory.modules, baselines, () if clean else [d.unit for d in state.dirty])
        self.ledger.record.save_memory(replace(memory, modules=modules), events)
        self.ledger.spread(self.pipeline.clusters(spec.clusters))


def git_actor(revision: Revision) -> Actor:
    return Actor(ActorKind.GIT, revision.author.name, revision.author.email)
