"""Deployment, StatefulSet, DaemonSet, ReplicaSet, Pod.

Their counters say when they are done; their pods say why they are not. Only pods of the newest revision count: a pod of
the old one that crashes is often what the new one mends. Where the newest revision cannot be told, no pod counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gitopsd.kinds.fields import own_entry
from gitopsd.kinds.health.podfaults import failure, worst_fault
from gitopsd.kinds.health.reading import holds, moment, number, section, short, spec, status, text, told
from gitopsd.kinds.health.stuck import REVISION_LABEL, STUCK, stuck_pods
from gitopsd.model.live import Assessment, Health, Workload
from gitopsd.model.units import Manifest

REVISION_ANNOTATION = "deployment.kubernetes.io/revision"
TEMPLATE_HASH_LABEL = "pod-template-hash"
GENERATION_LABEL = "pod-template-generation"
GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"

HEALTHY = Assessment(Health.HEALTHY)


def deployment(workload: Workload) -> Assessment:
    """Done when every wanted replica is of the newest revision and available, and none is left of an older one."""
    if spec(workload).get("paused"):
        return Assessment(Health.SUSPENDED, "Paused", "is paused")
    if status(workload).get("observedGeneration") is None:
        return _not_seen_yet()
    newest = _newest_replica_set(workload)
    waits = _deployment_waits(workload, newest)
    if not waits:
        return HEALTHY
    # Not the Deployment's own ReplicaFailure: that may be of the old ReplicaSet, which a rollback leaves behind.
    refused = _refused_pods(newest) if newest is not None else None
    return refused or _waiting(waits, _pods_of(newest, workload.pods), _stuck(workload))


def _deployment_waits(workload: Workload, newest: Manifest | None) -> str:
    state, wanted = status(workload), number(spec(workload), "replicas", 1)
    updated, total, available = (number(state, n) for n in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated < wanted:
        return f"{updated} of {wanted} replicas are updated"
    new = section(newest, "status").get("availableReplicas", 0) if newest is not None else updated
    if total > updated and new < updated:  # the old ones stay until the new ones can do their work
        return f"{new} of {_count(updated, 'new replica')} {'is' if updated == 1 else 'are'} available"
    if total > updated:
        return f"{_count(total - updated, 'old replica')} to be removed"
    if available < updated:
        return f"{available} of {updated} replicas are available"
    return ""


def _stuck(workload: Workload) -> Mapping[str, Any] | None:
    """The condition by which the controller gives up: the progress deadline, or a ReplicaSet that it cannot make.

    After a change back to a ReplicaSet that exists, the controller leaves the failure of the former rollout standing
    until it sees progress; what is older than our last write is not about it.
    """
    found = holds(workload.live.body, "Progressing", "False")
    if found is None:
        return None
    entry = own_entry(workload.live)
    written, updated = moment(entry.get("time")) if entry else None, moment(found.get("lastUpdateTime"))
    return None if written is not None and updated is not None and updated <= written else found


def _newest_replica_set(workload: Workload) -> Manifest | None:
    """The ReplicaSet of the revision that the Deployment itself names; None if the two were read at different times."""
    revision = workload.live.annotations.get(REVISION_ANNOTATION)
    for candidate in workload.replica_sets:
        annotations = section(section(candidate, "metadata"), "annotations")
        if revision and annotations.get(REVISION_ANNOTATION) == revision:
            return candidate
    return None


def _pods_of(newest: Manifest | None, pods: Iterable[Manifest]) -> list[Manifest]:
    if newest is None:
        return []
    labels = section(section(newest, "metadata"), "labels")
    return _labelled(pods, TEMPLATE_HASH_LABEL, labels.get(TEMPLATE_HASH_LABEL))


def stateful_set(workload: Workload) -> Assessment:
    """Done when every replica is ready and those above the partition are of the newest revision. Under `OnDelete` a
    person decides when pods are replaced."""
    state = status(workload)
    if not state.get("observedGeneration"):
        return _not_seen_yet()
    waits = _stateful_set_waits(workload)
    if not waits:
        return HEALTHY
    found = _waiting(waits, _labelled(workload.pods, REVISION_LABEL, state.get("updateRevision")))
    stuck = stuck_pods(workload)
    if not stuck or found.final:
        return found
    return Assessment(
        Health.PROGRESSING, STUCK, short(f"{waits}; a pod of an older revision holds the update up: {stuck[0].why}")
    )


def _stateful_set_waits(workload: Workload) -> str:
    state, wished = status(workload), spec(workload)
    wanted, ready = number(wished, "replicas", 1), number(state, _ready_count(workload))
    if ready < wanted:
        return f"{ready} of {wanted} replicas are ready"
    if number(state, "replicas") > wanted:
        return f"{_count(number(state, 'replicas') - wanted, 'replica')} to be removed"
    strategy = section(wished, "updateStrategy")
    if strategy.get("type") == "OnDelete":
        return ""
    due = max(0, wanted - number(section(strategy, "rollingUpdate"), "partition"))
    updated = number(state, "updatedReplicas")
    if state.get("updateRevision") != state.get("currentRevision") and updated < due:
        return f"{updated} of {due} replicas are updated"
    return ""


def _ready_count(workload: Workload) -> str:
    """With `minReadySeconds` a replica counts once it has been ready that long."""
    return "availableReplicas" if number(spec(workload), "minReadySeconds") else "readyReplicas"


def daemon_set(workload: Workload) -> Assessment:
    """Done when the pods of all its nodes are of the newest template and available."""
    if not status(workload).get("observedGeneration"):
        return _not_seen_yet()
    waits = _daemon_set_waits(workload)
    newest = workload.live.annotations.get(GENERATION_ANNOTATION)
    return _waiting(waits, _labelled(workload.pods, GENERATION_LABEL, newest)) if waits else HEALTHY


def _daemon_set_waits(workload: Workload) -> str:
    state = status(workload)
    wanted, available = number(state, "desiredNumberScheduled"), number(state, "numberAvailable")
    updated = number(state, "updatedNumberScheduled")
    if section(spec(workload), "updateStrategy").get("type") != "OnDelete" and updated < wanted:
        return f"{updated} of {wanted} pods are updated"
    return f"{available} of {wanted} pods are available" if available < wanted else ""


def replica_set(workload: Workload) -> Assessment:
    """Done when every wanted replica is available; it never replaces pods, so all of them count."""
    if status(workload).get("observedGeneration") is None:
        return _not_seen_yet()
    wanted, available = number(spec(workload), "replicas", 1), number(status(workload), "availableReplicas")
    if available >= wanted:
        return HEALTHY
    waits = f"{available} of {wanted} replicas are available"
    return _refused_pods(workload.live.body) or _waiting(waits, workload.pods)


def pod(workload: Workload) -> Assessment:
    """A bare pod: healthy when ready, or when it has succeeded if it is meant to end."""
    body = workload.live.body
    phase = status(workload).get("phase")
    if phase == "Succeeded":
        return HEALTHY
    if phase == "Failed":
        return Assessment(Health.DEGRADED, *failure(body), final=True)
    lasting = spec(workload).get("restartPolicy", "Always") == "Always"
    if phase == "Running" and lasting and holds(body, "Ready"):
        return HEALTHY
    fault = worst_fault([body])
    if fault is not None:
        return fault.assessment()
    if phase == "Running" and not lasting:
        return Assessment(Health.PROGRESSING, "Running", "runs, and is done when it ends")
    return Assessment(Health.PROGRESSING, text(phase) or "Pending", "is not ready")


# ---------------------------------------------------------------- what they share


def _not_seen_yet() -> Assessment:
    return Assessment(Health.PROGRESSING, "NotObserved", "its controller has not seen it yet")


def _refused_pods(body: Manifest) -> Assessment | None:
    """The API server takes no pods of this template: quota, pod security, a webhook, a missing ServiceAccount."""
    refused = holds(body, "ReplicaFailure")
    return told(Health.DEGRADED, refused, final=True) if refused is not None else None


def _waiting(waits: str, pods: Iterable[Manifest], stuck: Mapping[str, Any] | None = None) -> Assessment:
    """Not done: for what its pods say, or else for time to pass. `stuck`: the controller waits no longer."""
    pods = tuple(pods)
    fault = worst_fault(pods)
    if fault is not None and (fault.sure or stuck is None):
        return fault.assessment()
    if stuck is None:
        return Assessment(Health.PROGRESSING, "RollingOut", f"{waits}{_unready(pods)}")
    given_up = told(Health.DEGRADED, stuck, final=True)
    return given_up if fault is None else Assessment(Health.DEGRADED, given_up.reason, fault.message, final=True)


def _unready(pods: Iterable[Manifest]) -> str:
    """Which pod is waited for: the first by name that runs and is not ready."""
    names = (section(pod, "metadata").get("name") for pod in pods if _runs_unready(pod))
    first = min((text(name) for name in names), default="")
    return f"; pod {first} is not ready" if first else ""


def _runs_unready(pod: Manifest) -> bool:
    deleted = section(pod, "metadata").get("deletionTimestamp")
    return section(pod, "status").get("phase") == "Running" and not deleted and holds(pod, "Ready", "False") is not None


def _labelled(pods: Iterable[Manifest], label: str, value: Any) -> list[Manifest]:
    return [p for p in pods if value and section(section(p, "metadata"), "labels").get(label) == value]


def _count(amount: int, noun: str) -> str:
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"
