"""Whose lock it may be: programs that may be at work on the same state, and marks of dead ones."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gitopsd.terraform.processes import is_alive, programs, running_in, started_at
from gitopsd.terraform.rivals import may_be_same
from gitopsd.terraform.runmark import RunMark, new_mark, read_mark, with_pid, write_mark
from gitopsd.tfplan import LockInfo

KUBE: dict[str, Any] = {"type": "kubernetes", "config": {"namespace": "n", "secret_suffix": "a", "config_path": "x"}}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (KUBE, KUBE, True),
        (KUBE, {"type": "kubernetes", "config": {**KUBE["config"], "config_path": "y"}}, True),
        (KUBE, {"type": "kubernetes", "config": {**KUBE["config"], "secret_suffix": "b"}}, False),
        (KUBE, {"type": "kubernetes", "config": {**KUBE["config"], "namespace": "m"}}, False),
        (KUBE, {"type": "s3", "config": {"key": "a"}}, False),
        ({"type": "s3", "config": {"key": "b"}}, {"type": "s3", "config": {"key": "a"}}, False),
        ({"type": "s3", "config": {"key": "a", "bucket": None}}, {"type": "s3", "config": {"key": "a"}}, True),
        ({"type": "http", "config": {"address": "b"}}, {"type": "http", "config": {"address": "a"}}, True),
        (KUBE, {}, False),
        (KUBE, None, True),
        (None, {}, True),
    ],
)
def test_only_what_is_surely_another_state_is_one(
    one: dict[str, Any] | None, other: dict[str, Any] | None, same: bool
) -> None:
    assert may_be_same(one, other) is same
    assert may_be_same(other, one) is same


BEGUN = datetime(2026, 11, 22, 22, 0, 0, tzinfo=UTC)
MARK = RunMark("apply", BEGUN.isoformat(), "here", "boot", 1, 1)
ASKED = BEGUN + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("lock", "ours"),
    [
        (LockInfo("i", "root@here", created=BEGUN + timedelta(seconds=3)), True),
        (LockInfo("i", "root@here", created=BEGUN - timedelta(seconds=3)), False),
        (LockInfo("i", "root@there", created=BEGUN + timedelta(seconds=3)), False),
        (LockInfo("i", "root@here"), False),
        (LockInfo("i", "", created=BEGUN + timedelta(seconds=3)), False),
        (LockInfo("i", "root@here", created=ASKED + timedelta(seconds=1)), False),
    ],
)
def test_a_lock_is_ours_only_if_all_of_it_says_so(lock: LockInfo, ours: bool) -> None:
    assert MARK.left(lock, "here", ASKED) is ours
    assert not replace(MARK, host="moved").left(lock, "here", ASKED)


def test_a_mark_survives_its_file_and_knows_the_living(tmp_path: Path) -> None:
    file = tmp_path / "running.json"
    assert read_mark(file) is None
    mark = with_pid(new_mark("apply"), os.getpid())
    write_mark(file, mark, lasts=True)
    assert read_mark(file) == mark
    assert mark.alive
    assert not replace(mark, ticks=mark.ticks + 1).alive
    assert not replace(mark, boot="another").alive
    assert not new_mark("apply").alive
    file.write_text("{ half")
    broken = read_mark(file)
    assert broken is not None
    assert not broken.left(LockInfo("i", f"root@{mark.host}", created=datetime.now(UTC)), mark.host, ASKED)


def test_processes_are_found_by_their_data_directory(tmp_path: Path) -> None:
    program = tmp_path / "terraform"
    program.symlink_to(sys.executable)
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [str(program), "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={"TF_DATA_DIR": "data"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        begun = started_at(process.pid)
        assert begun is not None
        assert is_alive(process.pid, begun)
        assert (process.pid, tmp_path / "data") in set(programs())
        assert running_in(Path("data")) == (process.pid,)
        process.kill()
    assert not is_alive(process.pid, begun)
    assert started_at(process.pid) is None
