"""A bounded pool for requests that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """At most `count` tasks at a time, over all callers. A task must not wait for another one of the same pool."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix=f"cluster-{name}")

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results in the order of the tasks. If one raises, those not yet begun are dropped, and the first error in
        that order is raised once nothing runs any more."""
        if len(tasks) <= 1:
            return [task() for task in tasks]
        futures = [self._pool.submit(task) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
            wait(futures)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
