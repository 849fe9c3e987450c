"""What the commits of the scenarios are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.scenarios.harness import STACK

Object = dict[str, Any]


def stack_file(*components: Mapping[str, Any], **spec: Any) -> str:
    """A component is `{"name": ..., "wave": ..., ...}`; its path is its name, its namespace `web`."""
    made = [{"kubernetes": {"path": c["name"], "namespace": "web"}, **c} for c in components]
    document = {
        "apiVersion": "gitopsd.io/v1alpha1",
        "kind": "Stack",
        "metadata": {"name": STACK},
        "spec": {"components": made, **spec},
    }
    return yaml.safe_dump(document, sort_keys=False)


def commit(
    components: Mapping[str, list[Object]],
    *,
    waves: Mapping[str, int] | None = None,
    gate: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, str]:
    """The files of a commit: one directory a component, in waves 0, 10, 20, ... in their order unless told."""
    chosen = waves or {name: 10 * place for place, name in enumerate(components)}
    more = {"gate": dict(gate)} if gate else {}
    files = {"gitopsd.yaml": stack_file(*({"name": n, "wave": chosen[n], **more} for n in components), **spec)}
    for name, objects in components.items():
        files[f"{name}/README.md"] = "keeps the directory"
        for made in objects:
            files[f"{name}/{made['kind'].lower()}-{made['metadata']['name']}.yaml"] = json.dumps(made)
    return files


def _object(api_version: str, kind: str, name: str, notes: Mapping[str, str], **content: Any) -> Object:
    metadata: Object = {"name": name}
    if notes:
        metadata["annotations"] = {f"gitopsd.io/{key}": value for key, value in notes.items()}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def space(name: str = "web", **notes: str) -> Object:
    return _object("v1", "Namespace", name, notes)


def config(name: str, data: Mapping[str, str], **notes: str) -> Object:
    return _object("v1", "ConfigMap", name, notes, data=dict(data))


def claim(name: str) -> Object:
    return _object("v1", "PersistentVolumeClaim", name, {}, spec={"resources": {"requests": {"storage": "1Gi"}}})


def app(name: str = "app", tag: str = "good", label: str = "", replicas: int = 1, **notes: str) -> Object:
    """A Deployment; `label` is its immutable selector."""
    labels = {"app": label or name}
    return _object(
        "apps/v1",
        "Deployment",
        name,
        notes,
        spec={
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": f"registry.example/{name}:{tag}"}]},
            },
        },
    )


def database(tag: str = "good", replicas: int = 2, name: str = "db") -> Object:
    """A StatefulSet."""
    made = app(name, tag, replicas=replicas)
    return {**made, "kind": "StatefulSet", "spec": {**made["spec"], "serviceName": name}}


def job(name: str = "migrate", tag: str = "1", ttl: int | None = None, **notes: str) -> Object:
    spec: Object = {
        "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": f"registry.example/job:{tag}"}]}
        }
    }
    if ttl is not None:
        spec["ttlSecondsAfterFinished"] = ttl
    return _object("batch/v1", "Job", name, notes, spec=spec)


def definition(kind: str = "Widget", group: str = "example.org") -> Object:
    plural = f"{kind.lower()}s"
    return _object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        f"{plural}.{group}",
        {},
        spec={
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    )


def widget(name: str, size: int = 1) -> Object:
    return _object("example.org/v1", "Widget", name, {}, spec={"size": size})
