"""SEMANTICS 13: which memory is the true one, whose the stack is, and what a hold leaves in the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from gitopsd.model.errors import EnvironmentFault, NeedsPerson
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.memory import Good, Hold, HoldReason, JobDone, Memory, Quarantined
from gitopsd.model.ports import Cluster, Record
from gitopsd.record import SqliteRecord, open_record
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.parents import OtherCluster, Parents
from tests.unit.planning.samples import APPLYSETS, STACK, applied, desired, live_object, manifest, only, stack
from tests.unit.record.samples import FakeClock

UNIT = only(desired(stack(), manifest("ConfigMap")))
OURS = applied(UNIT)
COPY = UNIT.id._replace(name="copy")
COPIED = live_object(COPY, {**OURS.body, "metadata": {**OURS.metadata, "name": "copy"}})
JOB = UnitId.parse("Job.batch/web/migrate")


@dataclass
class Parent:
    """The part of a cluster that keeps a stack's memory, and what is tracked there."""

    memory: Memory | None = None
    members_there: tuple[LiveObject, ...] = ()
    saved: list[Memory] = field(default_factory=list)
    loads: int = 0
    fault: Exception | None = None
    kube_system: str = "uid-of-kube-system"

    def load_memory(self, stack: str) -> Memory | None:
        self.loads += 1
        if self.fault is not None:
            raise self.fault
        return self.memory

    def uid(self) -> str:
        return self.kube_system

    def save_memory(self, memory: Memory, *, over: str = "") -> None:
        if self.fault is not None:
            raise self.fault
        self.saved.append(memory)

    def members(self, applyset: str, kinds: Any) -> tuple[LiveObject, ...]:
        return self.members_there


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecord]:
    with open_record(tmp_path / "state", FakeClock()) as made:
        yield made


@pytest.fixture
def ledger(record: SqliteRecord) -> Ledger:
    return Ledger(STACK, "main", "test", cast(Record, record), FakeClock())


def memory(generation: int, **more: Any) -> Memory:
    known = dict.fromkeys(("default", "other"), "uid-of-kube-system")
    return replace(Memory(STACK, "test", "main", clusters=known), generation=generation, **more)


def clusters(**parents: Parent) -> dict[str, Cluster]:
    return {name: cast(Cluster, parent) for name, parent in parents.items()}


def read(ledger: Ledger, there: Mapping[str, Cluster]) -> None:
    Parents(ledger).read(there, APPLYSETS, lambda _: {})


def test_the_highest_generation_wins_over_the_host_and_other_clusters(ledger: Ledger) -> None:
    ledger.record.adopt_memory(memory(3))
    newest = memory(7, good=(Good("c7", "d7", "t"),), kinds=("ConfigMap",))
    read(ledger, clusters(default=Parent(memory(5)), other=Parent(newest)))
    assert ledger.memory.good == newest.good
    assert ledger.memory.generation == 7


@pytest.mark.parametrize("generation", [3, 2])
def test_a_host_that_knows_as_much_keeps_what_it_has(ledger: Ledger, generation: int) -> None:
    ledger.record.adopt_memory(memory(3, good=(Good("c3", "d3", "t"),)))
    read(ledger, clusters(default=Parent(memory(generation), (OURS,))))
    assert ledger.memory.good[0].commit == "c3"
    assert ledger.record.baselines(STACK) == {}


def test_a_lost_host_tracks_what_carries_our_marks_and_trusts_none_of_it(ledger: Ledger) -> None:
    read(ledger, clusters(default=Parent(memory(7, kinds=("ConfigMap",)), (OURS, COPIED))))
    found = ledger.record.baselines(STACK)
    assert set(found) == {UNIT.id}, "a copied label and annotation name another object"
    assert (found[UNIT.id].certain, found[UNIT.id].digest, found[UNIT.id].uid) == (False, "", "uid-1")


def test_another_instances_stack_is_refused_with_the_way_to_take_it_over(ledger: Ledger) -> None:
    theirs = replace(memory(9), instance="elsewhere")
    with pytest.raises(NeedsPerson, match=r"belongs to the instance 'elsewhere'.*gitopsd takeover web"):
        read(ledger, clusters(default=Parent(memory(1)), other=Parent(theirs)))
    assert ledger.memory.generation == 0


def test_a_refused_or_spoiled_look_is_made_again_and_a_good_one_only_once(ledger: Ledger) -> None:
    parent = Parent(memory(7), fault=EnvironmentFault("away"))
    parents = Parents(ledger)
    for _ in range(2):
        with pytest.raises(EnvironmentFault):
            parents.read(clusters(default=parent), APPLYSETS, lambda _: {})
    parent.fault = None
    for _ in range(3):
        parents.read(clusters(default=parent), APPLYSETS, lambda _: {})
    assert parent.loads == 3


