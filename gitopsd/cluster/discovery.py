"""Which kinds a cluster serves: aggregated discovery, or the older request per group version where it is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.cluster.connection import JSON, Connection, Reply, Request
from gitopsd.model.live import Catalog, Resource

_AGGREGATED = ",".join(
    [f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")]
    + [JSON]
)
_ROOTS = ("/api", "/apis")


@dataclass(frozen=True, slots=True)
class Served:
    """One kind in one version of its group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a cluster serves, and the groups of which some version cannot be known now: their server does not answer,
    so that nothing follows from a kind that is missing there."""

    catalog: Catalog
    blind: frozenset[str] = frozenset()


class Discovery:
    """The catalog, kept in memory until somebody asks for a fresh one. Safe from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._found: Discovered | None = None
        self._answers: dict[str, Reply] = {}  # aggregated answers with their ETag, to be confirmed by a 304

    def get(self) -> Discovered:
        found = self._found
        return found if found is not None else self.refresh(None)

    def refresh(self, seen: Discovered | None) -> Discovered:
        """Ask again, unless another thread has done so since the caller got `seen`."""
        with self._lock:
            if self._found is None or self._found is seen:
                self._found = self._read()
            return self._found

    def renew(self) -> Discovered:
        """Ask again in any case."""
        with self._lock:
            self._found = self._read()
            return self._found

    def _read(self) -> Discovered:
        served: list[Served] = []
        blind: set[str] = set()
        for root in _ROOTS:
            reply = self._root(root)
            body = reply.object()
            if body.get("kind") == "APIGroupDiscoveryList":
                more, unknown = read_aggregated(body)
            else:
                more, unknown = self._plain(root, body)
            served += more
            blind |= unknown
        return Discovered(catalog_of(served), frozenset(blind))

    def _root(self, root: str) -> Reply:
        known = self._answers.get(root)
        headers = {"Accept-Encoding": "gzip"}
        if known is not None:
            headers["If-None-Match"] = known.headers.get("ETag", "")
        reply = self._connection.send(Request("GET", root, accept=_AGGREGATED, headers=headers))
        if reply.status == 304 and known is not None:
            return known
        if not reply.ok:
            raise self._connection.fault(f"GET {root}: cannot find out which kinds are served (HTTP {reply.status})")
        if reply.headers.get("ETag"):
            self._answers[root] = reply
        else:
            self._answers.pop(root, None)
        return reply

    def _plain(self, root: str, body: Mapping[str, Any]) -> tuple[list[Served], set[str]]:
        served: list[Served] = []
        blind: set[str] = set()
        for group, version in _group_versions(body):
            path = f"{root}/{group}/{version}" if group else f"{root}/{version}"
            reply = self._connection.send(Request("GET", path, transient=lambda r: r.status == 429))
            if reply.ok:
                served += read_plain(group, version, reply.object())
            elif reply.status != 404:  # a version that went away between the two requests is simply not served
                blind.add(group)
        return served, blind


def _group_versions(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Of an APIVersions or an APIGroupList, the preferred version of each group first."""
    for version in body.get("versions") or ():
        yield "", str(version)
    for group in body.get("groups") or ():
        preferred = str((group.get("preferredVersion") or {}).get("version") or "")
        versions = [str(each["version"]) for each in group.get("versions") or ()]
        for version in sorted(versions, key=lambda v: v != preferred):  # stable: the server's order otherwise
            yield str(group["name"]), version


def read_plain(group: str, version: str, body: Mapping[str, Any]) -> list[Served]:
    """The kinds of an APIResourceList; subresources are not kinds."""
    return [
        Served(
            group=group,
            version=version,
            kind=str(each["kind"]),
            plural=str(each["name"]),
            namespaced=bool(each.get("namespaced")),
            verbs=frozenset(each.get("verbs") or ()),
        )
        for each in body.get("resources") or ()
        if "/" not in str(each["name"])
    ]


def read_aggregated(body: Mapping[str, Any]) -> tuple[list[Served], set[str]]:
    """The kinds of an APIGroupDiscoveryList, and the groups with a version that is stale: what it lists may be missing
    or out of date, because the API server behind it does not answer."""
    served: list[Served] = []
    blind: set[str] = set()
    for item in body.get("items") or ():
        group = str((item.get("metadata") or {}).get("name") or "")
        for entry in item.get("versions") or ():
            if entry.get("freshness") == "Stale":
                blind.add(group)
            for each in entry.get("resources") or ():
                kind = str((each.get("responseKind") or {}).get("kind") or "")
                if kind:
                    served.append(
                        Served(
                            group=group,
                            version=str(entry["version"]),
                            kind=kind,
                            plural=str(each["resource"]),
                            namespaced=each.get("scope") == "Namespaced",
                            verbs=frozenset(each.get("verbs") or ()),
                        )
                    )
    return served, blind


def catalog_of(served: list[Served]) -> Catalog:
    """One resource for each group and kind, its versions in the server's order of preference.

    Where two resources share a kind, the one whose objects can be read is meant: the other takes requests only.
    """
    found: dict[tuple[str, str], Resource] = {}
    for each in served:
        key = (each.group, each.kind)
        known = found.get(key)
        if known is None or ("get" in each.verbs and "get" not in known.verbs):
            found[key] = Resource(each.group, each.kind, each.plural, each.namespaced, (each.version,), each.verbs)
        elif known.plural == each.plural and each.version not in known.versions:
            versions = (*known.versions, each.version)
            found[key] = Resource(known.group, known.kind, known.plural, known.namespaced, versions, known.verbs)
    return Catalog(found)
