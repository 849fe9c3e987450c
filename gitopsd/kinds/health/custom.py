"""Custom resources, by the conditions that kstatus knows: Reconciling, Stalled, Ready."""

from __future__ import annotations

from gitopsd.kinds.health.reading import condition, holds, text, told
from gitopsd.model.live import Assessment, Health, Workload


def custom(workload: Workload) -> Assessment:
    """Healthy unless a condition says otherwise: many custom resources never report one.

    A controller that is stalled, or not ready, may be waiting for something of the same wave: never final.
    """
    body = workload.live.body
    ready = condition(body, "Ready")
    found = holds(body, "Reconciling") or holds(body, "Stalled") or ready
    if found is None:
        return Assessment(Health.HEALTHY)
    observed = found.get("observedGeneration")
    if observed is not None and text(observed) != text(workload.live.generation):
        return Assessment(
            Health.PROGRESSING, "NotObserved", f"its condition {found.get('type')} is about an older generation"
        )
    if found is ready and ready.get("status") == "True":
        return Assessment(Health.HEALTHY)
    return told(Health.DEGRADED if found.get("type") == "Stalled" else Health.PROGRESSING, found)
