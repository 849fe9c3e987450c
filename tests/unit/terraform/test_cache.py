"""The providers' shared directory: one init at a time, and nothing half unpacked is used."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.terraform.cache import PluginCache


def never() -> bool:
    return False


def package(cache: PluginCache, name: str) -> Path:
    made = cache.directory / f"registry.terraform.io/hashicorp/{name}/1.0.0/linux_amd64"
    made.mkdir(parents=True)
    (made / "provider").write_text("x")
    return made


def test_turns_are_taken_one_after_the_other(tmp_path: Path) -> None:
    cache = PluginCache(tmp_path)
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with cache.turn(30, never):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_whoever_waits_may_give_up(tmp_path: Path) -> None:
    cache = PluginCache(tmp_path)
    with cache.turn(1, never):
        with pytest.raises(EnvironmentFault, match="does not end"), PluginCache(tmp_path).turn(0.1, never):
            pass
        with pytest.raises(EnvironmentFault, match="does not end"), PluginCache(tmp_path).turn(60, lambda: True):
            pass


def die_in_init(cache: PluginCache) -> tuple[Path, Path]:
    """What an init that was killed leaves: a package, and a link to one."""
    turn = cache.turn(1, never)
    turn.__enter__()
    linked = cache.directory / "registry.terraform.io/hashicorp/linked/1.0.0/linux_amd64"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(cache.directory.parent)
    torn = package(cache, "torn")
    with contextlib.suppress(KeyboardInterrupt):
        turn.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    return torn, linked


def wait_for_the_next_tick(after: Path) -> None:
    """Files made later have a later time: the kernel's clock for them is a coarse one."""
    probe = after.with_name("probe")
    while not probe.exists() or probe.stat().st_ctime_ns <= after.stat().st_ctime_ns:
        probe.touch()
    probe.unlink()


def test_what_a_dead_init_was_writing_goes_and_the_rest_stays(tmp_path: Path) -> None:
    cache = PluginCache(tmp_path)
    with cache.turn(1, never):
        whole = package(cache, "whole")
    wait_for_the_next_tick(whole)
    torn, linked = die_in_init(cache)
    assert torn.exists()
    with cache.turn(1, never):
        assert whole.exists()
        assert not torn.exists()
        assert not linked.is_symlink()
    assert cache.directory.exists()
    later = package(cache, "later")
    with cache.turn(1, never):
        assert later.exists()


def test_a_program_that_outlives_us_keeps_its_turn(tmp_path: Path) -> None:
    cache = PluginCache(tmp_path)
    with cache.turn(1, never) as lock:
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(lock,)
        )
    try:
        with pytest.raises(EnvironmentFault), cache.turn(0.1, never):
            pass
    finally:
        process.kill()
        process.communicate()
    with cache.turn(5, never):
        pass
