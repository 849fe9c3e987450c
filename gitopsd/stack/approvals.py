"""The questions that a stack asks people, from the first asking to the end of the answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from gitopsd.model.memory import HoldReason
from gitopsd.model.orders import UNASKED, Question
from gitopsd.model.plan import Approval
from gitopsd.model.times import timestamp
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.orders import SHORT, covers

NAMED = 10
"""Resources or objects of a question that a hold names."""


class Approvals:
    """What one stack asks people, and what they answered. `approvers` says who may answer."""

    def __init__(self, ledger: Ledger, approvers: str = "root") -> None:
        self.ledger, self.approvers = ledger, approvers

    @property
    def open(self) -> bool:
        """Whether a question has no answer yet."""
        state = self.ledger.state
        answered = {g.digest for g in state.grants}
        return any(q.approval.digest not in answered for q in state.questions)

    def missing(self, approvals: Iterable[Approval], desired: str) -> tuple[Approval, ...]:
        """Those that nobody allowed for this desired digest."""
        grants = self.ledger.record.grants(self.ledger.stack)
        return tuple(a for a in approvals if not any(covers(g, a, desired) for g in grants))

    def refusal(self, approvals: Iterable[Approval]) -> str:
        """Why the answer is no: a person rejected one of them, or nobody answered in time. "" if it is not."""
        state = self.ledger.state
        rejected = {g.digest: g for g in state.grants if not g.allowed}
        questions = {q.approval.digest: q for q in state.questions}
        now = self.ledger.now()
        for approval in approvals:
            no = rejected.get(approval.digest)
            if no is not None:
                return f"{no.by} rejected it{f' ({no.why})' if no.why else ''}: {approval.summary}"
            question = questions.get(approval.digest)
            if question is not None and question.until and question.until <= now:
                return f"nobody approved it between {question.since} and {question.until}: {approval.summary}"
        return ""

    def ask(self, approvals: Iterable[Approval], *, commit: str, desired: str, timeout: float | None) -> None:
        """Ask for those of these that nobody allowed, and for nothing else, and hold the stack. A question that is open
        already keeps its beginning, also when another commit asks it. Nobody answering for `timeout` seconds will be a
        no; None waits for ever."""
        approvals = tuple(approvals)
        now = self.ledger.clock.now()
        until = "" if timeout is None else timestamp(now + timedelta(seconds=timeout))
        asked = {q.approval.digest: q for q in self.ledger.state.questions}
        questions = []
        for approval in self.missing(approvals, desired):
            old = asked.get(approval.digest)
            since, ends = (old.since, old.until) if old else (timestamp(now), until)
            questions.append(Question(approval, commit, desired, since, ends))
        self._set(questions, keep=self._answers_to(approvals, desired))
        self.ledger.hold(HoldReason.APPROVAL, self._text(questions), until=_first_end(questions))

    def granted(self, approvals: Iterable[Approval], desired: str) -> None:
        """Everything was allowed: the answers stay until what they are for has happened, the questions end."""
        self._set([], keep=self._answers_to(approvals, desired))
        self.ledger.lift(HoldReason.APPROVAL)

    def _answers_to(self, approvals: Iterable[Approval], desired: str) -> set[str]:
        approvals, grants = tuple(approvals), self.ledger.record.grants(self.ledger.stack)
        return {g.digest for g in grants if any(covers(g, a, desired) for a in approvals)}

    def close(self, *, deletions: bool = False, but: str = "") -> None:
        """Nothing is asked any more, and no answer counts any longer, except for what is asked for this desired digest;
        with `deletions`, neither do those that a person allowed without being asked."""
        open_still = [q for q in self.ledger.state.questions if but and q.desired == but]
        self._set(open_still, deletions=deletions)
        if not open_still:
            self.ledger.lift(HoldReason.APPROVAL)

    def _set(self, questions: list[Question], keep: Iterable[str] = (), *, deletions: bool = False) -> None:
        state = self.ledger.state
        kept = {*keep, *(q.approval.digest for q in questions)}
        drop = [
            g.digest for g in state.grants if g.digest not in kept and (deletions or not g.digest.startswith(UNASKED))
        ]
        if drop or tuple(questions) != state.questions:
            self.ledger.ensure_known()
            self.ledger.record.ask_people(self.ledger.stack, questions, drop)

    def _text(self, questions: list[Question]) -> str:
        """What is asked, of whom, how it is answered, and what no answer means."""
        stack, commit = self.ledger.stack, questions[0].commit
        name = f" {questions[0].approval.digest[:SHORT]}" if len(questions) == 1 else " --all"
        what = "; ".join(_in_full(q.approval) for q in questions)
        end = _first_end(questions)
        fails = f"; without an answer until {end} it fails" if end else ""
        return f"commit {commit[:SHORT]}: {what}; {self.approvers} may say `gitopsd approve {stack}{name}`{fails}"


def _in_full(approval: Approval) -> str:
    """What is asked with what it is about by name: who answers has to see what goes."""
    about = approval.details or tuple(map(str, approval.units))
    more = f" and {len(about) - NAMED} more, which `gitopsd plan` lists" if len(about) > NAMED else ""
    return f"{approval.summary} ({', '.join(about[:NAMED])}{more})" if about else approval.summary


def _first_end(questions: Iterable[Question]) -> str:
    return min((q.until for q in questions if q.until), default="")
