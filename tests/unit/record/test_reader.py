"""People look at the record while the daemon writes it, after it died, and without the right to write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitopsd.model.errors import EnvironmentFault, UsageError
from gitopsd.model.plan import Action, Change, Plan
from gitopsd.model.ports import Effect
from gitopsd.model.run import Outcome, Result
from gitopsd.record import open_record
from gitopsd.record.audit_reader import verify
from gitopsd.record.reader import open_reader
from tests.unit.record.samples import WEB, FakeClock, baseline, event, memory, run

ROOT = Path(__file__).parents[3]
STACK = "website"
KILLED = """
import os, signal, sys
from pathlib import Path
from gitopsd.record import open_record
from tests.unit.record.samples import *
record = open_record(Path(sys.argv[1]), FakeClock())
record.save_memory(memory())
record.begin(run("r1"), [event("begin")])
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(state: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, state], cwd=ROOT, check=False)
    assert done.returncode == -9
    assert (state / "state.db-wal").stat().st_size > 0


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in directory.iterdir()}


def test_it_sees_what_the_daemon_writes(tmp_path: Path) -> None:
    with open_record(tmp_path, FakeClock()) as record:
        saved = record.save_memory(memory())
        with open_reader(tmp_path) as reader:
            state = reader.state(STACK)
            assert state is not None
            assert state.memory == saved
            assert reader.state("other") is None
            assert reader.runs() == ()
            record.begin(run("r1"), [event()])
            record.rebase(STACK, [baseline()])
            assert reader.runs(STACK) == (run("r1"),)
            assert reader.run("r1") == run("r1")
            assert reader.baselines(STACK) == {WEB: baseline()}
            assert reader.stacks() == (STACK,)


def test_it_writes_nothing_while_the_daemon_is_down(tmp_path: Path) -> None:
    with open_record(tmp_path, FakeClock()) as record:
        record.save_memory(memory())
        record.audit([event()])
    before = contents(tmp_path)
    with open_reader(tmp_path) as reader:
        assert reader.stacks() == (STACK,)
    assert verify(tmp_path).ok
    assert contents(tmp_path) == before


def test_it_reads_what_a_killed_daemon_left_and_writes_nothing(tmp_path: Path) -> None:
    killed(tmp_path / "state")
    before = contents(tmp_path / "state")
    with open_reader(tmp_path / "state") as reader:
        assert reader.run("last") == run("r1")
    assert verify(tmp_path / "state").entries == 1
    assert contents(tmp_path / "state") == before


def test_it_reads_a_copied_directory_without_the_shared_index(tmp_path: Path) -> None:
    killed(tmp_path / "state")
    (tmp_path / "state" / "state.db-shm").unlink()
    with open_reader(tmp_path / "state") as reader:
        assert reader.run("last") == run("r1")


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that other users can reach; pytest's own are private."""
    directory = Path(tempfile.mkdtemp())
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user, so root")
@pytest.mark.parametrize("alive", [True, False])
def test_a_user_who_may_only_read_can_read(public: Path, alive: bool) -> None:
    record = open_record(public / "state", FakeClock())
    record.save_memory(memory())
    if not alive:
        record.close()
    for path in (public, public / "state", *(public / "state").iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            with open_reader(public / "state") as reader:
                status = 0 if reader.stacks() == (STACK,) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    record.close()


def test_a_run_is_found_by_id_beginning_or_last(tmp_path: Path) -> None:
    with open_record(tmp_path, FakeClock()) as record:
        for id_, stack in [("20260301-aa", "a"), ("20260301-ab", "b"), ("20260302-ba", "a"), ("20260302", "a")]:
            record.begin(run(id_, stack))
    with open_reader(tmp_path) as reader:
        assert reader.run("20260301-aa").id == "20260301-aa"
        assert reader.run("20260302-").id == "20260302-ba"
        assert reader.run("20260302").id == "20260302"  # whole, though another begins with it
        assert reader.run("last").id == "20260302"
        assert reader.run("last", "b").id == "20260301-ab"
        assert reader.run("20260301", "b").id == "20260301-ab"
        with pytest.raises(UsageError, match="more than one run: 20260301-ab, 20260301-aa"):
            reader.run("20260301")
        with pytest.raises(UsageError, match="no run is called '%'"):
            reader.run("%")
        with pytest.raises(UsageError, match="no run of stack c yet"):
            reader.run("last", "c")


def test_nothing_there_yet_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="no record of this host yet"):
        open_reader(tmp_path / "never")


def test_reading_imports_nothing_heavy() -> None:
    """`status` has 150 ms for everything."""
    heavy = ("pydantic", "kubernetes", "git", "rich", "asyncio", "gitopsd.model.ports")
    code = (
        "import sys, gitopsd.record.reader, gitopsd.record.audit_reader, gitopsd.record.statusfile; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_status_file_alone_does_not_even_import_sqlite() -> None:
    code = "import sys, gitopsd.record.statusfile; print('sqlite3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_touches_are_the_changes_of_a_unit_that_had_an_effect_newest_first(tmp_path: Path) -> None:
    """Whether an outcome is stored compressed or not, and whoever else has a name that looks alike."""
    alike = WEB._replace(name=f"{WEB.name}-2")
    results = {
        "r1": (WEB, Action.CREATE, Result.APPLIED, "short"),
        "r2": (WEB, Action.UPDATE, Result.APPLIED, "long " * 500),
        "r3": (alike, Action.UPDATE, Result.APPLIED, "long " * 500),
        "r4": (WEB, Action.UPDATE, Result.REFUSED, ""),
        "r5": (WEB, Action.UPDATE, Result.UNCHANGED, ""),
        "r6": (WEB, Action.RELEASE, Result.KEPT, "handed over as it is"),
        "r7": (WEB, Action.DELETE, Result.KEPT, "it is not empty"),
        "r8": (WEB, Action.DELETE, Result.TERMINATING, ""),
    }
    with open_record(tmp_path, FakeClock()) as record:
        record.save_memory(memory())
        for name, (unit, action, result, detail) in results.items():
            record.begin(run(name))
            record.conclude(STACK, name, [Effect(Outcome(unit, action, result, "t", detail))], [])
        record.save_plan("r2", Plan(STACK, "c", "d", prune=(Change(WEB, Action.UPDATE, "app", (0, 0), digest="d2"),)))
        with open_reader(tmp_path) as reader:
            found = reader.touches(STACK, WEB, 10)
            assert [t.run.id for t in found] == ["r8", "r6", "r2", "r1"]
            assert [t.run.id for t in reader.touches(STACK, WEB, 2)] == ["r8", "r6"]
            assert reader.touches("other", WEB, 10) == ()
            planned = reader.change("r2", WEB)
            assert planned is not None
            assert planned.digest == "d2"
            assert (reader.change("r2", alike), reader.change("r1", WEB)) == (None, None)
