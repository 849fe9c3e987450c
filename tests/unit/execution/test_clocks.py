"""SEMANTICS 8: when a gate's subject has passed or failed, by time and looks alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.execution.clocks import GateClocks, Watch
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment, Health
from gitopsd.model.spec import GateSpec

UNIT = UnitId.parse("Deployment.apps/web/api")
GOOD = Assessment(Health.HEALTHY)
WAIT = Assessment(Health.PROGRESSING, "Rollout", "1 of 2")
SURE = Assessment(Health.DEGRADED, "ImagePullBackOff", "no such image", final=True)
PAUSED = Assessment(Health.SUSPENDED)

ROWS: dict[str, tuple[Watch, list[tuple[Assessment, float]], str]] = {
    "healthy at the first look": (Watch(60, 0), [(GOOD, 0)], "passed"),
    "what its author paused does not gate": (Watch(60, 0), [(PAUSED, 0)], "passed"),
    "not healthy yet": (Watch(60, 0), [(WAIT, 0), (WAIT, 59)], ""),
    "out of time": (Watch(60, 0), [(WAIT, 0), (WAIT, 60)], "failed"),
    "healthy at the very end": (Watch(60, 0), [(WAIT, 0), (GOOD, 60)], "passed"),
    "one sure failure may be seen in passing": (Watch(60, 0), [(SURE, 0)], ""),
    "two in a row are final": (Watch(60, 0), [(SURE, 0), (SURE, 1)], "failed"),
    "two with a break are not": (Watch(60, 0), [(SURE, 0), (WAIT, 1), (SURE, 1)], ""),
    "a failure that may mend itself waits for the time": (
        Watch(60, 0),
        [(Assessment(Health.DEGRADED, "x"), 0), (Assessment(Health.DEGRADED, "x"), 9)],
        "",
    ),
    "not stable for long enough": (Watch(60, 10), [(GOOD, 0), (GOOD, 9)], ""),
    "stable for long enough": (Watch(60, 10), [(GOOD, 0), (GOOD, 9), (GOOD, 1)], "passed"),
    "a break starts it again": (Watch(60, 10), [(GOOD, 0), (GOOD, 9), (WAIT, 1), (GOOD, 1), (GOOD, 9)], ""),
    "time before the first healthy look does not count": (Watch(60, 10), [(WAIT, 0), (GOOD, 30), (GOOD, 5)], ""),
    "never stable within its time": (Watch(20, 10), [(GOOD, 0), (WAIT, 9), (GOOD, 9), (GOOD, 2)], "failed"),
}


@pytest.mark.parametrize("row", ROWS)
def test_verdict_by_looks(row: str) -> None:
    watch, looks, verdict = ROWS[row]
    for seen, elapsed in looks:
        watch.look(seen, elapsed)
    assert ("passed" if watch.passed else "failed" if watch.failed else "") == verdict


def test_why_it_failed_is_told_with_the_pods_own_reason() -> None:
    watch = Watch(60, 0)
    watch.look(SURE, 0)
    watch.look(SURE, 1)
    assert watch.why() == "ImagePullBackOff: no such image"
    late, shaky = Watch(60, 0), Watch(20, 30)
    late.look(WAIT, 60)
    shaky.look(GOOD, 20)
    assert late.why() == "not healthy after 60 s: Rollout: 1 of 2"
    assert shaky.why() == "not healthy for 30 s without a break within 20 s"


LOOKS = st.lists(st.tuples(st.sampled_from([GOOD, WAIT, SURE, PAUSED]), st.floats(0, 5)), max_size=30)


@given(LOOKS, st.floats(1, 30), st.floats(0, 10))
def test_nothing_passes_and_fails_at_once_unless_surely_failed(
    looks: list[tuple[Assessment, float]], timeout: float, stable: float
) -> None:
    watch = Watch(timeout, stable)
    for seen, elapsed in looks:
        watch.look(seen, elapsed)
        assert not (watch.passed and watch.failed)


@given(LOOKS, st.floats(0.5, 10))
def test_what_passed_was_healthy_that_long_without_a_break(
    looks: list[tuple[Assessment, float]], stable: float
) -> None:
    watch = Watch(1e9, stable)
    for number, (seen, elapsed) in enumerate(looks):
        watch.look(seen, elapsed)
        if watch.passed:
            streak = 0.0
            for before, took in reversed(looks[: number + 1]):
                assert before.health in {Health.HEALTHY, Health.SUSPENDED}
                streak += took
                if streak >= stable * 0.999:
                    break
            assert streak >= stable * 0.999


def test_a_run_that_supersedes_gives_an_unchanged_unit_no_more_time() -> None:
    clocks = GateClocks()
    clocks.watch(UNIT, "d1", GateSpec(timeout=60)).look(WAIT, 50)
    again = clocks.watch(UNIT, "d1", GateSpec(timeout=60))
    again.look(WAIT, 10)
    assert again.failed
    assert not clocks.watch(UNIT, "d2", GateSpec(timeout=60)).failed


def test_a_sure_failure_needs_two_looks_of_the_same_gate() -> None:
    clocks = GateClocks()
    clocks.watch(UNIT, "d1", GateSpec()).look(SURE, 0)
    again = clocks.watch(UNIT, "d1", GateSpec())
    again.look(SURE, 0)
    assert not again.failed


def test_what_passed_one_gate_has_the_time_of_the_next_for_a_hiccup() -> None:
    clocks = GateClocks()
    first = clocks.watch(UNIT, "d1", GateSpec(timeout=60))
    first.look(WAIT, 0)
    first.look(GOOD, 59)
    second = clocks.watch(UNIT, "d1", GateSpec(timeout=60))
    second.look(WAIT, 30)
    assert not second.failed
    second.look(WAIT, 30)
    assert second.failed


def test_after_a_verdict_everything_has_its_full_time() -> None:
    clocks = GateClocks()
    clocks.watch(UNIT, "d1", GateSpec(timeout=60)).look(WAIT, 60)
    clocks.reset()
    assert not clocks.watch(UNIT, "d1", GateSpec(timeout=60)).failed
