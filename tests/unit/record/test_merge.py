"""SEMANTICS of the dirty set: what a rollback may undo must survive later touches of the same unit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.memory import Attempt, Dirty, Quarantined
from gitopsd.model.plan import Action
from gitopsd.model.run import Result, RunKind
from gitopsd.record.merge import mentioned_runs, touched, without_effect
from tests.unit.record.samples import NOW, WEB, dirty, memory, values_of


def test_the_first_touch_is_taken_as_it_is() -> None:
    assert touched(None, dirty(created=True, uid="a")) == dirty(created=True, uid="a")


def test_what_a_run_made_stays_made_when_a_later_run_only_updates_it() -> None:
    merged = touched(dirty(created=True, uid="a"), dirty(run_id="r2", uid="a"))
    assert (merged.created, merged.uid, merged.run) == (True, "a", "r2")


def test_a_later_known_uid_replaces_an_empty_one() -> None:
    assert touched(dirty(created=True), dirty(uid="a")).uid == "a"
    assert touched(dirty(created=True, uid="a"), dirty(uid="")).uid == "a"


def test_an_object_that_we_made_anew_has_its_new_uid() -> None:
    assert touched(dirty(created=True, uid="a"), dirty(created=True, uid="b")).uid == "b"


def test_an_object_that_somebody_else_made_in_between_is_not_ours_to_remove() -> None:
    assert touched(dirty(created=True, uid="a"), dirty(uid="b")).uid == "a"


def test_the_values_before_the_first_touch_are_kept() -> None:
    first = dirty(before={"data": {"a": "1"}})
    assert touched(first, dirty(before={"data": {"a": "2"}})).before == {"data": {"a": "1"}}
    assert touched(dirty(), dirty(before={"x": 1})).before == {"x": 1}


def test_the_newest_touch_says_what_was_done() -> None:
    merged = touched(dirty(), dirty(run_id="r2", action=Action.DELETE, order=(3, 4), component="other"))
    assert (merged.run, merged.action, merged.order, merged.component) == ("r2", Action.DELETE, (3, 4), "other")


@given(st.lists(values_of(Dirty), min_size=1, max_size=5))
def test_once_created_always_created_and_a_known_uid_never_gets_lost(touches: list[Dirty]) -> None:
    merged: Dirty | None = None
    for touch in touches:
        merged = touched(merged, touch)
    assert merged is not None
    assert merged.created == any(t.created for t in touches)
    assert bool(merged.uid) == any(t.uid for t in touches)
    known = [t.before for t in touches if t.before is not None]
    assert merged.before == (known[0] if known else None)


def test_only_results_that_touched_nothing_leave_a_baseline_true() -> None:
    assert {r for r in Result if without_effect(r)} == {Result.UNCHANGED, Result.REFUSED, Result.KEPT}


def test_the_memory_names_runs_worth_keeping() -> None:
    attempt = Attempt("r9", RunKind.DEPLOY, "c", "d", NOW)
    bad = Quarantined("d", "c", "r3", "reason", NOW, str(WEB))
    assert mentioned_runs(memory(attempting=attempt, quarantine=(bad,))) == {"r9", "r3"}
    assert mentioned_runs(None) == set()
