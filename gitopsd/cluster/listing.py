"""Many objects of a kind: by label for the inventory, by namespace for the gate. Always consistent reads, never the
server's cache, which may be older than what was just written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gitopsd.cluster.access import Access, Ask
from gitopsd.cluster.connection import JSON, Connection, Request
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
        return tuple(self._object(query.place, item) for item in self._items(query))

    def _object(self, place: Place, item: Mapping[str, Any]) -> LiveObject:
        # Items of a list do not say what they are, and metadata-only ones say that they are PartialObjectMetadata.
        metadata = item.get("metadata") or {}
        body = {**item, "apiVersion": place.api_version, "kind": place.resource.kind}
        unit = UnitId(
            self._name,
            place.resource.group,
            place.resource.kind,
            str(metadata.get("namespace") or ""),
            str(metadata.get("name") or ""),
        )
        return LiveObject(unit, body)

    def _items(self, query: Query) -> list[dict[str, Any]]:
        for _ in range(_RESTARTS):
            try:
                return list(self._pages(query))
            except _Expired:
                continue  # what was read so far belongs to a state that the server has forgotten: all over again
        raise self._connection.fault(f"GET {query.place.path}: the list grows old faster than it can be read")

    def _pages(self, query: Query) -> Iterator[dict[str, Any]]:
        parameters = {"limit": str(min(PAGE, query.most or PAGE))}
        if query.selector:
            parameters["labelSelector"] = query.selector
        seen = 0
        while True:
            body = self._page(query, parameters)
            for item in body.get("items") or ():
                yield item
                seen += 1
                if seen == query.most:
                    return
            following = (body.get("metadata") or {}).get("continue")
            if not following:
                return
            parameters["continue"] = str(following)

    def _page(self, query: Query, parameters: Mapping[str, str]) -> dict[str, Any]:
        place = query.place
        accept = f"{_METADATA},{JSON}" if query.metadata else JSON
        request = Request("GET", place.path, dict(parameters), accept=accept, headers={"Accept-Encoding": "gzip"})
        reply = self._connection.send(request)
        if reply.ok:
            return reply.object()
        refusal = read_refusal(reply.status, reply.json())
        if refusal.code == 410 and "continue" in parameters:
            raise _Expired
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


class _Expired(Exception):
    """The continue token is older than what the server remembers."""


def _split(group_kind: str) -> tuple[str, str]:
    kind, _, group = group_kind.partition(".")
    return group, kind
