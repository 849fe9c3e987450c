"""Which rules judge which kind, and what holds for every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from gitopsd.kinds.builtin import BUILTIN
from gitopsd.kinds.health import apiext, batch, core, custom, networking, policy, workloads
from gitopsd.kinds.health.reading import moment, section, short, text
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Assessment, Health, LiveObject, Workload

Rule = Callable[[Workload], Assessment]

RULES: Mapping[tuple[str, str], Rule] = {
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("", "Pod"): workloads.pod,
    ("batch", "Job"): batch.job,
    ("batch", "CronJob"): batch.cron_job,
    ("", "Namespace"): core.namespace,
    ("", "PersistentVolumeClaim"): core.claim,
    ("", "PersistentVolume"): core.volume,
    ("", "Service"): core.service,
    ("networking.k8s.io", "Ingress"): networking.ingress,
    ("policy", "PodDisruptionBudget"): policy.disruption_budget,
    ("autoscaling", "HorizontalPodAutoscaler"): policy.autoscaler,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): apiext.definition,
    ("apiregistration.k8s.io", "APIService"): apiext.api_service,
}
"""The kinds whose status says how they are. Other built-in kinds are healthy as soon as they exist."""

PATIENCE_WITH_FINALIZERS = timedelta(minutes=1)
"""How long finalizers usually take; later, they are the reason for the wait."""


def assess(unit: UnitId, seen: Workload | Absence, now: datetime) -> Assessment:
    """The health of one unit as it was seen at `now` (UTC).

    Built-in kinds are judged as Argo CD does, all others by the conditions that kstatus knows. Only `final` failures
    cannot mend themselves. An object whose controller has not seen its newest generation is neither healthy nor failed.
    """
    if isinstance(seen, Absence):
        return _absent(seen)
    if seen.live.terminating:
        return _terminating(seen.live, now)
    stale = _stale(seen.live)
    if stale is not None:
        return stale
    key = (unit.group, unit.kind)
    rule = RULES.get(key)
    if rule is not None:
        return rule(seen)
    return Assessment(Health.HEALTHY) if key in BUILTIN else custom.custom(seen)


def _absent(absence: Absence) -> Assessment:
    if absence is Absence.GONE:
        return Assessment(Health.MISSING, "NotFound", "does not exist")
    return Assessment(Health.UNKNOWN, "KindNotServed", "the API server does not serve this kind now")


def _terminating(live: LiveObject, now: datetime) -> Assessment:
    since = moment(live.metadata.get("deletionTimestamp"))
    finalizers = ", ".join(live.metadata.get("finalizers") or ())
    if finalizers and since is not None and now - since > PATIENCE_WITH_FINALIZERS:
        return Assessment(
            Health.TERMINATING, "FinalizersPending", short(f"is being deleted; waits for its finalizers: {finalizers}")
        )
    return Assessment(Health.TERMINATING, "Deleted", "is being deleted")


def _stale(live: LiveObject) -> Assessment | None:
    """A status about an older generation says nothing of this one, neither good nor bad."""
    observed = section(live.body, "status").get("observedGeneration")
    if observed is None or not live.generation or text(observed) == text(live.generation):
        return None
    return Assessment(
        Health.PROGRESSING, "NotObserved", f"its controller has not seen generation {live.generation} yet"
    )
