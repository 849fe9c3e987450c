"""What people may order of a stack, and what each order changes. Pure: what is known is handed in.

An order is judged twice over the same functions: before it is taken, against the memory as it will be once the orders
before it are carried out, and by the stack's own thread when it carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from gitopsd.model.memory import Destruction, Good, Hold, HoldReason, Memory, Pin, StackState
from gitopsd.model.orders import Grant, Order, OrderKind, Question
from gitopsd.model.plan import Approval
from gitopsd.model.run import RunKind, RunRecord
from gitopsd.model.status import Wanted
from gitopsd.stack import remember

SHORT = 12
"""Characters of a commit or digest that people are shown, and that are enough to name it."""

LEAST = 4
"""Characters of a commit or digest that a person has to type at least."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an order is judged by. `pending` are orders that were taken and not carried out yet, `wanted` is what the
    newest commit asks, `current` the run that goes on."""

    state: StackState
    wanted: Wanted | None = None
    current: RunRecord | None = None
    pending: tuple[Order, ...] = ()

    @property
    def memory(self) -> Memory:
        """As it will be when the pending orders are carried out."""
        return reduce(obeyed, self.pending, self.state.memory)


class Refused(Exception):
    """An order that makes no sense now; its text is the sentence for the person."""


# ---------------------------------------------------------------- carrying out


def obeyed(memory: Memory, order: Order) -> Memory:
    """The memory once an order is carried out. What an order does beside that is the worker's."""
    if order.kind is OrderKind.SUSPEND:
        text = f"suspended by {order.by}{_because(order)}; `gitopsd resume {memory.stack}` lifts it"
        return remember.suspended(memory, Hold(HoldReason.SUSPENDED, order.at, order.by, text, order.until, order.now))
    if order.kind is OrderKind.RESUME:
        return remember.resumed(memory)
    if order.kind is OrderKind.RETRY:
        return remember.retried(memory, order.target)
    if order.kind is OrderKind.ROLLBACK:
        return _pinned(memory, order)
    if order.kind is OrderKind.DESTROY:
        lifted = replace(memory, holds=remember.without_holds(memory.holds, frozenset({HoldReason.SUSPENDED})))
        return remember.doomed(lifted, Destruction(order.by, order.why, order.at, order.with_data))
    return memory


def _pinned(memory: Memory, order: Order) -> Memory:
    """The pin takes the place of a suspension: it holds newer commits back as well."""
    good = next((g for g in memory.good if g.commit == order.target), None)
    if good is None:  # forgotten since the order was taken
        return memory
    pin = Pin(good.commit, good.digest, order.by, order.why, order.at, order.until_newer, order.head)
    lifted = replace(memory, holds=remember.without_holds(memory.holds, frozenset({HoldReason.SUSPENDED})))
    return remember.pinned(lifted, pin)


def pin_hold(pin: Pin, stack: str) -> Hold:
    """The hold of a stack that is at the revision which a person chose."""
    lifts = f"`gitopsd resume {stack}` lifts it"
    lifts = f"a newer commit or {lifts}" if pin.until_newer else lifts
    why = f" ({pin.why})" if pin.why else ""
    text = f"{pin.by} went back to {pin.commit[:SHORT]}{why}; newer commits wait; {lifts}"
    return Hold(HoldReason.PINNED, pin.at, pin.by, text)


def expired(memory: Memory, at: str, head: str) -> tuple[Memory, str]:
    """The memory without what has ended by itself by the time `at`, with `head` as the newest commit; and what it was.
    "" if nothing has."""
    hold = memory.held(HoldReason.SUSPENDED)
    if hold is not None and hold.until and hold.until <= at:
        left = remember.without_holds(memory.holds, frozenset({HoldReason.SUSPENDED}))
        return replace(memory, holds=left), f"the suspension by {hold.by} ended at {hold.until}"
    pin = memory.pin
    over = pin is not None and (pin.live or memory.held(HoldReason.ROLLBACK_FAILED) is not None)
    if pin is not None and over and pin.until_newer and head not in {pin.head, ""}:
        return remember.resumed(memory), f"{head[:SHORT]} is newer than the pin of {pin.by}, which was to last so long"
    return memory, ""


# ---------------------------------------------------------------- judging


def judge(order: Order, known: Known) -> str:
    """What a person is told of an order that is taken. Raises Refused for one that makes no sense."""
    return {
        OrderKind.SUSPEND: _judge_suspend,
        OrderKind.RESUME: _judge_resume,
        OrderKind.RETRY: _judge_retry,
        OrderKind.ROLLBACK: _judge_rollback,
        OrderKind.DESTROY: _judge_destroy,
        OrderKind.TAKEOVER: _judge_takeover,
        OrderKind.ACCEPT_CLUSTER: _judge_accept_cluster,
        OrderKind.UNLOCK: _judge_unlock,
    }[order.kind](order, known)


def _judge_suspend(order: Order, known: Known) -> str:
    until = f" until {order.until}" if order.until else ""
    return f"{known.memory.stack} is suspended{until}{_after(known, now=order.now)}"


def _judge_resume(_order: Order, known: Known) -> str:
    memory = known.memory
    held = [h.reason.value for h in memory.holds if h.reason in remember.OF_PEOPLE]
    if not held and memory.pin is None and memory.destruction is None:
        raise Refused(f"nobody holds {memory.stack}: it is neither suspended nor pinned nor destroyed")
    was = " and ".join(held) if held else "held"
    return f"{memory.stack} goes on; it was {was}{_after(known)}"


