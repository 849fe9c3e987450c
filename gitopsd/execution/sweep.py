"""A look at everything tracked: who may have drifted, and how everybody is. One LIST a kind, no request an object."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gitopsd.kinds.builtin import gates
from gitopsd.kinds.health import assess
from gitopsd.kinds.jobs import job_digest
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Assessment, Health, LiveObject, Workload
from gitopsd.model.memory import Baseline, JobDone
from gitopsd.model.ports import Cluster
from gitopsd.model.times import timestamp
from gitopsd.model.units import Desired


@dataclass(frozen=True, slots=True)
class Survey:
    """Health of every gating unit, and the Jobs that were found finished."""

    health: Mapping[UnitId, Assessment]
    jobs: tuple[JobDone, ...]


def suspicious(
    clusters: Mapping[str, Cluster], applysets: Mapping[str, str], baselines: Mapping[UnitId, Baseline]
) -> frozenset[UnitId]:
    """Units that deserve a closer look. Raises EnvironmentFault if a kind cannot be listed."""
    found: set[UnitId] = set()
    for name, cluster in clusters.items():
        mine = {u: b for u, b in baselines.items() if u.cluster == name}
        members = cluster.members(applysets[name], sorted({u.group_kind for u in mine}))
        found |= moved(mine, {live.id: live for live in members})
    return frozenset(found)


def moved(baselines: Mapping[UnitId, Baseline], live: Mapping[UnitId, LiveObject]) -> set[UnitId]:
    """Units that are not listed any more, are another object, or were written since they were last known equal."""
    return {
        unit
        for unit, base in baselines.items()
        if (seen := live.get(unit)) is None
        or not base.digest
        or (seen.uid, seen.resource_version) != (base.uid, base.resource_version)
    }


def due(
    baselines: Mapping[UnitId, Baseline], modules: Collection[UnitId], now: datetime, interval: float
) -> frozenset[UnitId]:
    """Terraform modules that were last found as they should be (or reported as not) at least `interval` seconds ago."""
    latest = timestamp(now - timedelta(seconds=interval))
    return frozenset(u for u, base in baselines.items() if u.is_terraform and u in modules and base.at <= latest)


def survey(
    clusters: Mapping[str, Cluster], desired: Desired, now: datetime, *, among: Collection[UnitId] | None = None
) -> Survey:
    """How every unit is that a gate would watch (`among` these, or of all). Raises EnvironmentFault if a cluster cannot
    be asked."""
    units = desired.units.items() if among is None else ((u, desired.units[u]) for u in among if u in desired.units)
    gating = [u for u, w in units if gates(u.group, u.kind, w.options.gate, w.manifest)]
    seen: dict[UnitId, Workload | Absence] = {}
    for name, cluster in clusters.items():
        seen |= cluster.workloads([u for u in gating if u.cluster == name])
    health = {unit: assess(unit, found, now) for unit, found in seen.items()}
    jobs = tuple(
        JobDone(u, job_digest(desired.units[u].manifest), timestamp(now))
        for u, found in health.items()
        if u.kind == "Job" and found.health is Health.HEALTHY
    )
    gone_by_design = {u for u, found in health.items() if u.kind == "Job" and found.health is Health.MISSING}
    return Survey({u: found for u, found in health.items() if u not in gone_by_design}, jobs)
