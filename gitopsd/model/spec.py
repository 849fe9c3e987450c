"""A stack as its file describes it, validated and with every default filled in. Times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gitopsd.model.ids import DEFAULT_CLUSTER
from gitopsd.model.modules import OutputRef


class OnFailure(StrEnum):
    """What follows a failed gate."""

    ROLLBACK = "rollback"
    HOLD = "hold"


class DriftMode(StrEnum):
    """What follows drift."""

    HEAL = "heal"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A URL that has to answer with `status` before the component's wave is good."""

    url: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class GateSpec:
    """How long a wave may take to become healthy and how long it has to stay so, both in seconds."""

    timeout: float = 300.0
    stable_for: float = 0.0
    checks: tuple[HttpCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class KubernetesComponent:
    """A directory of manifests; `path` is relative to the repository's root, `line` is where the stack file has it.

    `values` are the names that stand as `${name}` in its manifests, and the outputs that replace them."""

    name: str
    path: str
    cluster: str = DEFAULT_CLUSTER
    namespace: str = ""
    wave: int = 0
    depends_on: tuple[str, ...] = ()
    adopt: tuple[str, ...] = ()
    gate: GateSpec = GateSpec()
    line: int | None = None
    values: Mapping[str, OutputRef] = field(default_factory=dict)

    @property
    def uses(self) -> tuple[OutputRef, ...]:
        """The outputs that have to be known before it can be applied."""
        return tuple(sorted(set(self.values.values())))

    @property
    def after(self) -> tuple[str, ...]:
        """The components that come before it: those it names, and those whose outputs it uses."""
        return tuple(dict.fromkeys((*self.depends_on, *(ref.component for ref in self.uses))))


class ApprovalMode(StrEnum):
    """Which changes of a Terraform component a person has to allow."""

    ALWAYS = "always"
    DESTROY = "destroy"  # what destroys or replaces
    NEVER = "never"


@dataclass(frozen=True, slots=True, order=True)
class Variable:
    """An input variable of a Terraform component that another one's output sets."""

    name: str
    source: OutputRef


@dataclass(frozen=True, slots=True)
class TerraformComponent:
    """A Terraform root module. `path`, `var_files` and `sealed` (files with SealedSecrets whose items are variables)
    are relative to the repository's root; `state_key` names its state in the host's own backend, where the module has
    none itself."""

    name: str
    path: str
    workspace: str = "default"
    var_files: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    sealed: tuple[str, ...] = ()
    state_key: str = ""
    wave: int = 0
    depends_on: tuple[str, ...] = ()
    approval: ApprovalMode = ApprovalMode.DESTROY
    gate: GateSpec = GateSpec()
    line: int | None = None

    @property
    def uses(self) -> tuple[OutputRef, ...]:
        """The outputs that have to be known before it can be planned."""
        return tuple(sorted({variable.source for variable in self.variables}))

    @property
    def after(self) -> tuple[str, ...]:
        """The components that come before it: those it names, and those whose outputs it uses."""
        return tuple(dict.fromkeys((*self.depends_on, *(ref.component for ref in self.uses))))


Component = KubernetesComponent | TerraformComponent


@dataclass(frozen=True, slots=True)
class PruneLimit:
    """At most max(5, count) or max(5, percent of the stack's units) deletions without approval."""

    count: int | None = None
    percent: float | None = 20.0

    def allows(self, deletions: int, tracked: int) -> bool:
        limit = self.count if self.count is not None else int(tracked * (self.percent or 0.0) / 100)
        return deletions <= max(5, limit)


@dataclass(frozen=True, slots=True)
class StackSpec:
    """One stack. `section` is its part of the stack file as canonical JSON: it is an input of the desired digest."""

    name: str
    source: str
    file: str
    components: tuple[Component, ...]
    on_failure: OnFailure = OnFailure.ROLLBACK
    drift: DriftMode = DriftMode.HEAL
    prune: PruneLimit = PruneLimit()
    approval_timeout: float = 3600.0
    section: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def declared(self) -> bool:
        """Whether a stack file describes it. Without one, a whole source is searched for what is Kubernetes' in it."""
        return bool(self.section)

    def component(self, name: str) -> Component:
        return next(c for c in self.components if c.name == name)

    @property
    def uses(self) -> tuple[OutputRef, ...]:
        """Every output of Terraform that a component uses."""
        return tuple(sorted({ref for component in self.components for ref in component.uses}))

    def manifests(self, name: str) -> KubernetesComponent:
        """The Kubernetes component of this name."""
        return next(c for c in self.kubernetes if c.name == name)

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.cluster for c in self.kubernetes))

    @property
    def kubernetes(self) -> tuple[KubernetesComponent, ...]:
        return tuple(c for c in self.components if isinstance(c, KubernetesComponent))

    @property
    def terraform(self) -> tuple[TerraformComponent, ...]:
        return tuple(c for c in self.components if isinstance(c, TerraformComponent))
