"""What a simulated API server stores, and the rules of its kinds: versions, defaults, what cannot be changed."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gitopsd.model.ids import DEFAULT_CLUSTER, UnitId
from gitopsd.model.live import Catalog, Rejection, RejectionKind, Resource
from tests.support.ssa import Body, updated

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
CRD_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
VERBS = frozenset({"create", "delete", "get", "list", "patch", "update", "watch"})

_SERVED = {
    ("", "Namespace"): (False, "v1", "namespaces"),
    ("", "ConfigMap"): (True, "v1", "configmaps"),
    ("", "Secret"): (True, "v1", "secrets"),
    ("", "Service"): (True, "v1", "services"),
    ("", "ServiceAccount"): (True, "v1", "serviceaccounts"),
    ("", "PersistentVolumeClaim"): (True, "v1", "persistentvolumeclaims"),
    ("", "Pod"): (True, "v1", "pods"),
    ("apps", "Deployment"): (True, "v1", "deployments"),
    ("apps", "ReplicaSet"): (True, "v1", "replicasets"),
    ("apps", "StatefulSet"): (True, "v1", "statefulsets"),
    ("batch", "Job"): (True, "v1", "jobs"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (False, "v1", "customresourcedefinitions"),
}
_COUNTED = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "Job", "CustomResourceDefinition"})
"""Kinds with a generation; custom resources have one, too."""

_FROZEN = frozenset({"PriorityClass", "Flunder"})
"""Kinds whose generation stays what it was, whatever is written; the second is one of an aggregated API."""

_TOP = frozenset({"apiVersion", "kind", "metadata", "spec", "status", "data", "binaryData", "stringData", "immutable",
                  "type", "automountServiceAccountToken"})  # fmt: skip


def unit_of(body: Mapping[str, Any]) -> UnitId:
    group, slash, _ = str(body["apiVersion"]).rpartition("/")
    metadata = body["metadata"]
    return UnitId(
        DEFAULT_CLUSTER, group if slash else "", body["kind"], metadata.get("namespace", ""), metadata["name"]
    )


def stamp(seconds: float) -> str:
    """Kubernetes' time of a moment of the fake clock."""
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


Resources = dict[str, dict[str, Any]]
"""Attributes by address."""


@dataclass
class SimModule:
    """One state: what a backend would hold."""

    serial: int = 0
    lineage: str = ""
    resources: Resources = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: str = ""
    """Who holds its lock, in words; nobody by default."""


