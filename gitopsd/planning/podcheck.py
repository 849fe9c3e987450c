"""What the refusal of a workload's pods means: the workload itself would be taken, and then make no pod."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gitopsd.kinds.pods import pod_of
from gitopsd.model.errors import Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Rejection, RejectionKind
from gitopsd.model.plan import Action, Change
from gitopsd.model.units import KubernetesUnit

TEMPLATE_FIELDS = ("spec.template", "spec.jobTemplate")

# Pod admission answers everything with a bare 403; these texts are the same in every release since they exist.
_ACCOUNT = re.compile(r'serviceaccount "(?P<name>[^"]+)" not found')
_PRIORITY = re.compile(r"no PriorityClass with name (?P<name>\S+) was found")
_SECURITY = re.compile(r'violates PodSecurity "')


@dataclass(frozen=True, slots=True)
class PodAnswer:
    """A refusal of pods, sorted: what the commit has to mend, and what is only worth a warning."""

    mistakes: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


def judge_pod(
    unit: KubernetesUnit,
    refusal: Rejection,
    change: Change,
    units: Mapping[UnitId, KubernetesUnit],
    changing: Collection[UnitId],
) -> PodAnswer:
    """Sort the refusal of a pod of `unit`.

    A missing ServiceAccount or PriorityClass and a violation of pod security will still be there when the controller
    makes the pod, unless this very plan changes that. Everything else is a warning: quota comes and goes, and webhooks
    may judge a pod without its controller differently. So is what the change does not touch.
    """
    text = f"its pods would not be admitted now: {refusal.message}"
    remedy = _remedy(unit, refusal, units, changing)
    if not remedy or not _touches_pods(change):
        return PodAnswer(warnings=(text,))
    problem = Problem(text, file=unit.origin.file, line=unit.origin.line, unit=str(unit.id), remedy=remedy)
    return PodAnswer(mistakes=(problem,))


def _remedy(
    unit: KubernetesUnit, refusal: Rejection, units: Mapping[UnitId, KubernetesUnit], changing: Collection[UnitId]
) -> str:
    """What the commit has to do about it; "" if this is not sure, or if the plan does it."""
    if refusal.kind is not RejectionKind.ADMISSION:
        return ""
    cluster, namespace = unit.id.cluster, unit.id.namespace
    if account := _ACCOUNT.search(refusal.message):
        # Every namespace gets its account "default" from a controller, a moment after it was made.
        wanted = UnitId(cluster, "", "ServiceAccount", namespace, account["name"])
        return "" if wanted in units or wanted.name == "default" else f"add ServiceAccount {wanted.name} to the stack"
    if priority := _PRIORITY.search(refusal.message):
        wanted = UnitId(cluster, "scheduling.k8s.io", "PriorityClass", "", priority["name"])
        return "" if wanted in units else f"add PriorityClass {wanted.name} to the stack"
    if _SECURITY.search(refusal.message):
        changed = UnitId(cluster, "", "Namespace", "", namespace) in changing
        return "" if changed else _security_remedy(unit)
    return ""


def _security_remedy(unit: KubernetesUnit) -> str:
    pod = pod_of(unit.manifest) or {}
    containers = (pod.get("spec") or {}).get("containers") or ()
    names = ", ".join(str(c.get("name", "")) for c in containers)
    return f"set the securityContext of the pod and of its containers ({names}) as the namespace's level asks"


def _touches_pods(change: Change) -> bool:
    return change.action in {Action.CREATE, Action.RECREATE} or any(
        field.path.startswith(TEMPLATE_FIELDS) for field in change.diff
    )
