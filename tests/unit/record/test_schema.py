"""Tables are migrated forward, never guessed at, and never touched when they are newer or somebody else's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.imprint import Imprint
from gitopsd.record import open_record
from gitopsd.record.blobs import pack
from gitopsd.record.database import open_for_writing
from gitopsd.record.reader import open_reader
from gitopsd.record.schema import STEPS, check_version, migrate
from tests.unit.record.samples import CONFIG, NOW, WEB, FakeClock, baseline, memory

NEXT = ("ALTER TABLE memory ADD COLUMN note TEXT NOT NULL DEFAULT 'old'",)
BROKEN = ("CREATE TABLE half_way (x)", "this is no SQL")


def tables(path: Path) -> set[str]:
    db = sqlite3.connect(path)
    try:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        db.close()


def test_an_empty_file_is_version_0_and_gets_every_step(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "state.db").touch()
    with open_record(tmp_path / "state", FakeClock()) as record:
        assert record.save_memory(memory()).generation == 1


def test_a_later_step_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    with open_record(path.parent, FakeClock()) as record:
        record.save_memory(memory())
    db = open_for_writing(path)
    migrate(db, path, (*STEPS, NEXT))
    assert db.execute("SELECT stack, note FROM memory").fetchall() == [("website", "old")]
    assert check_version(db, path, (*STEPS, NEXT)) == len(STEPS) + 1
    migrate(db, path, (*STEPS, NEXT))  # again: nothing left to do
    db.close()


def test_what_was_written_before_there_were_imprints_is_known_but_for_them(tmp_path: Path) -> None:
    """Drift of it is looked at once, and every later version of it has its imprint."""
    path = tmp_path / "state" / "state.db"
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    old = {"uid": "uid-1", "annotations": {"gitopsd.io/prune": "disabled"}, "managedFields": [{"manager": "gitopsd"}]}
    db = open_for_writing(path)
    migrate(db, path, STEPS[:2])
    for unit in (WEB, CONFIG):
        row = ("website", str(unit), "web", 10, 0, "wish", "uid-1", "7", "apps/v1", NOW, 1, pack(old))
        db.execute("INSERT INTO baselines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.close()
    was = {unit: baseline(unit, metadata=old) for unit in (WEB, CONFIG)}
    mark = Imprint("uid-1", 8, 1, "0123456789abcdef", "fedcba9876543210", (("kubectl Update v1 ", "00"),))
    with open_record(path.parent, FakeClock()) as record:
        assert record.baselines("website") == was, "values, order of columns, and no imprint"
        record.rebase("website", [baseline(WEB, imprint=mark)])
        assert record.baselines("website") == {**was, WEB: baseline(WEB, imprint=mark)}
    with open_record(path.parent, FakeClock()) as record:
        assert record.baselines("website") == {**was, WEB: baseline(WEB, imprint=mark)}, "after a restart"


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    open_record(path.parent, FakeClock()).close()
    db = open_for_writing(path)
    with pytest.raises(sqlite3.Error):
        migrate(db, path, (*STEPS, NEXT, BROKEN))
    assert check_version(db, path) == len(STEPS)
    db.close()
    assert "half_way" not in tables(path)
    open_record(path.parent, FakeClock()).close()


def test_a_newer_version_is_refused_by_writer_and_reader(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    open_record(path.parent, FakeClock()).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={len(STEPS) + 1}")
    db.close()
    with pytest.raises(EnvironmentFault, match=r"newer gitopsd .*install that version again"):
        open_record(path.parent, FakeClock())
    with pytest.raises(EnvironmentFault, match="newer gitopsd"):
        open_reader(path.parent)


def test_a_reader_does_not_migrate(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    open_record(path.parent, FakeClock()).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=0")
    db.close()
    with pytest.raises(EnvironmentFault, match=r"older gitopsd .*start gitopsd once"):
        open_reader(path.parent)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    db = sqlite3.connect(state / "state.db")
    db.execute("CREATE TABLE recipes (name)")
    db.commit()
    db.close()
    with pytest.raises(EnvironmentFault, match="another program"):
        open_record(state, FakeClock())
    assert tables(state / "state.db") == {"recipes"}
