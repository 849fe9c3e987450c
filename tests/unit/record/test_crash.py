"""Whatever happens to the process or the disk, no entry is lost or doubled and the record stays one story."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.model.errors import EnvironmentFault
from gitopsd.record import SqliteRecord, open_record
from gitopsd.record.audit import parse
from gitopsd.record.audit_file import AuditFile
from gitopsd.record.audit_reader import read_audit, verify
from gitopsd.record.reader import open_reader
from tests.unit.record.samples import CONFIG, WEB, FakeClock, baseline, event, memory, run

ROOT = Path(__file__).parents[3]
STACK = "website"

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from gitopsd.model.ports import Effect
from gitopsd.record import journal, open_record
from gitopsd.record.audit_file import AuditFile
from tests.unit.record.samples import *
journal.AuditFile = lambda directory: AuditFile(directory, rotate_at=20_000)
with open_record(Path(sys.argv[1]), FakeClock()) as record:
    whole = record.run("r1")
    if whole is None:
        record.save_memory(memory())
        record.begin(run("r1"))
    number = len(whole.outcomes) if whole else 0
    while True:
        record.intend("website", [intent()])
        effect = Effect(replace(outcome(), detail=str(number)), baseline=baseline(resource_version=str(number)))
        record.conclude("website", "r1", [effect], [event(f"{number}a"), event(f"{number}b")])
        print(number, flush=True)
        number += 1
"""


