"""What a person wants instead of the newest commit: an older good revision, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gitopsd.model.errors import Cause, CommitError, NeedsPerson
from gitopsd.model.memory import Destruction, Good, Hold, HoldReason, Memory, Pin
from gitopsd.model.orders import Grant
from gitopsd.model.run import RunKind, Verdict
from gitopsd.planning.prune import is_protected, prune_digest
from gitopsd.stack import remember
from gitopsd.stack.approvals import Approvals
from gitopsd.stack.jobless import without_jobs
from gitopsd.stack.keywatch import why_not_back
from gitopsd.stack.orders import pin_hold
from gitopsd.stack.pipeline import Ask, Planned, good_ask
from gitopsd.stack.rest import AGAIN, SETTLED, Next
from gitopsd.stack.runner import Ended
from gitopsd.stack.verdicts import Verdicts

Run = Callable[[RunKind, Ask, Planned, str], Ended]
"""Carries out a plan in the name of a person."""


@dataclass(frozen=True, slots=True)
class Detours:
    """The runs of one stack that people order. `plan` plans the whole of a commit but for what no key opens, `after`
    says what follows a run."""

    verdicts: Verdicts
    approvals: Approvals
    plan: Callable[[Ask], Planned]
    run: Run
    after: Callable[[Ended], Next]

    def go_back(self, pin: Pin) -> Next:
        """To the revision that a person chose: the whole of it, as a deploy would, but without running a Job again."""
        ledger, pipeline = self.verdicts.ledger, self.verdicts.pipeline
        good = next((g for g in ledger.memory.good if g.digest == pin.digest), Good(pin.commit, pin.digest, pin.at))
        try:
            target = good_ask(pipeline, ledger.source, ledger.stack, good)
            planned = self.plan(target)
        except (CommitError, NeedsPerson) as error:
            return self._not_gone_back(f"{pin.commit[:12]} cannot be gone back to: {error}")
        planned = replace(planned, plan=without_jobs(planned.plan))
        approvals = planned.plan.approvals
        if self.approvals.missing(approvals, target.digest):
            planned.bench.discard()
            self.approvals.ask(approvals, commit=target.commit, desired=target.digest, timeout=None)
            refusal = self.approvals.refusal(approvals)
            return self._not_gone_back(refusal) if refusal else SETTLED
        self.approvals.granted(approvals, target.digest)
        ended = self.run(RunKind.ROLLBACK, target, planned, pin.by)
        if ended.run.verdict is Verdict.GOOD:
            memory = remember.at_pin(ledger.memory, pin_hold(pin, ledger.stack))
            self._found_good(memory, target)
        elif ended.run.cause is Cause.ENVIRONMENT and ended.run.verdict is Verdict.FAILED:
            lifts = f"`gitopsd resume {ledger.stack}` gives it up and deploys the newest commit"
            lifts = f"a newer commit or {lifts}" if pin.until_newer else f"newer commits wait; {lifts}"
            return self._not_gone_back(why_not_back(ended.run, pin.commit), lifts)
        elif ended.run.verdict is Verdict.FAILED:
            return self._not_gone_back(why_not_back(ended.run, pin.commit))
        return self.after(ended)

    def _found_good(self, memory: Memory, ask: Ask) -> None:
        ledger = self.verdicts.ledger
        self.verdicts.remember(memory, ask.spec, clean=True)
        ledger.record.clean(ledger.stack, [d.unit for d in ledger.state.dirty])

    def _not_gone_back(self, detail: str, advice: str = "") -> Next:
        ledger = self.verdicts.ledger
        self.approvals.close()
        ledger.record.save_memory(remember.settled(ledger.memory))
        ledger.hold(HoldReason.ROLLBACK_FAILED, f"{detail}; {advice or _advice(ledger.stack)}")
        return AGAIN

    def destroy(self, ask: Ask, destruction: Destruction) -> Next:
        """Everything of the stack goes, in the order of every other deletion. Who ordered it has allowed what that
        takes along; what may hold data only if they said so."""
        ledger, pipeline = self.verdicts.ledger, self.verdicts.pipeline
        state = ledger.state
        protected = [b for u, b in ledger.record.baselines(ledger.stack).items() if is_protected(u)]
        granted = {prune_digest(b.unit, b.uid) for b in protected} if destruction.with_data else set()
        try:
            planned = pipeline.plan(ask, state, at=ledger.now(), granted=granted | state.granted, nothing=True)
        except (CommitError, NeedsPerson) as error:
            return self._not_destroyed(str(error))
        for approval in planned.plan.approvals:  # what Terraform asks again at its wave has been answered
            ledger.record.grant(
                ledger.stack, Grant(approval.digest, True, destruction.by, ledger.now(), destruction.why)
            )
        ended = self.run(RunKind.DEPLOY, ask, planned, destruction.by)
        if ended.run.verdict is Verdict.GOOD:
            text = f"destroyed by {destruction.by}{f' ({destruction.why})' if destruction.why else ''}"
            lifts = f"`gitopsd resume {ledger.stack}` deploys the newest commit"
            hold = Hold(HoldReason.DESTROYED, ledger.now(), destruction.by, f"{text}; {lifts}")
            # First the marks: once it is on record as destroyed, nobody looks at them any more.
            ledger.record.clean(ledger.stack, [d.unit for d in ledger.state.dirty])
            self._found_good(remember.destroyed(ledger.memory, hold), ask)
        elif ended.run.verdict is Verdict.FAILED:
            return self._not_destroyed(f"run {ended.run.id}: {ended.run.why}")
        return self.after(ended)

    def _not_destroyed(self, detail: str) -> Next:
        ledger = self.verdicts.ledger
        ledger.record.save_memory(remember.settled(ledger.memory))
        ledger.hold(HoldReason.FAILED, f"not everything is destroyed: {detail}; {_advice(ledger.stack)}")
        return AGAIN


def _advice(stack: str) -> str:
    return f"`gitopsd retry {stack}` tries again, `gitopsd resume {stack}` deploys the newest commit"