def test_a_memory_is_stored_on_the_host_before_any_cluster_hears_of_it(ledger: Ledger) -> None:
    away = Parent(fault=EnvironmentFault("away"))
    with pytest.raises(EnvironmentFault):
        ledger.remember(memory(0, runs=4), clusters(default=away))
    assert (ledger.memory.runs, ledger.memory.generation) == (4, 1)
    back = Parent()
    ledger.spread(clusters(default=back))
    assert [m.generation for m in back.saved] == [1]


# ---------------------------------------------------------------- parents that others meddle with


def audited(state_dir: Path) -> list[str]:
    lines = [json.loads(line) for line in (state_dir / "state" / "audit.jsonl").read_text().splitlines()]
    return [line["detail"] for line in lines if line["action"] == "parent"]


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (None, "was deleted"),
        (memory(2, runs=1), "was behind, at generation 2"),
        (memory(3, runs=1, quarantine=(Quarantined("d", "c", "r", "by hand", "t"),)), "was changed by somebody"),
    ],
)
def test_a_parent_that_somebody_deleted_or_changed_is_written_anew_and_audited(
    ledger: Ledger, tmp_path: Path, there: Memory | None, why: str
) -> None:
    ledger.record.adopt_memory(memory(3, runs=1))
    parent, whole = Parent(there), Parent(memory(3, runs=1, holds=(Hold(HoldReason.BLOCKED, "t", "gitopsd", "x"),)))
    Parents(ledger).tend(clusters(default=parent, other=whole))
    assert [m.generation for m in parent.saved] == [3]
    assert whole.saved == [], "holds are written with the next change of anything else"
    (told,) = audited(tmp_path)
    assert told.startswith("the parent in cluster default")
    assert why in told


def test_a_stack_that_never_ran_has_no_parent_to_tend(ledger: Ledger) -> None:
    ledger.record.adopt_memory(memory(1))
    parent = Parent()
    Parents(ledger).tend(clusters(default=parent))
    assert (parent.saved, parent.loads) == ([], 0)


def test_a_swapped_cluster_is_no_deleted_parent(ledger: Ledger) -> None:
    ledger.record.adopt_memory(memory(3, runs=1))
    strange = Parent(kube_system="uid-of-another")
    with pytest.raises(OtherCluster, match=r"uid-of-another, not uid-of-kube-system.*gitopsd accept-cluster other"):
        Parents(ledger).tend(clusters(default=Parent(memory(3, runs=1)), other=strange))
    assert (strange.saved, strange.loads) == ([], 0)


# ---------------------------------------------------------------- holds


def events(record: SqliteRecord) -> int:
    return record.audit([]).seq


def test_a_hold_is_audited_when_it_is_new_and_when_it_ends(ledger: Ledger, record: SqliteRecord) -> None:
    ledger.hold(HoldReason.BLOCKED, "away")
    first = ledger.memory.holds[0]
    at = events(record)
    ledger.hold(HoldReason.BLOCKED, "away")
    ledger.hold(HoldReason.BLOCKED, "still away, for another reason")
    (hold,) = ledger.memory.holds
    assert (hold.since, hold.detail) == (first.since, "still away, for another reason")
    assert events(record) == at
    ledger.lift(HoldReason.BLOCKED)
    assert ledger.memory.holds == ()
    assert events(record) == at + 1
    ledger.lift(HoldReason.BLOCKED)
    assert events(record) == at + 1


def test_only_the_named_holds_are_lifted(ledger: Ledger) -> None:
    ledger.hold(HoldReason.BLOCKED, "away")
    ledger.hold(HoldReason.SOURCE, "no branch")
    ledger.lift(HoldReason.BLOCKED, HoldReason.INSTANCE)
    assert [h.reason for h in ledger.memory.holds] == [HoldReason.SOURCE]


def test_a_hold_of_a_stack_that_was_never_seen_is_no_memory_that_outranks_a_cluster(ledger: Ledger) -> None:
    ledger.hold(HoldReason.SOURCE, "no branch")
    read(ledger, clusters(default=Parent(memory(1, good=(Good("c1", "d1", "t"),)))))
    assert ledger.memory.good


# ---------------------------------------------------------------- jobs


def test_a_finished_job_is_remembered_at_once_and_only_once(ledger: Ledger, record: SqliteRecord) -> None:
    parent = Parent()
    done = JobDone(JOB, "spec-1", "t")
    ledger.note_jobs([done], clusters(default=parent))
    at = events(record)
    ledger.note_jobs([replace(done, at="later")], clusters(default=parent))
    assert ledger.memory.jobs == (done,)
    assert (len(parent.saved), events(record)) == (1, at)
    ledger.note_jobs([replace(done, digest="spec-2")], clusters(default=parent))
    assert [j.digest for j in ledger.memory.jobs] == ["spec-2"]