def write_until_killed(state: Path, delay: float) -> int:
    """Run a writer, kill it some time after its first write, and return the last number that it was sure of."""
    command = [sys.executable, "-c", WRITER, str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        killer = threading.Timer(delay, child.kill)
        first = child.stdout.readline()
        killer.start()
        numbers = [first, *child.stdout]
        killer.join()
    whole = [line for line in numbers if line.endswith("\n")]
    assert whole, "the writer wrote nothing"
    return int(whole[-1])


def test_kill_9_in_the_middle_of_writing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    chance = random.Random(7)  # noqa: S311  (delays, not secrets)
    for _ in range(8):
        acknowledged = write_until_killed(state, chance.uniform(0.0, 0.12))
        assert verify(state).ok, verify(state)  # before anything is mended
        with open_reader(state) as reader:
            seen = reader.run("r1")
        with open_record(state, FakeClock()) as record:
            assert record.notices == ()
            whole, kept = record.run("r1"), record.state(STACK)
            assert whole is not None
            assert whole == seen
            assert kept is not None
            written = len(whole.outcomes)
            assert written >= acknowledged + 1
            assert [o.detail for o in whole.outcomes] == [str(n) for n in range(written)]
            known = record.baselines(STACK)[WEB]
            assert known.resource_version == str(written - 1)
            assert known.certain is (not kept.intents)
        found = verify(state)
        assert found.ok, found
        expected = [f"{n}{half}" for n in range(written) for half in "ab"]
        assert [made["detail"] for made in read_audit(state)] == expected


# ---------------------------------------------------------------- every point at which an append can break off


def crashed(directory: Path) -> tuple[Path, bytes, bytes]:
    """A directory as a kill leaves it after a batch of three entries, with what the file held before and after it."""
    living = directory / "living"
    with open_record(living, FakeClock()) as record:
        record.audit([event("before 1"), event("before 2")])
        before = (living / "audit.jsonl").read_bytes()
        record.audit([event("batch 1"), event("batch 2"), event("batch 3")])
        after = (living / "audit.jsonl").read_bytes()
        shutil.copytree(living, directory / "dead")
    return directory / "dead", before, after


def details(state: Path) -> list[str]:
    return [str(made.get("detail", "(damaged)")) for made in read_audit(state)]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_append_that_broke_off_anywhere_is_completed_once(data: st.DataObject) -> None:
    with TemporaryDirectory() as temporary:
        state, before, after = crashed(Path(temporary))
        kept = data.draw(st.integers(len(before), len(after)))
        zeros = data.draw(st.sampled_from([0, 0, 300]))  # some file systems grow a file before they fill it
        (state / "audit.jsonl").write_bytes(after[:kept] + bytes(zeros))
        assert verify(state).ok  # nobody is accused of what the next start mends
        for _ in range(2):
            with open_record(state, FakeClock()) as record:
                assert record.notices == ()
            assert (state / "audit.jsonl").read_bytes() == after
            assert verify(state).ok


def test_a_log_that_vanished_with_the_crash_gets_its_newest_entries_and_a_finding(tmp_path: Path) -> None:
    state, _, _ = crashed(tmp_path)
    (state / "audit.jsonl").unlink()
    with open_record(state, FakeClock()) as record:
        assert any("is gone" in notice for notice in record.notices)
    assert details(state) == ["batch 1", "batch 2", "batch 3"]
    assert "entries 1 to 2 are missing" in str(verify(state).findings[0])


def test_an_edit_of_the_line_before_the_torn_one_doubles_nothing(tmp_path: Path) -> None:
    state, before, after = crashed(tmp_path)
    edited = before.replace(b'"hash":"', b'"hash":"0')
    (state / "audit.jsonl").write_bytes(edited + after[len(before) : -100])  # two whole entries and a torn one
    open_record(state, FakeClock()).close()
    assert [d for d in details(state) if d.startswith("batch")] == ["batch 1", "batch 2", "batch 3"]
    assert not verify(state).ok


def test_foreign_bytes_after_the_last_entry_are_told_when_they_are_cut_off(tmp_path: Path) -> None:
    state, _, after = crashed(tmp_path)
    (state / "audit.jsonl").write_bytes(after + b"somebody was here\n")
    with open_record(state, FakeClock()) as record:
        assert any("18 bytes at the end were no entry of ours" in notice for notice in record.notices)
    assert (state / "audit.jsonl").read_bytes() == after


def test_a_line_torn_by_somebody_else_is_kept_as_evidence(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with open_record(state, FakeClock()) as record:
        record.audit([event("one"), event("two")])
    text = (state / "audit.jsonl").read_bytes()
    (state / "audit.jsonl").write_bytes(text[:-20])
    with open_record(state, FakeClock()) as record:
        assert any("not finished" in notice for notice in record.notices)
        record.audit([event("three")])
    assert (state / "audit.jsonl").read_bytes().startswith(text[:-20] + b"\n")
    assert "is no audit entry" in str(verify(state).findings[0])
    assert details(state)[-1] == "three"


def test_a_crash_between_rotation_and_the_next_entry_is_none(tmp_path: Path) -> None:
    state, _, _ = crashed(tmp_path)
    os.rename(state / "audit.jsonl", state / "audit-000001.jsonl")
    assert verify(state).ok
    with open_record(state, FakeClock()) as record:
        assert record.notices == ()
        record.audit([event("after")])
    assert verify(state).ok
    assert [parse(line) is None for line in (state / "audit.jsonl").read_bytes().splitlines()] == [False]


def test_a_batch_whose_first_part_went_to_the_rotated_file_is_completed_in_the_new_one(tmp_path: Path) -> None:
    state, before, after = crashed(tmp_path)
    first = after[len(before) :].index(b"\n") + 1
    (state / "audit-000001.jsonl").write_bytes(after[: len(before) + first])
    (state / "audit.jsonl").write_bytes(after[len(before) + first :][:100])
    with open_record(state, FakeClock()) as record:
        assert record.notices == ()
    assert (state / "audit.jsonl").read_bytes() == after[len(before) + first :]
    assert verify(state).ok


def test_a_log_moved_away_under_the_daemon_does_not_swallow_entries(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with open_record(state, FakeClock()) as record:
        record.audit([event("one")])
        os.rename(state / "audit.jsonl", tmp_path / "stolen")
        record.audit([event("two")])
        (state / "audit.jsonl").unlink()
        (state / "audit.jsonl").touch()
        record.audit([event("three")])
    assert details(state) == ["three"]
    assert "missing before entry 3" in str(verify(state).findings[0])


# ---------------------------------------------------------------- a disk that is full


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse every write beyond `size` bytes of a file, as a full disk does: in the middle of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecord]:
    """A record whose log is larger than its database's journal will be, so that the log meets the limit first."""
    with open_record(tmp_path / "state", FakeClock()) as filling:
        filling.save_memory(memory())
        filling.begin(run("r1"))
        filling.audit([event("x" * 1000)] * 1000)
    with open_record(tmp_path / "state", FakeClock()) as opened:
        yield opened


def test_a_full_disk_under_the_log_keeps_entries_until_there_is_room(record: SqliteRecord, tmp_path: Path) -> None:
    log = tmp_path / "state" / "audit.jsonl"
    size = log.stat().st_size
    with largest_file(size + 100):
        record.audit([event("first")])
        assert "cannot be written (File too large)" in record.trouble
        record.rebase(STACK, [baseline()])  # the record itself goes on
        record.audit([event("second")])
        assert record.trouble
        assert log.stat().st_size <= size + 100
        assert verify(tmp_path / "state").ok
    record.audit([event("third")])
    assert record.trouble == ""
    assert details(tmp_path / "state")[-4:] == ["x" * 1000, "first", "second", "third"]
    assert verify(tmp_path / "state").ok


def test_a_full_disk_until_the_end_loses_nothing(record: SqliteRecord, tmp_path: Path) -> None:
    with largest_file((tmp_path / "state" / "audit.jsonl").stat().st_size + 100):
        record.audit([event("first")])
        record.close()
    assert verify(tmp_path / "state").ok
    open_record(tmp_path / "state", FakeClock()).close()
    assert details(tmp_path / "state")[-1] == "first"
    assert verify(tmp_path / "state").ok


def test_a_full_disk_under_the_database_is_the_environments_fault(record: SqliteRecord, tmp_path: Path) -> None:
    record.rebase(STACK, [baseline()])
    noise = os.urandom(3_000_000).hex()
    with largest_file(1_000_000), pytest.raises(EnvironmentFault, match="free some space"):
        record.rebase(STACK, [baseline(CONFIG, metadata={"noise": noise})])
    assert record.baselines(STACK) == {WEB: baseline()}
    record.rebase(STACK, [baseline(CONFIG)])
    assert record.baselines(STACK) == {WEB: baseline(), CONFIG: baseline(CONFIG)}


def test_a_file_that_cannot_be_appended_to_is_not_torn_by_the_next_attempt(tmp_path: Path) -> None:
    file = AuditFile(tmp_path)
    file.append([b"a" * 100])
    with largest_file(150), pytest.raises(OSError, match="too large"):
        file.append([b"b" * 100])
    assert file.recover([b"a" * 100, b"b" * 100]) != ""  # these are no entries: nothing says where they belong
    file.close()
    assert (tmp_path / "audit.jsonl").read_bytes().endswith(b"\n" + b"b" * 100 + b"\n")


# ---------------------------------------------------------------- a daemon that is at work


def test_checking_while_the_daemon_writes_accuses_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitopsd.record.journal.AuditFile", lambda directory: AuditFile(directory, rotate_at=5000))
    done = threading.Event()
    with open_record(tmp_path / "state", FakeClock()) as record:
        record.audit([event("first")])

        def write() -> None:
            while not done.is_set():
                record.audit([event("one"), event("two")])

        thread = threading.Thread(target=write)
        thread.start()
        try:
            checks = [verify(tmp_path / "state", {"parent": record.audit([])}) for _ in range(40)]
            numbers = [[made["seq"] for made in read_audit(tmp_path / "state")] for _ in range(20)]
        finally:
            done.set()
            thread.join()
    assert [c.findings for c in checks if not c.ok] == []
    assert checks[-1].entries > checks[0].entries
    assert all(seen == list(range(1, len(seen) + 1)) for seen in numbers)
