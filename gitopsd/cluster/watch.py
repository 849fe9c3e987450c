"""Watches: one kind, metadata alone, from a complete list on; cut, stalled, expired and lied to, and still complete.

Nothing is ever taken for granted from silence. A watch whose connection stalls, or which waits for a resourceVersion
that will not come for years (etcd was put back to a backup), looks like a cluster in which nothing happens.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection, Iterator

from gitopsd.cluster.channel import Channel, Closed, End, Server, Wanted
from gitopsd.cluster.listing import Query
from gitopsd.cluster.locate import Place
from gitopsd.cluster.resume import Course, Ended, Lived, Look, after, went_back
from gitopsd.cluster.streams import Stream
from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.watching import Blind, Removed, Seen, Sighted, WatchEvent, Whole


class Watches:
    """Begins watches, and ends those that are open when the adapter is closed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._open: set[KindWatch] = set()

    def watch(self, group: str, kind: str, applysets: Collection[str]) -> KindWatch:
        """Raises EnvironmentFault if the kind is not served, may not be watched, or if its events do not arrive."""
        ids = ",".join(sorted(applysets))
        wanted = Wanted(group, kind, f"{PART_OF_LABEL} in ({ids})" if ids else "")
        channel = Channel(self._server, wanted)
        try:
            channel.prove()
        except End as error:
            raise error.fault or channel.fault("its list grows old faster than it can be read") from error
        made = KindWatch(self, self._server, wanted, channel)
        with self._lock:
            self._open.add(made)
        return made

    def forget(self, watch: KindWatch) -> None:
        with self._lock:
            self._open.discard(watch)

    def close(self) -> None:
        with self._lock:
            watches = tuple(self._open)
        for watch in watches:
            watch.close()


class KindWatch:
    """One kind of one cluster, watched; see `gitopsd.model.ports.Watch`."""

    def __init__(self, owner: Watches, server: Server, wanted: Wanted, channel: Channel) -> None:
        self._owner, self._wanted, self._channel, self._limits = owner, wanted, channel, server.limits
        self._random = random.SystemRandom()
        self._place: Place | None = None
        self._position = ""
        self._began: float | None = None
        self._told = False
        self._listed_at = 0.0
        self._lost_at: float | None = None
        self._blind = False

    def close(self) -> None:
        self._channel.close()
        self._owner.forget(self)

    def events(self) -> Iterator[WatchEvent]:
        course, look = Course(), Look.LIST
        while not self._channel.closed():
            self._began, self._told = None, False
            try:
                yield from self._turn(look)
                end = End(Ended.ORDINARY)
            except Closed:
                return
            except End as error:
                end = error
            except EnvironmentFault as fault:
                end = End(Ended.FAULT, fault)
            finally:
                self._channel.drop()
            if self._channel.closed():
                return
            step = after(end.how, self._lived(), course)
            course, look = step.course, step.look
            if step.tell and not self._blind:
                self._blind = True
                yield Blind(end.fault or self._channel.fault("the server ends it without having told anything"))
            if step.pause:
                self._channel.wait(self._pause(course, end.fault))

    def _lived(self) -> Lived:
        """What the watch that has just ended came to."""
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        return Lived(
            began=self._began is not None,
            told=self._told,
            long=self._began is not None and now - self._began > self._limits.most,
            listed=now - self._listed_at < self._limits.compare,
        )

    def _turn(self, look: Look) -> Iterator[WatchEvent]:
        """Look at what `look` says, then watch until that ends."""
        place = self._channel.locate()
        if place is not self._place:  # the kind went away and came back: other objects, maybe another version
            self._place, self._position = place, ""
        listed = look is Look.LIST or not self._position or (look is Look.COMPARE and self._counts_lower(place))
        if listed:
            yield from self._list(place)
        stream = self._open(place)
        if not listed and self._lost_at is not None and time.monotonic() - self._lost_at > self._limits.absence:
            self._channel.drop()  # not before a watch is possible again: a list at each try would help nobody
            yield from self._list(place)
            stream = self._open(place)
        self._lost_at = None
        if self._blind:
            self._blind = False
            yield Sighted()
        yield from self._follow(place, stream)

    def _open(self, place: Place) -> Stream:
        stream = self._channel.open(place, {"resourceVersion": self._position})
        self._began = time.monotonic()
        return stream

    def _list(self, place: Place) -> Iterator[WatchEvent]:
        units: set[UnitId] = set()
        self._position, version = "", ""
        for page in self._channel.pages(Query(place, self._wanted.selector)):
            version = page.version
            page.items.reverse()
            while page.items:  # what was handed out is not kept
                live = self._channel.live(place, page.items.pop())
                units.add(live.id)
                yield Seen(live, listed=True)
        yield Whole(frozenset(units))
        self._position, self._listed_at = version, time.monotonic()

    def _follow(self, place: Place, stream: Stream) -> Iterator[WatchEvent]:
        compare = time.monotonic() + self._limits.compare
        for kind, item in self._channel.events(stream):
            version = str((item.get("metadata") or {}).get("resourceVersion") or "")
            if went_back(version, self._position):
                raise End(Ended.EXPIRED)
            self._position, self._told = version or self._position, True
            if kind != "BOOKMARK":
                live = self._channel.live(place, item)
                yield Removed(live) if kind == "DELETED" else Seen(live)
            if time.monotonic() > compare:
                compare = time.monotonic() + self._limits.compare
                self._compare(place)

    def _counts_lower(self, place: Place) -> bool:
        page = next(self._channel.pages(Query(place, most=1)))
        return went_back(page.version, self._position)

    def _compare(self, place: Place) -> None:
        try:
            lower = self._counts_lower(place)
        except EnvironmentFault:
            return  # the watch itself lives: its silence would be noticed, and the question comes again
        if lower:
            raise End(Ended.EXPIRED)

    def _pause(self, course: Course, fault: EnvironmentFault | None) -> float:
        limits = self._limits
        usual = min(limits.most, limits.first * 2.0 ** min(course.failures - 1, 16)) * self._random.uniform(0.5, 1.5)
        return max(usual, (fault.retry_after if fault is not None else None) or 0.0)
