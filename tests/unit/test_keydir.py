"""A change of the key directory is noticed, however it is made, and nothing else is taken for one."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from gitopsd.model.errors import Problem
from gitopsd.sealing.keyring import Keyring
from gitopsd.triggers.keydir import KeyDirectory
from tests.support.seals import bring_key, take_key


class Told:
    def __init__(self) -> None:
        self.count = 0
        self.heard = threading.Condition()

    def __call__(self) -> None:
        with self.heard:
            self.count += 1
            self.heard.notify_all()

    def wait(self, count: int = 1) -> None:
        with self.heard:
            assert self.heard.wait_for(lambda: self.count >= count, timeout=30), "the change was not noticed"


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watch(told: Told) -> Iterator[Callable[[Path], KeyDirectory]]:
    started: list[KeyDirectory] = []

    def begin(directory: Path) -> KeyDirectory:
        made = KeyDirectory(directory, Keyring(directory).digest, told)
        made.start()
        started.append(made)
        return made

    yield begin
    for each in started:
        each.stop()


Watch = Callable[[Path], KeyDirectory]


def test_a_key_that_cannot_be_used_is_in_the_log_with_what_mends_it_at_the_start_and_after_a_change(
    tmp_path: Path, told: Told
) -> None:
    bring_key(tmp_path)
    (tmp_path / "key0.key").chmod(0o644)
    ring = Keyring(tmp_path)

    def unusable() -> tuple[Problem, ...]:
        return ring.snapshot().problems

    with structlog.testing.capture_logs() as logged:
        made = KeyDirectory(tmp_path, ring.digest, told, unusable=unusable)
        made.start()
        made.stop()
        bring_key(tmp_path, 1)
        made.look()
        (tmp_path / "key0.key").chmod(0o600)
        made.look()
        made.stop()
    said = [entry["why"] for entry in logged if entry["event"] == "a sealing key is not used"]
    assert len(said) == 2
    assert all(f"chmod 600 {tmp_path / 'key0.key'}" in why for why in said)


def test_a_host_without_a_key_directory_has_nothing_said_of_it(tmp_path: Path, told: Told) -> None:
    ring = Keyring(tmp_path / "none")
    with structlog.testing.capture_logs() as logged:
        made = KeyDirectory(tmp_path / "none", ring.digest, told, unusable=lambda: ring.snapshot().problems)
        made.start()
        made.stop()
    assert logged == []


def test_a_key_that_comes_and_one_that_goes_are_noticed(tmp_path: Path, told: Told, watch: Watch) -> None:
    bring_key(tmp_path / "keys")
    watch(tmp_path / "keys")
    bring_key(tmp_path / "keys", 1)
    told.wait()
    take_key(tmp_path / "keys")
    told.wait(2)


def test_a_directory_that_is_made_later_is_noticed_with_what_comes_into_it(
    tmp_path: Path, told: Told, watch: Watch
) -> None:
    made = watch(tmp_path / "later" / "keys")
    bring_key(tmp_path / "later" / "keys")
    deadline = time.monotonic() + 30
    while not told.count and time.monotonic() < deadline:
        made.look()  # as the timer does: a directory may fill before its watch begins
    told.wait()
    bring_key(tmp_path / "later" / "keys", 1)
    told.wait(2)


def test_the_swap_of_a_mounted_secret_is_noticed(tmp_path: Path, told: Told, watch: Watch) -> None:
    """As the kubelet does it: ..data is a symlink that is replaced in one step, the names point through it."""
    keys = tmp_path / "keys"
    for number in (0, 1):
        bring_key(keys / f"..version{number}", number)
    (keys / "..data").symlink_to("..version0")
    for suffix in (".key", ".crt"):
        (keys / f"key0{suffix}").symlink_to(f"..data/key0{suffix}")
    keys.chmod(0o700)
    watch(keys)
    (keys / "..data_tmp").symlink_to("..version1")
    os.replace(keys / "..data_tmp", keys / "..data")
    told.wait()


def test_what_changes_no_key_is_no_change(tmp_path: Path, told: Told, watch: Watch) -> None:
    bring_key(tmp_path / "keys")
    made = watch(tmp_path / "keys")
    (tmp_path / "keys" / "note.txt").write_text("hello")
    (tmp_path / "keys" / "key0.crt").read_bytes()
    made.look()
    assert told.count == 0


def test_a_look_notices_what_nobody_told(tmp_path: Path, told: Told) -> None:
    bring_key(tmp_path / "keys")
    made = KeyDirectory(tmp_path / "keys", Keyring(tmp_path / "keys").digest, told)  # not started: no watch
    shutil.rmtree(tmp_path / "keys")
    made.look()
    made.stop()
    assert told.count == 1


def test_nothing_is_left_running_after_stop(tmp_path: Path, told: Told, watch: Watch) -> None:
    bring_key(tmp_path / "keys")
    before = threading.active_count()
    made = watch(tmp_path / "keys")
    assert threading.active_count() > before
    bring_key(tmp_path / "keys", 1)
    told.wait()
    made.stop()
    assert threading.active_count() == before


def test_what_is_written_beside_a_directory_that_is_not_there_yet_wakes_nobody(
    tmp_path: Path, told: Told, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the daemon's own database: each of its writes would have the keys looked at."""
    heard = Told()
    monkeypatch.setattr(KeyDirectory, "_soon", lambda _self: heard())
    beside = tmp_path / "state.db"
    beside.touch()
    watch(tmp_path / "keys")
    for number in range(50):
        beside.write_text(str(number))
        beside.read_text()
    (tmp_path / "keys").mkdir()
    heard.wait()
    assert heard.count <= 2, "the directory that comes, and none of the writes before"
