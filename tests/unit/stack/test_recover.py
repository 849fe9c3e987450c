"""SEMANTICS 7 and 13: after a crash nothing is assumed; an intent without an outcome is judged by what is live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, LiveObject
from gitopsd.model.memory import Dirty, Intent
from gitopsd.model.plan import Action
from gitopsd.model.ports import Cluster, Record
from gitopsd.model.run import RunKind, RunRecord, Verdict
from gitopsd.model.units import Person
from gitopsd.record import SqliteRecord, open_record
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.recover import recover
from tests.unit.execution.fakes import FakeCluster
from tests.unit.planning.samples import APPLYSET, STACK, applied, baseline, desired, live_object, manifest, only, stack
from tests.unit.record.samples import FakeClock

UNIT = only(desired(stack(), manifest("ConfigMap")))
OURS = applied(UNIT, uid="made")
THEIRS = live_object(UNIT.id, UNIT.manifest, uid="theirs", manager="kubectl")
PLANNED = applied(UNIT, uid="planned")
GOING = LiveObject(PLANNED.id, {**PLANNED.body, "metadata": {**PLANNED.metadata, "deletionTimestamp": "t"}})
RUN = RunRecord("web-1", STACK, RunKind.DEPLOY, "c1", "d1", Person("Ada"), "2030-01-01T00:00:00.000Z")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecord]:
    with open_record(tmp_path / "state", FakeClock()) as made:
        yield made


@pytest.fixture
def ledger(record: SqliteRecord) -> Ledger:
    return Ledger(STACK, "main", "test", cast(Record, record), FakeClock())


def intent(action: Action, live_uid: str = "", unit: UnitId = UNIT.id, run: str = RUN.id) -> Intent:
    return Intent(run, unit, action, (0, 0), "app", UNIT.digest, live_uid, "2030-01-01T00:00:01.000Z")


def crashed(ledger: Ledger, *intents: Intent, run: RunRecord = RUN) -> None:
    ledger.record.adopt_memory(ledger.memory)
    ledger.record.begin(run)
    ledger.record.intend(STACK, intents)


def look(ledger: Ledger, live: LiveObject | Absence) -> FakeCluster:
    cluster = FakeCluster({UNIT.id: live} if isinstance(live, LiveObject) else {})
    recover(ledger, lambda _: cast(Cluster, cluster), lambda _: APPLYSET, lambda _stack, _component: None)
    return cluster


# What was intended, what was live when it was planned, what is live now: created by us? which uid? or no mark at all.
ROWS: dict[str, tuple[Action, str, LiveObject | Absence, tuple[bool, str] | None]] = {
    "create: it never arrived": (Action.CREATE, "", Absence.GONE, None),
    "create: we made it": (Action.CREATE, "", OURS, (True, "made")),
    "create: somebody else made one of that name": (Action.CREATE, "", THEIRS, None),
    "update: it may have happened": (Action.UPDATE, "planned", PLANNED, (False, "planned")),
    "update: the object is gone meanwhile": (Action.UPDATE, "planned", Absence.GONE, None),
    "adopt: it may have happened": (Action.ADOPT, "theirs", THEIRS, (False, "theirs")),
    "recreate: deleted, not made": (Action.RECREATE, "planned", Absence.GONE, (False, "")),
    "recreate: made anew": (Action.RECREATE, "planned", OURS, (True, "made")),
    "recreate: not begun": (Action.RECREATE, "planned", PLANNED, (False, "planned")),
    "delete: it is gone": (Action.DELETE, "planned", Absence.GONE, (False, "")),
    "delete: it is on its way": (Action.DELETE, "planned", GOING, (False, "planned")),
    "delete: it never arrived": (Action.DELETE, "planned", PLANNED, None),
    "release: not known to be done": (Action.RELEASE, "planned", PLANNED, None),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_an_intent_without_an_outcome_leaves(ledger: Ledger, row: str) -> None:
    action, live_uid, live, mark = ROWS[row]
    crashed(ledger, intent(action, live_uid))
    cluster = look(ledger, live)
    state = ledger.state
    expected = () if mark is None else (Dirty(UNIT.id, RUN.id, action, (0, 0), "app", *mark),)
    assert state.dirty == expected
    assert state.intents == ()
    assert set(cluster.verbs()) == {"get"}, "a look after a crash writes nothing"


@pytest.mark.parametrize(("live", "tracked"), [(OURS, True), (THEIRS, False), (Absence.GONE, False)])
def test_what_carries_our_marks_is_tracked_but_nobody_knows_its_wish(
    ledger: Ledger, live: LiveObject | Absence, tracked: bool
) -> None:
    crashed(ledger, intent(Action.CREATE))
    look(ledger, live)
    found = ledger.record.baselines(STACK)
    assert (UNIT.id in found) is tracked
    assert all((b.certain, b.digest) == (False, "") for b in found.values())


def test_a_tracked_unit_keeps_its_baseline_as_uncertain(ledger: Ledger) -> None:
    base = baseline(PLANNED, UNIT)
    ledger.record.rebase(STACK, [base])
    crashed(ledger, intent(Action.UPDATE, "planned"))
    look(ledger, PLANNED)
    assert ledger.record.baselines(STACK) == {UNIT.id: replace(base, certain=False)}


def test_an_older_mark_that_says_more_is_not_lost(ledger: Ledger) -> None:
    before = Dirty(UNIT.id, "web-0", Action.ADOPT, (0, 0), "app", uid="theirs", before={"data": {"a": "old"}})
    ledger.record.soil(STACK, [before])
    crashed(ledger, intent(Action.ADOPT, "theirs"))
    look(ledger, THEIRS)
    (mark,) = ledger.state.dirty
    assert mark.before == {"data": {"a": "old"}}


@pytest.mark.parametrize("verdict", [None, Verdict.SUPERSEDED])
def test_a_heal_leaves_nothing_dirty_however_it_ended(ledger: Ledger, verdict: Verdict | None) -> None:
    ledger.record.rebase(STACK, [baseline(PLANNED, UNIT)])
    crashed(ledger, intent(Action.UPDATE, "planned"), run=replace(RUN, kind=RunKind.HEAL, verdict=verdict))
    look(ledger, PLANNED)
    assert ledger.state.dirty == ()
    assert not ledger.record.baselines(STACK)[UNIT.id].certain


def test_an_open_run_is_closed_and_says_why(ledger: Ledger, record: SqliteRecord) -> None:
    crashed(ledger)
    look(ledger, Absence.GONE)
    run = record.run(RUN.id)
    assert run is not None
    assert (run.verdict, run.finished is not None) == (Verdict.SUPERSEDED, True)
    assert "ended in the middle" in run.reason


def test_while_the_cluster_is_away_nothing_is_decided(ledger: Ledger, record: SqliteRecord) -> None:
    crashed(ledger, intent(Action.CREATE))

    def away(_: str) -> Cluster:
        raise EnvironmentFault("cluster default does not answer")

    with pytest.raises(EnvironmentFault):
        recover(ledger, away, lambda _: APPLYSET, lambda _stack, _component: None)
    run = record.run(RUN.id)
    assert run is not None
    assert run.verdict is None
    assert len(ledger.state.intents) == 1
    look(ledger, OURS)
    assert [d.created for d in ledger.state.dirty] == [True]
