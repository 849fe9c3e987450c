"""Where states are kept: by the module's own word, else by the host's."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from gitopsd.model.errors import CommitError, ConfigurationError, Problem
from gitopsd.model.units import TerraformUnit
from gitopsd.terraform.settings import KubeBackend, TerraformSettings

OVERRIDE = "gitopsd_override.tf.json"
DEFAULT = "default"
"""The workspace that is always there."""


def state_key(unit: TerraformUnit) -> str:
    """The name of a module's state in the host's own backend."""
    return unit.state_key or unit.component


def secret_suffix(unit: TerraformUnit) -> str:
    """What the `kubernetes` backend calls a module's state. It refuses a name that ends in a number, which it needs for
    the further parts of large states."""
    key = state_key(unit)
    return f"{key}-gitopsd" if re.search(r"-\d+$", key) else key


def local_state(settings: TerraformSettings, unit: TerraformUnit) -> Path:
    """The state file of a module in the backend `local`."""
    states = states_dir(settings)
    key = state_key(unit)
    if unit.workspace == DEFAULT:
        return states / f"{key}.tfstate"
    return states / f"{key}.d" / unit.workspace / "terraform.tfstate"


def states_dir(settings: TerraformSettings) -> Path:
    return settings.state_dir / "terraform" / "states"


def override(settings: TerraformSettings, unit: TerraformUnit) -> str:
    """The text of the file that gives a module the host's backend."""
    name = settings.backend
    body = _kubernetes(settings, unit) if name == "kubernetes" else _local(settings, unit)
    return json.dumps({"terraform": {"backend": {name: {key: _literal(v) for key, v in body.items()}}}}, indent=1)


def refuse_taken(root: Path, unit: TerraformUnit) -> None:
    """Raises CommitError if the commit has a file where ours goes."""
    if (root / OVERRIDE).exists():
        file = f"{unit.path}/{OVERRIDE}" if unit.path else OVERRIDE
        raise CommitError(Problem("this file name is gitopsd's own", file, remedy="give it another name"))


def backups_dir(settings: TerraformSettings, unit: TerraformUnit) -> Path:
    """Where a local state is backed up in the clear."""
    key = state_key(unit)
    name = key if unit.workspace == DEFAULT else f"{key}.{unit.workspace}"
    return states_dir(settings) / "backups" / name


def backups_dirs(settings: TerraformSettings) -> list[Path]:
    """Those of every state that was ever backed up so."""
    return sorted((states_dir(settings) / "backups").glob("*"))


def own_backup(state: Path) -> Path:
    """The copy of a local state that Terraform itself makes of it in an apply."""
    return state.with_name(f"{state.name}.backup")


def lock_away(settings: TerraformSettings, unit: TerraformUnit, *, copied: bool) -> None:
    """Local states, and the copies that Terraform makes of them, are for us alone. If we have a copy of our own
    (`copied`), Terraform's goes."""
    state = local_state(settings, unit)
    backup = own_backup(state)
    if copied:
        backup.unlink(missing_ok=True)
    for file in (state, backup):
        if file.exists():
            file.chmod(0o600)


def _kubernetes(settings: TerraformSettings, unit: TerraformUnit) -> dict[str, Any]:
    cluster = settings.cluster
    if cluster is None:
        remedy = "add a cluster, or set `terraform.backend: local`"
        text = "Terraform's states have no place: the backend `kubernetes` needs a cluster"
        raise ConfigurationError(Problem(text, unit=str(unit.id), remedy=remedy))
    body: dict[str, Any] = {"secret_suffix": secret_suffix(unit), "namespace": cluster.namespace}
    if cluster.in_cluster:
        return {**body, "in_cluster_config": True}
    body["config_paths"] = [str(file) for file in _kubeconfigs(cluster)]
    if cluster.context:
        body["config_context"] = cluster.context
    return body


def _kubeconfigs(cluster: KubeBackend) -> list[Path]:
    """What kubectl would read: Terraform by itself reads nothing."""
    if cluster.kubeconfig is not None:
        return [cluster.kubeconfig]
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return named or [Path.home() / ".kube" / "config"]


def _local(settings: TerraformSettings, unit: TerraformUnit) -> dict[str, Any]:
    states, key = states_dir(settings), state_key(unit)
    return {"path": str(states / f"{key}.tfstate"), "workspace_dir": str(states / f"{key}.d")}


def _literal(value: Any) -> Any:
    """In Terraform's JSON a text is a template."""
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value.replace("${", "$${").replace("%{", "%%{") if isinstance(value, str) else value
