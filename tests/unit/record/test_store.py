"""Every method of the record is one transaction, and means what its port says."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.model.errors import EnvironmentFault, UsageError
from gitopsd.model.live import Health
from gitopsd.model.memory import Attempt, AuditHead, Good, Hold, HoldReason, Quarantined
from gitopsd.model.plan import Plan, Postponed
from gitopsd.model.ports import Effect, Record
from gitopsd.model.run import Leftover, Observation, Result, RunKind, Verdict
from gitopsd.record import SqliteRecord, open_record
from gitopsd.record.audit_reader import verify
from gitopsd.record.merge import KEEP_RUNS
from gitopsd.record.reader import open_reader
from tests.unit.record.samples import (
    CONFIG,
    NOW,
    WEB,
    FakeClock,
    baseline,
    dirty,
    event,
    intent,
    memory,
    outcome,
    run,
)

STACK = "website"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecord]:
    with open_record(tmp_path / "state", FakeClock()) as opened:
        yield opened


def reopened(record: SqliteRecord, directory: Path) -> SqliteRecord:
    record.close()
    return open_record(directory, FakeClock())


def test_it_is_the_record_of_the_ports(record: SqliteRecord) -> None:
    port: Record = record
    assert port.state(STACK) is None
    assert port.baselines(STACK) == {}
    assert port.run("r1") is None
    assert port.runs() == ()


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_record(tmp_path / "state", FakeClock()) as record:
            record.audit([event()])
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "state").iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert modes == {
        "state.db": 0o600,
        "state.db-wal": 0o600,
        "state.db-shm": 0o600,
        "lock": 0o600,
        "audit.jsonl": 0o640,
    }


# ---------------------------------------------------------------- memory


def test_saving_raises_the_generation_and_takes_the_head_of_now(record: SqliteRecord, tmp_path: Path) -> None:
    first = record.save_memory(memory())
    assert (first.generation, first.audit) == (1, AuditHead())
    second = record.save_memory(first, [event("a"), event("b")])
    assert second.generation == 2
    assert second.audit == record.audit([])
    assert second.audit.seq == 2
    with reopened(record, tmp_path / "state") as again:
        state = again.state(STACK)
        assert state is not None
        assert state.memory == second


def test_a_stale_memory_never_gets_an_older_generation(record: SqliteRecord) -> None:
    stale = record.save_memory(memory())
    record.save_memory(stale)
    assert record.save_memory(stale).generation == 3


def test_an_adopted_memory_is_stored_exactly(record: SqliteRecord) -> None:
    found = memory(generation=41, audit=AuditHead(7, "f" * 64), good=(Good("c", "d", NOW),))
    record.adopt_memory(found)
    state = record.state(STACK)
    assert state is not None
    assert state.memory == found
    assert record.save_memory(found).generation == 42


def test_holds_do_not_raise_the_generation(record: SqliteRecord) -> None:
    saved = record.save_memory(memory())
    hold = Hold(HoldReason.BLOCKED, NOW, "gitopsd", "the cluster does not answer")
    record.set_holds(STACK, [hold], [event("hold")])
    state = record.state(STACK)
    assert state is not None
    assert state.memory == replace(saved, holds=(hold,))
    record.set_holds(STACK, [])
    state = record.state(STACK)
    assert state is not None
    assert state.memory.holds == ()


def test_holds_of_an_unknown_stack_are_refused_with_their_audit_entry(record: SqliteRecord) -> None:
    with pytest.raises(ValueError, match="no memory yet"):
        record.set_holds("never-seen", [], [event("hold")])
    assert record.audit([]).seq == 0
    assert record.state("never-seen") is None


def test_postponed_prunes_are_replaced(record: SqliteRecord) -> None:
    record.save_memory(memory())
    record.set_postponed(STACK, [Postponed(WEB, "finalizer", NOW), Postponed(CONFIG, "approval", NOW)])
    record.set_postponed(STACK, [Postponed(CONFIG, "approval", NOW)])
    state = record.state(STACK)
    assert state is not None
    assert state.postponed == (Postponed(CONFIG, "approval", NOW),)


def test_stacks_do_not_see_each_other(record: SqliteRecord) -> None:
    record.save_memory(memory("a"))
    record.save_memory(memory("b"))
    record.rebase("a", [baseline()])
    record.soil("a", [dirty()])
    record.intend("a", [intent()])
    other = record.state("b")
    assert other is not None
    assert (other.dirty, other.intents, record.baselines("b")) == ((), (), {})
    assert record.stacks() == ("a", "b")


# ---------------------------------------------------------------- effects


def test_an_intent_makes_the_baseline_uncertain_until_its_outcome(record: SqliteRecord) -> None:
    record.save_memory(memory())
    record.begin(run("r1"))
    record.rebase(STACK, [baseline(), baseline(CONFIG)])
    record.intend(STACK, [intent()])
    assert {u: b.certain for u, b in record.baselines(STACK).items()} == {WEB: False, CONFIG: True}
    state = record.state(STACK)
    assert state is not None
    assert state.intents == (intent(),)

    applied = baseline(resource_version="8")
    record.conclude(STACK, "r1", [Effect(outcome(), baseline=applied, dirty=dirty())], [event("applied")])
    state, whole = record.state(STACK), record.run("r1")
    assert state is not None
    assert whole is not None
    assert record.baselines(STACK)[WEB] == applied
    assert (state.intents, state.dirty, whole.outcomes) == ((), (dirty(),), (outcome(),))
    assert record.audit([]).seq == 1


def test_conclude_is_one_transaction(record: SqliteRecord) -> None:
    record.save_memory(memory())
    record.rebase(STACK, [baseline()])
    record.intend(STACK, [intent()])
    effect = Effect(outcome(), baseline=baseline(resource_version="8"), dirty=dirty())
    with pytest.raises(ValueError, match="never begun"):
        record.conclude(STACK, "unknown-run", [effect], [event("applied")])
    state = record.state(STACK)
    assert state is not None
    assert (state.dirty, state.intents) == ((), (intent(),))
    assert record.baselines(STACK)[WEB].certain is False
    assert record.audit([]).seq == 0


@pytest.mark.parametrize(
    ("before", "result", "certain"),
    [
        (True, Result.REFUSED, True),
        (True, Result.KEPT, True),
        (True, Result.UNCHANGED, True),
        (True, Result.TERMINATING, False),
        (True, Result.APPLIED, False),
        (False, Result.REFUSED, False),
    ],
)
def test_an_outcome_without_a_baseline_restores_no_more_than_was_known(
    record: SqliteRecord, before: bool, result: Result, certain: bool
) -> None:
    record.begin(run("r1"))
    record.rebase(STACK, [baseline(certain=before)])
    record.intend(STACK, [intent()])
    record.conclude(STACK, "r1", [Effect(outcome(result=result))])
    assert record.baselines(STACK)[WEB].certain is certain


def test_a_second_intent_does_not_forget_that_the_first_had_no_outcome(record: SqliteRecord) -> None:
    record.begin(run("r1"))
    record.rebase(STACK, [baseline(certain=False)])
    record.intend(STACK, [intent()])
    record.intend(STACK, [intent(run_id="r2")])
    record.conclude(STACK, "r1", [Effect(outcome(result=Result.REFUSED))])
    assert record.baselines(STACK)[WEB].certain is False


def test_a_deleted_unit_is_forgotten_but_stays_dirty(record: SqliteRecord) -> None:
    record.save_memory(memory())
    record.begin(run("r1"))
    record.rebase(STACK, [baseline()])
    record.intend(STACK, [intent()])
    record.conclude(STACK, "r1", [Effect(outcome(result=Result.DELETED), forget=True, dirty=dirty())])
    state = record.state(STACK)
    assert state is not None
    assert (record.baselines(STACK), state.dirty, state.intents) == ({}, (dirty(),), ())


def test_rebase_corrects_and_ends_intents(record: SqliteRecord) -> None:
    record.save_memory(memory())
    record.rebase(STACK, [baseline(), baseline(CONFIG)])
    record.intend(STACK, [intent(), intent(CONFIG)])
    record.rebase(STACK, [baseline(uid="new")], forget=[CONFIG])
    state = record.state(STACK)
    assert state is not None
    assert (record.baselines(STACK), state.intents) == ({WEB: baseline(uid="new")}, ())


def test_touches_add_up_until_a_gate_cleans_them(record: SqliteRecord, tmp_path: Path) -> None:
    record.save_memory(memory())
    record.begin(run("r2"))
    record.soil(STACK, [dirty(created=True, uid="a"), dirty(CONFIG)])
    record.conclude(STACK, "r2", [Effect(outcome(), dirty=dirty(run_id="r2"))])
    with reopened(record, tmp_path / "state") as again:
        state = again.state(STACK)
        assert state is not None
        assert state.dirty == (dirty(run_id="r2", created=True, uid="a"), dirty(CONFIG))
        again.clean(STACK, [WEB])
        state = again.state(STACK)
        assert state is not None
        assert state.dirty == (dirty(CONFIG),)


# ---------------------------------------------------------------- runs


def test_a_run_from_begin_to_finish(record: SqliteRecord, tmp_path: Path) -> None:
    started = run("r1", subject="Raise replicas")
    record.begin(started, [event("begin")])
    plan = Plan(STACK, "c" * 40, "digest", warnings=("deprecated",))
    record.save_plan("r1", plan)
    record.save_plan("r1", replace(plan, warnings=()))
    pulling = Observation(str(WEB), Health.PROGRESSING, "", "waiting", False, NOW)
    failed = Observation(str(WEB), Health.DEGRADED, "ImagePullBackOff", "no such tag", True, NOW)
    record.observed("r1", [pulling])
    record.observed("r1", [failed])
    record.conclude(STACK, "r1", [Effect(outcome())])
    ended = replace(
        started,
        finished=NOW,
        verdict=Verdict.FAILED,
        reason="ImagePullBackOff",
        failing=WEB,
        leftovers=(Leftover(CONFIG, "immutable"), Leftover(CONFIG, "no key opens it", environment=True)),
        suspects=("c" * 40, "d" * 40),
    )
    record.finish(ended, [event("failed")])
    with reopened(record, tmp_path / "state") as again:
        whole = replace(ended, plan=replace(plan, warnings=()), outcomes=(outcome(),), observations=(failed,))
        assert again.run("r1") == whole
        assert again.runs() == (replace(ended, leftovers=(), suspects=()),)


def test_a_unit_may_have_two_outcomes_in_one_run(record: SqliteRecord) -> None:
    record.begin(run("r1"))
    record.conclude(STACK, "r1", [Effect(outcome(result=Result.DELETED))])
    record.conclude(STACK, "r1", [Effect(outcome())])
    whole = record.run("r1")
    assert whole is not None
    assert [o.result for o in whole.outcomes] == [Result.DELETED, Result.APPLIED]


def test_a_run_that_goes_on_after_a_restart_keeps_its_outcomes(record: SqliteRecord) -> None:
    record.begin(run("r1"))
    record.conclude(STACK, "r1", [Effect(outcome())])
    record.begin(run("r1"))
    whole = record.run("r1")
    assert whole is not None
    assert whole.outcomes == (outcome(),)
    assert len(record.runs()) == 1


def test_runs_are_newest_first_of_one_stack_or_all(record: SqliteRecord) -> None:
    for id_, stack in [("r1", "a"), ("r2", "b"), ("r3", "a")]:
        record.begin(run(id_, stack))
    assert [r.id for r in record.runs()] == ["r3", "r2", "r1"]
    assert [r.id for r in record.runs("a")] == ["r3", "r1"]
    assert [r.id for r in record.runs("a", limit=1)] == ["r3"]


def test_history_is_bounded_but_keeps_what_is_referred_to(record: SqliteRecord) -> None:
    good = run("good", revision="g" * 40, digest="gd", verdict=Verdict.GOOD)
    for old in (
        good,
        replace(good, id="heal", kind=RunKind.HEAL),
        run("bad"),
        run("touched"),
        run("intended"),
        run("old"),
    ):
        record.begin(old)
    record.conclude(STACK, "old", [Effect(outcome())])
    record.begin(run("elsewhere", "another"))
    attempt = Attempt("r0", RunKind.DEPLOY, "c", "d", NOW)
    record.save_memory(
        memory(
            good=(Good("g" * 40, "gd", NOW),),
            attempting=attempt,
            quarantine=(Quarantined("d", "c", "bad", "why", NOW),),
        )
    )
    record.soil(STACK, [dirty(run_id="touched")])
    record.intend(STACK, [intent(run_id="intended")])
    for number in range(KEEP_RUNS + 5):
        record.begin(run(f"r{number}"))
    kept = {r.id for r in record.runs(STACK, limit=1000)}
    assert kept - {f"r{n}" for n in range(5, KEEP_RUNS + 5)} == {"good", "bad", "touched", "intended", "r0"}
    assert record.run("old") is None
    assert record.run("elsewhere") is not None


# ---------------------------------------------------------------- threads, faults


def test_many_threads_share_it(record: SqliteRecord) -> None:
    record.begin(run("r1"))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(10):
                unit = WEB._replace(name=f"u{number}-{step}")
                record.intend(STACK, [intent(unit)])
                record.conclude(STACK, "r1", [Effect(outcome(unit), baseline=baseline(unit))], [event(str(unit))])
                record.baselines(STACK)
        except BaseException as error:  # noqa: BLE001  (a thread's failure must reach the test)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(record.baselines(STACK)) == 40
    assert record.audit([]).seq == 40


def test_a_full_database_is_the_environments_fault_and_changes_nothing(record: SqliteRecord) -> None:
    record.begin(run("r1"))
    record.rebase(STACK, [baseline()])
    pages = record._db.execute("PRAGMA page_count").fetchone()[0]
    record._db.execute(f"PRAGMA max_page_count={pages}")
    big = baseline(CONFIG, metadata={"noise": os.urandom(200_000).hex()})
    with pytest.raises(EnvironmentFault, match="free some space"):
        record.conclude(STACK, "r1", [Effect(outcome(CONFIG), baseline=big)], [event("applied")])
    assert record.baselines(STACK) == {WEB: baseline()}
    assert record.audit([]).seq == 0
    record._db.execute("PRAGMA max_page_count=1000000")
    record.conclude(STACK, "r1", [Effect(outcome(CONFIG), baseline=big)], [event("applied")])
    assert record.baselines(STACK)[CONFIG] == big


def test_a_damaged_database_says_how_to_go_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    open_record(state, FakeClock()).close()
    data = bytearray((state / "state.db").read_bytes())
    data[4096:12288] = os.urandom(8192)
    (state / "state.db").write_bytes(data)
    with pytest.raises(EnvironmentFault, match="rebuilt from its cluster"):
        open_record(state, FakeClock())


def test_no_database_at_all_says_how_to_go_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    open_record(state, FakeClock()).close()
    (state / "state.db").write_bytes(b"x" * 5000)
    for _ in range(2):  # the refusal leaves nothing locked
        with pytest.raises(EnvironmentFault, match=r"state\.db: is damaged.*rebuilt from its cluster"):
            open_record(state, FakeClock())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_no_flipped_bits_give_a_traceback(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    state = tmp_path_factory.mktemp("damage") / "state"
    with open_record(state, FakeClock()) as filling:
        filling.save_memory(memory(), [event()])
        filling.begin(run("r1"))
        filling.rebase(STACK, [baseline()])
    data = bytearray((state / "state.db").read_bytes())
    chance = random.Random(seed)  # noqa: S311  (damage, not secrets)
    for _ in range(chance.choice([1, 20, 500])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    (state / "state.db").write_bytes(data)
    with contextlib.suppress(EnvironmentFault, UsageError), open_reader(state) as reader:
        reader.state(STACK)
        reader.baselines(STACK)
        reader.run("r1")
    with contextlib.suppress(EnvironmentFault):
        verify(state)
    with contextlib.suppress(EnvironmentFault), open_record(state, FakeClock()) as record:
        record.state(STACK)
        record.runs()
        record.save_memory(memory(), [event()])


def test_a_value_that_nobody_can_read_is_told_with_its_file(record: SqliteRecord, tmp_path: Path) -> None:
    record.save_memory(memory())
    other = sqlite3.connect(tmp_path / "state" / "state.db")
    with other:
        other.execute("UPDATE memory SET body = ?", (b'{"stack": 1, "holds": [{"reason": "from-the-future"}]}',))
    other.close()
    with pytest.raises(EnvironmentFault, match=r"state\.db: holds what this version cannot read"):
        record.state(STACK)


def test_closing_twice_is_closing_once(record: SqliteRecord) -> None:
    record.close()
    record.close()
