"""What would go along with a namespace, or with the definition of a custom kind, that this stack created."""

from __future__ import annotations

from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.ports import Cluster

SYSTEM_MADE = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})
"""What controllers of Kubernetes itself put into every namespace."""

EPHEMERAL = frozenset({"Event", "Endpoints", "EndpointSlice", "Lease", "PodMetrics"})
"""Kinds that say something about other objects and are nobody's property."""


def content(cluster: Cluster, live: LiveObject) -> str:
    """The first object that is left inside a Namespace or of a custom kind, as text; "" if there is none.

    Deleting the container would delete it too, whoever's it is: of ours, what may go was deleted before, and what is
    kept (a claim with data, say) has to stay. Other kinds contain nothing.
    """
    if live.id.kind == "Namespace" and not live.id.group:
        return _inside_namespace(cluster, live.id.name)
    if live.id.kind == "CustomResourceDefinition":
        spec = live.body.get("spec") or {}
        kind = (spec.get("names") or {}).get("kind", "")
        return _first_lasting(cluster.list(spec.get("group", ""), kind))
    return ""


def _inside_namespace(cluster: Cluster, namespace: str) -> str:
    for resource in cluster.catalog(refresh=True).resources.values():
        if not resource.namespaced or "list" not in resource.verbs or resource.kind in EPHEMERAL:
            continue
        found = _first_lasting(cluster.list(resource.group, resource.kind, namespace))
        if found:
            return found
    return ""


def _first_lasting(found: tuple[LiveObject, ...]) -> str:
    return next((str(o.id) for o in found if _lasts(o.id, o)), "")


def _lasts(unit: UnitId, live: LiveObject) -> bool:
    """Not made by a controller for something else, and not on its way out."""
    return not (live.terminating or live.owner_references or (unit.kind, unit.name) in SYSTEM_MADE)
