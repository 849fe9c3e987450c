"""Health of everything else: Jobs, storage, networking, policy, extensions, custom resources, and what is not there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from gitopsd.kinds.builtin import BUILTIN
from gitopsd.kinds.health import assess
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Assessment, Health, Workload
from tests.unit.kinds.samples import condition, ended, live, pod, waiting

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
H, P, D, S = Health.HEALTHY, Health.PROGRESSING, Health.DEGRADED, Health.SUSPENDED


def _judge(kind: str, api: str, spec: Any = None, status: Any = None, pods: Any = (), **metadata: Any) -> Assessment:
    body = {"apiVersion": api, "kind": kind, "metadata": {"name": "x", "namespace": "web", **metadata}}
    found = live({**body, **({"spec": spec} if spec else {}), **({"status": status} if status else {})})
    return assess(found.id, Workload(found, tuple(pods)), NOW)


def _conditions(*conditions: Any, **more: Any) -> dict[str, Any]:
    return {"conditions": list(conditions), **more}


# ---------------------------------------------------------------- Job, CronJob

COMPLETE, FAILED = condition("Complete", "True"), condition("Failed", "True", "BackoffLimitExceeded", "limit reached")


@pytest.mark.parametrize(
    ("spec", "status", "pods", "expected"),
    [
        ({}, {}, [], Assessment(P, "Running", "0 of 1 completions")),
        ({"completions": 3}, {"succeeded": 2}, [], Assessment(P, "Running", "2 of 3 completions")),
        ({}, _conditions(COMPLETE), [], Assessment(H)),
        ({}, _conditions(FAILED), [], Assessment(D, "BackoffLimitExceeded", "limit reached", final=True)),
        (
            {},
            _conditions(FAILED),
            [pod("j-a", phase="Failed", containers=[ended(3, message="table exists")])],
            Assessment(
                D,
                "BackoffLimitExceeded",
                "pod j-a: container app: exit code 3: table exists; limit reached",
                final=True,
            ),
        ),
        (
            {"suspend": True},
            _conditions(condition("Suspended", "True")),
            [],
            Assessment(S, "Suspended", "is suspended"),
        ),
        ({"suspend": True}, _conditions(COMPLETE), [], Assessment(H)),
        (
            {},
            {},
            [pod("j-a", containers=[waiting("ErrImagePull", "not found")])],
            Assessment(D, "ImagePullBackOff", "pod j-a: container app: ErrImagePull: not found", final=True),
        ),
        (
            {},
            {},
            [pod("j-a", containers=[waiting("CrashLoopBackOff", last={"exitCode": 1})])],
            Assessment(P, "CrashLoopBackOff", "pod j-a: container app: CrashLoopBackOff: exit code 1"),
        ),
        (
            {},
            {},
            [pod("j-a", phase="Failed", containers=[ended(1)])],
            Assessment(P, "Error", "pod j-a: container app: exit code 1"),
        ),
    ],
)
def test_a_job_has_failed_when_its_backoff_limit_says_so(
    spec: Any, status: Any, pods: list[Any], expected: Assessment
) -> None:
    assert _judge("Job", "batch/v1", spec, status, pods) == expected


def test_the_last_of_a_jobs_failed_pods_is_told() -> None:
    first, last = (pod(n, phase="Failed", containers=[ended(c)]) for n, c in (("j-z", 1), ("j-a", 2)))
    first["metadata"]["creationTimestamp"] = "2026-11-22T11:00:00Z"
    last["metadata"]["creationTimestamp"] = "2026-11-22T11:00:09Z"
    for pods in ([first, last], [last, first]):
        assert "j-a" in _judge("Job", "batch/v1", {}, _conditions(FAILED), pods).message


def test_a_cron_job() -> None:
    assert _judge("CronJob", "batch/v1", {"schedule": "@daily"}).health is H
    assert _judge("CronJob", "batch/v1", {"suspend": True}).health is S


# ---------------------------------------------------------------- tables of one kind a row

ADDRESS = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
SCALABLE = condition("AbleToScale", "True", "ReadyForNewScale")


@pytest.mark.parametrize(
    ("kind", "api", "spec", "status", "health", "reason"),
    [
        ("Namespace", "v1", {}, {"phase": "Active"}, H, ""),
        ("Namespace", "v1", {}, {"phase": "Terminating"}, Health.TERMINATING, "Deleted"),
        ("PersistentVolumeClaim", "v1", {}, {"phase": "Bound"}, H, ""),
        ("PersistentVolumeClaim", "v1", {}, {"phase": "Pending"}, P, "Pending"),
        ("PersistentVolumeClaim", "v1", {}, {}, P, "Pending"),
        ("PersistentVolumeClaim", "v1", {}, {"phase": "Lost"}, D, "Lost"),
        ("PersistentVolume", "v1", {}, {"phase": "Available"}, H, ""),
        ("PersistentVolume", "v1", {}, {"phase": "Released"}, H, ""),
        ("PersistentVolume", "v1", {}, {"phase": "Failed", "reason": "VolumeFailedDelete"}, D, "VolumeFailedDelete"),
        ("PersistentVolume", "v1", {}, {}, P, "Pending"),
        ("Service", "v1", {"type": "ClusterIP"}, {"loadBalancer": {}}, H, ""),
        ("Service", "v1", {"type": "LoadBalancer"}, {"loadBalancer": {}}, P, "NoAddress"),
        ("Service", "v1", {"type": "LoadBalancer"}, ADDRESS, H, ""),
        ("Ingress", "networking.k8s.io/v1", {}, {"loadBalancer": {}}, P, "NoAddress"),
        ("Ingress", "networking.k8s.io/v1", {}, ADDRESS, H, ""),
        ("PodDisruptionBudget", "policy/v1", {}, {}, P, "NotObserved"),
        (
            "PodDisruptionBudget",
            "policy/v1",
            {},
            _conditions(condition("DisruptionAllowed", "False", "InsufficientPods"), observedGeneration=1),
            H,
            "",
        ),
        (
            "PodDisruptionBudget",
            "policy/v1",
            {},
            _conditions(condition("DisruptionAllowed", "False", "SyncFailed"), observedGeneration=1),
            D,
            "SyncFailed",
        ),
        ("HorizontalPodAutoscaler", "autoscaling/v2", {}, {}, P, "NotObserved"),
        (
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            {},
            _conditions(SCALABLE, condition("ScalingActive", "True", "ValidMetricFound")),
            H,
            "",
        ),
        (
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            {},
            _conditions(condition("AbleToScale", "False", "FailedGetScale", 'deployments "x" not found')),
            D,
            "FailedGetScale",
        ),
        (
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            {},
            _conditions(SCALABLE, condition("ScalingActive", "False", "FailedGetResourceMetric")),
            D,
            "FailedGetResourceMetric",
        ),
        (
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            {},
            _conditions(SCALABLE, condition("ScalingActive", "False", "ScalingDisabled")),
            S,
            "ScalingDisabled",
        ),
        ("CustomResourceDefinition", "apiextensions.k8s.io/v1", {}, {}, P, "NotEstablished"),
        (
            "CustomResourceDefinition",
            "apiextensions.k8s.io/v1",
            {},
            _conditions(condition("NamesAccepted", "True"), condition("Established", "True")),
            H,
            "",
        ),
        (
            "CustomResourceDefinition",
            "apiextensions.k8s.io/v1",
            {},
            _conditions(condition("NamesAccepted", "True"), condition("Established", "False", "Installing")),
            P,
            "Installing",
        ),
        ("APIService", "apiregistration.k8s.io/v1", {}, {}, P, "NotAvailable"),
        ("APIService", "apiregistration.k8s.io/v1", {}, _conditions(condition("Available", "True", "Passed")), H, ""),
        (
            "APIService",
            "apiregistration.k8s.io/v1",
            {},
            _conditions(condition("Available", "False", "ServiceNotFound")),
            P,
            "ServiceNotFound",
        ),
        ("ConfigMap", "v1", {}, {}, H, ""),
        ("ResourceQuota", "v1", {}, {"hard": {}}, H, ""),
        ("Widget", "example.com/v1", {}, {}, H, ""),
        ("Ingress", "example.com/v1", {}, {"loadBalancer": {}}, H, ""),
        ("Widget", "example.com/v1", {}, {"phase": "Broken"}, H, ""),
        ("Widget", "example.com/v1", {}, _conditions(condition("Ready", "True")), H, ""),
        ("Widget", "example.com/v1", {}, _conditions(condition("Ready", "False", "NoDatabase")), P, "NoDatabase"),
        ("Widget", "example.com/v1", {}, _conditions(condition("Ready", "Unknown", "Waiting")), P, "Waiting"),
        ("Widget", "example.com/v1", {}, _conditions(condition("Ready", "Unknown")), P, "Ready"),
        (
            "Widget",
            "example.com/v1",
            {},
            _conditions(condition("Ready", "True"), condition("Reconciling", "True", "Upgrading")),
            P,
            "Upgrading",
        ),
        (
            "Widget",
            "example.com/v1",
            {},
            _conditions(condition("Ready", "False", "x"), condition("Stalled", "True", "BadSpec")),
            D,
            "BadSpec",
        ),
        (
            "Widget",
            "example.com/v1",
            {},
            _conditions(condition("Ready", "True"), condition("Stalled", "False"), condition("Reconciling", "False")),
            H,
            "",
        ),
        ("Widget", "example.com/v1", {}, {"conditions": "nonsense"}, H, ""),
        ("Widget", "example.com/v1", {}, "nonsense", H, ""),
    ],
)
def test_health_by_status(*, kind: str, api: str, spec: Any, status: Any, health: Health, reason: str) -> None:
    found = _judge(kind, api, spec, status)
    assert (found.health, found.reason, found.final) == (health, reason, False)


def test_names_that_another_definition_has_taken_are_a_sure_failure() -> None:
    taken = condition("NamesAccepted", "False", "PluralConflict", '"widgets" is already in use')
    found = _judge("CustomResourceDefinition", "apiextensions.k8s.io/v1", {}, _conditions(taken))
    assert found == Assessment(D, "PluralConflict", '"widgets" is already in use', final=True)


@pytest.mark.parametrize(
    ("text", "health"),
    [
        (orjson.dumps([condition("AbleToScale", "True"), condition("ScalingActive", "True")]).decode(), H),
        (orjson.dumps([condition("AbleToScale", "False", "FailedGetScale")]).decode(), D),
        ("no JSON", P),
        ('{"a": 1}', P),
    ],
)
def test_an_autoscaler_of_v1_has_its_conditions_in_an_annotation(text: str, health: Health) -> None:
    annotations = {"autoscaling.alpha.kubernetes.io/conditions": text}
    found = _judge("HorizontalPodAutoscaler", "autoscaling/v1", {}, {"currentReplicas": 1}, annotations=annotations)
    assert found.health is health


# ---------------------------------------------------------------- what holds for every kind


@pytest.mark.parametrize(("group", "kind"), [*BUILTIN, ("example.com", "Widget")])
def test_a_stale_observed_generation_is_never_healthy_nor_final(group: str, kind: str) -> None:
    good = _conditions(
        *(condition(c, "True") for c in ("Ready", "Complete", "Established", "Available", "AbleToScale")),
        observedGeneration=4,
        phase="Bound",
        **ADDRESS,
    )
    found = _judge(kind, f"{group}/v1" if group else "v1", {"replicas": 0}, good, generation=5)
    assert (found.health, found.final) == (P, False)


@pytest.mark.parametrize("kind", ["Ready", "Stalled", "Reconciling"])
def test_a_condition_about_an_older_generation_counts_for_nothing(kind: str) -> None:
    status = _conditions(condition(kind, "True", observedGeneration=1))
    found = _judge("Widget", "example.com/v1", {}, status, generation=2)
    assert (found.health, found.reason) == (P, "NotObserved")


@pytest.mark.parametrize(("group", "kind"), [*BUILTIN, ("example.com", "Widget")])
def test_what_is_being_deleted_is_never_healthy(group: str, kind: str) -> None:
    status = _conditions(condition("Ready", "True"), phase="Active")
    found = _judge(kind, f"{group}/v1" if group else "v1", {}, status, deletionTimestamp="2026-11-22T11:59:55Z")
    assert (found.health, found.reason, found.final) == (Health.TERMINATING, "Deleted", False)


@pytest.mark.parametrize(
    ("since", "finalizers", "reason"),
    [
        ("2026-11-22T11:59:30Z", ["x.io/f"], "Deleted"),
        ("2026-11-22T11:58:00Z", ["x.io/f"], "FinalizersPending"),
        ("2026-11-22T11:58:00Z", [], "Deleted"),
        ("no time", ["x.io/f"], "Deleted"),
    ],
)
def test_finalizers_that_take_long_are_named(since: str, finalizers: list[str], reason: str) -> None:
    found = _judge("ConfigMap", "v1", deletionTimestamp=since, finalizers=finalizers)
    assert found.reason == reason
    assert ("x.io/f" in found.message) is (reason == "FinalizersPending")


def test_what_is_not_there_is_missing_and_what_cannot_be_asked_is_unknown() -> None:
    unit = UnitId("default", "example.com", "Widget", "web", "x")
    assert assess(unit, Absence.GONE, NOW).health is Health.MISSING
    assert assess(unit, Absence.KIND_UNSERVED, NOW).health is Health.UNKNOWN
