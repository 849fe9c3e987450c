"""Units together with the pods and ReplicaSets that they control, in few requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from gitopsd.cluster.errors import is_secret
from gitopsd.cluster.listing import Listing, Query, Unserved
from gitopsd.cluster.locate import Locator
from gitopsd.cluster.objects import Objects
from gitopsd.cluster.workers import Workers
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, LiveObject, Workload
from gitopsd.model.units import Manifest

TOGETHER = 10
"""From more units of one kind and namespace than this on, one LIST is cheaper than their GETs."""

_WITH_PODS = frozenset(
    {
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("batch", "Job"),
        ("", "ReplicationController"),
    }
)
_WITH_REPLICA_SETS = frozenset({("apps", "Deployment")})

_POD = ("", "Pod")
_REPLICA_SET = ("apps", "ReplicaSet")

Owned = Mapping[str, list[Manifest]]
"""Objects by the uid of their owner."""


class Workloads:
    """Reads for the gate."""

    def __init__(self, objects: Objects, listing: Listing, locator: Locator, workers: Workers) -> None:
        self._objects, self._listing, self._locator, self._workers = objects, listing, locator, workers

    def read(self, units: Sequence[UnitId]) -> dict[UnitId, Workload | Absence]:
        """Every unit with what it controls. Owners are read before what they own, so that a pod which is seen is never
        older than the state of its owner."""
        found = self._owners(dict.fromkeys(units))
        present = [unit for unit, live in found.items() if isinstance(live, LiveObject)]
        owned = self._owned(
            {_POD: _namespaces(present, _WITH_PODS), _REPLICA_SET: _namespaces(present, _WITH_REPLICA_SETS)}
        )
        return {unit: live if isinstance(live, Absence) else assemble(live, owned) for unit, live in found.items()}

    def _owners(self, units: Iterable[UnitId]) -> dict[UnitId, LiveObject | Absence]:
        groups: dict[tuple[str, str, str], list[UnitId]] = defaultdict(list)
        for unit in units:
            groups[(unit.group, unit.kind, unit.namespace)].append(unit)
        tasks = []
        for group in groups.values():
            # A list of all Secrets, or of every object in the cluster, is more than was asked for.
            if len(group) > TOGETHER and group[0].namespace and not is_secret(group[0]):
                tasks.append(partial(self._listed, group))
            else:
                tasks += [partial(self._got, unit) for unit in group]
        return {unit: live for part in self._workers.run(tasks) for unit, live in part.items()}

    def _got(self, unit: UnitId) -> dict[UnitId, LiveObject | Absence]:
        return {unit: self._objects.get(unit)}

    def _listed(self, units: Sequence[UnitId]) -> dict[UnitId, LiveObject | Absence]:
        first = units[0]
        place = self._locator.kind(first.group, first.kind, first.namespace)
        if place is None:
            return dict.fromkeys(units, Absence.KIND_UNSERVED)
        try:
            live = {each.id: each for each in self._listing.live(Query(place, metadata=False))}
        except Unserved:
            return dict.fromkeys(units, Absence.KIND_UNSERVED)
        return {unit: live.get(unit, Absence.GONE) for unit in units}

    def _owned(self, wanted: Mapping[tuple[str, str], set[str]]) -> Owned:
        places = [self._locator.kind(*kind, namespace) for kind, names in wanted.items() for namespace in sorted(names)]
        tasks = [partial(self._listing.live, Query(place, metadata=False)) for place in places if place is not None]
        return by_owner(live.body for part in self._workers.run(tasks) for live in part)


def _namespaces(units: Iterable[UnitId], kinds: frozenset[tuple[str, str]]) -> set[str]:
    return {unit.namespace for unit in units if (unit.group, unit.kind) in kinds}


def by_owner(bodies: Iterable[Manifest]) -> Owned:
    """Objects by the uid of the controller that their ownerReferences name."""
    found: dict[str, list[Manifest]] = defaultdict(list)
    for body in bodies:
        for reference in (body.get("metadata") or {}).get("ownerReferences") or ():
            if reference.get("controller"):
                found[str(reference.get("uid"))].append(body)
    return found


def assemble(live: LiveObject, owned: Owned) -> Workload:
    """A unit with its own, and only its own: names and labels may be those of an object that was there before it."""
    if (live.id.group, live.id.kind) in _WITH_REPLICA_SETS:
        sets = tuple(owned.get(live.uid, ()))
        uids = [str(each["metadata"]["uid"]) for each in sets]
        return Workload(live, tuple(pod for uid in uids for pod in owned.get(uid, ())), sets)
    return Workload(live, tuple(owned.get(live.uid, ())))
