"""Job and CronJob."""

from __future__ import annotations

from gitopsd.kinds.health.podfaults import CRASH_LOOP, SURE_FAULTS, failure, worst_fault
from gitopsd.kinds.health.reading import holds, number, section, short, spec, status, text
from gitopsd.kinds.jobs import job_state
from gitopsd.model.live import Assessment, Health, Workload
from gitopsd.model.units import Manifest

RETRIED = frozenset({CRASH_LOOP})
"""What a Job's own `backoffLimit` counts: it decides when that is enough."""


def job(workload: Workload) -> Assessment:
    """Progressing while it runs, healthy when complete; a failed one will not run again by itself."""
    state = job_state(workload.live)
    if state == "complete":
        return Assessment(Health.HEALTHY)
    if state == "failed":
        return _failed(workload)
    if spec(workload).get("suspend"):
        return Assessment(Health.SUSPENDED, "Suspended", "is suspended")
    fault = worst_fault(workload.pods, sure=SURE_FAULTS - RETRIED)
    if fault is not None:
        return fault.assessment()
    done, wanted = number(status(workload), "succeeded"), number(spec(workload), "completions", 1)
    return Assessment(Health.PROGRESSING, "Running", f"{done} of {wanted} completions")


def _failed(workload: Workload) -> Assessment:
    """Why the controller gave up, and how the last pod ended if it is still there."""
    found = holds(workload.live.body, "Failed") or {}
    reason, message = text(found.get("reason")) or "Failed", text(found.get("message"))
    failed = [pod for pod in workload.pods if section(pod, "status").get("phase") == "Failed"]
    if failed:
        last = max(failed, key=_age)
        message = f"{failure(last)[1]}; {message}" if message else failure(last)[1]
    return Assessment(Health.DEGRADED, reason, short(message), final=True)


def _age(pod: Manifest) -> tuple[str, str]:
    metadata = section(pod, "metadata")
    return text(metadata.get("creationTimestamp")), text(metadata.get("name"))


def cron_job(workload: Workload) -> Assessment:
    """Healthy as a schedule; how its Jobs end is for their owner to watch."""
    if spec(workload).get("suspend"):
        return Assessment(Health.SUSPENDED, "Suspended", "is suspended")
    return Assessment(Health.HEALTHY)
