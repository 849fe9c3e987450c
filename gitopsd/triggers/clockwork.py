"""Polls of the sources and sweeps of the stacks, on APScheduler."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

SWEEP_EVERY = 300.0
"""Seconds between two looks for drift at everything that a stack tracks."""

JITTER = 0.1
"""Part of an interval by which it may vary, so that many hosts do not ask one server at the same moment."""


class Clockwork:
    """Runs callables at intervals in a few threads. A call that is still running is not started again."""

    def __init__(self, threads: int = 4) -> None:
        # UTC: intervals in a local zone go wrong twice a year. No grace time: a late poll is still wanted.
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(threads)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )

    def every(self, seconds: float, work: Callable[[], object], *, name: str, at_once: bool = True) -> None:
        """Call `work` every so many seconds, give or take a tenth; the first time at once unless told otherwise."""
        trigger = IntervalTrigger(seconds=seconds, jitter=seconds * JITTER, timezone=UTC)
        first = {"next_run_time": datetime.now(UTC)} if at_once else {}
        self._scheduler.add_job(work, trigger, id=name, name=name, **first)

    def cancel(self, name: str) -> None:
        """Call it no more; nothing happens if nobody is called so."""
        with contextlib.suppress(JobLookupError):
            self._scheduler.remove_job(name)

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """Start nothing more, and wait for what is running."""
        self._scheduler.shutdown(wait=True)
