"""Watches of a simulated cluster, and the faults that a test may give them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from queue import SimpleQueue
from threading import RLock

from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.watching import Blind, Removed, Seen, Sighted, WatchEvent, Whole
from tests.support.simstate import ServerState
from tests.support.ssa import Body

Listing = Callable[[], tuple[WatchEvent, ...]]


class SimWatch:
    """One kind, watched: each write is an event of its own, in order, from the list on.

    After `close` the events so far are still handed out, so that a test without threads can read them all.
    """

    def __init__(self, state: ServerState, lock: RLock, group: str, kind: str, applysets: Collection[str]) -> None:
        self._state, self._lock = state, lock
        self._group, self._kind, self._applysets = group, kind, frozenset(applysets)
        self._queue: SimpleQueue[Listing | WatchEvent | None] = SimpleQueue()
        self._held: list[WatchEvent] | None = None
        self._blind = False
        state.listeners.append(self._written)
        self._queue.put(self._listed)

    def events(self) -> Iterator[WatchEvent]:
        while (item := self._queue.get()) is not None:
            if callable(item):
                yield from item()
            else:
                yield item

    def close(self) -> None:
        with self._lock:
            if self._written in self._state.listeners:
                self._state.listeners.remove(self._written)
                self._queue.put(None)

    # ------------------------------------------------------------ faults

    def cut(self, why: str = "connection refused") -> None:
        """The connection breaks: the watch says that it is blind. Until `mend` nothing comes."""
        with self._lock:
            self._held, self._blind = self._held or [], True
            self._queue.put(Blind(EnvironmentFault(why)))

    def stall(self) -> None:
        """Nothing comes any more, and nobody says so, until `mend`."""
        with self._lock:
            self._held = self._held or []

    def mend(self, *, expired: bool = False) -> None:
        """The watch goes on where it was; if that has `expired`, with a new list."""
        with self._lock:
            held, blind, self._held, self._blind = self._held or [], self._blind, None, False
            if blind:
                self._queue.put(Sighted())
            if expired:
                self._queue.put(self._listed)
                return
            for event in held:
                self._queue.put(event)

    # ------------------------------------------------------------ what happens

    def _listed(self) -> tuple[WatchEvent, ...]:
        with self._lock:
            found = {u: b for u, b in self._state.of_kind(self._group, self._kind) if self._wanted(b)}
            return (*(Seen(metadata_only(u, b), listed=True) for u, b in found.items()), Whole(frozenset(found)))

    def _written(self, unit: UnitId, before: Body | None, after: Body | None) -> None:
        if (unit.group, unit.kind) != (self._group, self._kind):
            return
        event: WatchEvent
        if after is not None and self._wanted(after):
            event = Seen(metadata_only(unit, after))
        elif before is not None and self._wanted(before):
            # As the API server does: the object as it was, at the resourceVersion of what took it away.
            version = str(self._state.version)
            gone = {**before, "metadata": {**before["metadata"], "resourceVersion": version}}
            event = Removed(metadata_only(unit, gone))
        else:
            return
        if self._held is not None:
            self._held.append(event)
        else:
            self._queue.put(event)

    def _wanted(self, body: Body) -> bool:
        labels = body["metadata"].get("labels") or {}
        return not self._applysets or labels.get(PART_OF_LABEL) in self._applysets


def metadata_only(unit: UnitId, body: Body) -> LiveObject:
    return LiveObject(unit, {k: body[k] for k in ("apiVersion", "kind", "metadata")})
