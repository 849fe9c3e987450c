"""PodDisruptionBudget and HorizontalPodAutoscaler."""

from __future__ import annotations

import orjson

from gitopsd.kinds.health.reading import condition, holds, section, status, told
from gitopsd.model.live import Assessment, Health, Workload
from gitopsd.model.units import Manifest

V1_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
"""Where `autoscaling/v1`, whose status has no conditions, shows them as JSON."""


def disruption_budget(workload: Workload) -> Assessment:
    """Healthy once it is computed, also when it allows no disruption now: that is its purpose."""
    failed = condition(workload.live.body, "DisruptionAllowed")
    if failed is not None and failed.get("reason") == "SyncFailed":
        return told(Health.DEGRADED, failed)
    if status(workload).get("observedGeneration") is None:
        return Assessment(Health.PROGRESSING, "NotObserved", "its controller has not seen it yet")
    return Assessment(Health.HEALTHY)


def autoscaler(workload: Workload) -> Assessment:
    """Degraded while it cannot read or set the scale, or has no metrics; scaled to zero it is switched off."""
    body = _with_conditions(workload.live.body)
    active = holds(body, "ScalingActive", "False")
    if active is not None and active.get("reason") == "ScalingDisabled":
        return told(Health.SUSPENDED, active)
    unable = holds(body, "AbleToScale", "False") or active
    if unable is not None:
        return told(Health.DEGRADED, unable)
    if condition(body, "AbleToScale") is None:
        return Assessment(Health.PROGRESSING, "NotObserved", "waits for its first look at the metrics")
    return Assessment(Health.HEALTHY)


def _with_conditions(body: Manifest) -> Manifest:
    """The autoscaler with its conditions where `v2` has them."""
    written = section(section(body, "metadata"), "annotations").get(V1_CONDITIONS)
    if not isinstance(written, str) or "conditions" in section(body, "status"):
        return body
    try:
        conditions = orjson.loads(written)
    except orjson.JSONDecodeError:
        return body  # somebody else's text: as if there were none yet
    return {**body, "status": {**section(body, "status"), "conditions": conditions}}
