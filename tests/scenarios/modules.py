"""Commits with Terraform components for the scenarios; their code is what `SimTerraform` understands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.scenarios.harness import STACK
from tests.scenarios.manifests import Object, app, config, space

Code = Mapping[str, Any]


def code(outputs: Mapping[str, Any] | None = None, **resources: Mapping[str, Any]) -> Code:
    """A root module of simulated resources; an output is a text, or `{"value": ..., "sensitive": true}`."""
    given = {n: o if isinstance(o, dict) else {"value": o} for n, o in (outputs or {}).items()}
    return {"resource": {"sim": dict(resources)}, "output": given}


def both(
    modules: Mapping[str, Code],
    objects: Mapping[str, list[Object]],
    more: Mapping[str, Mapping[str, Any]] | None = None,
    **spec: Any,
) -> dict[str, str]:
    """The files of a commit: Terraform components in waves -20, -19, ..., components of objects in 0, 10, 20, ...
    `more` is what a component's section has beside that."""
    files: dict[str, str] = {}
    components: list[dict[str, Any]] = []
    extra = more or {}
    for place, (name, body) in enumerate(modules.items()):
        files[f"{name}/main.tf.json"] = json.dumps(body)
        section = {"path": name, **extra.get(name, {}).get("terraform", {})}
        rest = {k: v for k, v in extra.get(name, {}).items() if k != "terraform"}
        components.append({"name": name, "wave": place - 20, **rest, "terraform": section})
    for place, (name, made) in enumerate(objects.items()):
        files[f"{name}/README.md"] = "keeps the directory"
        for each in made:
            files[f"{name}/{each['kind'].lower()}-{each['metadata']['name']}.yaml"] = json.dumps(each)
        kubernetes = {"path": name, "namespace": "web"}
        components.append({"name": name, "wave": 10 * place, "kubernetes": kubernetes, **extra.get(name, {})})
    document = {
        "apiVersion": "gitopsd.io/v1alpha1",
        "kind": "Stack",
        "metadata": {"name": STACK},
        "spec": {"components": components, **spec},
    }
    files["gitopsd.yaml"] = yaml.safe_dump(document, sort_keys=False)
    return files


USES = {"base": {"values": {"host": {"terraform": "network.host"}}}}
"""The component of the settings takes an output of the network."""


def shop(size: str = "1", tag: str = "good", kind: str = "small", **more: Any) -> dict[str, str]:
    """A database whose size is an output and whose kind replaces it, settings that name both, and an app."""
    database = {"size": size, "kind": kind, "frozen": ["kind"]}
    network = code({"host": "db-${sim.db.size}", "id": "${sim.db.id}"}, db=database)
    settings = config("settings", {"host": "${host}", "other": "${kept}"})
    uses = {"base": {"values": {"host": {"terraform": "network.host"}}}}
    return both({"network": network}, {"base": [space(), settings], "apps": [app(tag=tag)]}, {**uses, **more})