def _judge_retry(_order: Order, known: Known) -> str:
    memory, wanted = known.memory, known.wanted
    bad = memory.quarantined(wanted.digest) if wanted else None
    failed = [h.reason.value for h in memory.holds if h.reason in remember.AFTER_FAILURE]
    if bad is None and not failed:
        advice = f"; `gitopsd sync {memory.stack}` tries at once what is blocked"
        advice = advice if memory.held(HoldReason.BLOCKED) else ""
        raise Refused(f"nothing of {memory.stack} has failed that could be tried again{advice}")
    if bad is None or wanted is None:
        return f"{memory.stack} is tried again; it was held ({', '.join(failed)}){_after(known)}"
    return f"commit {wanted.commit[:SHORT]} is tried again; run {bad.run} failed with: {bad.reason}{_after(known)}"


def _judge_rollback(order: Order, known: Known) -> str:
    lifts = "a newer commit or `gitopsd resume" if order.until_newer else "`gitopsd resume"
    stack = known.memory.stack
    rolls_back = known.current is not None and known.current.kind is RunKind.ROLLBACK
    when = f"; the rollback {known.current.id} is finished first" if known.current and rolls_back else ""
    return f"{stack} goes back to {order.target[:SHORT]} and stays there until {lifts} {stack}`{when}"


def _judge_destroy(order: Order, known: Known) -> str:
    memory = known.memory
    if memory.destruction is not None:
        what = "is destroyed already" if memory.destruction.done else "is being destroyed"
        raise Refused(f"{memory.stack} {what}; `gitopsd resume {memory.stack}` deploys it anew")
    data = " with everything that holds data" if order.with_data else "; what may hold data stays"
    return f"{memory.stack} is destroyed{data}{_after(known)}"


def _judge_takeover(_order: Order, known: Known) -> str:
    held = known.memory.held(HoldReason.INSTANCE)
    if held is None:
        raise Refused(f"{known.memory.stack} is no other instance's: there is nothing to take over")
    return f"{known.memory.stack} is taken over; it was held: {held.detail}"


def _judge_accept_cluster(order: Order, known: Known) -> str:
    if known.memory.held(HoldReason.CLUSTER) is None:
        raise Refused(f"{known.memory.stack} does not wait for a cluster to be accepted")
    return f"{known.memory.stack} is deployed as new to the cluster that is called {order.target} now"


def _judge_unlock(order: Order, known: Known) -> str:
    return f"the lock of the state of terraform/{order.target} is removed, if there is one{_after(known)}"


def _because(order: Order) -> str:
    return f" ({order.why})" if order.why else ""


def _after(known: Known, *, now: bool = False) -> str:
    """When a run goes on: what becomes of it."""
    if known.current is None:
        return ""
    return f"; run {known.current.id} stops at its next safe point" if now else f"; run {known.current.id} ends first"


# ---------------------------------------------------------------- where to go back to


def rollback_target(known: Known, revision: str = "") -> Good:
    """The good revision that a person means: by the beginning of its commit, or, without one, the newest whose digest
    is not the live one; from a pin, one further back. Raises Refused if there is none."""
    memory = known.memory
    if not memory.good:
        raise Refused(f"no revision of {memory.stack} was good yet: there is nothing to go back to")
    if revision:
        return _named(memory, revision)
    start = 0
    if memory.pin is not None:
        start = 1 + next((i for i, g in enumerate(memory.good) if g.digest == memory.pin.digest), -1)
    elif not known.state.dirty:
        start = 1
    if start >= len(memory.good):
        raise Refused(f"no older good revision of {memory.stack} is remembered; {_good_ones(memory)}")
    return memory.good[start]


def _named(memory: Memory, revision: str) -> Good:
    found = [g for g in memory.good if g.commit.startswith(revision)] if len(revision) >= LEAST else []
    if len(found) == 1:
        return found[0]
    what = "is the beginning of more than one" if found else "is none"
    raise Refused(f"{revision!r} {what} of the good revisions of {memory.stack}; {_good_ones(memory)}")


def _good_ones(memory: Memory) -> str:
    return "good were: " + ", ".join(f"{g.commit[:SHORT]} ({g.at})" for g in memory.good)


# ---------------------------------------------------------------- answers to questions


def asked(questions: Sequence[Question], digest: str, stack: str, *, everything: bool) -> tuple[Question, ...]:
    """The questions that a person answers: the one whose digest begins so, the only one, or all of them. Raises Refused
    with a list if that is not clear."""
    if not questions:
        raise Refused(f"{stack} waits for no approval")
    if everything:
        return tuple(questions)
    found = [q for q in questions if q.approval.digest.startswith(digest)] if len(digest) >= LEAST else []
    if not digest and len(questions) == 1:
        return tuple(questions)
    if len(found) == 1:
        return tuple(found)
    listed = "; ".join(f"{q.approval.digest[:SHORT]}: {q.approval.summary}" for q in questions)
    what = f"no approval begins with {digest!r}" if digest else "several approvals wait, so name one or say --all"
    raise Refused(f"{what}; {stack} asks for: {listed}")


def covers(grant: Grant, approval: Approval, desired: str) -> bool:
    """Whether an answer allows what the desired digest asks for: the very same, or what is left of it. Terraform's
    changes are more than the names of their units, and are only ever the very same."""
    if not grant.allowed:
        return False
    if grant.digest == approval.digest:
        return True
    rest = bool(approval.units) and {*approval.units} <= {*grant.units}
    return rest and grant.desired == desired and not any(unit.is_terraform for unit in approval.units)