@dataclass
class ServerState:
    """Everything that outlives a client: objects, the parents' text and the leases of the stacks. Stored bodies are
    never changed in place, so that `copy` is cheap."""

    objects: dict[UnitId, Body] = field(default_factory=dict)
    memories: dict[str, bytes] = field(default_factory=dict)
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    cluster_uid: str = "uid-of-kube-system"
    version: int = 100
    uids: int = 0
    writes: list[tuple[str, UnitId]] = field(default_factory=list)
    """(verb, unit) of every write that came through the port and was taken."""
    created: Counter[UnitId] = field(default_factory=Counter)
    modules: dict[str, SimModule] = field(default_factory=dict)
    """Terraform's states, by state key."""
    listeners: list[Callable[[UnitId, Body | None, Body | None], None]] = field(default_factory=list)
    """Told of every write: the unit, its body before and after. A copy has none."""

    def copy(self) -> ServerState:
        return replace(
            self,
            objects=dict(self.objects),
            memories=dict(self.memories),
            leases=dict(self.leases),
            writes=list(self.writes),
            created=Counter(self.created),
            modules=copy.deepcopy(self.modules),
            listeners=[],
        )

    # ------------------------------------------------------------ objects

    def put(self, body: Body, now: float) -> Body:
        """Store a body as a new object or a new version of one; what did not change gets no new resourceVersion."""
        unit = unit_of(body)
        live = self.objects.get(unit)
        made = copy.deepcopy(body)
        metadata = made.setdefault("metadata", {})
        if live is not None and same_object(live, made):
            return live
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        if live is None:
            self.uids += 1
            metadata |= {"uid": f"uid-{self.uids}", "creationTimestamp": stamp(now)}
            self.created[unit] += 1
        if unit.kind in _COUNTED or unit.group not in {g for g, _ in _SERVED}:
            metadata["generation"] = _generation(live, made)
        self.objects[unit] = made
        self._tell(unit, live, made)
        return made

    def edit(self, unit: UnitId, body: Body, manager: str, now: float) -> Body:
        """Somebody else's ordinary update."""
        return self.put(updated(self.objects[unit], body, manager, stamp(now)), now)

    def remove(self, unit: UnitId) -> None:
        self.version += 1
        self._tell(unit, self.objects.pop(unit), None)

    def _tell(self, unit: UnitId, before: Body | None, after: Body | None) -> None:
        for listener in tuple(self.listeners):
            listener(unit, before, after)

    def delete(self, unit: UnitId, now: float) -> bool:
        """True if the object is gone at once; with finalizers, and a namespace, it is only marked."""
        body = self.objects[unit]
        if not body["metadata"].get("finalizers") and unit.kind != "Namespace":
            self.remove(unit)
            return True
        if "deletionTimestamp" not in body["metadata"]:
            marked = copy.deepcopy(body)
            marked["metadata"]["deletionTimestamp"] = stamp(now)
            if unit.kind == "Namespace":
                marked["status"] = {"phase": "Terminating"}
            self.put(marked, now)
        return False

    def inside(self, namespace: str) -> list[UnitId]:
        return [u for u in self.objects if u.namespace == namespace]

    def of_kind(self, group: str, kind: str) -> list[tuple[UnitId, Body]]:
        return [(u, b) for u, b in self.objects.items() if (u.group, u.kind) == (group, kind)]

    def owned_by(self, uid: str, kind: str) -> list[tuple[UnitId, Body]]:
        return [
            (u, b)
            for u, b in self.objects.items()
            if u.kind == kind and any(r["uid"] == uid for r in b["metadata"].get("ownerReferences") or ())
        ]

    # ------------------------------------------------------------ kinds

    def catalog(self) -> Catalog:
        found = {
            key: Resource(key[0], key[1], plural, namespaced, (version,), VERBS)
            for key, (namespaced, version, plural) in _SERVED.items()
        }
        return Catalog(found | {(r.group, r.kind): r for r in self._custom()})

    def served(self, group: str, kind: str, version: str = "") -> bool:
        found = self.catalog().find(group, kind)
        return found is not None and (not version or version in found.versions)

    def _custom(self) -> Iterator[Resource]:
        for _, body in self.of_kind("apiextensions.k8s.io", "CustomResourceDefinition"):
            if body.get("status"):
                spec = body["spec"]
                versions = tuple(v["name"] for v in spec["versions"])
                names, namespaced = spec["names"], spec.get("scope") == "Namespaced"
                yield Resource(spec["group"], names["kind"], names["plural"], namespaced, versions, VERBS)


def same_object(live: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether a write changes nothing that the server would store."""
    servers = ("uid", "resourceVersion", "generation", "creationTimestamp")
    return _plain(live, servers) == _plain(body, servers)


def _plain(body: Mapping[str, Any], without: tuple[str, ...]) -> Body:
    return {**body, "metadata": {k: v for k, v in body["metadata"].items() if k not in without}}


def _generation(live: Body | None, body: Body) -> int:
    if live is None or body["kind"] in _FROZEN:
        return 1
    wish = [{k: v for k, v in b.items() if k not in {"metadata", "status"}} for b in (live, body)]
    return int(live["metadata"]["generation"]) + (wish[0] != wish[1])


def with_defaults(body: Body) -> Body:
    """What the server fills in."""
    filled = copy.deepcopy(body)
    if body["kind"] in {"Deployment", "StatefulSet"}:
        filled["spec"].setdefault("replicas", 1)
    if body["kind"] == "Namespace":
        filled.setdefault("status", {"phase": "Active"})
    return filled


def schema_fault(manifest: Mapping[str, Any]) -> Rejection | None:
    """A field that does not exist, or a value of the wrong type."""
    unknown = sorted(set(manifest) - _TOP)
    if unknown:
        return Rejection(RejectionKind.SCHEMA, f'unknown field "{unknown[0]}"', (unknown[0],), 400)
    if manifest["kind"] == "ConfigMap":
        wrong = sorted(k for k, v in (manifest.get("data") or {}).items() if not isinstance(v, str))
        if wrong:
            return Rejection(RejectionKind.SCHEMA, "must be a string", (f"data.{wrong[0]}",), 400)
    return None


def immutable_fault(live: Body, body: Body) -> Rejection | None:
    """A change of what cannot be changed in place."""
    paths: tuple[tuple[str, ...], ...] = {
        "Deployment": (("spec", "selector"),),
        "Job": (("spec", "template"),),
        "ConfigMap": (("data",),) if live.get("immutable") else (),
    }.get(str(live["kind"]), ())
    for path in paths:
        one: Any = live
        other: Any = body
        for key in path:
            one, other = one.get(key), other.get(key)
        if one != other:
            name = ".".join(path)
            return Rejection(RejectionKind.NEEDS_RECREATE, f"{name}: field is immutable", (name,), 422)
    return None
