"""Which units of a stack bring what others cannot exist without: namespaces and custom kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gitopsd.model.ids import UnitId
from gitopsd.model.units import KubernetesUnit


@dataclass(frozen=True, slots=True)
class Creators:
    """Where a stack's namespaces come from, by (cluster, name), and its custom kinds, by (cluster, group, kind)."""

    namespaces: Mapping[tuple[str, str], UnitId]
    kinds: Mapping[tuple[str, str, str], UnitId]

    @classmethod
    def among(cls, units: Iterable[KubernetesUnit]) -> Creators:
        namespaces: dict[tuple[str, str], UnitId] = {}
        kinds: dict[tuple[str, str, str], UnitId] = {}
        for unit in units:
            if unit.id.kind == "Namespace" and not unit.id.group:
                namespaces[unit.id.cluster, unit.id.name] = unit.id
            elif unit.traits.defines is not None:
                kinds[unit.id.cluster, *unit.traits.defines] = unit.id
        return cls(namespaces, kinds)

    def anything_for(self, cluster: str, namespace: str, group: str, kind: str) -> bool:
        """Whether objects of this kind in this namespace need anything of the stack."""
        return (cluster, namespace) in self.namespaces or (cluster, group, kind) in self.kinds

    def namespace_of(self, unit: UnitId) -> UnitId | None:
        return self.namespaces.get((unit.cluster, unit.namespace)) if unit.namespace else None

    def kind_of(self, unit: UnitId) -> UnitId | None:
        return self.kinds.get((unit.cluster, unit.group, unit.kind))

    def needed_by(self, unit: UnitId) -> Iterator[tuple[UnitId, str]]:
        """What has to be there before `unit` can be sent, each with the reason as a clause about `unit`."""
        namespace, kind = self.namespace_of(unit), self.kind_of(unit)
        if namespace is not None:
            yield namespace, "lives in it"
        if kind is not None:
            yield kind, "is of the kind that it defines"


def is_namespace(unit: UnitId) -> bool:
    return unit.kind == "Namespace" and not unit.group


def is_crd(unit: UnitId) -> bool:
    return unit.kind == "CustomResourceDefinition" and unit.group == "apiextensions.k8s.io"


def is_job(unit: UnitId) -> bool:
    return unit.kind == "Job" and unit.group == "batch"
