"""What a watch asks of its server: lists, one stream at a time, and the proof that events arrive.

It knows requests and refusals; what they mean for the watch is decided in `resume` and done in `watch`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from gitopsd.cluster.access import Access, Ask
from gitopsd.cluster.connection import Connection, Request, describe_error
from gitopsd.cluster.errors import Refusal, read_refusal, readable
from gitopsd.cluster.listing import Expired, Listing, Page, Query, Unserved, as_live
from gitopsd.cluster.locate import Locator, Place
from gitopsd.cluster.resume import Ended
from gitopsd.cluster.settings import WatchLimits
from gitopsd.cluster.streams import Broken, Overlong, Stream
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject

_ACCEPT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
"""Not the List form, which is right for LIST alone: with it the API server (1.36) answers 200, and ends the watch at
its first event without having sent it."""

_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")

_PAGE = 100
"""Objects in one part of a list. Many kinds are listed at the same time when the program starts."""

_SETTLING = (0.1, 0.2, 0.4, 0.8)
"""Seconds between tries while a kind is announced, but not served: right after its definition was made."""


_MISSING = "its definition, or the API server behind its group, is missing"

_HELD = (
    "look for a proxy before the API server that holds back or cuts answers without an end; "
    "`kubectl get --watch` through it shows the same"
)


class Closed(Exception):
    """Nobody wants to know any more."""


class End(Exception):
    """The watch ended."""

    def __init__(self, how: Ended, fault: EnvironmentFault | None = None) -> None:
        super().__init__(how)
        self.how, self.fault = how, fault


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is watched: a kind, and which of its objects."""

    group: str
    kind: str
    selector: str

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of the adapter that all watches of a cluster share."""

    name: str
    connection: Connection
    locator: Locator
    access: Access
    listing: Listing
    limits: WatchLimits


class Channel:
    """One thread asks; `close` may come from another one. Besides what each method says, all raise Closed after it, End
    if the server has forgotten what it was asked to go on from, and EnvironmentFault."""

    def __init__(self, server: Server, wanted: Wanted) -> None:
        self._server, self._wanted, self._limits = server, wanted, server.limits
        self._random = random.SystemRandom()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._place: Place | None = None

    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """End what waits."""
        with self._lock:
            self._closed.set()
            if self._stream is not None:
                self._stream.shut()

    def _keep(self, stream: Stream) -> Stream:
        with self._lock:
            self._stream = stream
            if not self._closed.is_set():
                return stream
        self.drop()
        raise Closed

    def drop(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def wait(self, seconds: float) -> None:
        """Returns early if the channel is closed."""
        self._closed.wait(seconds)

    def sleep(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise Closed

    def events(self, stream: Stream) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The type and the object of each event, to the ordinary end. Raises End otherwise."""
        try:
            for line in stream.lines():
                yield self._read(line)
        except Broken as error:
            if error.error is None:
                raise End(Ended.SILENT) from error
            raise End(Ended.CUT, self.fault(describe_error(error.error))) from error
        except Overlong as error:
            raise self._nonsense() from error

    def _read(self, line: bytes) -> tuple[str, Mapping[str, Any]]:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = None
        kind, item = (event.get("type"), event.get("object")) if isinstance(event, dict) else (None, None)
        if kind not in _TYPES or not isinstance(item, dict) or not isinstance(item.get("metadata") or {}, dict):
            raise self._nonsense()
        if kind == "ERROR":
            code = item.get("code")
            self._refused(read_refusal(code if isinstance(code, int) else 0, item))
        return kind, item

    def prove(self) -> None:
        """See that the kind is served and may be listed and watched, and that events arrive: an object that is there is
        watched without a position, for which the server sends an event of it at once. Nothing is written for it.

        Raises EnvironmentFault.
        """
        place = self.locate()
        for _ in range(2):  # the object may be deleted between the two requests
            page = next(self.pages(Query(place, self._wanted.selector, most=1)))
            if not page.items or self._arrives(place, self.live(place, page.items[0]).id):
                break
        else:
            raise self.fault(
                f"an object is there, but its event does not arrive within {self._limits.arrival:g} s", _HELD
            )
        if not page.items:
            self.open(place, {"resourceVersion": page.version})
            self.drop()

    def _arrives(self, place: Place, unit: UnitId) -> bool:
        fields = [f"metadata.name={unit.name}", *([f"metadata.namespace={unit.namespace}"] if unit.namespace else ())]
        try:
            stream = self.open(place, {"fieldSelector": ",".join(fields)}, silence=self._limits.arrival)
            return any(self.events(stream))
        except End:
            return False
        finally:
            self.drop()

    def locate(self) -> Place:
        """Where the kind is: the same object until it went away in between."""
        if self._place is None:
            self._place = self._server.locator.kind(self._wanted.group, self._wanted.kind)
        if self._place is None:
            raise self.fault("it is not served now", _MISSING)
        if "watch" not in self._place.resource.verbs:
            raise self.fault("its server has no watch for it")
        return self._place

    def pages(self, query: Query) -> Iterator[Page]:
        """A list part by part."""
        begun, pauses = False, iter(_SETTLING)
        while True:
            try:
                for page in self._server.listing.pages(query, size=_PAGE, sleep=self.sleep):
                    if not page.version:
                        raise self.fault("its server keeps no resourceVersion, so that it cannot be watched")
                    begun = True
                    yield page
            except Unserved:
                if begun:
                    raise End(Ended.EXPIRED) from None
                self._settle(query.place, pauses)
            except Expired:
                raise End(Ended.EXPIRED) from None
            else:
                return

    def open(self, place: Place, query: Mapping[str, str], *, silence: float = 0.0) -> Stream:
        """A watch that was granted, from the `resourceVersion` of the query on."""
        limits, pauses = self._limits, iter(_SETTLING)
        lasting = int(limits.lasting * self._random.uniform(1, 2))
        parameters = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(max(lasting, 1)), **query}
        if self._wanted.selector:
            parameters["labelSelector"] = self._wanted.selector
        # Compressed, an event might wait for the next one.
        request = Request("GET", place.path, parameters, accept=_ACCEPT, headers={"Accept-Encoding": "identity"})
        while True:
            try:
                answer = self._server.connection.stream(request, silence or limits.silence, self.sleep)
            except Broken as error:
                raise End(Ended.FAULT, self.fault("it is asked for and never answered", _HELD)) from error
            if isinstance(answer, Stream):
                return self._keep(answer)
            refusal = read_refusal(answer.status, answer.json())
            if refusal.code == 404 and not refusal.not_found:
                self._settle(place, pauses)
            else:
                self._refused(refusal)

    def _settle(self, place: Place, pauses: Iterator[float]) -> None:
        """A bare 404: wait a little while the kind is announced; then, or if it is not, forget where it was."""
        pause, announced = next(pauses, None), self._server.locator.still_served(place)
        if pause is None or not announced:
            self._place = None
            conditions = f"look at the conditions of {self._definition(place)}"
            raise self.fault("it is not served now", conditions if announced else _MISSING)
        self.sleep(pause)

    def _refused(self, refusal: Refusal) -> NoReturn:
        if refusal.code == 410:
            raise End(Ended.EXPIRED)
        if refusal.code == 403 and self._place is not None:
            resource = self._place.resource
            ask = Ask(("watch",), resource.group, resource.plural, namespaced=resource.namespaced)
            fault = self._server.access.explain(ask, refusal)
            if fault is not None:
                raise fault
        raise self.fault(readable(refusal))

    def live(self, place: Place, item: Mapping[str, Any]) -> LiveObject:
        """Without the rest of the object, if the server sent it all the same."""
        return as_live(self._server.name, place, {"metadata": item.get("metadata") or {}})

    def fault(self, what: str, remedy: str = "") -> EnvironmentFault:
        return self._server.connection.fault(f"watch of {self._wanted.name}: {what}", remedy=remedy)

    def _nonsense(self) -> EnvironmentFault:
        return self.fault("what comes is no event", "look at what is between gitopsd and the API server")

    @staticmethod
    def _definition(place: Place) -> str:
        resource = place.resource
        return f"{resource.plural}.{resource.group}" if resource.group else resource.plural
