"""Polls and sweeps: at once, again and again, never twice at a time, and not after the stop."""

from __future__ import annotations

import threading
from itertools import count

from gitopsd.triggers.clockwork import Clockwork

PATIENCE = 20.0


def test_work_is_done_at_once_and_again() -> None:
    clockwork, times = Clockwork(), threading.Semaphore(0)
    clockwork.every(0.05, times.release, name="poll")
    clockwork.start()
    try:
        assert all(times.acquire(timeout=PATIENCE) for _ in range(3))
    finally:
        clockwork.stop()


def test_what_is_added_while_it_runs_is_done_at_once_too() -> None:
    clockwork, done = Clockwork(), threading.Event()
    clockwork.start()
    try:
        clockwork.every(3600, done.set, name="sweep")
        assert done.wait(PATIENCE)
    finally:
        clockwork.stop()


def test_work_that_takes_longer_than_its_interval_is_not_started_twice() -> None:
    clockwork, numbers, second = Clockwork(), count(), threading.Event()
    inside, most = threading.Semaphore(1), []

    def work() -> None:
        most.append(inside.acquire(blocking=False))
        again.wait(0.3)
        inside.release()
        if next(numbers) == 1:
            second.set()

    again = threading.Event()
    clockwork.every(0.02, work, name="slow")
    clockwork.start()
    try:
        assert second.wait(PATIENCE)
    finally:
        again.set()
        clockwork.stop()
    assert all(most)


def test_a_failing_call_does_not_end_the_calls() -> None:
    clockwork, times = Clockwork(), threading.Semaphore(0)

    def work() -> None:
        times.release()
        raise ValueError("bug")

    clockwork.every(0.05, work, name="poll")
    clockwork.start()
    try:
        assert all(times.acquire(timeout=PATIENCE) for _ in range(3))
    finally:
        clockwork.stop()


def test_stop_waits_for_what_is_running_and_starts_nothing_more() -> None:
    clockwork, started, may_end, ended = Clockwork(), threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        may_end.wait(PATIENCE)
        ended.set()

    clockwork.every(3600, work, name="poll")
    clockwork.start()
    assert started.wait(PATIENCE)
    stopper = threading.Thread(target=clockwork.stop)
    stopper.start()
    assert not ended.is_set()
    may_end.set()
    stopper.join(PATIENCE)
    assert ended.is_set()
    assert not stopper.is_alive()
