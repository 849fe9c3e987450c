"""SEMANTICS 12: one thread a stack; triggers are coalesced, none is lost, and nothing spins."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.stack import actor as actor_module
from gitopsd.stack.actor import Actor, pause_before
from gitopsd.stack.attention import StackAttention
from gitopsd.stack.vigil import Vigil
from gitopsd.stack.worker import Rest, StackWorker

PATIENCE = 20.0
UNIT = UnitId("default", "", "ConfigMap", "web", "settings")


@dataclass
class FakeWorker:
    """Settles as told: `rests` come first, then it is settled. `gate` holds it at work while cleared."""

    name: str = "web"
    rests: list[Rest | Exception] = field(default_factory=list)
    settled: list[tuple[str, bool]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    gate: threading.Event = field(default_factory=threading.Event)
    inside: threading.Event = field(default_factory=threading.Event)
    due: float | None = None
    vigil: Vigil = field(default_factory=lambda: Vigil(time.monotonic))
    judged: int = 0
    suspects: list[frozenset[UnitId]] = field(default_factory=list)
    drifted: bool = False

    def judge(self) -> None:
        with self.changed:
            self.judged += 1
            if self.drifted:
                self.vigil.defer([UNIT], 0)
            self.changed.notify_all()

    def due_in(self) -> float | None:
        return self.due

    def trouble(self, detail: str) -> None:
        with self.changed:
            self.troubles.append(detail)
            self.changed.notify_all()

    def settle(self, commit: str, *, sweep: bool = False) -> Rest:
        self.inside.set()
        assert self.gate.wait(PATIENCE)
        with self.changed:
            self.suspects.append(self.vigil.take().suspects)
            self.settled.append((commit, sweep))
            rest = self.rests.pop(0) if self.rests else Rest.SETTLED
            self.changed.notify_all()
        if isinstance(rest, Exception):
            raise rest
        return rest

    def until(self, what: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE), (self.settled, self.troubles)


@pytest.fixture
def worker() -> FakeWorker:
    made = FakeWorker()
    made.gate.set()
    return made


@pytest.fixture
def actor(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Actor]:
    monkeypatch.setattr(actor_module, "FIRST_RETRY", 0.01)
    made = Actor(cast(StackWorker, worker), StackAttention(lambda commit: commit))
    made.start()
    yield made
    worker.gate.set()
    made.stop()
    made.join(PATIENCE)
    assert not made.is_alive()


def test_ten_triggers_while_it_works_make_one_more_run_at_the_newest(actor: Actor, worker: FakeWorker) -> None:
    worker.gate.clear()
    actor.fetched("c0", "")
    assert worker.inside.wait(PATIENCE)
    for number in range(1, 11):
        actor.fetched(f"c{number}", "")
    worker.gate.set()
    worker.until(lambda: ("c10", False) in worker.settled)
    assert worker.settled == [("c0", False), ("c10", False)]


def test_a_poll_that_finds_nothing_new_is_no_work(actor: Actor, worker: FakeWorker) -> None:
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 1)
    for _ in range(5):
        actor.fetched("c1", "")
    actor.sweep()
    worker.until(lambda: len(worker.settled) == 2)
    assert worker.settled == [("c1", False), ("c1", True)]


def test_a_newer_commit_is_offered_to_the_run_that_goes_on(actor: Actor, worker: FakeWorker) -> None:
    worker.gate.clear()
    actor.fetched("c1", "")
    assert worker.inside.wait(PATIENCE)
    actor.attention.work_on("c1", "c1")
    actor.fetched("c2", "")
    newer = actor.attention.interrupt()
    assert newer is not None
    assert newer.superseded_by == "c2"


def test_what_is_blocked_is_tried_again_with_growing_pauses(
    actor: Actor, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _a, _b: 1.0)
    worker.rests = [Rest.RETRY] * 4
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 5)
    assert {commit for commit, _ in worker.settled} == {"c1"}


@pytest.mark.parametrize(
    ("retries", "seconds"), [(1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (1000, 30.0), (10**6, 30.0)]
)
def test_pauses_double_up_to_a_limit(retries: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _a, _b: 1.0)
    assert pause_before(retries) == seconds


def test_what_a_watch_saw_is_judged_and_only_what_deserves_a_look_gets_one(actor: Actor, worker: FakeWorker) -> None:
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 1)
    worker.vigil.stir()
    worker.until(lambda: worker.judged == 1)
    worker.drifted = True
    worker.vigil.stir()
    worker.until(lambda: len(worker.settled) == 2)
    assert worker.suspects == [frozenset(), frozenset({UNIT})]
    assert worker.settled == [("c1", False), ("c1", False)]


def test_what_deserves_a_look_later_gets_it_then_and_not_before(actor: Actor, worker: FakeWorker) -> None:
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 1)
    began = time.monotonic()
    worker.vigil.defer([UNIT], 0.2)
    worker.vigil.stir()
    worker.until(lambda: len(worker.settled) == 2)
    assert time.monotonic() - began >= 0.2
    assert worker.suspects[1] == frozenset({UNIT})


def test_drift_does_not_hurry_a_stack_that_waits_for_its_environment(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_module, "FIRST_RETRY", 3600.0)
    monkeypatch.setattr(actor_module, "LONGEST_RETRY", 3600.0)
    worker.rests, worker.drifted = [Rest.RETRY], True
    blocked = Actor(cast(StackWorker, worker), StackAttention(lambda commit: commit))
    blocked.start()
    try:
        blocked.fetched("c1", "")
        worker.until(lambda: len(worker.settled) == 1)
        for number in range(3):
            worker.vigil.stir()
            worker.until(lambda: worker.judged > number)  # noqa: B023 - waited for in the same turn
        assert len(worker.settled) == 1
    finally:
        blocked.stop()
        blocked.join(PATIENCE)


def test_a_blocked_stack_does_not_spin(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_module, "FIRST_RETRY", 3600.0)
    monkeypatch.setattr(actor_module, "LONGEST_RETRY", 3600.0)
    worker.rests = [Rest.RETRY] * 3
    blocked = Actor(cast(StackWorker, worker), StackAttention(lambda commit: commit))
    blocked.start()
    try:
        blocked.fetched("c1", "")
        worker.until(lambda: len(worker.settled) == 1)
        blocked.fetched("c1", "")
        blocked.fetched("c2", "")  # a changed input is tried at once
        worker.until(lambda: len(worker.settled) == 2)
        assert worker.settled == [("c1", False), ("c2", False)]
    finally:
        blocked.stop()
        blocked.join(PATIENCE)
    assert len(worker.settled) == 2


def test_a_sweep_that_the_environment_spoiled_is_owed(actor: Actor, worker: FakeWorker) -> None:
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 1)
    worker.rests = [Rest.RETRY]
    actor.sweep()
    worker.until(lambda: len(worker.settled) == 3)
    assert worker.settled[1:] == [("c1", True), ("c1", True)]


@pytest.mark.parametrize("fault", [EnvironmentFault("disk full"), KeyError("bug")])
def test_no_fault_ends_the_thread(actor: Actor, worker: FakeWorker, fault: Exception) -> None:
    worker.rests = [fault]
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 2)
    assert actor.is_alive()


def test_trouble_of_the_source_comes_and_goes_although_the_head_stays(actor: Actor, worker: FakeWorker) -> None:
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 1)
    actor.fetched("c1", "server away")
    worker.until(lambda: len(worker.settled) == 2)
    actor.fetched("c1", "server away")
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 3)
    assert worker.troubles == ["", "server away", ""]


def test_a_source_without_a_head_holds_the_stack_and_settles_nothing(actor: Actor, worker: FakeWorker) -> None:
    actor.fetched(None, "no such branch")
    worker.until(lambda: worker.troubles == ["no such branch"])
    actor.fetched("c1", "")
    worker.until(lambda: len(worker.settled) == 1)
    assert worker.settled == [("c1", False)]


def test_stop_ends_the_thread_after_what_it_does_and_tells_the_run(actor: Actor, worker: FakeWorker) -> None:
    worker.gate.clear()
    actor.fetched("c1", "")
    assert worker.inside.wait(PATIENCE)
    actor.stop()
    interrupt = actor.attention.interrupt()
    assert interrupt is not None
    assert interrupt.superseded_by is None
    assert actor.is_alive()
    worker.gate.set()
    actor.join(PATIENCE)
    assert not actor.is_alive()
