"""The table of what a stack does next: one row a situation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.memory import Attempt, Destruction, Good, Hold, HoldReason, Memory, Pin, Quarantined
from gitopsd.model.run import RunKind
from gitopsd.model.spec import OnFailure
from gitopsd.stack import remember
from gitopsd.stack.decide import TABLE, Asks, Decision, Situation, Standing, Step, asks, decide, standing

NEW = Memory("web", "test", "main")
LIVE = replace(NEW, good=(Good("c1", "d1", "t"),))
BAD = replace(LIVE, quarantine=(Quarantined("d2", "c2", "web-2", "it broke", "t"),))
DEPLOYING = Attempt("web-1", RunKind.DEPLOY, "c2", "d2", "t")
ROLLING_BACK = Attempt("web-2", RunKind.ROLLBACK, "c1", "d1", "t")


def held(memory: Memory, reason: HoldReason) -> Memory:
    return replace(memory, holds=(Hold(reason, "t", "gitopsd", ""),))


ROWS = {
    "a first commit is deployed": (Situation(NEW, "d1"), Decision(Step.DEPLOY)),
    "what is good and asked for is left alone": (Situation(LIVE, "d1"), Decision(Step.REST)),
    "a commit that asks something else is deployed": (Situation(LIVE, "d2"), Decision(Step.DEPLOY)),
    "drift is healed": (Situation(LIVE, "d1", drifted=True), Decision(Step.HEAL)),
    "what nobody is sure of is looked at": (Situation(LIVE, "d1", uncertain=True), Decision(Step.HEAL)),
    "an interrupted deploy goes on": (
        Situation(replace(LIVE, attempting=DEPLOYING), "d2", dirty=True),
        Decision(Step.DEPLOY),
    ),
    "an interrupted deploy of nothing but the good revision goes on": (
        Situation(replace(LIVE, attempting=DEPLOYING), "d1", dirty=True),
        Decision(Step.DEPLOY),
    ),
    "a return to the good revision with something dirty is a deploy, for it has to be gated": (
        Situation(LIVE, "d1", dirty=True),
        Decision(Step.DEPLOY),
    ),
    "what failed is rolled back": (
        Situation(replace(BAD, attempting=ROLLING_BACK), "d2", dirty=True),
        Decision(Step.ROLL_BACK),
    ),
    "a rollback goes on although a newer commit waits": (
        Situation(replace(BAD, attempting=ROLLING_BACK), "d3", dirty=True),
        Decision(Step.ROLL_BACK),
    ),
    "a crash between quarantine and rollback loses neither": (
        Situation(BAD, "d2", dirty=True),
        Decision(Step.ROLL_BACK),
    ),
    "what failed is not tried again": (Situation(BAD, "d2"), Decision(Step.HOLD, HoldReason.QUARANTINED)),
    "drift is healed to the good revision while a bad commit waits": (
        Situation(BAD, "d2", drifted=True),
        Decision(Step.HEAL),
    ),
    "a fix after a quarantine is deployed": (Situation(BAD, "d3"), Decision(Step.DEPLOY)),
    "a revert of the bad commit needs no run": (Situation(BAD, "d1"), Decision(Step.REST)),
    "a failed rollback is left to people": (
        Situation(held(BAD, HoldReason.ROLLBACK_FAILED), "d2", dirty=True),
        Decision(Step.HOLD, HoldReason.ROLLBACK_FAILED),
    ),
    "a fix after a failed rollback is deployed": (
        Situation(held(BAD, HoldReason.ROLLBACK_FAILED), "d3", dirty=True),
        Decision(Step.DEPLOY),
    ),
    "onFailure: hold leaves a failed run as it is": (
        Situation(BAD, "d2", dirty=True, on_failure=OnFailure.HOLD),
        Decision(Step.HOLD, HoldReason.FAILED),
    ),
    "a failed first deploy is undone": (
        Situation(replace(BAD, good=()), "d2", dirty=True),
        Decision(Step.ROLL_BACK),
    ),
    "there is nothing to heal towards before the first good run": (
        Situation(replace(BAD, good=()), "d2", drifted=True, uncertain=True),
        Decision(Step.HOLD, HoldReason.QUARANTINED),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_comes_next(row: str) -> None:
    situation, wanted = ROWS[row]
    assert decide(situation) == wanted


PIN = Pin("c0", "d0", "ann", "", "t")
AT_PIN = replace(PIN, live=True)
GOING_BACK = Attempt("web-3", RunKind.ROLLBACK, "c0", "d0", "t")
DOOM = Destruction("ann", "", "t")
SUSPENDED = held(BAD, HoldReason.SUSPENDED)
STOPPED = replace(BAD, holds=(Hold(HoldReason.SUSPENDED, "t", "ann", "", now=True),))
ASKING = held(replace(BAD, attempting=ROLLING_BACK), HoldReason.APPROVAL)

STANDINGS: dict[Standing, Situation] = {
    Standing.SUSPENDED: Situation(SUSPENDED, ""),
    Standing.ROLLING_BACK: Situation(replace(BAD, attempting=ROLLING_BACK), "", dirty=True),
    Standing.ROLLBACK_ASKS: Situation(ASKING, "", dirty=True, open=True),
    Standing.DESTROY_FAILED: Situation(held(replace(BAD, destruction=DOOM), HoldReason.FAILED), ""),
    Standing.DESTROYED: Situation(replace(BAD, destruction=replace(DOOM, done=True)), ""),
    Standing.DESTROYING: Situation(replace(BAD, destruction=DOOM), ""),
    Standing.GOING_BACK_FAILED: Situation(held(replace(BAD, pin=PIN), HoldReason.ROLLBACK_FAILED), "", dirty=True),
    Standing.PINNED: Situation(replace(BAD, pin=AT_PIN), ""),
    Standing.GOING_BACK: Situation(replace(BAD, pin=PIN, attempting=GOING_BACK), "", dirty=True),
    Standing.ROLLBACK_FAILED: Situation(held(BAD, HoldReason.ROLLBACK_FAILED), "", dirty=True),
    Standing.FAILED: Situation(BAD, "", dirty=True, on_failure=OnFailure.HOLD),
    Standing.APPLYING: Situation(replace(BAD, attempting=DEPLOYING), "", dirty=True),
    Standing.FLAPPING: Situation(held(BAD, HoldReason.FLAPPING), ""),
    Standing.AT_REST: Situation(BAD, ""),
}
"""One stack for each row of the table; the columns: what is live (d1), something new (d3), what has failed (d2)."""

COLUMNS = {Asks.SAME: "d1", Asks.NEW: "d3", Asks.BAD: "d2"}

CELLS = """
suspended | hold suspended | hold suspended | hold suspended | report
rolling back | roll-back | roll-back | roll-back | -
rolled back but for what waits for a person | hold approval | deploy | hold approval | -
not destroyed | hold failed | hold failed | hold failed | -
destroyed | hold destroyed | hold destroyed | hold destroyed | -
being destroyed | destroy | destroy | destroy | -
not at the revision that a person chose | hold rollback-failed | hold rollback-failed | hold rollback-failed | -
pinned | hold pinned | hold pinned | hold pinned | heal
on its way to the revision that a person chose | go-back | go-back | go-back | -
rollback failed | deploy | deploy | hold rollback-failed | report
failed and left as it is | deploy | deploy | hold failed | -
applying | deploy | deploy | roll-back | -
flapping | rest | hold flapping | hold flapping | heal
at rest | rest | deploy | hold quarantined | heal
"""
"""What the stack is | a commit that asks what is live | something new | what has failed | what is done about drift
where it would rest or wait."""


def shown(decision: Decision) -> str:
    return f"hold {decision.hold.value}" if decision.hold else decision.step.value


@pytest.mark.parametrize("line", CELLS.strip().splitlines())
def test_every_cell_of_the_table(line: str) -> None:
    row, *cells, drift = (part.strip() for part in line.split("|"))
    stands = STANDINGS[Standing(row)]
    assert standing(stands) is Standing(row)
    for column, wanted in zip(Asks, cells, strict=True):
        now = replace(stands, digest=COLUMNS[column])
        assert (asks(now), shown(decide(now))) == (column, wanted)
        drifted = shown(decide(replace(now, drifted=True)))
        waits = wanted == "rest" or wanted.startswith("hold")
        assert drifted == (drift if waits and drift != "-" else wanted)


def test_the_table_has_every_row_and_column() -> None:
    assert [Standing(line.split("|")[0].strip()) for line in CELLS.strip().splitlines()] == list(Standing)
    assert all(set(row) == set(Asks) for row in TABLE.values())


def test_a_suspension_lets_what_is_under_way_come_to_its_end_unless_it_is_for_now() -> None:
    for memory, step in ((SUSPENDED, Step.DEPLOY), (STOPPED, Step.HOLD)):
        assert decide(Situation(replace(memory, attempting=DEPLOYING), "d3", dirty=True)).step is step
    back = replace(SUSPENDED, attempting=ROLLING_BACK)
    assert decide(Situation(back, "d3", dirty=True)).step is Step.ROLL_BACK


def test_deletions_that_a_person_allowed_are_something_to_do_for_the_live_commit() -> None:
    assert decide(Situation(LIVE, "d1", allowed=True)).step is Step.DEPLOY


def test_a_rollback_of_its_own_is_finished_before_the_stack_goes_where_a_person_wants_it() -> None:
    assert decide(Situation(replace(BAD, pin=PIN, attempting=ROLLING_BACK), "d3", dirty=True)).step is Step.ROLL_BACK


situations = st.builds(
    Situation,
    memory=st.builds(
        replace,
        st.just(NEW),
        good=st.sampled_from([(), LIVE.good]),
        attempting=st.sampled_from([None, DEPLOYING, ROLLING_BACK, GOING_BACK]),
        pin=st.sampled_from([None, PIN, AT_PIN]),
        destruction=st.sampled_from([None, DOOM]),
        quarantine=st.sampled_from([(), BAD.quarantine]),
        holds=st.lists(
            st.builds(Hold, st.sampled_from(HoldReason), st.just("t"), st.just("x"), st.just("")), max_size=3
        ).map(tuple),
    ),
    digest=st.sampled_from(["d1", "d2", "d3"]),
    dirty=st.booleans(),
    uncertain=st.booleans(),
    drifted=st.booleans(),
    on_failure=st.sampled_from(OnFailure),
)


@given(situations)
def test_a_quarantined_digest_is_never_deployed(situation: Situation) -> None:
    if situation.memory.quarantined(situation.digest):
        assert decide(situation).step is not Step.DEPLOY


@given(situations)
def test_nothing_rests_while_something_is_dirty(situation: Situation) -> None:
    if situation.dirty:
        assert decide(situation).step not in {Step.REST, Step.HEAL}


END = {Step.REST, Step.HOLD}


def carried_out(now: Situation, step: Step, *, good: bool) -> Situation:
    """What a step leads to if its run is good or fails, by the functions that the worker uses."""
    memory = now.memory
    if step in {Step.HEAL, Step.REPORT}:
        return replace(now, drifted=False, uncertain=False)
    if step is Step.DEPLOY and good:
        return replace(now, memory=remember.good(memory, Good("c", now.digest, "t")), dirty=False, allowed=False)
    if step is Step.DEPLOY:
        back = None if now.on_failure is OnFailure.HOLD else ROLLING_BACK
        failed = remember.failed(memory, Quarantined(now.digest, "c", "web-9", "it broke", "t"), back)
        return replace(now, memory=failed, dirty=True, allowed=False)
    clean = replace(now, dirty=not good and now.dirty)
    if step is Step.ROLL_BACK:
        settled = remember.settled(memory)
        return replace(clean, memory=settled if good else held(settled, HoldReason.ROLLBACK_FAILED))
    hold = Hold(HoldReason.PINNED if step is Step.GO_BACK else HoldReason.DESTROYED, "t", "ann", "")
    if good:
        done = remember.at_pin(memory, hold) if step is Step.GO_BACK else remember.destroyed(memory, hold)
        return replace(clean, memory=done)
    reason = HoldReason.ROLLBACK_FAILED if step is Step.GO_BACK else HoldReason.FAILED
    return replace(clean, memory=held(remember.settled(memory), reason))


@given(situations, st.lists(st.booleans(), min_size=8, max_size=8))
def test_whatever_comes_of_each_step_the_stack_comes_to_rest_or_to_a_hold(now: Situation, ends: list[bool]) -> None:
    for good in ends:
        step = decide(now).step
        if step in END:
            return
        now = carried_out(now, step, good=good)
    assert decide(now).step in END, now


@given(situations)
def test_a_hold_always_has_a_reason(situation: Situation) -> None:
    decision = decide(situation)
    assert (decision.step is Step.HOLD) == (decision.hold is not None)
