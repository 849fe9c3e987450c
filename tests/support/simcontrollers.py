"""The controllers of a simulated cluster: one pass brings everything as far as it is at a moment of the fake clock.

A simulated pod's fate is chosen by its image's tag: `pull-error`, `crash-loop`, `never-ready`, `slow` (ready after
10 s), `job-fails`; any other becomes ready at once, or completes after two seconds if a Job owns it.
"""

from __future__ import annotations

import copy
import hashlib
from datetime import datetime
from typing import Any

import orjson

from gitopsd.model.ids import UnitId
from tests.support.simstate import CRD_FINALIZER, EPOCH, ServerState, unit_of
from tests.support.ssa import Body

SLOW, JOB_TAKES = 10.0, 2.0
REVISION = "deployment.kubernetes.io/revision"
SET_REVISION = "controller-revision-hash"
_WAITING = {"pull-error": "ImagePullBackOff", "crash-loop": "CrashLoopBackOff"}


def run_controllers(state: ServerState, now: float) -> None:
    """One pass of each controller, dependents after what they follow from."""
    for unit, body in state.of_kind("", "Namespace"):
        _namespace(state, unit, body, now)
    for unit, body in state.of_kind("apiextensions.k8s.io", "CustomResourceDefinition"):
        _definition(state, unit, body, now)
    _collect_garbage(state, now)
    for _, body in state.of_kind("apps", "Deployment"):
        _deployment(state, body, now)
    for _, body in state.of_kind("apps", "StatefulSet"):
        _stateful_set(state, body, now)
    for unit, body in state.of_kind("batch", "Job"):
        _job(state, unit, body, now)


def tag_of(body: Body) -> str:
    """The tag of the first container's image."""
    image: str = body["spec"]["template"]["spec"]["containers"][0]["image"]
    return image.rpartition(":")[2]


def _namespace(state: ServerState, unit: UnitId, body: Body, now: float) -> None:
    if "deletionTimestamp" in body["metadata"]:
        for member in state.inside(unit.name):
            state.delete(member, now)
        if not state.inside(unit.name):
            state.remove(unit)
        return
    for kind, name in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")):
        made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": unit.name}}
        if unit_of(made) not in state.objects:
            state.put(made, now)


def _definition(state: ServerState, unit: UnitId, body: Body, now: float) -> None:
    if "deletionTimestamp" in body["metadata"]:
        members = state.of_kind(body["spec"]["group"], body["spec"]["names"]["kind"])
        for member, _ in members:
            state.delete(member, now)
        if not state.of_kind(body["spec"]["group"], body["spec"]["names"]["kind"]):
            state.remove(unit)
        return
    if not body.get("status"):
        made = copy.deepcopy(body)
        made["metadata"]["finalizers"] = [CRD_FINALIZER]
        made["status"] = {"conditions": [_condition("NamesAccepted"), _condition("Established")]}
        state.put(made, now)


def _collect_garbage(state: ServerState, now: float) -> None:
    """What belongs to an owner that is gone goes as well, in as many rounds as there are generations."""
    while True:
        uids = {b["metadata"]["uid"] for b in state.objects.values()}
        lost = [
            u
            for u, b in state.objects.items()
            if "deletionTimestamp" not in b["metadata"]
            and (owners := b["metadata"].get("ownerReferences"))
            and all(o["uid"] not in uids for o in owners)
        ]
        for unit in lost:
            state.delete(unit, now)
        if not lost:
            return


# ---------------------------------------------------------------- Deployments


def _deployment(state: ServerState, body: Body, now: float) -> None:
    if "deletionTimestamp" in body["metadata"]:
        return
    newest = _replica_set(state, body, now)
    replicas = body["spec"]["replicas"]
    pods = _pods(state, newest, tag_of(body), replicas, now)
    ready = [p for p in pods if _is_ready(p)]
    old = [s for s in state.owned_by(body["metadata"]["uid"], "ReplicaSet") if s[1] is not newest]
    stay = [p for _, s in old for p in state.owned_by(s["metadata"]["uid"], "Pod")]
    if len(ready) == replicas:
        for unit, _ in stay:
            state.remove(unit)
        stay = []
    working = len(ready) + sum(_is_ready(b) for _, b in stay)
    made = copy.deepcopy(body)
    made["metadata"].setdefault("annotations", {})[REVISION] = newest["metadata"]["annotations"][REVISION]
    made["status"] = {
        "observedGeneration": body["metadata"]["generation"],
        "replicas": len(pods) + len(stay),
        "updatedReplicas": len(pods),
        "readyReplicas": working,
        "availableReplicas": working,
    }
    state.put(made, now)


def _replica_set(state: ServerState, body: Body, now: float) -> Body:
    """The ReplicaSet of the template, with the highest revision."""
    template = body["spec"]["template"]
    mark = _mark(template)
    sets = [s for _, s in state.owned_by(body["metadata"]["uid"], "ReplicaSet")]
    top = max((int(s["metadata"]["annotations"][REVISION]) for s in sets), default=0)
    found = next((s for s in sets if s["metadata"]["labels"]["pod-template-hash"] == mark), None)
    if found is not None and int(found["metadata"]["annotations"][REVISION]) == top:
        return found
    made: Body = copy.deepcopy(found) if found is not None else _owned(body, "apps/v1", "ReplicaSet", mark)
    made["metadata"]["annotations"] = {REVISION: str(top + 1)}
    made["metadata"]["labels"] = {"pod-template-hash": mark}
    made["spec"] = {"template": template}
    return state.put(made, now)


