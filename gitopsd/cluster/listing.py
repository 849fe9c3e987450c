"""Many objects of a kind: by label for the inventory, by namespace for the gate. Always consistent reads, never the
server's cache, which may be older than what was just written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gitopsd.cluster.access import Access, Ask
from gitopsd.cluster.connection import JSON, Connection, Request, Sleep
from gitopsd.cluster.errors import read_refusal, readable
from gitopsd.cluster.locate import Locator, Place
from gitopsd.cluster.workers import Workers
from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject

PAGE = 500
"""Objects in one answer: kubectl's page size."""

_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Query:
    """What is listed. `metadata`: nothing but that of each object. `most`: stop after so many (0: all)."""

    place: Place
    selector: str = ""
    metadata: bool = True
    most: int = 0


class Unserved(Exception):  # a signal between two functions of this module, not a failure
    """A bare 404: the kind is not served at this moment."""


class Expired(Exception):  # a signal as well
    """The continue token is older than what the server remembers."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the resourceVersion that all of it shows ("" where the server has none)."""

    items: list[dict[str, Any]]
    version: str


class Listing:
    """LIST requests."""

    def __init__(self, name: str, connection: Connection, locator: Locator, access: Access, workers: Workers) -> None:
        self._name = name
        self._connection, self._locator, self._access, self._workers = connection, locator, access, workers

    def members(self, applyset: str, group_kinds: Iterable[str]) -> tuple[LiveObject, ...]:
        """Metadata of every object with the label of this ApplySet. A kind that the cluster does not serve any more has
        no members; one that it serves but does not list raises."""
        tasks = [partial(self._members, applyset, *_split(each)) for each in sorted(set(group_kinds))]
        return tuple(live for found in self._workers.run(tasks) for live in found)

    def _members(self, applyset: str, group: str, kind: str) -> tuple[LiveObject, ...]:
        place = self._locator.kind(group, kind)
        if place is None:
            return ()
        try:
            return self.live(Query(place, f"{PART_OF_LABEL}={applyset}"))
        except Unserved as error:
            if not self._locator.still_served(place):
                return ()
            raise self._silent(place) from error

    def kind(self, group: str, kind: str, namespace: str, limit: int) -> tuple[LiveObject, ...]:
        """Metadata of the objects of a kind; a kind that is not served raises, for its data may be there."""
        place = self._locator.kind(group, kind, namespace)
        if place is None:
            name = f"{kind}.{group}" if group else kind
            raise self._connection.fault(f"{name} is not served now, so that nobody can tell which objects exist")
        try:
            return self.live(Query(place, most=limit))
        except Unserved as error:
            raise self._silent(place) from error

    def live(self, query: Query) -> tuple[LiveObject, ...]:
        """The objects of a query. Raises Unserved if the kind is not served, EnvironmentFault for other obstacles."""
        return tuple(as_live(self._name, query.place, item) for item in self._items(query))

    def _items(self, query: Query) -> list[dict[str, Any]]:
        for _ in range(_RESTARTS):
            try:
                return [item for page in self.pages(query) for item in page.items]
            except Expired:
                continue  # what was read so far belongs to a state that the server has forgotten: all over again
        raise self._connection.fault(f"GET {query.place.path}: the list grows old faster than it can be read")

    def pages(self, query: Query, *, size: int = PAGE, sleep: Sleep = time.sleep) -> Iterator[Page]:
        """A list part by part, at least one. Raises Unserved, Expired if the server forgets the state that it was
        reading from, and EnvironmentFault for other obstacles."""
        parameters = {"limit": str(min(size, query.most or size))}
        if query.selector:
            parameters["labelSelector"] = query.selector
        left = query.most
        while True:
            body = self._page(query, parameters, sleep)
            metadata = body.get("metadata") or {}
            items = list(body.get("items") or ())
            del body  # nothing but the part that is handed out stays in memory meanwhile
            if query.most:
                items = items[:left]
                left -= len(items)
            yield Page(items, str(metadata.get("resourceVersion") or ""))
            following = metadata.get("continue")
            if not following or (query.most and not left):
                return
            parameters["continue"] = str(following)

    def _page(self, query: Query, parameters: Mapping[str, str], sleep: Sleep) -> dict[str, Any]:
        place = query.place
        accept = f"{_METADATA},{JSON}" if query.metadata else JSON
        request = Request("GET", place.path, dict(parameters), accept=accept, headers={"Accept-Encoding": "gzip"})
        reply = self._connection.send(request, sleep)
        if reply.ok:
            body = reply.object()
            if not isinstance(body.get("metadata"), dict):  # a page of some proxy: "nothing is there" is no answer
                raise self._connection.fault(
                    f"GET {place.path}: what comes is no list",
                    remedy="look at what is between gitopsd and the API server",
                )
            return body
        refusal = read_refusal(reply.status, reply.json())
        if refusal.code == 410 and "continue" in parameters:
            raise Expired
        if refusal.code == 404 and not refusal.not_found:
            raise Unserved
        resource = place.resource
        if refusal.code == 403:
            ask = Ask(("list",), resource.group, resource.plural, place.namespace, "", resource.namespaced)
            fault = self._access.explain(ask, refusal)
            if fault is not None:
                raise fault
        raise self._connection.fault(f"GET {place.path}: {readable(refusal)}")

    def _silent(self, place: Place) -> Exception:
        return self._connection.fault(
            f"GET {place.path}: the kind is announced, but not served",
            remedy=f"look at the conditions of {place.resource.plural}.{place.resource.group}",
        )


def as_live(cluster: str, place: Place, item: Mapping[str, Any]) -> LiveObject:
    """An item of a list or an event: they do not say what they are, or that they are PartialObjectMetadata."""
    metadata = item.get("metadata") or {}
    unit = UnitId(
        cluster,
        place.resource.group,
        place.resource.kind,
        str(metadata.get("namespace") or ""),
        str(metadata.get("name") or ""),
    )
    return LiveObject(unit, {**item, "apiVersion": place.api_version, "kind": place.resource.kind})


def _split(group_kind: str) -> tuple[str, str]:
    kind, _, group = group_kind.partition(".")
    return group, kind
