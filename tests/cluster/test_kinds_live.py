"""What `kinds` takes for granted of API servers and controllers, asked of real ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gitopsd.cluster import ClusterSettings, KubernetesCluster, connect
from gitopsd.kinds.diff import diff
from gitopsd.kinds.fields import keep_ignored, overridden, owns_all
from gitopsd.kinds.health import assess
from gitopsd.kinds.marks import ID_LABEL, applyset_id
from gitopsd.kinds.normalise import group_kind, normalise
from gitopsd.kinds.pods import pod_of
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted, Assessment, Health, LiveObject
from sandbox import Cluster

Manifest = dict[str, Any]
PATIENCE = 60.0


@pytest.fixture
def api(cluster: Cluster) -> Iterator[KubernetesCluster]:
    with connect(ClusterSettings("default", cluster.kubeconfig)) as connected:
        yield connected


def _unit(manifest: Any) -> UnitId:
    metadata = manifest["metadata"]
    return UnitId("default", *group_kind(manifest), metadata.get("namespace", ""), metadata["name"])


def _apply(api: KubernetesCluster, manifest: Any, *, dry_run: bool = False) -> LiveObject:
    answer = api.apply(_unit(manifest), manifest, dry_run=dry_run)
    assert isinstance(answer, Accepted), answer
    return answer.live


def _get(api: KubernetesCluster, manifest: Any) -> LiveObject:
    live = api.get(_unit(manifest))
    assert isinstance(live, LiveObject), live
    return live


def _health(api: KubernetesCluster, manifest: Any, until: Callable[[Assessment], bool]) -> Assessment:
    """The first health for which `until` holds."""
    unit, end = _unit(manifest), time.monotonic() + PATIENCE
    while True:
        found = assess(unit, api.workloads([unit])[unit], datetime.now(UTC))
        if until(found) or time.monotonic() > end:
            assert until(found), found
            return found
        time.sleep(0.05)


def _is(health: Health) -> Callable[[Assessment], bool]:
    return lambda found: found.health is health


# ---------------------------------------------------------------- spellings

POD = {
    "containers": [
        {
            "name": "app",
            "image": "r.example/app:1",
            "args": [],
            "command": None,
            "env": [{"name": "EMPTY", "value": ""}, {"name": "B", "value": "x"}, {"name": "NONE"}],
            "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
            "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"cpu": 2}},
            "securityContext": {},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
    ],
    "hostAliases": [],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def _workload(kind: str, **spec: Any) -> Manifest:
    metadata = {"labels": {"app": "odd"}, "creationTimestamp": None}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "odd", "labels": {"a": None}, "annotations": {"b": None}, "finalizers": []},
        "spec": {"selector": {"matchLabels": {"app": "odd"}}, "template": {"metadata": metadata, "spec": POD}, **spec},
        "status": {},
    }


def _claim() -> Manifest:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1.5Gi"}}}
    return {"metadata": {"name": "data", "creationTimestamp": None}, "spec": spec}


def _plain(kind: str, api: str = "v1", **rest: Any) -> Manifest:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "odd", "creationTimestamp": None}, **rest}


ODD = [
    _workload("Deployment", replicas=2.0, strategy={}),
    _workload("StatefulSet", serviceName="odd", volumeClaimTemplates=[_claim()]),
    _workload("DaemonSet", updateStrategy={"rollingUpdate": {}}),
    _plain("ConfigMap", data={"a": None, "b": ""}, binaryData={}),
    _plain("Secret", data={"k": None, "folded": "YWJj\nZA==\n", "z": "eA=="}, stringData={"z": "wins", "n": None}),
    _plain(
        "Service",
        spec={
            "clusterIP": "",
            "externalIPs": [],
            "ports": [{"name": "h", "port": 80, "nodePort": 0}, {"name": "u", "port": 80, "protocol": "UDP"}],
            "selector": {"app": "odd"},
        },
    ),
    _plain(
        "NetworkPolicy",
        "networking.k8s.io/v1",
        spec={"podSelector": {}, "egress": [], "ingress": [{"from": [], "ports": []}]},
    ),
    _plain("NetworkPolicy", "networking.k8s.io/v1", spec={"podSelector": {}, "ingress": [], "policyTypes": []}),
    _plain(
        "HorizontalPodAutoscaler",
        "autoscaling/v2",
        spec={
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": 1000}},
                }
            ],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
        },
    ),
    _plain("Role", "rbac.authorization.k8s.io/v1", rules=[]),
    _plain("Job", "batch/v1", spec={"suspend": True, "template": {"spec": {**POD, "restartPolicy": "Never"}}}),
    _plain(
        "PodDisruptionBudget", "policy/v1", spec={"maxUnavailable": "50%", "selector": {"matchLabels": {"a": None}}}
    ),
    _plain("Ingress", "networking.k8s.io/v1", spec={"tls": [], "rules": [{"host": "a.example"}]}),
    _plain("PersistentVolumeClaim", spec=_claim()["spec"]),
    _plain("ServiceAccount", secrets=[], imagePullSecrets=None),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda m: m["kind"])
def test_whatever_the_spelling_the_second_apply_writes_nothing_and_we_own_all(
    api: KubernetesCluster, namespace: str, odd: Manifest
) -> None:
    manifest = normalise({**odd, "metadata": {**odd["metadata"], "namespace": namespace}})
    assert owns_all(manifest, _apply(api, manifest))
    for _ in range(5):  # a controller may write in between: then the two looks say nothing
        before, again, after = _get(api, manifest), _apply(api, manifest), _apply(api, manifest, dry_run=True)
        if before.resource_version == again.resource_version == after.resource_version:
            break
    assert before.resource_version == again.resource_version, diff(before.body, again.body, secret=False)
    assert diff(again.body, after.body, secret=False) == ()


def test_kubectl_computes_the_same_applyset_id(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECTL_APPLYSET", "true")
    cluster.kubectl(
        *("apply", "--server-side", "--prune", "--applyset=configmaps/gitopsd-site", "-n", namespace, "-f", "-"),
        input='{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "member"}}',
    )
    labels = cluster.get("configmap", "gitopsd-site", "-n", namespace)["metadata"]["labels"]
    assert labels[ID_LABEL] == applyset_id("gitopsd-site", namespace)


# ---------------------------------------------------------------- ownership


def _deployment(namespace: str, tag: str = "1", **spec: Any) -> Manifest:
    labels = {"app": "api"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": f"r.example/app:{tag}"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def test_an_autoscalers_replicas_are_left_alone_and_never_reset(
    api: KubernetesCluster, cluster: Cluster, namespace: str
) -> None:
    _apply(api, _deployment(namespace, replicas=3))
    without = _deployment(namespace)
    kept = keep_ignored(without, _get(api, without), ("spec.replicas",))
    assert kept["spec"]["replicas"] == 3, "ours alone: leaving it out would reset it to 1"
    assert _apply(api, kept).body["spec"]["replicas"] == 3

    cluster.kubectl("scale", "deployment/api", "--replicas=5", "-n", namespace)
    kept = keep_ignored(_deployment(namespace, replicas=3), _get(api, without), ("spec.replicas",))
    assert "replicas" not in kept["spec"]
    assert _apply(api, kept).body["spec"]["replicas"] == 5
    assert owns_all(kept, _get(api, without))


def test_a_foreign_write_is_lost_ownership_and_the_plan_can_name_its_manager(
    api: KubernetesCluster, cluster: Cluster, namespace: str
) -> None:
    manifest = _deployment(namespace, replicas=1)
    _apply(api, manifest)
    cluster.kubectl(
        "set", "image", "deployment/api", "app=r.example/app:foreign", "-n", namespace, "--field-manager=bot"
    )
    live = _get(api, manifest)
    assert not owns_all(manifest, live)
    answer = _apply(api, manifest, dry_run=True)
    assert overridden(answer.body, live) == ("bot",)
    changes = diff(live.body, answer.body, secret=False)
    assert [(c.path, c.after) for c in changes] == [("spec.template.spec.containers[app].image", "r.example/app:1")]


# ---------------------------------------------------------------- health


@pytest.mark.usefixtures("sandbox_cluster")
def test_a_deployment_goes_bad_with_its_pods_words_and_its_fix_is_not_failed_by_them(
    api: KubernetesCluster, namespace: str
) -> None:
    good, bad = _deployment(namespace, replicas=2), _deployment(namespace, "pull-error", replicas=2)
    _apply(api, good)
    _health(api, good, _is(Health.HEALTHY))
    _apply(api, bad)
    found = _health(api, bad, lambda seen: seen.final)
    assert found.reason == "ImagePullBackOff"
    assert "container app: " in found.message
    _apply(api, good)
    _health(api, good, lambda seen: not _unless_final(seen) and seen.health is Health.HEALTHY)


def _unless_final(seen: Assessment) -> bool:
    assert not seen.final, f"what was left of the failed rollout fails its fix: {seen}"
    return False


@pytest.mark.usefixtures("sandbox_cluster")
@pytest.mark.parametrize("spec", [{}, {"progressDeadlineSeconds": 1, "minReadySeconds": 0}])
def test_refused_pods_end_a_rollout_but_not_the_way_back(
    api: KubernetesCluster, cluster: Cluster, namespace: str, spec: dict[str, Any]
) -> None:
    good = _deployment(namespace, replicas=1, **spec)
    _apply(api, good)
    _health(api, good, _is(Health.HEALTHY))
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline")
    bad = _deployment(namespace, "2", replicas=1, **spec)
    bad["spec"]["template"]["spec"]["hostNetwork"] = True
    _apply(api, bad)
    found = _health(api, bad, lambda seen: seen.final)
    assert found.reason == "FailedCreate"
    assert "violates PodSecurity" in found.message
    _apply(api, good)
    _health(api, good, lambda seen: not _unless_final(seen) and seen.health is Health.HEALTHY)


@pytest.mark.usefixtures("sandbox_cluster")
def test_an_exceeded_deadline_ends_a_rollout_but_not_the_way_back(api: KubernetesCluster, namespace: str) -> None:
    good = _deployment(namespace, replicas=1, progressDeadlineSeconds=2)
    bad = _deployment(namespace, "never-ready", replicas=1, progressDeadlineSeconds=2)
    _apply(api, good)
    _health(api, good, _is(Health.HEALTHY))
    _apply(api, bad)
    assert _health(api, bad, lambda seen: seen.final).reason == "ProgressDeadlineExceeded"
    _apply(api, good)
    _health(api, good, lambda seen: not _unless_final(seen) and seen.health is Health.HEALTHY)


@pytest.mark.usefixtures("sandbox_cluster")
@pytest.mark.parametrize(
    ("kind", "more"), [("StatefulSet", {"serviceName": "api"}), ("DaemonSet", {}), ("ReplicaSet", {})]
)
def test_other_workloads_fail_with_their_new_pods(
    api: KubernetesCluster, namespace: str, kind: str, more: dict[str, Any]
) -> None:
    good = {**_deployment(namespace, **more), "kind": kind}
    _apply(api, good)
    _health(api, good, _is(Health.HEALTHY))
    bad = {
        **_deployment(namespace, "crash-loop", **more),
        "kind": kind,
        "metadata": {"name": "bad", "namespace": namespace},
    }
    bad["spec"]["selector"] = {"matchLabels": {"app": "bad"}}
    bad["spec"]["template"]["metadata"]["labels"] = {"app": "bad"}
    _apply(api, bad)
    assert _health(api, bad, lambda seen: seen.final).reason == "CrashLoopBackOff"


@pytest.mark.usefixtures("sandbox_cluster")
@pytest.mark.parametrize(("tag", "health"), [("1", Health.HEALTHY), ("job-fails", Health.DEGRADED)])
def test_a_job_ends(api: KubernetesCluster, namespace: str, tag: str, health: Health) -> None:
    container = {"name": "migrate", "image": f"r.example/migrate:{tag}"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    _apply(api, job)
    found = _health(api, job, lambda seen: seen.health in {Health.HEALTHY, Health.DEGRADED})
    assert found.health is health
    if health is Health.DEGRADED:
        assert found.final
        assert found.reason == "BackoffLimitExceeded"
        assert "container migrate: exit code" in found.message


# ---------------------------------------------------------------- pods


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_the_pod_of_a_workload_can_be_dry_run(api: KubernetesCluster, namespace: str, kind: str) -> None:
    more: dict[str, Any] = {"volumeClaimTemplates": [_claim()]} if kind == "StatefulSet" else {}
    workload = normalise({**_workload(kind, **more), "metadata": {"name": "odd", "namespace": namespace}})
    pod = pod_of(workload)
    assert pod is not None
    assert api.dry_run_pod(_unit(workload), pod) is None
