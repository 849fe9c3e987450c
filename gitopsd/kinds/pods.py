"""The pods that a workload would make, and how to find those that it made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitopsd.kinds.normalise import group_kind
from gitopsd.model.units import Manifest

TEMPLATE_PATHS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("", "ReplicationController"): ("spec", "template"),
    ("batch", "Job"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""Where each kind of workload keeps its pod template."""


def pod_of(manifest: Manifest) -> Manifest | None:
    """The Pod that a workload's template makes, for a dry run of its admission; None for what makes no pods.

    No node is named (that would leave out the scheduler's part of admission), and claims that a StatefulSet makes for
    each pod are plain directories here: they do not exist yet.
    """
    template = _template(manifest)
    if template is None:
        return None
    owner: Mapping[str, Any] = manifest.get("metadata") or {}
    own: Mapping[str, Any] = template.get("metadata") or {}
    metadata: dict[str, Any] = {"generateName": f"{owner.get('name', 'pod')}-"}
    if owner.get("namespace"):
        metadata["namespace"] = owner["namespace"]
    metadata |= {key: own[key] for key in ("labels", "annotations") if own.get(key)}
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key != "nodeName"}
    claims = _claim_names(manifest)
    if claims:
        others = [v for v in spec.get("volumes") or () if v.get("name") not in claims]
        spec["volumes"] = [*others, *({"name": name, "emptyDir": {}} for name in claims)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _template(manifest: Manifest) -> Mapping[str, Any] | None:
    """The pod template; None also for one that is not a mapping, which the API server refuses better than we could."""
    here: Any = manifest
    for key in TEMPLATE_PATHS.get(group_kind(manifest), ()):
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) and here is not manifest else None


def _claim_names(manifest: Manifest) -> tuple[str, ...]:
    if group_kind(manifest) != ("apps", "StatefulSet"):
        return ()
    claims = manifest["spec"].get("volumeClaimTemplates") or ()
    return tuple(str((claim.get("metadata") or {}).get("name", "")) for claim in claims)
