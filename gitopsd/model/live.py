"""What a cluster says: objects, absence, refusals. A failed observation is an exception, never an absence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.units import Manifest


@dataclass(frozen=True, slots=True)
class LiveObject:
    """An object as the API server answered it, whole or as metadata alone."""

    id: UnitId
    body: Manifest

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata: Mapping[str, Any] = self.body.get("metadata") or {}
        return metadata

    @property
    def uid(self) -> str:
        return str(self.metadata.get("uid", ""))

    @property
    def resource_version(self) -> str:
        return str(self.metadata.get("resourceVersion", ""))

    @property
    def generation(self) -> int:
        return int(self.metadata.get("generation") or 0)

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.metadata.get("labels") or {}
        return labels

    @property
    def annotations(self) -> Mapping[str, str]:
        annotations: Mapping[str, str] = self.metadata.get("annotations") or {}
        return annotations

    @property
    def owner_references(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.metadata.get("ownerReferences") or ())

    @property
    def managed_fields(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.metadata.get("managedFields") or ())

    @property
    def terminating(self) -> bool:
        return bool(self.metadata.get("deletionTimestamp"))


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server serves it: how to address it and what may be asked of it."""

    group: str
    kind: str
    plural: str
    namespaced: bool
    versions: tuple[str, ...]
    verbs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every kind that a cluster serves, by (group, kind)."""

    resources: Mapping[tuple[str, str], Resource]

    def find(self, group: str, kind: str) -> Resource | None:
        return self.resources.get((group, kind))


class Absence(StrEnum):
    """Why there is no object: only GONE means that it does not exist."""

    GONE = "gone"
    KIND_UNSERVED = "kind-unserved"


class RejectionKind(StrEnum):
    """What an API server's refusal of a manifest means, sorted without reading its text where that is possible."""

    SCHEMA = "schema"
    INVALID = "invalid"
    NEEDS_RECREATE = "needs-recreate"
    WEDGED = "wedged"
    ADMISSION = "admission"
    NAMESPACE_MISSING = "namespace-missing"
    KIND_UNSERVED = "kind-unserved"
    TERMINATING = "terminating"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A manifest that the API server will not take; `fields` are paths as the server names them."""

    kind: RejectionKind
    message: str
    fields: tuple[str, ...] = ()
    status: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """A manifest that was applied (or would be): the object it became, and the server's warnings."""

    live: LiveObject
    created: bool
    warnings: tuple[str, ...] = ()


Applied = Accepted | Rejection


class Deletion(StrEnum):
    """The answer to a delete with preconditions."""

    GONE = "gone"
    TERMINATING = "terminating"
    CHANGED = "changed"  # uid or resourceVersion is no longer what the caller saw


class Health(StrEnum):
    """Health as Argo CD's users know it."""

    HEALTHY = "healthy"
    PROGRESSING = "progressing"
    DEGRADED = "degraded"
    SUSPENDED = "suspended"
    TERMINATING = "terminating"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Assessment:
    """Health of one unit with its reason; `final` means that waiting cannot mend it (image pull, crash loop, ...)."""

    health: Health
    reason: str = ""
    message: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """An object with the pods and ReplicaSets that it controls, for judging its health."""

    live: LiveObject
    pods: tuple[Manifest, ...] = ()
    replica_sets: tuple[Manifest, ...] = ()
