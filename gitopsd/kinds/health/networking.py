"""Ingress."""

from __future__ import annotations

from gitopsd.kinds.health.reading import section, status
from gitopsd.model.live import Assessment, Health, Workload


def ingress(workload: Workload) -> Assessment:
    """Healthy once an ingress controller has given it an address."""
    if section(status(workload), "loadBalancer").get("ingress"):
        return Assessment(Health.HEALTHY)
    return Assessment(Health.PROGRESSING, "NoAddress", "no ingress controller has given it an address yet")
