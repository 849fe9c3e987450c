"""The pods that workloads make, and Jobs that run once."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gitopsd.kinds.jobs import job_digest, job_state
from gitopsd.kinds.pods import pod_of
from tests.unit.kinds.samples import condition, live

TEMPLATE = {
    "metadata": {"labels": {"app": "api"}, "annotations": {"a": "b"}, "name": "ignored", "creationTimestamp": None},
    "spec": {"containers": [{"name": "app", "image": "x"}], "nodeName": "node-1", "serviceAccountName": "api"},
}


def _workload(kind: str, api: str = "apps/v1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "api", "namespace": "web", "labels": {"own": "1"}},
        "spec": spec or {"template": TEMPLATE},
    }


@pytest.mark.parametrize(
    "workload",
    [
        _workload("Deployment"),
        _workload("DaemonSet"),
        _workload("ReplicaSet"),
        _workload("StatefulSet"),
        _workload("Job", "batch/v1"),
        _workload("CronJob", "batch/v1", jobTemplate={"spec": {"template": TEMPLATE}}),
        _workload("ReplicationController", "v1"),
    ],
    ids=lambda w: w["kind"],
)
def test_the_pod_that_a_workload_makes(workload: dict[str, Any]) -> None:
    before = copy.deepcopy(workload)
    assert pod_of(workload) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "api-", "namespace": "web", "labels": {"app": "api"}, "annotations": {"a": "b"}},
        "spec": {"containers": [{"name": "app", "image": "x"}], "serviceAccountName": "api"},
    }
    assert workload == before


def test_a_pod_of_a_stateful_set_does_not_need_claims_that_it_will_make() -> None:
    template = {
        "spec": {"containers": [], "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "data", "configMap": {}}]}
    }
    pod = pod_of(_workload("StatefulSet", template=template, volumeClaimTemplates=[{"metadata": {"name": "data"}}]))
    assert pod is not None
    assert pod["spec"]["volumes"] == [{"name": "tmp", "emptyDir": {}}, {"name": "data", "emptyDir": {}}]


@pytest.mark.parametrize(
    "manifest",
    [
        _workload("Service", "v1"),
        _workload("Deployment", "example.com/v1"),
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": None},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {"template": "text"}},
    ],
)
def test_what_makes_no_pods(manifest: dict[str, Any]) -> None:
    assert pod_of(manifest) is None


def _job(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "labels": {"v": "1"}},
        "spec": spec,
    }


def test_a_job_runs_again_only_for_another_spec() -> None:
    job = _job(template={"spec": {"containers": [{"image": "x:1"}]}}, backoffLimit=1)
    labelled = {**job, "metadata": {"name": "migrate", "labels": {"v": "2"}}}
    assert job_digest(job) == job_digest(labelled)
    assert job_digest(job) != job_digest(_job(template={"spec": {"containers": [{"image": "x:2"}]}}, backoffLimit=1))


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], "running"),
        ([condition("Complete", "True")], "complete"),
        ([condition("SuccessCriteriaMet", "True"), condition("Complete", "True")], "complete"),
        ([condition("SuccessCriteriaMet", "True")], "running"),
        ([condition("FailureTarget", "True")], "running"),
        ([condition("FailureTarget", "True"), condition("Failed", "True")], "failed"),
        ([condition("Failed", "False")], "running"),
        ([condition("Suspended", "True")], "running"),
    ],
)
def test_how_far_a_job_is(conditions: list[Any], state: str) -> None:
    assert job_state(live({**_job(), "status": {"conditions": conditions}})) == state


def test_a_job_without_a_status_has_just_begun() -> None:
    assert job_state(live(_job())) == "running"
