"""The identity of what is applied: without version, so that an API upgrade is no delete and create."""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern
from typing import NamedTuple

DEFAULT_CLUSTER = "default"
TERRAFORM_KIND = "terraform"


class UnitId(NamedTuple):
    """(cluster, group, kind, namespace, name) of a Kubernetes object, or the component of a Terraform module.

    A tuple, because a run looks thousands of them up, and hashes and comparisons of tuples cost next to nothing.

    The text form is what people type and what every JSON shows: `Deployment.apps/web/api`, `Namespace/web`,
    with `CLUSTER:` before it unless the cluster is called `default`; a Terraform module is `terraform/NAME`.
    """

    cluster: str
    group: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def terraform(cls, component: str) -> UnitId:
        return cls("", "", TERRAFORM_KIND, "", component)

    @property
    def is_terraform(self) -> bool:
        return self.kind == TERRAFORM_KIND

    @property
    def group_kind(self) -> str:
        """`Kind.group` as kubectl writes it; the core group has no suffix."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    def __str__(self) -> str:
        path = "/".join(part for part in (self.group_kind, self.namespace, self.name) if part)
        return path if self.is_terraform or self.cluster == DEFAULT_CLUSTER else f"{self.cluster}:{path}"

    @classmethod
    def parse(cls, text: str) -> UnitId:
        """The inverse of `str`. Raises ValueError for a text that names no unit."""
        cluster, rest = DEFAULT_CLUSTER, text
        head = text.split("/", 1)[0]
        if ":" in head:  # only a cluster may stand there: kinds and groups have no colon, names of RBAC do
            cluster, rest = text.split(":", 1)
        parts = rest.split("/")
        if len(parts) not in {2, 3} or not all(parts):
            raise ValueError(f"{text!r} is no unit; write KIND[.GROUP]/[NAMESPACE/]NAME")
        kind, _, group = parts[0].partition(".")
        if kind == TERRAFORM_KIND:
            return cls.terraform(parts[1])
        return cls.shared(cluster, group, kind, parts[1] if len(parts) == 3 else "", parts[-1])

    @classmethod
    def shared(cls, cluster: str, group: str, kind: str, namespace: str, name: str) -> UnitId:
        """The same with texts that are in memory once: of thousands of units nearly all parts are alike."""
        return cls(*map(intern, (cluster, group, kind, namespace, name)))


def clusters_of(units: Iterable[UnitId]) -> set[str]:
    """The clusters that these units live in; Terraform modules live in none."""
    return {unit.cluster for unit in units if unit.kind != TERRAFORM_KIND}


def modules_of(units: Iterable[UnitId]) -> list[UnitId]:
    """The Terraform modules among thousands of units, sorted."""
    return sorted([unit for unit in units if unit.kind == TERRAFORM_KIND])
