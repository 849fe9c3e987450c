"""What others have put into a namespace, or made of a custom kind, that this stack created."""

from __future__ import annotations

from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.ports import Cluster

SYSTEM_MADE = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})
"""What controllers of Kubernetes itself put into every namespace."""

EPHEMERAL = frozenset({"Event", "Endpoints", "EndpointSlice", "Lease", "PodMetrics"})
"""Kinds that say something about other objects and are nobody's property."""


def foreign_content(cluster: Cluster, live: LiveObject, applyset: str) -> str:
    """The first object of somebody else inside a Namespace or of a custom kind, as text; "" if there is none.

    Deleting the container would delete it too. Other kinds contain nothing.
    """
    if live.id.kind == "Namespace" and not live.id.group:
        return _inside_namespace(cluster, live.id.name, applyset)
    if live.id.kind == "CustomResourceDefinition":
        spec = live.body.get("spec") or {}
        kind = (spec.get("names") or {}).get("kind", "")
        return _first_foreign(cluster.list(spec.get("group", ""), kind), applyset)
    return ""


def _inside_namespace(cluster: Cluster, namespace: str, applyset: str) -> str:
    for resource in cluster.catalog(refresh=True).resources.values():
        if not resource.namespaced or "list" not in resource.verbs or resource.kind in EPHEMERAL:
            continue
        foreign = _first_foreign(cluster.list(resource.group, resource.kind, namespace), applyset)
        if foreign:
            return foreign
    return ""


def _first_foreign(found: tuple[LiveObject, ...], applyset: str) -> str:
    return next((str(o.id) for o in found if _foreign(o.id, o, applyset)), "")


def _foreign(unit: UnitId, live: LiveObject, applyset: str) -> bool:
    """Not ours, not made by a controller for something of ours, and not on its way out."""
    return not (
        live.terminating
        or live.owner_references
        or live.labels.get(PART_OF_LABEL) == applyset
        or (unit.kind, unit.name) in SYSTEM_MADE
    )
