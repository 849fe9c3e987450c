"""CustomResourceDefinition and APIService: kinds that others cannot even be sent without."""

from __future__ import annotations

from gitopsd.kinds.health.reading import condition, holds, told
from gitopsd.model.live import Assessment, Health, Workload


def definition(workload: Workload) -> Assessment:
    """Healthy once established. Names that another definition has taken stay taken."""
    body = workload.live.body
    refused = holds(body, "NamesAccepted", "False")
    if refused is not None:
        return told(Health.DEGRADED, refused, final=True)
    if holds(body, "Established"):
        return Assessment(Health.HEALTHY)
    waiting = condition(body, "Established")
    if waiting is not None:
        return told(Health.PROGRESSING, waiting)
    return Assessment(Health.PROGRESSING, "NotEstablished", "is not served yet")


def api_service(workload: Workload) -> Assessment:
    """Healthy while the API behind it answers."""
    body = workload.live.body
    if holds(body, "Available"):
        return Assessment(Health.HEALTHY)
    found = condition(body, "Available")
    if found is not None:
        return told(Health.PROGRESSING, found)
    return Assessment(Health.PROGRESSING, "NotAvailable", "is not available yet")
