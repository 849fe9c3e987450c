"""What is sent to the API server for a unit: its manifest with our marks, and without what is left to others."""

from __future__ import annotations

from collections.abc import Collection

from gitopsd.kinds.fields import keep_ignored
from gitopsd.kinds.marks import mark
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.units import Desired, KubernetesUnit, Manifest

REPLICAS = "spec.replicas"

Targets = Collection[tuple[str, str, str]]
"""(kind, namespace, name) of objects whose replicas an autoscaler sets."""


def autoscaled_targets(desired: Desired) -> Targets:
    """What the stack's own HorizontalPodAutoscalers scale."""
    return {unit.traits.scales for unit in desired.units.values() if unit.traits.scales is not None}


def manifest_to_send(
    unit: KubernetesUnit, live: LiveObject | None, stack: str, applyset: str, autoscaled: Targets
) -> Manifest:
    """The manifest of `unit` as `stack` applies it onto `live`.

    Fields under `gitopsd.io/ignore`, and the replicas of an autoscaler's target, go out as they are live; a new object
    starts with what git says.
    """
    return mark(keep_ignored(unit.manifest, live, ignored_paths(unit, autoscaled)), stack, unit.id, applyset)


def ignored_paths(unit: KubernetesUnit, autoscaled: Targets) -> tuple[str, ...]:
    """The fields of a unit that are left to others."""
    ignore = unit.options.ignore
    scaled = (unit.id.kind, unit.id.namespace, unit.id.name) in autoscaled
    return (*ignore, REPLICAS) if scaled and REPLICAS not in ignore else ignore


def all_ignored(desired: Desired) -> dict[UnitId, tuple[str, ...]]:
    """The fields that are left to others, of every unit that has any."""
    autoscaled = autoscaled_targets(desired)
    scaled = {kind for kind, _, _ in autoscaled}
    some = (u for u in desired.units.values() if u.options.ignore or u.id.kind in scaled)
    return {unit.id: paths for unit in some if (paths := ignored_paths(unit, autoscaled))}
