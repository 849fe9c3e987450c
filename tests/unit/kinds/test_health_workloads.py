"""Health of workloads: done by their counters, failed only for what their newest pods cannot mend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from gitopsd.kinds.health import STUCK, assess, stuck_pods
from gitopsd.model.live import Assessment, Health, Workload
from tests.unit.kinds.samples import condition, ended, entry, live, pod, waiting

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PULL = waiting("ImagePullBackOff", 'Back-off pulling image "r.example/app:2"')


def _judge(body: Mapping[str, Any], pods: Sequence[Any] = (), replica_sets: Sequence[Any] = ()) -> Assessment:
    found = live(body)
    return assess(found.id, Workload(found, tuple(pods), tuple(replica_sets)), NOW)


def _body(kind: str, spec: Mapping[str, Any], status: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "api", "namespace": "web", "generation": 2, **metadata},
        "spec": dict(spec),
        "status": {"observedGeneration": 2, **status},
    }


# ---------------------------------------------------------------- Deployment

DONE = {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}
HALF = {"replicas": 4, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 3}


def _deployment(status: Mapping[str, Any], *conditions: Any, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return _body(
        "Deployment",
        {"replicas": 3} if spec is None else spec,
        {**status, "conditions": list(conditions)},
        annotations={"deployment.kubernetes.io/revision": "2"},
        **metadata,
    )


def _replica_set(revision: int, *conditions: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"api-h{revision}",
            "labels": {"pod-template-hash": f"h{revision}"},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
        },
        "status": {"availableReplicas": 3, "conditions": list(conditions)},
    }


OLD_SET, NEW_SET = _replica_set(1), _replica_set(2)
SETS = (OLD_SET, NEW_SET)
OLD, NEW = {"pod-template-hash": "h1"}, {"pod-template-hash": "h2"}


@pytest.mark.parametrize(
    ("status", "spec", "health", "message"),
    [
        (DONE, None, Health.HEALTHY, ""),
        (HALF, None, Health.PROGRESSING, "1 of 3 replicas are updated"),
        ({**DONE, "replicas": 4}, None, Health.PROGRESSING, "1 old replica to be removed"),
        ({**DONE, "replicas": 5}, None, Health.PROGRESSING, "2 old replicas to be removed"),
        ({**DONE, "availableReplicas": 2}, None, Health.PROGRESSING, "2 of 3 replicas are available"),
        ({"updatedReplicas": 3, "replicas": 3}, None, Health.PROGRESSING, "0 of 3 replicas are available"),
        ({}, {"replicas": 0}, Health.HEALTHY, ""),
        ({}, {}, Health.PROGRESSING, "0 of 1 replicas are updated"),
        ({**DONE, "observedGeneration": 1}, None, Health.PROGRESSING, "its controller has not seen generation 2 yet"),
        ({**DONE, "observedGeneration": None}, None, Health.PROGRESSING, "its controller has not seen it yet"),
        (HALF, {"replicas": 3, "paused": True}, Health.SUSPENDED, "is paused"),
    ],
)
def test_a_deployment_is_done_when_every_replica_is_new_and_available(
    status: Any, spec: Any, health: Health, message: str
) -> None:
    found = _judge(_deployment(status, spec=spec), replica_sets=SETS)
    assert (found.health, found.message, found.final) == (health, message, False)


SURE = [
    (PULL, "ImagePullBackOff", 'ImagePullBackOff: Back-off pulling image "r.example/app:2"'),
    (waiting("ErrImagePull", "not found"), "ImagePullBackOff", "ErrImagePull: not found"),
    (waiting("InvalidImageName", "bad"), "InvalidImageName", "InvalidImageName: bad"),
    (waiting("ErrImageNeverPull", "absent"), "ErrImageNeverPull", "ErrImageNeverPull: absent"),
    (
        waiting("CreateContainerConfigError", 'secret "x" not found'),
        "CreateContainerConfigError",
        'CreateContainerConfigError: secret "x" not found',
    ),
    (waiting("CreateContainerError", "e"), "CreateContainerError", "CreateContainerError: e"),
    (waiting("RunContainerError", "exec"), "RunContainerError", "RunContainerError: exec"),
    (
        waiting(
            "CrashLoopBackOff", "back-off 40s restarting", last={"exitCode": 1, "reason": "Error", "message": "no db"}
        ),
        "CrashLoopBackOff",
        "CrashLoopBackOff: exit code 1: no db",
    ),
    (
        waiting("CrashLoopBackOff", last={"exitCode": 137, "reason": "OOMKilled"}),
        "CrashLoopBackOff",
        "CrashLoopBackOff: exit code 137 (OOMKilled)",
    ),
    (waiting("CrashLoopBackOff"), "CrashLoopBackOff", "CrashLoopBackOff"),
]


@pytest.mark.parametrize(("container", "reason", "message"), SURE)
def test_a_new_pod_that_cannot_start_ends_the_rollout_with_its_own_words(
    container: Any, reason: str, message: str
) -> None:
    found = _judge(_deployment(HALF), [pod("api-h2-x", labels=NEW, containers=[container])], SETS)
    assert found == Assessment(Health.DEGRADED, reason, f"pod api-h2-x: container app: {message}", final=True)


def test_an_init_container_that_fails_is_named_as_such() -> None:
    crash = waiting("CrashLoopBackOff", name="migrate", last={"exitCode": 3, "reason": "Error"})
    found = _judge(
        _deployment(HALF), [pod("p", labels=NEW, init=[crash], containers=[waiting("PodInitializing")])], SETS
    )
    assert found.message == "pod p: init container migrate: CrashLoopBackOff: exit code 3"
    assert found.final


def test_an_old_pod_that_crashes_does_not_fail_its_fix() -> None:
    crash = waiting("CrashLoopBackOff", last={"exitCode": 1})
    found = _judge(_deployment(HALF), [pod("old", labels=OLD, containers=[crash]), pod("new", labels=NEW)], SETS)
    assert (found.health, found.reason, found.final) == (Health.PROGRESSING, "RollingOut", False)


def test_no_pod_counts_while_the_newest_revision_is_not_known() -> None:
    # The Deployment was read after its newest ReplicaSet was listed, or the other way round.
    bad = [pod("p", labels=OLD, containers=[PULL])]
    for sets in ((), (OLD_SET,)):
        assert _judge(_deployment(HALF), bad, sets).health is Health.PROGRESSING


def test_a_stale_status_is_no_failure_either() -> None:
    body = _deployment({**HALF, "observedGeneration": 1}, condition("Progressing", "False", "ProgressDeadlineExceeded"))
    found = _judge(body, [pod("p", labels=NEW, containers=[PULL])], SETS)
    assert (found.health, found.reason, found.final) == (Health.PROGRESSING, "NotObserved", False)


def test_a_pod_on_its_way_out_does_not_count() -> None:
    leaving = pod("p", labels=NEW, containers=[PULL])
    leaving["metadata"]["deletionTimestamp"] = "2026-11-22T11:59:59Z"
    assert _judge(_deployment(HALF), [leaving], SETS).reason == "RollingOut"


def test_enough_available_replicas_are_health_whatever_an_extra_pod_says() -> None:
    assert _judge(_deployment(DONE), [pod("extra", labels=NEW, containers=[PULL])], SETS).health is Health.HEALTHY


def test_an_unschedulable_pod_is_the_reason_but_not_the_end() -> None:
    unplaced = condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")
    found = _judge(_deployment(HALF), [pod("p", labels=NEW, conditions=[unplaced])], SETS)
    assert (found.health, found.reason, found.final) == (Health.PROGRESSING, "Unschedulable", False)
    assert found.message == "pod p: Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."


def test_an_evicted_pod_is_replaced_and_not_the_end() -> None:
    evicted = pod("a", labels=NEW, phase="Failed", reason="Evicted", message="The node was low on memory")
    found = _judge(_deployment(HALF), [evicted], SETS)
    assert (found.health, found.reason, found.final) == (Health.PROGRESSING, "Evicted", False)
    unplaced = pod("b", labels=NEW, conditions=[condition("PodScheduled", "False", "Unschedulable", "full")])
    assert _judge(_deployment(HALF), [evicted, unplaced], SETS).reason == "Unschedulable", "what goes on counts more"


def test_of_several_faults_a_sure_one_is_told_and_always_the_same() -> None:
    unplaced = pod("a", labels=NEW, conditions=[condition("PodScheduled", "False", "Unschedulable", "full")])
    pods = [pod("c", labels=NEW, containers=[PULL]), unplaced, pod("b", labels=NEW, containers=[PULL])]
    assert "pod b:" in _judge(_deployment(HALF), pods, SETS).message
    assert _judge(_deployment(HALF), pods, SETS) == _judge(_deployment(HALF), pods[::-1], SETS[::-1])


QUOTA = condition("ReplicaFailure", "True", "FailedCreate", 'pods "api-h2-" is forbidden: exceeded quota: q')


def test_pods_that_are_not_admitted_end_the_rollout() -> None:
    found = _judge(_deployment(HALF, QUOTA), replica_sets=(OLD_SET, _replica_set(2, QUOTA)))
    assert found == Assessment(
        Health.DEGRADED, "FailedCreate", 'pods "api-h2-" is forbidden: exceeded quota: q', final=True
    )


def test_the_old_replica_sets_refused_pods_do_not_fail_the_way_back() -> None:
    found = _judge(_deployment(HALF, QUOTA), replica_sets=(_replica_set(1, QUOTA), NEW_SET))
    assert (found.health, found.final) == (Health.PROGRESSING, False)


def _deadline(updated: str = "2026-11-22T11:00:00Z") -> dict[str, Any]:
    message = 'ReplicaSet "api-h2" has timed out progressing.'
    return condition("Progressing", "False", "ProgressDeadlineExceeded", message, lastUpdateTime=updated)


def test_the_progress_deadline_ends_the_rollout_with_what_the_pods_wait_for() -> None:
    assert _judge(_deployment(HALF, _deadline()), replica_sets=SETS) == Assessment(
        Health.DEGRADED, "ProgressDeadlineExceeded", 'ReplicaSet "api-h2" has timed out progressing.', final=True
    )
    unplaced = pod("p", labels=NEW, conditions=[condition("PodScheduled", "False", "Unschedulable", "full")])
    found = _judge(_deployment(HALF, _deadline()), [unplaced], SETS)
    assert (found.reason, found.message, found.final) == (
        "ProgressDeadlineExceeded",
        "pod p: Unschedulable: full",
        True,
    )
    assert (
        _judge(_deployment(HALF, _deadline()), [pod("p", labels=NEW, containers=[PULL])], SETS).reason
        == PULL["state"]["waiting"]["reason"]
    )


@pytest.mark.parametrize(("written", "final"), [("2026-11-22T11:00:01Z", False), ("2026-11-22T10:00:00Z", True)])
def test_a_deadline_from_before_our_write_is_of_the_rollout_before(written: str, final: bool) -> None:
    # After a way back to a ReplicaSet that exists, the controller leaves the condition until it sees progress.
    managed = [entry("gitopsd", {"f:spec": {}}, time=written)]
    assert _judge(_deployment(HALF, _deadline(), managedFields=managed), replica_sets=SETS).final is final


def test_what_waits_for_new_replicas_says_so_and_not_that_old_ones_stay() -> None:
    new = {**NEW_SET, "status": {"availableReplicas": 1}}
    found = _judge(_deployment({**DONE, "replicas": 4}), replica_sets=(OLD_SET, new))
    assert found.message == "1 of 3 new replicas are available"


# ---------------------------------------------------------------- StatefulSet


def _stateful_set(status: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    revisions = {"currentRevision": "db-1", "updateRevision": "db-1"}
    return _body(
        "StatefulSet", {"replicas": 3, "updateStrategy": {"type": "RollingUpdate"}, **spec}, {**revisions, **status}
    )


READY = {"replicas": 3, "readyReplicas": 3, "currentReplicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
ROLLING = {**READY, "updateRevision": "db-2", "updatedReplicas": 1, "currentReplicas": 2}


@pytest.mark.parametrize(
    ("status", "spec", "health", "message"),
    [
        (READY, {}, Health.HEALTHY, ""),
        ({**READY, "readyReplicas": 2}, {}, Health.PROGRESSING, "2 of 3 replicas are ready"),
        ({**READY, "replicas": 4}, {}, Health.PROGRESSING, "1 replica to be removed"),
        (ROLLING, {}, Health.PROGRESSING, "1 of 3 replicas are updated"),
        (ROLLING, {"updateStrategy": {"type": "OnDelete"}}, Health.HEALTHY, ""),
        (
            {**ROLLING, "readyReplicas": 2},
            {"updateStrategy": {"type": "OnDelete"}},
            Health.PROGRESSING,
            "2 of 3 replicas are ready",
        ),
        (ROLLING, {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}, Health.HEALTHY, ""),
        (
            ROLLING,
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}},
            Health.PROGRESSING,
            "1 of 2 replicas are updated",
        ),
        (ROLLING, {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 9}}}, Health.HEALTHY, ""),
        ({**ROLLING, "updatedReplicas": 3}, {}, Health.HEALTHY, ""),
        ({**READY, "availableReplicas": 1}, {"minReadySeconds": 10}, Health.PROGRESSING, "1 of 3 replicas are ready"),
        ({**READY, "observedGeneration": 1}, {}, Health.PROGRESSING, "its controller has not seen generation 2 yet"),
        ({"observedGeneration": None}, {"replicas": 0}, Health.PROGRESSING, "its controller has not seen it yet"),
        ({}, {"replicas": 0}, Health.HEALTHY, ""),
    ],
)
def test_a_stateful_set_is_done_when_ready_and_new_above_its_partition(
    status: Any, spec: Any, health: Health, message: str
) -> None:
    found = _judge(_stateful_set(status, **spec))
    assert (found.health, found.message, found.final) == (health, message, False)


def test_of_a_stateful_set_the_pods_of_its_update_revision_count() -> None:
    status = {**ROLLING, "readyReplicas": 2}
    old = pod("db-0", labels={"controller-revision-hash": "db-1"}, containers=[PULL])
    new = pod("db-2", labels={"controller-revision-hash": "db-2"}, containers=[PULL])
    assert not _judge(_stateful_set(status), [old]).final
    found = _judge(_stateful_set(status), [old, new])
    assert found.final
    assert found.message.startswith("pod db-2: container app: ImagePullBackOff")


def _old_pod(name: str = "db-2", *, owner: str = "u-db", ready: str = "False", **more: Any) -> dict[str, Any]:
    made = pod(
        name,
        labels={"controller-revision-hash": "db-1"},
        containers=[waiting("CrashLoopBackOff")],
        conditions=[condition("Ready", ready)],
    )
    references = [{"uid": owner, "controller": True, "kind": "StatefulSet", "name": "api"}]
    made["metadata"] |= {"ownerReferences": references, "uid": f"u-{name}", "resourceVersion": "7", **more}
    return made


def _set_of(*pods: Any, **spec: Any) -> Workload:
    status = {**ROLLING, "readyReplicas": 2, "updatedReplicas": 0}
    body = _stateful_set(status, **spec)
    body["metadata"]["uid"] = "u-db"
    return Workload(live(body), pods)


def test_a_broken_pod_of_an_older_revision_holds_the_update_up_and_is_told() -> None:
    held_up = _set_of(_old_pod())
    assert [(p.name, p.uid, p.resource_version, p.sure) for p in stuck_pods(held_up)] == [("db-2", "u-db-2", "7", True)]
    found = assess(held_up.live.id, held_up, NOW)
    assert (found.health, found.reason, found.final) == (Health.PROGRESSING, STUCK, False)
    assert "2 of 3 replicas are ready" in found.message
    assert "pod db-2: container app: CrashLoopBackOff" in found.message


def test_a_pod_that_is_only_not_ready_is_stuck_but_may_become_ready() -> None:
    waits = _old_pod()
    waits["status"]["containerStatuses"] = []
    assert [(p.sure, p.why) for p in stuck_pods(_set_of(waits))] == [(False, "pod db-2 is not ready")]


PARTITION = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}}


@pytest.mark.parametrize(
    ("held_up", "why"),
    [
        (_set_of(_old_pod(ready="True")), "is ready: the controller replaces it"),
        (_set_of(_old_pod(deletionTimestamp="2026-11-22T11:59:00Z")), "goes already"),
        (_set_of(_old_pod(owner="u-another")), "is another's"),
        (_set_of(_old_pod(labels={"controller-revision-hash": "db-2"})), "is of the revision that is to come"),
        (_set_of(_old_pod(labels={})), "nobody can tell of which revision"),
        (_set_of(_old_pod(), updateStrategy={"type": "OnDelete"}), "a person replaces pods"),
        (_set_of(_old_pod(), podManagementPolicy="Parallel"), "the controller does not wait"),
        (_set_of(_old_pod(), **PARTITION), "is not to be updated"),
    ],
)
def test_no_other_pod_is_taken_for_stuck(held_up: Workload, why: str) -> None:
    assert stuck_pods(held_up) == (), why


def test_no_pod_is_stuck_before_the_controller_has_seen_the_template() -> None:
    body = _stateful_set({**ROLLING, "observedGeneration": 1})
    body["metadata"]["uid"] = "u-db"
    assert stuck_pods(Workload(live(body), (_old_pod(),))) == ()


def test_a_new_pod_that_runs_and_does_not_become_ready_is_named() -> None:
    ready, not_yet = condition("Ready", "True"), condition("Ready", "False")
    labels = {"controller-revision-hash": "db-2"}
    pods = [
        pod("db-1", labels=labels, phase="Running", conditions=[not_yet]),
        pod("db-2", labels=labels, phase="Running", conditions=[ready]),
    ]
    found = _judge(_stateful_set({**ROLLING, "readyReplicas": 2}), pods)
    assert (found.reason, found.message) == ("RollingOut", "2 of 3 replicas are ready; pod db-1 is not ready")


# ---------------------------------------------------------------- DaemonSet, ReplicaSet


def _daemon_set(desired: int, updated: int, available: int, strategy: str = "RollingUpdate") -> dict[str, Any]:
    return _body(
        "DaemonSet",
        {"updateStrategy": {"type": strategy}},
        {"desiredNumberScheduled": desired, "updatedNumberScheduled": updated, "numberAvailable": available},
        annotations={"deprecated.daemonset.template.generation": "2"},
    )


@pytest.mark.parametrize(
    ("body", "health", "message"),
    [
        (_daemon_set(3, 3, 3), Health.HEALTHY, ""),
        (_daemon_set(0, 0, 0), Health.HEALTHY, ""),
        (_daemon_set(3, 1, 3), Health.PROGRESSING, "1 of 3 pods are updated"),
        (_daemon_set(3, 3, 2), Health.PROGRESSING, "2 of 3 pods are available"),
        (_daemon_set(3, 0, 3, "OnDelete"), Health.HEALTHY, ""),
        (_daemon_set(3, 0, 1, "OnDelete"), Health.PROGRESSING, "1 of 3 pods are available"),
    ],
)
def test_a_daemon_set_is_done_when_every_node_has_a_new_available_pod(
    body: dict[str, Any], health: Health, message: str
) -> None:
    found = _judge(body)
    assert (found.health, found.message) == (health, message)


def test_of_a_daemon_set_the_pods_of_its_newest_template_count() -> None:
    old = pod("a", labels={"pod-template-generation": "1"}, containers=[PULL])
    new = pod("b", labels={"pod-template-generation": "2"}, containers=[PULL])
    assert not _judge(_daemon_set(3, 1, 2), [old]).final
    assert _judge(_daemon_set(3, 1, 2), [old, new]).message.startswith("pod b:")


@pytest.mark.parametrize(
    ("status", "pods", "health", "final"),
    [
        ({"availableReplicas": 2}, [], Health.HEALTHY, False),
        ({"availableReplicas": 1}, [], Health.PROGRESSING, False),
        ({}, [pod("p", containers=[PULL])], Health.DEGRADED, True),
        ({"conditions": [QUOTA]}, [], Health.DEGRADED, True),
        ({"availableReplicas": 2, "conditions": [QUOTA]}, [], Health.HEALTHY, False),
        ({"observedGeneration": None}, [], Health.PROGRESSING, False),
    ],
)
def test_a_replica_set(status: Any, pods: list[Any], health: Health, final: bool) -> None:
    found = _judge(_body("ReplicaSet", {"replicas": 2}, status), pods)
    assert (found.health, found.final) == (health, final)


# ---------------------------------------------------------------- Pod

IS_READY = condition("Ready", "True")


@pytest.mark.parametrize(
    ("body", "health", "reason", "final"),
    [
        (pod("p", phase="Running", conditions=[IS_READY]), Health.HEALTHY, "", False),
        (pod("p", phase="Running"), Health.PROGRESSING, "Running", False),
        (pod("p"), Health.PROGRESSING, "Pending", False),
        (pod("p", phase="Succeeded", restart="Never"), Health.HEALTHY, "", False),
        (pod("p", phase="Running", restart="Never", conditions=[IS_READY]), Health.PROGRESSING, "Running", False),
        (pod("p", containers=[PULL]), Health.DEGRADED, "ImagePullBackOff", True),
        (pod("p", phase="Failed", restart="Never", containers=[ended(2)]), Health.DEGRADED, "Error", True),
        (pod("p", phase="Failed", reason="Evicted", message="low on memory"), Health.DEGRADED, "Evicted", True),
        (pod("p", phase="Failed"), Health.DEGRADED, "Failed", True),
        (
            pod("p", phase="Running", containers=[waiting("CrashLoopBackOff")]),
            Health.DEGRADED,
            "CrashLoopBackOff",
            True,
        ),
        (
            pod("p", conditions=[condition("PodScheduled", "False", "Unschedulable", "full")]),
            Health.PROGRESSING,
            "Unschedulable",
            False,
        ),
    ],
)
def test_a_bare_pod(body: dict[str, Any], health: Health, reason: str, final: bool) -> None:
    found = _judge({"apiVersion": "v1", "kind": "Pod", **body})
    assert (found.health, found.reason, found.final) == (health, reason, final)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            pod("p", phase="Failed", containers=[ended(2, message="no disk")]),
            "pod p: container app: exit code 2: no disk",
        ),
        (
            pod("p", phase="Failed", containers=[ended(0, "Completed"), ended(9, "OOMKilled", name="b")]),
            "pod p: container b: exit code 9 (OOMKilled)",
        ),
        (pod("p", phase="Failed", reason="DeadlineExceeded"), "pod p: DeadlineExceeded"),
        (pod("p", phase="Failed", message="gone"), "pod p has failed: gone"),
    ],
)
def test_a_failed_pod_in_its_own_words(body: dict[str, Any], message: str) -> None:
    assert _judge({"apiVersion": "v1", "kind": "Pod", **body}).message == message


def test_a_long_message_is_cut() -> None:
    body = pod("p", containers=[waiting("ErrImagePull", "word\n" * 500)])
    message = _judge({"apiVersion": "v1", "kind": "Pod", **body}).message
    assert len(message) == 300
    assert "\n" not in message
