"""What keeps a pod from becoming ready, in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.kinds.health.reading import holds, section, short, text
from gitopsd.model.live import Assessment, Health
from gitopsd.model.units import Manifest

IMAGE_FAULTS = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"})
START_FAULTS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
CRASH_LOOP = "CrashLoopBackOff"

SURE_FAULTS = IMAGE_FAULTS | START_FAULTS | {CRASH_LOOP}
"""Reasons for which a container waits that another look will not end: something has to be changed."""

SAME_REASON = {"ErrImagePull": "ImagePullBackOff"}
"""A pull that fails and the pause before its next try alternate: one fault, under one name, whenever one looks."""


@dataclass(frozen=True, slots=True)
class PodFault:
    """Why one pod is not ready. `sure`: waiting will not help. `over`: the pod has ended, and others replace it."""

    pod: str
    reason: str
    message: str
    sure: bool = False
    over: bool = False

    def assessment(self) -> Assessment:
        health = Health.DEGRADED if self.sure else Health.PROGRESSING
        return Assessment(health, self.reason, self.message, final=self.sure)


def worst_fault(pods: Iterable[Manifest], *, sure: frozenset[str] = SURE_FAULTS) -> PodFault | None:
    """The fault to show of these pods: a sure one if there is any, then by the pods' names. Pods that are being
    deleted do not count: they are as they should be."""
    present = [pod for pod in pods if not section(pod, "metadata").get("deletionTimestamp")]
    faults = [fault for pod in present for fault in pod_faults(pod, sure)]
    return min(faults, key=lambda fault: (not fault.sure, fault.over, fault.pod), default=None)


def pod_faults(pod: Manifest, sure: frozenset[str] = SURE_FAULTS) -> Iterator[PodFault]:
    """Every fault of one pod, init containers first."""
    name, state = text(section(pod, "metadata").get("name")), section(pod, "status")
    if state.get("phase") == "Failed":
        yield PodFault(name, *failure(pod), over=True)
        return
    for label, container in _containers(state):
        waiting = section(section(container, "state"), "waiting")
        reason = text(waiting.get("reason"))
        if reason in SURE_FAULTS:
            place = f"pod {name}: {label} {text(container.get('name'))}: {reason}"
            detail = _last_end(container) if reason == CRASH_LOOP else text(waiting.get("message"))
            message = short(f"{place}: {detail}" if detail else place)
            yield PodFault(name, SAME_REASON.get(reason, reason), message, sure=reason in sure)
    unplaced = holds(pod, "PodScheduled", "False")
    if unplaced is not None:
        reason = text(unplaced.get("reason")) or "Unschedulable"
        yield PodFault(name, reason, short(f"pod {name}: {reason}: {text(unplaced.get('message'))}"))


def failure(pod: Manifest) -> tuple[str, str]:
    """Reason and message of a pod that has failed: the pod's own (evicted, ...), or its container's."""
    name, state = text(section(pod, "metadata").get("name")), section(pod, "status")
    if state.get("reason"):
        reason = text(state["reason"])
        return reason, short(f"pod {name}: {reason}: {text(state.get('message'))}".removesuffix(": "))
    for label, container in _containers(state):
        ended = section(section(container, "state"), "terminated")
        if ended and ended.get("exitCode") != 0:
            reason = text(ended.get("reason")) or "Error"
            return reason, short(f"pod {name}: {label} {text(container.get('name'))}: {_end(ended)}")
    return "Failed", short(f"pod {name} has failed: {text(state.get('message'))}".removesuffix(": "))


def _containers(state: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for field, label in (("initContainerStatuses", "init container"), ("containerStatuses", "container")):
        for container in state.get(field) or ():
            yield label, container


def _last_end(container: Mapping[str, Any]) -> str:
    """How a crashing container ended last. The kubelet's own text has a growing pause in it: another one each time."""
    ended = section(section(container, "lastState"), "terminated")
    return _end(ended) if ended else ""


def _end(ended: Mapping[str, Any]) -> str:
    """`exit code 1 (OOMKilled): the container's last words`."""
    reason, words = text(ended.get("reason")), text(ended.get("message"))
    told = f"exit code {text(ended.get('exitCode'))}"
    told += f" ({reason})" if reason and reason != "Error" else ""
    return f"{told}: {words}" if words else told
