"""Answers that never change, kept so that the threads of all stacks need not find them out again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class Remembered(Generic[Key, Answer]):
    """The newest answers, at most `size`. Only an answer is kept, never a failure to get one. Safe from several
    threads; two that ask at once may both find it out."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, Lock()
        self._known: OrderedDict[Key, Answer] = OrderedDict()

    def get(self, key: Key, find_out: Callable[[], Answer]) -> Answer:
        """The answer for a key; raises what `find_out` raises."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = find_out()
        with self._lock:
            self._known[key] = found
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return found
