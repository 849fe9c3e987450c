"""The sections of a stack file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gitopsd.config.durations import parse_percent
from gitopsd.config.schema import Duration, Label, Later, MaybeZero, PathText, Section, Text, is_label
from gitopsd.model.ids import DEFAULT_CLUSTER
from gitopsd.model.modules import OutputRef
from gitopsd.model.spec import PruneLimit

Deployer = Literal["argocd", "flux", "helm", "sealed-secrets"]
"""Whose objects a component may take over."""

DEFAULT_WORKSPACE: Final = "default"
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w-]*")
"""A name in Terraform's language: letters, digits, underscores and hyphens, no digit first."""
_PLACEHOLDER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORKSPACE: Final = re.compile(r"[A-Za-z0-9_~$&+=:@][A-Za-z0-9_~$&+=:@.-]*")
"""What stands in a URL as it is, which is what Terraform takes; no dot or hyphen first, which others read otherwise."""


def _variable(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError("expected the name of a Terraform variable, as in db_host")
    return name


def _value_name(name: str) -> str:
    if not _PLACEHOLDER.fullmatch(name):
        raise ValueError("expected a name of letters, digits and underscores, as in dbHost: it stands as ${dbHost}")
    return name


def _workspace(name: str) -> str:
    if not _WORKSPACE.fullmatch(name):
        raise ValueError("Terraform takes no workspace of this name; use letters, digits and hyphens")
    return name


def _output(text: str) -> str:
    component, dot, output = text.partition(".")
    if not dot or not is_label(component) or not _IDENTIFIER.fullmatch(output):
        raise ValueError("expected an output as COMPONENT.OUTPUT, as in network.db_host")
    return text


def output_ref(text: Any) -> OutputRef | None:
    """The output that a text names; None for anything that names none, which the sections' checks report."""
    try:
        return OutputRef.parse(_output(text)) if isinstance(text, str) else None
    except ValueError:
        return None


OutputText = Annotated[str, AfterValidator(_output)]
VariableName = Annotated[str, AfterValidator(_variable)]
ValueName = Annotated[str, AfterValidator(_value_name)]


def _prune_max(value: Any) -> PruneLimit:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return PruneLimit(count=value, percent=None)
    percent = parse_percent(value) if isinstance(value, str) else None
    if percent is None:
        raise ValueError("expected a number of objects or a percentage up to 100%, as in 10 or 20%")
    return PruneLimit(percent=percent)


def _http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")) or len(url.split("/")[2]) == 0 or any(c.isspace() for c in url):
        raise ValueError("expected an http or https URL")
    return url


class _Http(Section):
    url: Annotated[str, AfterValidator(_http_url)]
    status: Annotated[int, Field(ge=100, le=599)] = 200


class _Check(Section):
    http: _Http


class GateSection(Section):
    timeout: Duration = 300.0
    stable_for: MaybeZero = 0.0
    checks: list[_Check] = Field(default_factory=list)

    @model_validator(mode="after")
    def _reachable(self) -> GateSection:
        if self.stable_for >= self.timeout:
            raise ValueError("stableFor has to be shorter than timeout, or the gate can never be passed")
        return self


class KubernetesSection(Section):
    path: PathText
    cluster: Label = DEFAULT_CLUSTER
    namespace: Label | None = None


class VariableSection(Section):
    """Where values of variables come from: one output, or a sealed Secret whose items are variables."""

    terraform: OutputText | None = None
    name: VariableName | None = Field(default=None, alias="as")
    sealed_secret: PathText | None = None

    @model_validator(mode="after")
    def _one_source(self) -> VariableSection:
        if (self.terraform is None) == (self.sealed_secret is None):
            raise ValueError("expected {terraform: COMPONENT.OUTPUT} or {sealedSecret: FILE}")
        if self.sealed_secret is not None and self.name is not None:
            raise ValueError("as is for an output; the items of a sealed Secret set the variables of their names")
        return self


class TerraformSection(Section):
    """A root module. `var_files` are relative to its directory, as `terraform plan -var-file` run there takes them."""

    path: PathText
    workspace: Annotated[str, AfterValidator(_workspace)] = DEFAULT_WORKSPACE
    var_files: list[PathText] = Field(default_factory=list)
    vars_from: list[VariableSection] = Field(default_factory=list)
    state_key: Label | None = None


class _Value(Section):
    terraform: OutputText


class ComponentSection(Section):
    name: Label
    kubernetes: KubernetesSection | None = None
    terraform: TerraformSection | None = None
    wave: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0
    depends_on: list[Label] = Field(default_factory=list)
    adopt: list[Deployer] = Field(default_factory=list)
    gate: GateSection = GateSection()
    approval: Literal["always", "destroy", "never"] = "destroy"
    values: dict[ValueName, _Value] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_to_apply(self) -> ComponentSection:
        if self.kubernetes is None and self.terraform is None:
            raise ValueError("a component needs kubernetes or terraform, with a path")
        return self


class _Metadata(Section):
    name: Label


class _Prune(Section):
    max: Annotated[PruneLimit, BeforeValidator(_prune_max)] = PruneLimit()


class _Window(Section):
    allow: Text | None = None
    deny: Text | None = None


class _Spec(Section):
    components: Annotated[list[ComponentSection], Field(min_length=1)]
    on_failure: Literal["rollback", "hold"] = "rollback"
    drift: Literal["heal", "report"] = "heal"
    prune: _Prune = _Prune()
    approval_timeout: Duration = 3600.0
    window: Later[_Window] | None = None


class StackDocument(Section):
    """One document of a stack file."""

    api_version: Literal["gitopsd.io/v1alpha1"]
    kind: Literal["Stack"]
    metadata: _Metadata
    spec: _Spec
