"""How the memory changes: what a crash right after each change would find."""

from __future__ import annotations

from dataclasses import replace

from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Attempt, Good, Hold, HoldReason, JobDone, Memory, Quarantined
from gitopsd.model.run import RunKind
from gitopsd.stack import remember
from gitopsd.stack.decide import Situation, Step, decide

NEW = Memory("web", "test", "main")
MIGRATE = UnitId("default", "batch", "Job", "web", "migrate")


def good(number: int) -> Good:
    return Good(f"c{number}", f"d{number}", f"t{number}")


def bad(number: int) -> Quarantined:
    return Quarantined(f"d{number}", f"c{number}", f"web-{number}", "it broke", f"t{number}")


def test_good_revisions_are_newest_first_and_bounded() -> None:
    memory = NEW
    for number in range(20):
        memory = remember.good(memory, good(number))
    assert [g.commit for g in memory.good] == [f"c{n}" for n in range(19, 9, -1)]


def test_asking_the_same_again_replaces_the_entry() -> None:
    memory = remember.good(remember.good(NEW, good(1)), replace(good(1), commit="c1-again"))
    assert [g.commit for g in memory.good] == ["c1-again"]


def test_a_digest_that_became_good_leaves_quarantine() -> None:
    memory = remember.good(remember.failed(NEW, bad(1), None), good(1))
    assert memory.quarantined("d1") is None


def test_quarantine_and_the_rollback_to_come_are_one_change() -> None:
    back = Attempt("web-2", RunKind.ROLLBACK, "c1", "d1", "t")
    memory = remember.failed(remember.good(NEW, good(1)), bad(2), back)
    assert decide(Situation(memory, "d2", dirty=True)).step is Step.ROLL_BACK
    assert decide(Situation(remember.settled(memory), "d2")).step is Step.HOLD


def test_quarantine_is_bounded_and_keeps_the_newest() -> None:
    memory = NEW
    for number in range(60):
        memory = remember.failed(memory, bad(number), None)
    assert len(memory.quarantine) == remember.QUARANTINE_KEPT
    assert memory.quarantined("d59") is not None
    assert memory.quarantined("d0") is None


def test_a_hold_that_is_set_again_keeps_its_time() -> None:
    first = Hold(HoldReason.BLOCKED, "t1", "gitopsd", "cluster away")
    holds = remember.with_hold(remember.with_hold((), first), replace(first, since="t2", detail="still away"))
    assert holds == (replace(first, detail="still away"),)


def test_a_run_that_begins_has_overcome_its_holds_but_not_those_of_people() -> None:
    flapping = Hold(HoldReason.FLAPPING, "t", "gitopsd", "")
    blocked = Hold(HoldReason.BLOCKED, "t", "gitopsd", "")
    memory = replace(NEW, holds=(flapping, blocked))
    attempt = Attempt("web-1", RunKind.DEPLOY, "c", "d", "t")
    assert remember.attempting(memory, attempt).holds == (flapping,)


def test_a_job_is_remembered_once_with_its_newest_digest() -> None:
    memory = remember.with_jobs(NEW, [JobDone(MIGRATE, "j1", "t1")])
    memory = remember.with_jobs(memory, [JobDone(MIGRATE, "j2", "t2")])
    assert memory.jobs == (JobDone(MIGRATE, "j2", "t2"),)
