"""The section `terraform` of the host's configuration: which program runs, with what, and where its states are kept."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gitopsd.config.paths import beside
from gitopsd.config.schema import Duration, Label, Later, MaybeZero, PathText, Place, Section, Text, entries, suggestion
from gitopsd.model.errors import Problem
from gitopsd.model.ids import DEFAULT_CLUSTER

_ENVIRONMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAID_ELSEWHERE: Final = {
    "TF_CLI_CONFIG_FILE": "name the file with cliConfig",
    "TF_WORKSPACE": "name a component's workspace in the stack file",
    "TF_DATA_DIR": "each component has a working directory of its own",
}


LOCK_TIMEOUT: Final = 60.0
"""Seconds that an apply waits for a lock unless told, if it may take that long at all."""


@dataclass(frozen=True, slots=True)
class TerraformConfig:
    """How this host runs Terraform or OpenTofu, and where it keeps the states of modules without a backend.

    `binary` is a name to be found on PATH, or an absolute path. `backend` is `kubernetes` (then `cluster` holds the
    states; "" if the host has several and none of them is the default one) or `local`. Times are in seconds;
    `lock_timeout` is how long an apply waits for the lock of a state, and less than its `timeout`. `env`, whose values
    may be credentials, and the files of `env_files` are what a child process gets beside PATH and HOME.
    """

    binary: str = "terraform"
    backend: str = "kubernetes"
    cluster: str = ""
    parallelism: int = 10
    timeout: float = 1800.0
    lock_timeout: float = LOCK_TIMEOUT
    drift_interval: float = 1800.0
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_files: tuple[Path, ...] = ()
    cli_config: Path | None = None


def _program(text: str) -> str:
    if not text or text.startswith("-") or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("expected the name or the path of a program, as in tofu or /opt/bin/terraform")
    return text


def _variable(name: str) -> str:
    if not _ENVIRONMENT.fullmatch(name):
        raise ValueError("expected the name of an environment variable, as in AWS_REGION")
    if name in _SAID_ELSEWHERE:
        raise ValueError(f"gitopsd sets this itself: {_SAID_ELSEWHERE[name]}")
    return name


def _environment_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("an environment variable cannot hold a NUL character")
    return text


class TerraformSection(Section):
    binary: Annotated[str, AfterValidator(_program)] = "terraform"
    backend: Literal["kubernetes", "local"] = "kubernetes"
    cluster: Label | None = None
    parallelism: Annotated[int, Field(ge=1)] = 10
    timeout: Duration = 1800.0
    lock_timeout: MaybeZero | None = None
    drift_interval: Duration = 1800.0
    env: dict[Annotated[str, AfterValidator(_variable)], Annotated[str, AfterValidator(_environment_text)]] = Field(
        default_factory=dict
    )
    env_files: list[PathText] = Field(default_factory=list)
    cli_config: PathText | None = None
    user: Later[Text] | None = None

    @field_validator("lock_timeout")
    @classmethod
    def _within(cls, lock_timeout: float | None, known: ValidationInfo) -> float | None:
        """Who waits for a lock is in an apply already: that one would be ended before the wait is."""
        if lock_timeout is not None and lock_timeout >= known.data.get("timeout", math.inf):
            raise ValueError("has to be shorter than `timeout`, which ends the whole apply")
        return lock_timeout


def state_cluster_problems(value: Any, place: Place) -> list[Problem]:
    """A cluster for Terraform's states that the host has not, or that cannot be told."""
    section = value.get("terraform")
    names = [
        name for entry in entries(value, "clusters") if isinstance(name := entry.get("name", DEFAULT_CLUSTER), str)
    ]
    if not isinstance(section, dict) or not names:
        return []
    named, local = section.get("cluster"), section.get("backend") == "local"
    if named is not None and local:
        return [place.problem("with backend: local no cluster holds states", ("terraform", "cluster"), "remove it")]
    if isinstance(named, str) and named not in names:
        text = f"this host knows no cluster {named!r}"
        return [place.problem(text, ("terraform", "cluster"), suggestion(named, names))]
    if named is None and not local and not _only(names):
        remedy = f"name one with cluster: {', '.join(names)}"
        return [place.problem("which cluster holds Terraform's states?", ("terraform",), remedy)]
    return []


def _only(names: Sequence[str]) -> str:
    """The cluster that is meant where none is named; "" if that cannot be told."""
    return DEFAULT_CLUSTER if DEFAULT_CLUSTER in names else names[0] if len(names) == 1 else ""


def terraform_config(file: Path, section: TerraformSection, clusters: Sequence[str]) -> TerraformConfig:
    """What the section of `file` says, on a host with these clusters."""
    binary = section.binary
    return TerraformConfig(
        binary=str(beside(file, binary)) if "/" in binary else binary,
        backend=section.backend,
        cluster="" if section.backend == "local" else section.cluster or _only(clusters),
        parallelism=section.parallelism,
        timeout=section.timeout,
        lock_timeout=min(LOCK_TIMEOUT, section.timeout / 2) if section.lock_timeout is None else section.lock_timeout,
        drift_interval=section.drift_interval,
        env=dict(section.env),
        env_files=tuple(beside(file, path) for path in section.env_files),
        cli_config=beside(file, section.cli_config) if section.cli_config else None,
    )