def _pods(state: ServerState, owner: Body, tag: str, count: int, now: float) -> list[Body]:
    """The pods of a ReplicaSet, as many as wanted, each as far as its fate lets it be now."""
    found = []
    for number in range(count):
        pod = _owned(owner, "v1", "Pod", str(number))
        pod["metadata"]["labels"] = dict(owner["metadata"].get("labels") or {})
        born = state.objects.get(unit_of(pod))
        if born is not None:
            pod = copy.deepcopy(born)
        age = now - _born(pod, now)
        pod["status"] = _pod_status(tag, age)
        found.append(state.put(pod, now))
    for unit, _ in state.owned_by(owner["metadata"]["uid"], "Pod"):
        if int(unit.name.rpartition("-")[2]) >= count:
            state.remove(unit)
    return found


def _pod_status(tag: str, age: float) -> dict[str, Any]:
    if tag in _WAITING:
        waiting = {"reason": _WAITING[tag], "message": f"simulated: {tag}"}
        return {"phase": "Pending", "containerStatuses": [{"name": "app", "state": {"waiting": waiting}}]}
    if tag == "never-ready" or (tag == "slow" and age < SLOW):
        return {"phase": "Running", "conditions": [_condition("Ready", "False")]}
    return {"phase": "Running", "conditions": [_condition("Ready")]}


def _is_ready(pod: Body) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


# ---------------------------------------------------------------- StatefulSets


def _stateful_set(state: ServerState, body: Body, now: float) -> None:
    """As the real controller does: one pod at a time, and none while one is not ready, of whatever revision it is."""
    if "deletionTimestamp" in body["metadata"]:
        return
    replicas, newest = body["spec"]["replicas"], f"{body['metadata']['name']}-{_mark(body['spec']['template'])}"
    pods = [_ordinal_pod(state, body, number, now) for number in range(replicas)]
    ready = [p for p in pods if p is not None and _is_ready(p)]
    if len(ready) == len([p for p in pods if p is not None]):
        _next_pod(state, body, pods, newest, now)
    updated = [p for p in ready if p["metadata"]["labels"][SET_REVISION] == newest]
    whole = len(updated) == replicas
    before = body.get("status", {}).get("currentRevision", newest)
    made = copy.deepcopy(body)
    made["status"] = {
        "observedGeneration": body["metadata"]["generation"],
        "replicas": len([p for p in pods if p is not None]),
        "readyReplicas": len(ready),
        "updatedReplicas": len(updated),
        "currentRevision": newest if whole else before,
        "updateRevision": newest,
    }
    state.put(made, now)


def _next_pod(state: ServerState, body: Body, pods: list[Body | None], newest: str, now: float) -> None:
    """Make the first pod that is missing, or take away the last that is of an older revision."""
    if None in pods:
        made = _owned(body, "v1", "Pod", str(pods.index(None)))
        made["metadata"]["labels"] = {SET_REVISION: newest, "tag": tag_of(body)}
        made["status"] = _pod_status(tag_of(body), 0)
        state.put(made, now)
        return
    old = [p for p in pods if p is not None and p["metadata"]["labels"][SET_REVISION] != newest]
    if old:
        state.remove(unit_of(old[-1]))


def _ordinal_pod(state: ServerState, body: Body, number: int, now: float) -> Body | None:
    """The pod of this number, as far as its fate lets it be now; None if it is missing."""
    born = state.objects.get(unit_of(_owned(body, "v1", "Pod", str(number))))
    if born is None:
        return None
    pod = copy.deepcopy(born)
    pod["status"] = _pod_status(pod["metadata"]["labels"]["tag"], now - _born(pod, now))
    return state.put(pod, now)


def _mark(template: Body) -> str:
    return hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]


# ---------------------------------------------------------------- Jobs


def _job(state: ServerState, unit: UnitId, body: Body, now: float) -> None:
    age = now - _born(body, now)
    done = any(c["status"] == "True" for c in body.get("status", {}).get("conditions") or ())
    if done:
        ttl = body["spec"].get("ttlSecondsAfterFinished")
        if ttl is not None and age >= JOB_TAKES + ttl:
            state.remove(unit)
        return
    made = copy.deepcopy(body)
    made["status"] = {"startTime": body["metadata"]["creationTimestamp"], "active": 1}
    if age >= JOB_TAKES:
        failed = tag_of(body) == "job-fails"
        made["status"] = {"conditions": [_condition("Failed" if failed else "Complete")]}
    state.put(made, now)


# ---------------------------------------------------------------- building blocks


def _owned(owner: Body, api_version: str, kind: str, suffix: str) -> Body:
    metadata = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": f"{metadata['name']}-{suffix}",
            "namespace": metadata["namespace"],
            "ownerReferences": [reference],
        },
    }


def _born(body: Body, now: float) -> float:
    """When an object was made, on the fake clock; whole seconds, as creationTimestamp has them."""
    text = body["metadata"].get("creationTimestamp")
    if text is None:
        return now
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - EPOCH).total_seconds()


def _condition(kind: str, value: str = "True") -> dict[str, str]:
    return {"type": kind, "status": value, "reason": f"Simulated{kind}", "message": "simulated"}
