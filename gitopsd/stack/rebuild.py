"""What a lost host has to learn from a cluster beside the memory: what is tracked there, and what no gate has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gitopsd.kinds.marks import TRACKING_ANNOTATION, tracking_id
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.memory import Attempt, Dirty, Memory, ModuleMemory
from gitopsd.model.plan import Action
from gitopsd.model.ports import Cluster
from gitopsd.model.units import KubernetesUnit

SECONDS = len("2026-01-01T00:00:00")
"""The part of a time that API servers write: objects are born at whole seconds."""


def members(clusters: Mapping[str, Cluster], applysets: Mapping[str, str], memory: Memory) -> tuple[LiveObject, ...]:
    """Every object that says of itself that it is this stack's; a copied label does not. Raises EnvironmentFault."""
    return tuple(
        live
        for name, cluster in clusters.items()
        for live in cluster.members(applysets[name], memory.kinds)
        if live.annotations.get(TRACKING_ANNOTATION) == tracking_id(memory.stack, live.id)
    )


def ungated(
    attempt: Attempt,
    found: Iterable[LiveObject],
    wanted: Mapping[UnitId, KubernetesUnit],
    modules: Iterable[ModuleMemory],
) -> list[Dirty]:
    """Marks for everything that a run of which nothing else is known may have touched: all that is there, and all that
    the good revision wants and that is not there any more.

    What was born since that run began was made by it, by the clocks of host and API server. If they differ, something
    of it may look older: then a rollback leaves it and lists it.
    """
    live = {each.id: each for each in found}
    there = [
        Dirty(
            unit=unit,
            run=attempt.run,
            action=Action.UPDATE,
            order=wanted[unit].order if unit in wanted else (0, 0),
            component=wanted[unit].component if unit in wanted else "",
            created=str(each.metadata.get("creationTimestamp", ""))[:SECONDS]
            >= (attempt.since or attempt.at)[:SECONDS],
            uid=each.uid,
        )
        for unit, each in live.items()
    ]
    gone = [
        Dirty(unit, attempt.run, Action.DELETE, each.order, each.component)
        for unit, each in wanted.items()
        if unit not in live
    ]
    roots = [
        Dirty(UnitId.terraform(m.component), attempt.run, Action.UPDATE, (0, 0), m.component, revision=attempt.commit)
        for m in modules
    ]
    return there + gone + roots
