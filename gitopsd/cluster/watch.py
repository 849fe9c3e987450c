"""Watches: one kind, metadata alone, from a complete list on; cut, stalled, expired and lied to, and still complete.

Nothing is ever taken for granted from silence. A watch whose connection stalls, or which waits for a resourceVersion
that will not come for years (etcd was put back to a backup), looks like a cluster in which nothing happens.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import orjson

from gitopsd.cluster.access import Access, Ask
from gitopsd.cluster.connection import Connection, Request, describe_error
from gitopsd.cluster.errors import Refusal, read_refusal, readable
from gitopsd.cluster.listing import Expired, Listing, Page, Query, Unserved, as_live
from gitopsd.cluster.locate import Locator, Place
from gitopsd.cluster.resume import Course, Ended, Lived, Look, after, went_back
from gitopsd.cluster.settings import WatchLimits
from gitopsd.cluster.streams import Broken, Overlong, Stream
from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.watching import Blind, Removed, Seen, Sighted, WatchEvent, Whole

_ACCEPT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
"""Not the List form, which is right for LIST alone: with it the API server (1.36) answers 200, and ends the watch at
its first event without having sent it."""

_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")

_PAGE = 100
"""Objects in one part of a list. Many kinds are listed at the same time when the program starts."""

_SETTLING = (0.1, 0.2, 0.4, 0.8)
"""Seconds between tries while a kind is announced, but not served: right after its definition was made."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is watched: a kind, and which of its objects."""

    group: str
    kind: str
    selector: str

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


class Watches:
    """Begins watches, and ends those that are open when the adapter is closed."""

    def __init__(
        self,
        name: str,
        *,
        connection: Connection,
        locator: Locator,
        access: Access,
        listing: Listing,
        limits: WatchLimits,
    ) -> None:
        self.name, self.connection, self.locator = name, connection, locator
        self.access, self.listing, self.limits = access, listing, limits
        self._lock = threading.Lock()
        self._open: set[KindWatch] = set()

    def watch(self, group: str, kind: str, applysets: Collection[str]) -> KindWatch:
        """Raises EnvironmentFault if the kind is not served, may not be watched, or if events do not arrive."""
        ids = ",".join(sorted(applysets))
        made = KindWatch(self, Wanted(group, kind, f"{PART_OF_LABEL} in ({ids})" if ids else ""))
        try:
            made.prove()
        except _End as error:
            raise error.fault or self.connection.fault(
                f"the list of {kind} grows old faster than it can be read"
            ) from error
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


class _Closed(Exception):
    """Nobody wants to know any more."""


class _End(Exception):
    """The watch ended."""

    def __init__(self, how: Ended, fault: EnvironmentFault | None = None) -> None:
        super().__init__(how)
        self.how, self.fault = how, fault


