"""Pods of an older revision that keep a StatefulSet's update from going on.

Its controller goes pod by pod and waits for each to be ready before it touches the next, also for one that is broken
and that the update would mend. Kubernetes documents the way out ("forced rollback"): once the template is mended, the
broken pod is deleted, and the controller makes it anew from that template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.kinds.health.podfaults import worst_fault
from gitopsd.kinds.health.reading import holds, number, section, spec, status, text
from gitopsd.model.live import Workload
from gitopsd.model.units import Manifest

REVISION_LABEL = "controller-revision-hash"
STUCK = "UpdateStuck"
"""The reason of a StatefulSet's progress that such a pod holds up."""


@dataclass(frozen=True, slots=True)
class StuckPod:
    """One such pod, as it was seen. `sure`: it cannot become ready by itself; `why` says what is wrong with it."""

    name: str
    uid: str
    resource_version: str
    sure: bool
    why: str


def stuck_pods(workload: Workload) -> tuple[StuckPod, ...]:
    """The pods of a StatefulSet that are not ready, are not of the revision that is to come, and that its controller
    waits for. None under `OnDelete`, where a person replaces pods, and under `Parallel`, where it does not wait."""
    wished, state = spec(workload), status(workload)
    strategy = section(wished, "updateStrategy")
    waits = wished.get("podManagementPolicy", "OrderedReady") == "OrderedReady" and strategy.get("type") != "OnDelete"
    newest = state.get("updateRevision")
    if not waits or not newest or state.get("observedGeneration") != workload.live.generation:
        return ()
    first = number(section(strategy, "rollingUpdate"), "partition")
    return tuple(_stuck(pod) for pod in workload.pods if _is_stuck(pod, workload, text(newest), first))


def _is_stuck(pod: Manifest, workload: Workload, newest: str, first: int) -> bool:
    metadata = section(pod, "metadata")
    revision = section(metadata, "labels").get(REVISION_LABEL)
    ordinal = text(metadata.get("name")).rpartition("-")[2]
    return (
        bool(revision)
        and revision != newest
        and _owned(metadata, workload.live.uid)
        and not metadata.get("deletionTimestamp")
        and ordinal.isdecimal()
        and int(ordinal) >= first
        and holds(pod, "Ready") is None
    )


def _owned(metadata: Mapping[str, Any], uid: str) -> bool:
    owners = metadata.get("ownerReferences") or ()
    return bool(uid) and any(owner.get("uid") == uid and owner.get("controller") for owner in owners)


def _stuck(pod: Manifest) -> StuckPod:
    metadata, fault = section(pod, "metadata"), worst_fault([pod])
    name = text(metadata.get("name"))
    return StuckPod(
        name=name,
        uid=text(metadata.get("uid")),
        resource_version=text(metadata.get("resourceVersion")),
        sure=fault is not None and (fault.sure or fault.over),
        why=fault.message if fault is not None else f"pod {name} is not ready",
    )
