"""Objects as an API server answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject


def live(body: Mapping[str, Any]) -> LiveObject:
    group, _, _ = str(body.get("apiVersion", "v1")).rpartition("/")
    metadata = body["metadata"]
    return LiveObject(
        UnitId("default", group, str(body["kind"]), metadata.get("namespace", ""), metadata["name"]), body
    )


def config_map(
    labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None, **metadata: Any
) -> LiveObject:
    """`web/settings`, with these labels and annotations."""
    return live(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "settings",
                "namespace": "web",
                "uid": "u-1",
                "labels": dict(labels or {}),
                "annotations": dict(annotations or {}),
                **metadata,
            },
            "data": {"a": "1"},
        }
    )


def entry(manager: str, fields: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One of an object's managedFields."""
    return {
        "manager": manager,
        "operation": "Apply" if manager == "gitopsd" else "Update",
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": dict(fields),
        **more,
    }


def pod(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    phase: str = "Pending",
    containers: Sequence[Mapping[str, Any]] = (),
    init: Sequence[Mapping[str, Any]] = (),
    conditions: Sequence[Mapping[str, Any]] = (),
    restart: str = "Always",
    **status: Any,
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "web", "labels": dict(labels or {})},
        "spec": {"restartPolicy": restart, "containers": [{"name": "app", "image": "r.example/app:1"}]},
        "status": {
            "phase": phase,
            "containerStatuses": list(containers),
            "initContainerStatuses": list(init),
            "conditions": list(conditions),
            **status,
        },
    }


def waiting(reason: str, message: str = "", *, name: str = "app", last: Mapping[str, Any] | None = None) -> Any:
    """The status of a container that waits."""
    status: dict[str, Any] = {"name": name, "ready": False, "state": {"waiting": {"reason": reason}}}
    if message:
        status["state"]["waiting"]["message"] = message
    if last is not None:
        status["lastState"] = {"terminated": dict(last)}
    return status


def ended(code: int, reason: str = "Error", message: str = "", *, name: str = "app") -> Any:
    """The status of a container that has ended."""
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}


def condition(kind: str, status: str, reason: str = "", message: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, **more}
