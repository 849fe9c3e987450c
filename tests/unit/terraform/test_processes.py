"""Only what is ours gets a signal, whatever its number was a moment ago."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitopsd.terraform import child
from gitopsd.terraform.processes import end_all, started_at

WAITS = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # a background job inherits it ignored
    "print('up', flush=True); sys.stdin.read()"
)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def test_a_number_that_was_given_away_between_two_looks_gets_no_signal(stranger: subprocess.Popen[bytes]) -> None:
    """At the first look it was ours; when it is to be signalled, it is another's."""
    looks = iter([(stranger.pid,)])
    end_all(lambda: next(looks, ()), patience=0.1)
    assert stranger.stdin is not None
    stranger.stdin.close()
    assert stranger.wait() == 0


def test_a_number_that_nobody_has_is_no_trouble() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    looks = iter([(gone.pid,)] * 2)
    end_all(lambda: next(looks, ()), patience=0.1)


def test_we_ourselves_are_never_ended() -> None:
    heard: list[int] = []
    former = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    try:
        looks = iter([(os.getpid(),)] * 3)
        end_all(lambda: next(looks, ()), patience=0.1)
    finally:
        signal.signal(signal.SIGINT, former)
    assert heard == []


def test_what_is_ours_is_interrupted_and_what_stays_is_killed(stranger: subprocess.Popen[bytes]) -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, lambda *_: print('no', flush=True)); print('up', flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}\nwhile True: signal.pause()"], stdout=subprocess.PIPE
    ) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == b"up\n"
        both = (stranger.pid, deaf.pid)
        end_all(lambda: tuple(pid for pid in both if started_at(pid) is not None), patience=3.0)
        assert deaf.stdout.read() == b"no\n"
    assert deaf.returncode == -signal.SIGKILL
    assert stranger.wait() == -signal.SIGINT


IGNORES = """
import signal
from pathlib import Path
from gitopsd.terraform.child import Order, run

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
try:
    run(Order(argv=["false"], directory=Path("/"), environment={}, timeout=9, patience=9))
except ChildProcessError as error:
    print(error.strerror)
"""


def test_a_child_whose_end_nobody_tells_has_not_succeeded() -> None:
    """With SIGCHLD ignored the system forgets children by itself: their numbers are free while we still use them."""
    root = Path(child.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", IGNORES], cwd=root, capture_output=True, text=True, check=False)
    assert "must not ignore SIGCHLD" in done.stdout, done.stderr
