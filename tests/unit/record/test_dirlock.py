"""One process for one state directory, and only a private one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.record import open_record
from gitopsd.record.dirlock import LOCK_FILE, open_ours, owner
from tests.unit.record.samples import FakeClock

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from gitopsd.record import open_record
from tests.unit.record.samples import FakeClock
with open_record(Path(sys.argv[1]), FakeClock()):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "state"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "open\n"
        with pytest.raises(EnvironmentFault, match=f"in use by process {child.pid} .*since 2026-03-01"):
            open_record(tmp_path / "state", FakeClock())
        held = owner(tmp_path / "state")
        assert held is not None
        assert held.pid == child.pid
        child.stdin.close()
        assert child.wait(30) == 0
    assert owner(tmp_path / "state") is None
    open_record(tmp_path / "state", FakeClock()).close()


def test_a_second_opening_in_one_process_is_refused_too(tmp_path: Path) -> None:
    with open_record(tmp_path, FakeClock()), pytest.raises(EnvironmentFault, match=f"process {os.getpid()} "):
        open_record(tmp_path, FakeClock())


def test_what_a_dead_process_left_in_the_lock_locks_nobody_out(tmp_path: Path) -> None:
    open_record(tmp_path, FakeClock()).close()
    (tmp_path / LOCK_FILE).write_text('{"pid":1,"started":"2020"} and much that is longer than what comes next')
    assert owner(tmp_path) is None
    with open_record(tmp_path, FakeClock()):
        held = owner(tmp_path)
        assert held is not None
        assert held.pid == os.getpid()


def test_a_directory_that_was_never_used_has_no_owner(tmp_path: Path) -> None:
    assert owner(tmp_path / "nothing") is None


def test_a_failed_opening_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "state.db").write_bytes(b"no database" * 1000)
    with pytest.raises(EnvironmentFault):
        open_record(tmp_path / "state", FakeClock())
    assert owner(tmp_path / "state") is None


def test_our_own_directory_is_made_private(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    open_record(state, FakeClock()).close()
    assert state.stat().st_mode & 0o777 == 0o700


def test_a_directory_of_others_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "letter.txt").touch()
    with pytest.raises(EnvironmentFault, match=r"stateDir.*open to other users"):
        open_record(shared, FakeClock())
    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert [p.name for p in shared.iterdir()] == ["letter.txt"]


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(EnvironmentFault, match=r"state: stateDir: cannot be used: .* \(name a directory"):
        open_record(tmp_path / "state", FakeClock())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for others")
def test_what_root_makes_belongs_to_the_daemon(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    os.close(open_ours(tmp_path / "state.db", os.O_RDWR, 0o600))
    made = (tmp_path / "state.db").stat()
    assert (made.st_uid, made.st_gid) == (65534, 65534)


@pytest.mark.parametrize("name", ["state.db", LOCK_FILE])
@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_recorded_into_files_that_were_taken_away(tmp_path: Path, name: str, replaced: bool) -> None:
    state_dir = tmp_path / "state"
    record = open_record(state_dir, FakeClock())
    record.require_in_place()
    content = (state_dir / name).read_bytes()
    (state_dir / name).rename(tmp_path / "away")
    if replaced:
        (state_dir / name).write_bytes(content)
    for write in (record.require_in_place, lambda: record.audit([])):
        with pytest.raises(EnvironmentFault, match=rf"{name}: was removed or replaced"):
            write()
    (tmp_path / "away").rename(state_dir / name)
    record.require_in_place()
    record.close()
