"""What a commit asks for: parsed documents, and the units that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gitopsd.model.ids import UnitId
from gitopsd.model.modules import OutputRef
from gitopsd.model.sensitive import Sensitive
from gitopsd.model.spec import ApprovalMode, Variable

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


class Sealed(Protocol):
    """A Secret whose values only a key of this host opens (`gitopsd.sealed` reads it)."""

    @property
    def name(self) -> str: ...

    @property
    def namespace(self) -> str: ...

    @property
    def digest(self) -> str:
        """Of everything that decides about the values, without them."""

    def secret(self, opened: Mapping[str, Sensitive]) -> Mapping[str, Any]:
        """The Secret that its opened items make; the values in `data` are `Sensitive` base64."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What the checks over a whole stack ask of a manifest, so that none of them has to read it: the object that an
    autoscaler scales (kind, namespace, name), the kind that a definition brings (group, kind), what a Job is to do."""

    scales: tuple[str, str, str] | None = None
    defines: tuple[str, str] | None = None
    job: str = ""


PLAIN = Traits()
"""Of nearly every object."""


@dataclass(frozen=True, slots=True)
class KubernetesUnit:
    """One Kubernetes object to apply.

    `manifest` is normalised (no `status`, no nulls, `data` instead of `stringData`) but carries none of gitopsd's own
    marks; `digest` is over the manifest and the options, so that an unchanged digest means an unchanged wish.
    `adopt` names the deployers whose objects may be taken over. `values` are the outputs that the manifest still has to
    be filled with, by the name that stands in it; none are left once it is complete. `sealed` are the values of a
    Secret that are still to be opened; its digest is part of this one's. `traits` are found in the manifest.

    The manifest may be a mapping that is read when it is first asked for: what looks at every unit of a stack asks for
    none.
    """

    id: UnitId
    component: str
    order: Order
    manifest: Manifest = field(repr=False)  # it may be a Secret
    origin: Origin
    digest: str
    options: UnitOptions = UnitOptions()
    adopt: tuple[str, ...] = ()
    values: Mapping[str, OutputRef] = field(default_factory=dict)
    sealed: Sealed | None = None
    traits: Traits = PLAIN

    @property
    def api_version(self) -> str:
        return str(self.manifest["apiVersion"])

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class TerraformUnit:
    """One Terraform root module to apply.

    `digest` is over everything that the commit and the host put in: code, local modules, variable files, lock file,
    settings, the program's version; not the outputs of others that its `variables` take. `files` are the paths of the
    commit that it may read. `sealed` are Secrets whose items set variables of the same names.
    """

    id: UnitId
    component: str
    order: Order
    origin: Origin
    digest: str
    path: str
    files: tuple[str, ...] = ()
    var_files: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    workspace: str = "default"
    state_key: str = ""
    approval: ApprovalMode = ApprovalMode.DESTROY
    sealed: tuple[Sealed, ...] = ()


Unit = KubernetesUnit | TerraformUnit
"""Anything that can be applied."""


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
    """What one commit asks of one stack, rendered and with identities: Kubernetes objects (`units`) and Terraform root
    modules."""

    stack: str
    revision: Revision
    digest: str
    units: Mapping[UnitId, KubernetesUnit]
    modules: Mapping[UnitId, TerraformUnit] = field(default_factory=dict)

    @property
    def everything(self) -> Mapping[UnitId, Unit]:
        return {**self.units, **self.modules} if self.modules else self.units
