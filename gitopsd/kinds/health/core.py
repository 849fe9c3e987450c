"""Namespace, PersistentVolumeClaim, PersistentVolume, Service."""

from __future__ import annotations

from gitopsd.kinds.health.reading import section, short, spec, status, text
from gitopsd.model.live import Assessment, Health, Workload


def namespace(workload: Workload) -> Assessment:
    """Usable while it is active."""
    if status(workload).get("phase") == "Terminating":
        return Assessment(Health.TERMINATING, "Deleted", "is being deleted")
    return Assessment(Health.HEALTHY)


def claim(workload: Workload) -> Assessment:
    """Bound is healthy. A claim may wait for its first consumer, which is no fault of its own."""
    phase = text(status(workload).get("phase"))
    if phase == "Bound":
        return Assessment(Health.HEALTHY)
    if phase == "Lost":
        return Assessment(Health.DEGRADED, phase, "its volume is gone")
    return Assessment(Health.PROGRESSING, phase or "Pending", "is not bound to a volume")


def volume(workload: Workload) -> Assessment:
    """Available, bound or released is healthy; a failed one could not be reclaimed."""
    phase = text(status(workload).get("phase"))
    if phase == "Failed":
        reason, message = (text(status(workload).get(key)) for key in ("reason", "message"))
        return Assessment(Health.DEGRADED, reason or phase, short(message or "could not be reclaimed"))
    if phase in {"Available", "Bound", "Released"}:
        return Assessment(Health.HEALTHY)
    return Assessment(Health.PROGRESSING, phase or "Pending", "is not available yet")


def service(workload: Workload) -> Assessment:
    """A load balancer needs an address; every other Service is healthy as soon as it exists."""
    if spec(workload).get("type") == "LoadBalancer" and not section(status(workload), "loadBalancer").get("ingress"):
        return Assessment(Health.PROGRESSING, "NoAddress", "its load balancer has no address yet")
    return Assessment(Health.HEALTHY)
