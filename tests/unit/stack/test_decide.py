"""The table of what a stack does next: one row a situation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.memory import Attempt, Good, Hold, HoldReason, Memory, Quarantined
from gitopsd.model.run import RunKind
from gitopsd.model.spec import OnFailure
from gitopsd.stack.decide import Decision, Situation, Step, decide

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


situations = st.builds(
    Situation,
    memory=st.builds(
        replace,
        st.just(NEW),
        good=st.sampled_from([(), LIVE.good]),
        attempting=st.sampled_from([None, DEPLOYING, ROLLING_BACK]),
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


@given(situations)
def test_a_hold_always_has_a_reason(situation: Situation) -> None:
    decision = decide(situation)
    assert (decision.step is Step.HOLD) == (decision.hold is not None)
