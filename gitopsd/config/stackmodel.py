"""The sections of a stack file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gitopsd.config.durations import parse_percent
from gitopsd.config.schema import Duration, Label, Later, MaybeZero, PathText, Section, Text
from gitopsd.model.ids import DEFAULT_CLUSTER
from gitopsd.model.spec import PruneLimit

Deployer = Literal["argocd", "flux", "helm", "sealed-secrets"]
"""Whose objects a component may take over."""


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


class _SealedVariables(Section):
    sealed_secret: PathText


class _Terraform(Section):
    path: PathText
    workspace: Text | None = None
    var_files: list[PathText] | None = None
    vars_from: list[_SealedVariables] | None = None
    state_key: Text | None = None


class _Value(Section):
    terraform: Text


class ComponentSection(Section):
    name: Label
    kubernetes: KubernetesSection | None = None
    terraform: Later[_Terraform] | None = None
    wave: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0
    depends_on: list[Label] = Field(default_factory=list)
    adopt: list[Deployer] = Field(default_factory=list)
    gate: GateSection = GateSection()
    approval: Later[Literal["always", "destroy", "never"]] | None = None
    values: Later[dict[str, _Value]] | None = None

    @model_validator(mode="after")
    def _something_to_apply(self) -> ComponentSection:
        if self.kubernetes is None:
            raise ValueError("a component needs kubernetes with a path")
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
