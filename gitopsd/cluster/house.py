"""The few objects that the program keeps for itself in its own namespace: read, created, replaced with a witness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gitopsd.cluster.access import Access, Ask
from gitopsd.cluster.connection import Connection, Reply, Request
from gitopsd.cluster.errors import Refusal, read_refusal, readable
from gitopsd.kinds.marks import MANAGED_BY_LABEL
from gitopsd.model.errors import EnvironmentFault

STACK_ANNOTATION = "gitopsd.io/stack"
"""On the parent and the Lease of a stack: whose they are. What carries no such mark is somebody else's."""

MANAGED_BY = "gitopsd"

_NAMESPACES = "/api/v1/namespaces"

_QUERY = {"fieldManager": "gitopsd", "fieldValidation": "Strict"}


@dataclass(frozen=True, slots=True)
class Shelf:
    """One kind of such objects in one namespace."""

    group: str
    version: str
    kind: str
    plural: str
    namespace: str

    @property
    def path(self) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{self.namespace}/{self.plural}"

    def body(self, metadata: Mapping[str, Any], **content: Any) -> dict[str, Any]:
        version = f"{self.group}/{self.version}" if self.group else self.version
        return {"apiVersion": version, "kind": self.kind, "metadata": dict(metadata), **content}


@dataclass(frozen=True, slots=True)
class Found:
    """An object with the server's clock at the moment of its answer (`Date`). `remembered`: as we wrote it last, which
    somebody may have changed since."""

    body: Mapping[str, Any]
    date: str = ""
    remembered: bool = False

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata: Mapping[str, Any] = self.body.get("metadata") or {}
        return metadata

    @property
    def stack(self) -> str:
        """The stack that the object says it belongs to; "" if it is not one of ours."""
        return str((self.metadata.get("annotations") or {}).get(STACK_ANNOTATION, ""))


class House:
    """Reads and writes them. Nothing is overwritten that the writer has not seen."""

    def __init__(self, connection: Connection, access: Access) -> None:
        self._connection, self._access = connection, access
        self._written: dict[tuple[str, str], Found] = {}

    def recall(self, shelf: Shelf, name: str, *, look: bool = True) -> Found | None:
        """The object as we wrote it last, if we did: a replacement of it fails if it has changed since. That answer is
        given once; the next is what `read` says (without `look`: None)."""
        known = self._written.pop((shelf.path, name), None)
        return known or (self.read(shelf, name) if look else None)

    def read(self, shelf: Shelf, name: str) -> Found | None:
        """None if there is no such object (or no such namespace: the answer is the same)."""
        reply = self._connection.send(Request("GET", f"{shelf.path}/{name}"))
        if reply.ok:
            return Found(reply.object(), reply.headers.get("Date", ""))
        refusal = read_refusal(reply.status, reply.json())
        if refusal.not_found:
            return None
        raise self._fault(shelf, ("get",), name, refusal)

    def create(self, shelf: Shelf, name: str, body: Mapping[str, Any]) -> bool:
        """Create it, and its namespace if that is missing. False: somebody was faster."""
        reply = self._post(shelf, body)
        refusal = read_refusal(reply.status, reply.json())
        if refusal.not_found and refusal.kind == "namespaces":
            self._create_namespace(shelf.namespace)
            reply = self._post(shelf, body)
            refusal = read_refusal(reply.status, reply.json())
        if reply.ok:
            self._remember(shelf, name, reply)
        if reply.ok or reply.status == 409:
            return reply.ok
        raise self._fault(shelf, ("create",), name, refusal)

    def replace(self, shelf: Shelf, name: str, body: Mapping[str, Any]) -> Found | None:
        """Replace the object whose resourceVersion the body carries; as it is then. None: it has changed (or gone)
        since."""
        reply = self._connection.send(Request("PUT", f"{shelf.path}/{name}", _QUERY, body))
        if reply.ok:
            return self._remember(shelf, name, reply)
        refusal = read_refusal(reply.status, reply.json())
        if refusal.code == 409 or refusal.not_found:
            return None
        raise self._fault(shelf, ("update",), name, refusal)

    def _remember(self, shelf: Shelf, name: str, reply: Reply) -> Found:
        found = Found(reply.object(), reply.headers.get("Date", ""))
        self._written[shelf.path, name] = replace(found, remembered=True)
        return found

    def _post(self, shelf: Shelf, body: Mapping[str, Any]) -> Reply:
        # Repeatable: a lost answer shows as a 409, and the caller then reads what is there.
        return self._connection.send(Request("POST", shelf.path, _QUERY, body))

    def stands(self, name: str, *, make: bool) -> bool:
        """Whether a namespace is there; with `make`, it is made if it is missing."""
        reply = self._connection.send(Request("GET", f"{_NAMESPACES}/{name}"))
        if reply.ok:
            return True
        refusal = read_refusal(reply.status, reply.json())
        if refusal.code == 403:
            return True  # who may not look at namespaces was given one
        if not refusal.not_found:
            raise self._connection.fault(f"namespace {name} cannot be looked at: {readable(refusal)}")
        if make:
            self._create_namespace(name)
        return make

    def _create_namespace(self, name: str) -> None:
        labels = {MANAGED_BY_LABEL: MANAGED_BY, "pod-security.kubernetes.io/enforce": "restricted"}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        reply = self._connection.send(Request("POST", _NAMESPACES, _QUERY, body))
        if reply.ok or reply.status == 409:
            return
        refusal = read_refusal(reply.status, reply.json())
        ask = Ask(("create",), "", "namespaces", name=name, namespaced=False)
        raise self._explained(ask, refusal, f"namespace {name} cannot be created")

    def _fault(self, shelf: Shelf, verbs: tuple[str, ...], name: str, refusal: Refusal) -> EnvironmentFault:
        ask = Ask(verbs, shelf.group, shelf.plural, shelf.namespace, "" if verbs == ("create",) else name)
        return self._explained(ask, refusal, f"{verbs[0]} of {shelf.kind} {shelf.namespace}/{name} is refused")

    def _explained(self, ask: Ask, refusal: Refusal, what: str) -> EnvironmentFault:
        fault = self._access.explain(ask, refusal) if refusal.code == 403 else None
        return fault or self._connection.fault(f"{what}: {readable(refusal)}")
