"""Reads a watch in a thread of its own, and says in short words what it told."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gitopsd.model.ports import Watch
from gitopsd.model.watching import Blind, Removed, Seen, WatchEvent

PATIENCE = 30.0
"""Seconds after which what should be told is given up."""


class Reader:
    """An object is `name`, in a list `name*`, removed `-name`; the rest are the names of the events."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.told: list[WatchEvent] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for event in self.watch.events():
            with self._changed:
                self.told.append(event)
                self._changed.notify_all()

    def wait(self, *wanted: str, timeout: float = PATIENCE) -> list[str]:
        """Wait until the last words are these; everything that was told."""
        return self.until(lambda words: tuple(words[-len(wanted) :]) == wanted, f"{wanted}", timeout)

    def until(self, found: Callable[[list[str]], bool], what: str, timeout: float = PATIENCE) -> list[str]:
        """Wait for something to come true of the words; everything that was told."""
        with self._changed:
            came = self._changed.wait_for(lambda: found(self.words()), timeout)
            assert came, f"wanted {what}, told {self.words()}"
            return self.words()

    def then(self, *wanted: str, after: int = 4) -> None:
        """Wait until so much was told after the first words, and see that it is this."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.told) >= after + len(wanted), PATIENCE)
            assert tuple(self.words()[after:]) == wanted

    def words(self) -> list[str]:
        return [word(event) for event in self.told]

    def fault(self) -> str:
        """Why nothing is seen, as it was told last."""
        return str(next(event.fault for event in reversed(self.told) if isinstance(event, Blind)))

    def ended(self) -> bool:
        self._thread.join(PATIENCE)
        return not self._thread.is_alive()


def word(event: WatchEvent) -> str:
    if isinstance(event, Seen):
        return f"{event.live.id.name}{'*' if event.listed else ''}"
    if isinstance(event, Removed):
        return f"-{event.live.id.name}"
    return type(event).__name__
