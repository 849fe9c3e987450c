"""What a commit asks for: parsed documents, and the units that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gitopsd.model.ids import UnitId

Manifest = Mapping[str, Any]
"""A Kubernetes object as parsed JSON. Never changed in place: make a new one."""

Order = tuple[int, int]
"""(wave of the component, wave of the object): the two sort as one number."""


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where in the source a document stands; for a kustomization, the kustomization file itself."""

    file: str
    line: int = 1


@dataclass(frozen=True, slots=True)
class Document:
    """One rendered Kubernetes object, before anything is known of the cluster."""

    component: str
    manifest: Manifest
    origin: Origin


class PrunePolicy(StrEnum):
    """`gitopsd.io/prune` on an object."""

    DEFAULT = "default"
    DISABLED = "disabled"
    FIRST = "first"


class GateRole(StrEnum):
    """`gitopsd.io/gate` on an object."""

    DEFAULT = "default"
    REQUIRED = "required"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class UnitOptions:
    """What the object's own annotations ask of gitopsd."""

    prune: PrunePolicy = PrunePolicy.DEFAULT
    gate: GateRole = GateRole.DEFAULT
    ignore: tuple[str, ...] = ()
    recreate: bool = False


@dataclass(frozen=True, slots=True)
class KubernetesUnit:
    """One Kubernetes object to apply.

    `manifest` is normalised (no `status`, no nulls, `data` instead of `stringData`) but carries none of gitopsd's own
    marks; `digest` is over the manifest and the options, so that an unchanged digest means an unchanged wish.
    `adopt` names the deployers whose objects may be taken over.
    """

    id: UnitId
    component: str
    order: Order
    manifest: Manifest
    origin: Origin
    digest: str
    options: UnitOptions = UnitOptions()
    adopt: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return str(self.manifest["apiVersion"])

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]


Unit = KubernetesUnit
"""Anything that can be applied; a Terraform root module will be the second member."""


@dataclass(frozen=True, slots=True)
class Person:
    """A git identity or a local user."""

    name: str
    email: str = ""

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" if self.email else self.name


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit, as far as a reader of the history wants to know it; `time` is ISO 8601 in UTC."""

    commit: str
    author: Person
    committer: Person
    time: str
    subject: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What one commit asks of one stack, rendered and with identities."""

    stack: str
    revision: Revision
    digest: str
    units: Mapping[UnitId, Unit]
