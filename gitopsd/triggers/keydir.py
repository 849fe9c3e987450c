"""Notices that the sealing keys have changed: at once where the system tells, and by looking now and then where not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from gitopsd.model.errors import Problem

log = structlog.get_logger("gitopsd.triggers")

LOOK_EVERY = 60.0
"""Seconds between two looks at the files themselves: network file systems and some mounts tell nobody of a change."""

CALM = 0.2
"""Seconds without a further event until it is looked: a keypair is two files, a mounted Secret is swapped in steps."""

COMING: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
"""What tells that a directory comes or goes. Above the key directory, others' files are written all the time."""

CHANGING: list[type[FileSystemEvent]] = [*COMING, FileModifiedEvent, FileClosedEvent]
"""What may change a key; reading is none of it."""


class KeyDirectory:
    """Calls `changed` when the `digest` of the keys is another than before. `look` may also be called by a timer. Which
    keys are there and cannot be used (`unusable`), the log says at the start and after each change."""

    def __init__(
        self,
        directory: Path,
        digest: Callable[[], str],
        changed: Callable[[], None],
        *,
        unusable: Callable[[], Iterable[Problem]] = tuple,
    ) -> None:
        self._directory, self._digest, self._changed = directory, digest, changed
        self._unusable = unusable
        self._lock = threading.Lock()
        self._known = digest()
        self._observer: BaseObserver | None = None
        self._watched: Path | None = None
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Watch from now on, as far as the system can."""
        if self._directory.exists():  # else nobody has begun to seal anything
            self._say_unusable()
        self._watch()

    def stop(self) -> None:
        with self._lock:
            timer, self._timer = self._timer, None
            observer, self._observer = self._observer, None
        if timer is not None:
            timer.cancel()
            timer.join()
        if observer is not None:
            observer.stop()
            observer.join()

    def look(self) -> None:
        """Compare the files with what was known of them. Also takes up the watch of a directory that came later."""
        with self._lock:
            before, self._known = self._known, self._digest()
            same = before == self._known
        self._watch()
        if not same:
            log.info("the sealing keys have changed", directory=str(self._directory))
            self._say_unusable()
            self._changed()

    def _say_unusable(self) -> None:
        for problem in self._unusable():
            log.warning("a sealing key is not used", why=str(problem))

    def _watch(self) -> None:
        """The directory, or while there is none the nearest one above it: it may come."""
        place = self._directory
        while not place.is_dir() and place != place.parent:
            place = place.parent
        with self._lock:
            if place == self._watched and self._observer is not None and self._observer.is_alive():
                return
            old, self._observer, self._watched = self._observer, Observer(), place
            heed = CHANGING if place == self._directory else COMING
            try:
                self._observer.schedule(_Handler(self._soon), str(place), recursive=False, event_filter=heed)
                self._observer.start()
            except OSError as error:  # such as too many watches: the looks by timer remain
                log.warning("the key directory is only looked at now and then", why=str(error))
                self._observer = None
        if old is not None:
            old.stop()

    def _soon(self) -> None:
        with self._lock:
            if self._observer is None:
                return
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(CALM, self.look)
            self._timer.daemon = True
            self._timer.start()


class _Handler(FileSystemEventHandler):
    def __init__(self, soon: Callable[[], None]) -> None:
        self._soon = soon

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - only those come that were asked for
        self._soon()