class KindWatch:
    """One kind of one cluster, watched; see `gitopsd.model.ports.Watch`."""

    def __init__(self, owner: Watches, wanted: Wanted) -> None:
        self._owner, self._wanted = owner, wanted
        self._connection, self._limits = owner.connection, owner.limits
        self._random = random.SystemRandom()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._place: Place | None = None
        self._position = ""
        self._lived = Lived()
        self._listed_at = 0.0
        self._lost_at: float | None = None
        self._blind = False

    # ------------------------------------------------------------ the port

    def events(self) -> Iterator[WatchEvent]:
        course, look = Course(), Look.LIST
        while not self._closed.is_set():
            began = time.monotonic()
            self._lived = Lived()
            try:
                yield from self._turn(look)
                end = _End(Ended.ORDINARY)
            except _Closed:
                return
            except _End as error:
                end = error
            except EnvironmentFault as fault:
                end = _End(Ended.FAULT, fault)
            finally:
                self._drop()
            if self._closed.is_set():
                return
            now = time.monotonic()
            if self._lost_at is None:
                self._lost_at = now
            lived = replace(
                self._lived,
                long=self._lived.began and now - began > self._limits.most,
                listed=now - self._listed_at < self._limits.compare,
            )
            step = after(end.how, lived, course)
            course, look = step.course, step.look
            if step.tell and not self._blind:
                self._blind = True
                yield Blind(end.fault or self._fault("the server ends the watch without having told anything"))
            if step.pause:
                self._closed.wait(self._pause(course, end.fault))

    def close(self) -> None:
        with self._lock:
            self._closed.set()
            if self._stream is not None:
                self._stream.shut()
        self._owner.forget(self)

    # ------------------------------------------------------------ one turn

    def _turn(self, look: Look) -> Iterator[WatchEvent]:
        """Look at what `look` says, then watch until that ends."""
        place = self._locate()
        listed = look is Look.LIST or not self._position or (look is Look.COMPARE and self._counts_lower(place))
        if listed:
            yield from self._list(place)
        stream = self._open(place, {"resourceVersion": self._position})
        if not listed and self._lost_at is not None and time.monotonic() - self._lost_at > self._limits.absence:
            self._drop()  # not before a watch is possible again: a list at each try would help nobody
            yield from self._list(place)
            stream = self._open(place, {"resourceVersion": self._position})
        self._lost_at = None
        if self._blind:
            self._blind = False
            yield Sighted()
        yield from self._follow(place, stream)

    def _list(self, place: Place) -> Iterator[WatchEvent]:
        units: set[UnitId] = set()
        self._position, version = "", ""
        for page in self._pages(Query(place, self._wanted.selector)):
            version = page.version
            page.items.reverse()
            while page.items:  # what was handed out is not kept
                live = self._live(place, page.items.pop())
                units.add(live.id)
                yield Seen(live, listed=True)
        yield Whole(frozenset(units))
        self._position, self._listed_at = version, time.monotonic()

    def _follow(self, place: Place, stream: Stream) -> Iterator[WatchEvent]:
        compare = time.monotonic() + self._limits.compare
        for line in self._lines(stream):
            kind, item = self._read(line)
            version = str((item.get("metadata") or {}).get("resourceVersion") or "")
            if went_back(version, self._position):
                raise _End(Ended.EXPIRED)
            self._position = version or self._position
            self._lived = Lived(began=True, told=True)
            if kind != "BOOKMARK":
                live = self._live(place, item)
                yield Removed(live) if kind == "DELETED" else Seen(live)
            if time.monotonic() > compare:
                compare = time.monotonic() + self._limits.compare
                self._compare(place)

    def _lines(self, stream: Stream) -> Iterator[bytes]:
        try:
            yield from stream.lines()
        except Broken as error:
            if error.error is None:
                raise _End(Ended.SILENT) from error
            raise _End(Ended.CUT, self._fault(describe_error(error.error))) from error
        except Overlong as error:
            raise self._nonsense() from error

    def _read(self, line: bytes) -> tuple[str, Mapping[str, Any]]:
        """The type of an event, and its object."""
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = None
        kind, item = (event.get("type"), event.get("object")) if isinstance(event, dict) else (None, None)
        if kind not in _TYPES or not isinstance(item, dict) or not isinstance(item.get("metadata") or {}, dict):
            raise self._nonsense()
        if kind == "ERROR":
            self._refused(read_refusal(int(item.get("code") or 0), item))
        return kind, item

    # ------------------------------------------------------------ questions

    def prove(self) -> None:
        """See that the kind is served and may be listed and watched, and that events arrive: an object that is there is
        watched without a position, for which the server sends an event of it at once. Nothing is written for it.

        Raises EnvironmentFault.
        """
        place = self._locate()
        for _ in range(2):  # the object may be deleted between the two requests
            page = next(self._pages(Query(place, self._wanted.selector, most=1)))
            if not page.version:
                raise self._fault("its server keeps no resourceVersion, so that it cannot be watched")
            if not page.items or self._arrives(place, self._live(place, page.items[0]).id):
                break
        else:
            raise self._fault(
                f"the watch is granted, but no event arrives within {self._limits.arrival:g} s",
                "look for a proxy before the API server that holds back or cuts answers without an end; "
                "`kubectl get --watch` through it shows the same",
            )
        if not page.items:
            self._open(place, {"resourceVersion": page.version})
            self._drop()

    def _arrives(self, place: Place, unit: UnitId) -> bool:
        fields = [f"metadata.name={unit.name}", *([f"metadata.namespace={unit.namespace}"] if unit.namespace else ())]
        stream = self._open(place, {"fieldSelector": ",".join(fields)}, silence=self._limits.arrival)
        try:
            return any(self._read(line) for line in stream.lines())
        except (Broken, Overlong):
            return False
        finally:
            self._drop()

    def _counts_lower(self, place: Place) -> bool:
        page = next(self._pages(Query(place, most=1)))
        return went_back(page.version, self._position)

    def _compare(self, place: Place) -> None:
        try:
            lower = self._counts_lower(place)
        except EnvironmentFault:
            return  # the watch itself lives: its silence would be noticed, and the question comes again
        if lower:
            raise _End(Ended.EXPIRED)

    def _locate(self) -> Place:
        if self._place is None:
            self._place = self._owner.locator.kind(self._wanted.group, self._wanted.kind)
        if self._place is None:
            raise self._fault("it is not served now", "its definition is missing; the watch goes on when it is back")
        if "watch" not in self._place.resource.verbs:
            raise self._fault("its server has no watch for it")
        return self._place

    def _pages(self, query: Query) -> Iterator[Page]:
        begun, pauses = False, iter(_SETTLING)
        while True:
            try:
                for page in self._owner.listing.pages(query, size=_PAGE, sleep=self._sleep):
                    begun = True
                    yield page
            except Unserved:
                if begun:
                    raise _End(Ended.EXPIRED) from None
                self._settle(query.place, pauses)
            except Expired:
                raise _End(Ended.EXPIRED) from None
            else:
                return

    def _open(self, place: Place, query: Mapping[str, str], *, silence: float = 0.0) -> Stream:
        limits, pauses = self._limits, iter(_SETTLING)
        lasting = int(limits.lasting * self._random.uniform(1, 2))
        parameters = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(max(lasting, 1)), **query}
        if self._wanted.selector:
            parameters["labelSelector"] = self._wanted.selector
        # Compressed, an event might wait for the next one.
        request = Request("GET", place.path, parameters, accept=_ACCEPT, headers={"Accept-Encoding": "identity"})
        while True:
            answer = self._connection.stream(request, silence or limits.silence, self._sleep)
            if isinstance(answer, Stream):
                return self._keep(answer)
            refusal = read_refusal(answer.status, answer.json())
            if refusal.code == 404 and not refusal.not_found:
                self._settle(place, pauses)
            else:
                self._refused(refusal)

    def _settle(self, place: Place, pauses: Iterator[float]) -> None:
        """A bare 404: wait a little while the kind is announced; then, or if it is not, forget where it was."""
        pause = next(pauses, None)
        if pause is None or not self._owner.locator.still_served(place):
            self._place, self._position = None, ""
            raise self._fault("it is not served now", f"look at the conditions of {self._definition(place)}")
        self._sleep(pause)

    def _refused(self, refusal: Refusal) -> NoReturn:
        if refusal.code == 410:
            raise _End(Ended.EXPIRED)
        if refusal.code == 403 and self._place is not None:
            resource = self._place.resource
            ask = Ask(("watch",), resource.group, resource.plural, namespaced=resource.namespaced)
            fault = self._owner.access.explain(ask, refusal)
            if fault is not None:
                raise fault
        raise self._fault(readable(refusal))

    # ------------------------------------------------------------ small things

    def _keep(self, stream: Stream) -> Stream:
        with self._lock:
            self._stream = stream
            if not self._closed.is_set():
                self._lived = Lived(began=True)
                return stream
        self._drop()
        raise _Closed

    def _drop(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _sleep(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise _Closed

    def _pause(self, course: Course, fault: EnvironmentFault | None) -> float:
        limits = self._limits
        usual = min(limits.most, limits.first * 2.0 ** min(course.failures - 1, 16)) * self._random.uniform(0.5, 1.5)
        return max(usual, (fault.retry_after if fault is not None else None) or 0.0)

    def _live(self, place: Place, item: Mapping[str, Any]) -> LiveObject:
        """Without the rest of the object, if the server sent it all the same."""
        return as_live(self._owner.name, place, {"metadata": item.get("metadata") or {}})

    def _fault(self, what: str, remedy: str = "") -> EnvironmentFault:
        return self._connection.fault(f"watch of {self._wanted.name}: {what}", remedy=remedy)

    def _nonsense(self) -> EnvironmentFault:
        return self._fault("what comes is no event", "look at what is between gitopsd and the API server")

    @staticmethod
    def _definition(place: Place) -> str:
        resource = place.resource
        return f"{resource.plural}.{resource.group}" if resource.group else resource.plural
