"""The cluster adapter against a real API server: what its answers mean, and what survives its faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gitopsd.cluster import ClusterSettings, KubernetesCluster, Limits, connect
from gitopsd.kinds import marks
from gitopsd.model.errors import EnvironmentFault, NeedsPerson
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, Deletion, LiveObject, Rejection, RejectionKind, Workload
from gitopsd.model.memory import AuditHead, Good, Hold, HoldReason, JobDone, Memory, Quarantined
from sandbox import Cluster
from sandbox.faults import FaultProxy

Manifest = dict[str, Any]


@pytest.fixture
def api(cluster: Cluster) -> Iterator[KubernetesCluster]:
    with connect(ClusterSettings("default", cluster.kubeconfig)) as connected:
        yield connected


def unit_of(manifest: Manifest) -> UnitId:
    group = manifest["apiVersion"].rpartition("/")[0]
    metadata = manifest["metadata"]
    return UnitId("default", group, manifest["kind"], metadata.get("namespace", ""), metadata["name"])


def config_map(namespace: str, name: str = "settings", **data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data or {"a": "1"},
    }


def pod_spec(tag: str = "1") -> Manifest:
    return {"containers": [{"name": "main", "image": f"example.com/app:{tag}"}]}


def deployment(namespace: str, name: str = "web", tag: str = "1", replicas: int = 1) -> Manifest:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(tag)},
        },
    }


def job(namespace: str, tag: str = "1") -> Manifest:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "namespace": namespace},
        "spec": {"template": {"spec": {**pod_spec(tag), "restartPolicy": "Never"}}},
    }


def service(namespace: str, *ports: Manifest, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "db", "namespace": namespace},
        "spec": {"selector": {"app": "db"}, "ports": list(ports), **spec},
    }


def custom_resource_definition(group: str, scope: str = "Namespaced") -> Manifest:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def applied(api: KubernetesCluster, manifest: Manifest) -> Accepted:
    answer = api.apply(unit_of(manifest), manifest)
    assert isinstance(answer, Accepted), answer
    return answer


def refused(api: KubernetesCluster, manifest: Manifest, *, dry_run: bool = True) -> Rejection:
    answer = api.apply(unit_of(manifest), manifest, dry_run=dry_run)
    assert isinstance(answer, Rejection), answer
    return answer


def present(api: KubernetesCluster, manifest: Manifest) -> LiveObject:
    found = api.get(unit_of(manifest))
    assert isinstance(found, LiveObject)
    return found


def eventually(condition: Callable[[], bool], what: str, timeout: float = 30) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not in {timeout} s: {what}"
        time.sleep(0.05)


# ---------------------------------------------------------------- apply


def test_apply_creates_then_updates_and_answers_with_the_object(api: KubernetesCluster, namespace: str) -> None:
    first = applied(api, config_map(namespace, a="1"))
    second = applied(api, config_map(namespace, a="2"))
    assert (first.created, second.created) == (True, False)
    assert first.live.uid == second.live.uid
    assert first.live.resource_version != second.live.resource_version
    assert second.live.body["data"] == {"a": "2"}
    assert [(e["manager"], e["operation"]) for e in second.live.managed_fields] == [("gitopsd", "Apply")]


def test_a_dry_run_changes_nothing(api: KubernetesCluster, namespace: str) -> None:
    manifest = config_map(namespace)
    answer = api.apply(unit_of(manifest), manifest, dry_run=True)
    assert isinstance(answer, Accepted)
    assert answer.created
    assert api.get(unit_of(manifest)) is Absence.GONE


def test_apply_takes_a_field_from_another_manager_by_force(
    api: KubernetesCluster, cluster: Cluster, namespace: str
) -> None:
    applied(api, config_map(namespace, a="1"))
    cluster.kubectl("patch", "configmap", "settings", "-n", namespace, "--type=merge", "-p", '{"data":{"a":"foreign"}}')
    assert applied(api, config_map(namespace, a="1")).live.body["data"] == {"a": "1"}


def test_warnings_of_the_server_come_along(api: KubernetesCluster, namespace: str) -> None:
    answer = applied(api, service(namespace, {"port": 80}, externalIPs=["192.0.2.1"]))
    assert any("externalIPs" in warning for warning in answer.warnings), answer.warnings


def test_schema_errors_are_final_and_name_their_fields(api: KubernetesCluster, namespace: str) -> None:
    manifest = deployment(namespace)
    manifest["spec"]["replcas"] = 2
    manifest["spec"]["template"]["spec"]["hostNetwork"] = "yes please"
    answer = refused(api, manifest)
    assert answer.kind is RejectionKind.SCHEMA
    assert ".spec.replcas" in answer.message
    assert ".spec.replcas" in answer.fields
    assert refused(api, {**config_map(namespace), "data": {"a": 2**70}}).kind is RejectionKind.SCHEMA


def test_a_missing_namespace_is_not_an_invalid_object(api: KubernetesCluster) -> None:
    assert refused(api, config_map("no-such-namespace")).kind is RejectionKind.NAMESPACE_MISSING


def test_a_terminating_namespace_or_object_takes_no_changes(
    api: KubernetesCluster, cluster: Cluster, namespace: str
) -> None:
    held = config_map(namespace, "held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    live = applied(api, held).live
    gone = api.delete(unit_of(held), uid=live.uid, resource_version=live.resource_version)
    assert gone is Deletion.TERMINATING
    answer = refused(api, held, dry_run=False)
    assert answer.kind is RejectionKind.TERMINATING
    assert "example.com/hold" in answer.message

    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    assert refused(api, config_map(namespace, "new")).kind is RejectionKind.TERMINATING
    cluster.kubectl(
        "patch", "configmap", "held", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )


def test_a_lost_answer_still_tells_who_created_the_object(
    sandbox_cluster: Cluster, faults: FaultProxy, namespace: str
) -> None:
    with connect(ClusterSettings("default", faults.kubeconfig())) as api:
        manifest = config_map(namespace)
        faults.cut(method="PATCH", after=True)
        made = applied(api, manifest)
        assert made.created
        # A lost answer to a change of something that was there before is no creation.
        manifest["data"] = {"a": "2"}
        born = datetime.fromisoformat(made.live.metadata["creationTimestamp"])
        # managedFields know seconds only: this change has to be a second younger than the object.
        eventually(lambda: datetime.now(UTC) >= born + timedelta(seconds=1.1), "the next second")
        faults.cut(method="PATCH", after=True)
        assert not applied(api, manifest).created


# ---------------------------------------------------------------- why a 422


def test_immutable_fields_need_a_new_object(api: KubernetesCluster, namespace: str) -> None:
    applied(api, deployment(namespace))
    changed = deployment(namespace)
    changed["spec"]["selector"]["matchLabels"] = {"app": "other"}
    changed["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    answer = refused(api, changed)
    assert answer.kind is RejectionKind.NEEDS_RECREATE
    assert answer.fields == ("spec.selector",)
    assert "immutable" in answer.message

    frozen = {**config_map(namespace), "immutable": True}
    applied(api, frozen)
    assert refused(api, {**frozen, "data": {"a": "2"}}).kind is RejectionKind.NEEDS_RECREATE

    applied(api, job(namespace, "1"))
    answer = refused(api, job(namespace, "2"))
    assert answer.kind is RejectionKind.NEEDS_RECREATE
    assert "spec.template" in answer.fields
    assert len(answer.message) < 1000


def test_what_is_invalid_in_itself_is_told_from_what_is_immutable(api: KubernetesCluster, namespace: str) -> None:
    broken = deployment(namespace)
    broken["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Sometimes"
    assert refused(api, broken).kind is RejectionKind.INVALID
    applied(api, deployment(namespace))
    answer = refused(api, broken)
    assert answer.kind is RejectionKind.INVALID
    assert answer.fields == ("spec.template.spec.containers[0].imagePullPolicy",)


def test_an_element_of_somebody_else_in_our_list_is_a_wedge(
    api: KubernetesCluster, cluster: Cluster, namespace: str
) -> None:
    manifest = service(namespace, {"name": "db", "port": 5432}, clusterIP="None")
    applied(api, manifest)
    edit = '[{"op":"replace","path":"/spec/ports/0/port","value":5433}]'
    cluster.kubectl("patch", "service", "db", "-n", namespace, "--type=json", "-p", edit)
    assert refused(api, manifest).kind is RejectionKind.WEDGED
    assert refused(api, manifest, dry_run=False).kind is RejectionKind.WEDGED

    live = present(api, manifest)
    repaired = api.patch(
        live.id,
        [
            {"op": "test", "path": "/metadata/resourceVersion", "value": live.resource_version},
            {"op": "replace", "path": "/spec/ports", "value": manifest["spec"]["ports"]},
        ],
    )
    assert isinstance(repaired, LiveObject)
    assert "gitopsd-patch" not in {entry["manager"] for entry in repaired.managed_fields}
    applied(api, manifest)
    # The repair left no owner behind that would keep a port which git drops.
    manifest["spec"]["ports"] = [{"name": "db", "port": 6432}]
    ports = applied(api, manifest).live.body["spec"]["ports"]
    assert [port["port"] for port in ports] == [6432]


def test_a_service_with_its_own_node_port_is_judged_without_it(
    api: KubernetesCluster, cluster: Cluster, namespace: str
) -> None:
    manifest = service(namespace, {"name": "db", "port": 5432}, type="NodePort")
    taken = applied(api, manifest).live.body["spec"]["ports"][0]["nodePort"]
    manifest["spec"]["ports"][0]["nodePort"] = taken
    applied(api, manifest)
    other = service(namespace, {"name": "db", "port": 5432, "nodePort": taken}, type="NodePort")
    other["metadata"]["name"] = "other"
    assert refused(api, other).kind is RejectionKind.INVALID
    edit = '[{"op":"replace","path":"/spec/ports/0/port","value":5433}]'
    cluster.kubectl("patch", "service", "db", "-n", namespace, "--type=json", "-p", edit)
    assert refused(api, manifest).kind is RejectionKind.WEDGED


def test_a_definition_is_judged_although_its_name_is_fixed(api: KubernetesCluster, namespace: str) -> None:
    group = f"{namespace}.example.com"
    definition = custom_resource_definition(group)
    unit = unit_of(definition)
    applied(api, definition)
    try:
        eventually(lambda: established(present(api, definition)), "the definition is established")
        assert refused(api, custom_resource_definition(group, "Cluster")).kind is RejectionKind.NEEDS_RECREATE
        broken = custom_resource_definition(group)
        broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["type"] = "string"
        assert refused(api, broken).kind is RejectionKind.INVALID
    finally:
        live = present(api, definition)
        api.delete(unit, uid=live.uid, resource_version=live.resource_version)


def established(live: LiveObject) -> bool:
    conditions = (live.body.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


# ---------------------------------------------------------------- absence


def test_a_kind_that_is_not_served_is_not_an_absent_object(api: KubernetesCluster, namespace: str) -> None:
    group = f"{namespace}.example.com"
    widget = {
        "apiVersion": f"{group}/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": namespace},
        "spec": {"size": 1},
    }
    unit = unit_of(widget)
    assert api.get(unit) is Absence.KIND_UNSERVED
    assert refused(api, widget).kind is RejectionKind.KIND_UNSERVED
    assert api.workloads([unit]) == {unit: Absence.KIND_UNSERVED}
    assert api.members("applyset-x-v1", [unit.group_kind]) == ()
    with pytest.raises(EnvironmentFault, match="not served"):
        api.list(unit.group, unit.kind)
    with pytest.raises(EnvironmentFault, match="not served"):
        api.delete(unit, uid="u", resource_version="1")

    definition = custom_resource_definition(group)
    applied(api, definition)
    eventually(lambda: established(present(api, definition)), "the definition is established")
    # The catalog in memory is older than the kind: it is looked for again without being told.
    assert api.get(unit) is Absence.GONE
    assert applied(api, widget).created
    assert refused(api, {**widget, "spec": {"siz": 1}}).kind is RejectionKind.SCHEMA
    assert [live.id for live in api.list(unit.group, unit.kind)] == [unit]
    assert api.get(unit, f"{group}/v2") is Absence.KIND_UNSERVED

    live = present(api, definition)
    api.delete(live.id, uid=live.uid, resource_version=live.resource_version)
    eventually(lambda: api.get(unit) is Absence.KIND_UNSERVED, "the kind is gone")


def test_a_deletion_hits_only_what_the_caller_saw(api: KubernetesCluster, cluster: Cluster, namespace: str) -> None:
    seen = applied(api, config_map(namespace, a="1")).live
    newer = applied(api, config_map(namespace, a="2")).live
    unit = seen.id
    assert api.delete(unit, uid=seen.uid, resource_version=seen.resource_version) is Deletion.CHANGED
    assert api.delete(unit, uid="another", resource_version=newer.resource_version) is Deletion.CHANGED
    assert api.get(unit) == newer
    assert api.delete(unit, uid=newer.uid, resource_version=newer.resource_version) is Deletion.GONE
    assert api.delete(unit, uid=newer.uid, resource_version=newer.resource_version) is Deletion.GONE


def test_deleting_a_namespace_twice_is_one_deletion(api: KubernetesCluster, cluster: Cluster, namespace: str) -> None:
    unit = UnitId("default", "", "Namespace", "", namespace)
    held = config_map(namespace, "held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    applied(api, held)
    live = api.get(unit)
    assert isinstance(live, LiveObject)
    for _ in range(2):
        assert api.delete(unit, uid=live.uid, resource_version=live.resource_version) is Deletion.TERMINATING
    cluster.kubectl(
        "patch", "configmap", "held", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )


def test_a_patch_whose_test_fails_changes_nothing(api: KubernetesCluster, namespace: str) -> None:
    live = applied(api, config_map(namespace, a="1")).live
    wrong = [{"op": "test", "path": "/data/a", "value": "2"}, {"op": "replace", "path": "/data/a", "value": "3"}]
    answer = api.patch(live.id, wrong)
    assert isinstance(answer, Rejection)
    assert answer.kind is RejectionKind.CONFLICT
    invalid = api.patch(live.id, [{"op": "add", "path": "/data/not a key", "value": "3"}])
    assert isinstance(invalid, Rejection)
    assert invalid.kind is RejectionKind.INVALID
    assert api.get(live.id) == live
    assert api.patch(live.id._replace(name="other"), wrong) is Absence.GONE
    # Our own patch alone owned the field: it stays ours, and is not handed to an invented manager.
    patched = api.patch(live.id, [{"op": "replace", "path": "/data/a", "value": "3"}])
    assert isinstance(patched, LiveObject)
    after = applied(api, config_map(namespace, b="1")).live
    assert after.body["data"] == {"b": "1"}
    assert {entry["manager"] for entry in after.managed_fields} == {"gitopsd"}


# ---------------------------------------------------------------- secrets


def test_a_secret_never_shows_in_a_refusal(api: KubernetesCluster, namespace: str) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": namespace},
        "type": "Opaque",
        "data": {"password": "aHVudGVyMg=="},
    }
    applied(api, {**secret, "immutable": True})
    said = [
        refused(api, {**secret, "data": {"password": 48151623}}),
        refused(api, {**secret, "data": {"password": "hunter2 is no base64"}}),
        refused(api, {**secret, "data": {"password": "c2VjcmV0"}, "immutable": True}),
        refused(api, {**secret, "data": {"pass word": "hunter2"}}),
        refused(api, {**secret, "type": "hunter2"}),
    ]
    for answer in said:
        for word in ("48151623", "hunter2", "aHVudGVyMg", "c2VjcmV0"):
            assert word not in repr(answer), answer
    assert said[0].fields == (".data.password",)
    assert said[2].kind is RejectionKind.NEEDS_RECREATE


# ---------------------------------------------------------------- rights


def test_a_missing_right_is_named_as_the_rule_to_grant(sandbox_cluster: Cluster, namespace: str) -> None:
    kubeconfig = sandbox_cluster.add_user()
    user = sandbox_cluster.user_of(kubeconfig)
    grant(sandbox_cluster, namespace, user, ["get", "patch", "create"], "configmaps")
    grant(sandbox_cluster, namespace, user, ["get", "list"], "deployments.apps")
    with connect(ClusterSettings("default", kubeconfig)) as api:
        applied(api, config_map(namespace))
        manifest = deployment(namespace)
        with pytest.raises(EnvironmentFault) as caught:
            api.apply(unit_of(manifest), manifest)
        assert str(caught.value) == (
            f"cluster default: user {user} may not patch or create deployments.apps in namespace {namespace} "
            '(grant: apiGroups ["apps"], resources ["deployments"], verbs ["patch", "create"])'
        )
        live = present(api, config_map(namespace))
        with pytest.raises(EnvironmentFault, match=r"may not delete configmaps in namespace .*verbs \[.delete.\]"):
            api.delete(live.id, uid=live.uid, resource_version=live.resource_version)
        with pytest.raises(EnvironmentFault, match=r"may not get secrets in namespace .*resources \[.secrets.\]"):
            api.get(UnitId("default", "", "Secret", namespace, "s"))
        with pytest.raises(EnvironmentFault, match=r"may not list deployments.apps in all namespaces .*ClusterRole"):
            api.members("applyset-x-v1", ["Deployment.apps"])
        sandbox_cluster.kubectl("create", "deployment", "web", "-n", namespace, "--image=example.com/app:1")
        with pytest.raises(EnvironmentFault, match="may not list pods in namespace"):
            api.workloads([unit_of(manifest)])
        with pytest.raises(EnvironmentFault, match="may not get namespaces"):
            api.uid()

        grant(sandbox_cluster, namespace, user, ["patch", "create"], "deployments.apps")
        eventually(lambda: accepted(api, manifest), "the new rule is effective")


def accepted(api: KubernetesCluster, manifest: Manifest) -> bool:
    try:
        return isinstance(api.apply(unit_of(manifest), manifest), Accepted)
    except EnvironmentFault:
        return False


def grant(cluster: Cluster, namespace: str, user: str, verbs: list[str], plural: str) -> None:
    """`plural` as kubectl writes it: `deployments.apps`."""
    resource, _, group = plural.partition(".")
    name = "-".join([user, *verbs, resource]).replace(":", "-")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": [{"apiGroups": [group], "resources": [resource], "verbs": verbs}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    for each in (role, binding):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(each))


def test_giving_away_more_rights_than_one_has_is_a_missing_right_too(sandbox_cluster: Cluster, namespace: str) -> None:
    kubeconfig = sandbox_cluster.add_user()
    user = sandbox_cluster.user_of(kubeconfig)
    grant(sandbox_cluster, namespace, user, ["get", "patch", "create"], "roles.rbac.authorization.k8s.io")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "strong", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
    }
    with (
        connect(ClusterSettings("default", kubeconfig)) as api,
        pytest.raises(EnvironmentFault, match=r"may not escalate roles.rbac.authorization.k8s.io in namespace"),
    ):
        api.apply(unit_of(role), role, dry_run=True)


def test_what_admission_refuses_is_not_taken_for_a_missing_right(
    api: KubernetesCluster, cluster: Cluster, namespace: str
) -> None:
    cluster.kubectl("create", "quota", "none", "-n", namespace, "--hard=configmaps=0")
    unit = unit_of(config_map(namespace))
    quota = UnitId("default", "", "ResourceQuota", namespace, "none")
    eventually(lambda: bool(hard_of(api.get(quota))), "the quota is counted")
    answer = refused(api, config_map(namespace))
    assert answer.kind is RejectionKind.ADMISSION
    assert "exceeded quota" in answer.message
    assert api.get(unit) is Absence.GONE


def hard_of(found: LiveObject | Absence) -> Any:
    return isinstance(found, LiveObject) and (found.body.get("status") or {}).get("hard")


def test_pods_that_could_not_be_admitted_show_beforehand(api: KubernetesCluster, namespace: str) -> None:
    unit = unit_of(deployment(namespace))
    assert api.dry_run_pod(unit, {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec()}) is None
    nobody = api.dry_run_pod(unit, {"spec": {**pod_spec(), "serviceAccountName": "nobody"}})
    assert nobody is not None
    assert nobody.kind is RejectionKind.ADMISSION
    assert "nobody" in nobody.message
    wrong = api.dry_run_pod(unit, {"spec": {**pod_spec(), "restartPolicy": "Sometimes"}})
    assert wrong is not None
    assert wrong.kind is RejectionKind.INVALID
    missing = api.dry_run_pod(unit._replace(namespace="no-such-namespace"), {"spec": pod_spec()})
    assert missing is not None
    assert missing.kind is RejectionKind.NAMESPACE_MISSING


# ---------------------------------------------------------------- many objects


def test_members_are_found_by_label_over_several_pages(
    api: KubernetesCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gitopsd.cluster.listing.PAGE", 3)
    applyset = marks.applyset_id(marks.parent_name(namespace), namespace)
    manifests = [config_map(namespace, f"m-{n}") for n in range(8)] + [deployment(namespace)]
    for manifest in manifests:
        manifest["metadata"]["labels"] = {marks.PART_OF_LABEL: applyset}
        applied(api, manifest)
    applied(api, config_map(namespace, "stranger"))
    found = api.members(applyset, ["ConfigMap", "Deployment.apps", "Deployment.apps"])
    assert sorted(live.id for live in found) == sorted(unit_of(m) for m in manifests)
    assert all("data" not in live.body and live.uid and live.resource_version for live in found)
    assert {live.body["apiVersion"] for live in found} == {"v1", "apps/v1"}
    names = [live.id.name for live in api.list("", "ConfigMap", namespace)]
    assert {"m-0", "m-7", "stranger"} <= set(names)
    assert len(api.list("", "ConfigMap", namespace, limit=5)) == 5


def test_workloads_come_with_their_own_pods_and_replica_sets(
    api: KubernetesCluster, sandbox_cluster: Cluster, namespace: str
) -> None:
    web, other, migrate = deployment(namespace, replicas=2), deployment(namespace, "other"), job(namespace)
    plain = config_map(namespace)
    for manifest in (web, other, migrate, plain):
        applied(api, manifest)
    units = [unit_of(m) for m in (web, other, migrate, plain)]
    gone = units[0]._replace(name="gone")

    def settled() -> bool:
        found = api.workloads(units)
        return [len(w.pods) for w in found.values() if isinstance(w, Workload)] == [2, 1, 1, 0]

    eventually(settled, "all pods are there")
    applied(api, deployment(namespace, tag="2", replicas=2))
    eventually(lambda: len(workload(api, units[0]).replica_sets) == 2, "the new ReplicaSet is there")
    found = api.workloads([*units, gone])
    assert found[gone] is Absence.GONE
    first = found[units[0]]
    assert isinstance(first, Workload)
    own = {rs["metadata"]["uid"] for rs in first.replica_sets}
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in first.pods} <= own
    assert all(rs["metadata"]["ownerReferences"][0]["uid"] == first.live.uid for rs in first.replica_sets)


def workload(api: KubernetesCluster, unit: UnitId) -> Workload:
    found = api.workloads([unit])[unit]
    assert isinstance(found, Workload)
    return found


def test_a_gate_asks_no_more_than_it_needs(sandbox_cluster: Cluster, faults: FaultProxy, namespace: str) -> None:
    with connect(ClusterSettings("default", faults.kubeconfig())) as api:
        few = [config_map(namespace, f"c-{n}") for n in range(3)]
        many = [config_map(namespace, f"c-{n}") for n in range(30)]
        for manifest in many:
            applied(api, manifest)

        def requests(manifests: list[Manifest]) -> list[str]:
            before = len(faults.seen)
            found = api.workloads([unit_of(m) for m in manifests])
            assert all(isinstance(w, Workload) and w.live.body["data"] for w in found.values())
            return [seen.path.partition("?")[0].rpartition("/")[2] for seen in faults.seen[before:]]

        assert sorted(requests(few)) == ["c-0", "c-1", "c-2"]  # and neither pods nor ReplicaSets
        assert requests(many) == ["configmaps"]
        applied(api, deployment(namespace))
        assert sorted(requests_of(faults, api, deployment(namespace))) == ["pods", "replicasets", "web"]


def requests_of(faults: FaultProxy, api: KubernetesCluster, manifest: Manifest) -> list[str]:
    before = len(faults.seen)
    api.workloads([unit_of(manifest)])
    return [seen.path.partition("?")[0].rpartition("/")[2] for seen in faults.seen[before:]]


def test_an_api_group_whose_server_is_away_loses_no_other_group(api: KubernetesCluster, cluster: Cluster) -> None:
    group = "broken.example.com"
    broken = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{group}"},
        "spec": {
            "group": group,
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "nobody", "namespace": "default"},
        },
    }
    applied(api, broken)
    try:
        unit = UnitId("default", group, "Thing", "", "x")

        def blind() -> bool:
            try:
                api.get(unit)
            except EnvironmentFault as fault:
                return group in str(fault)
            return False

        eventually(blind, "the broken group is announced")
        assert api.catalog(refresh=True).find("apps", "Deployment") is not None
        with pytest.raises(EnvironmentFault, match=group):
            api.members("applyset-x-v1", [unit.group_kind])
    finally:
        live = present(api, broken)
        api.delete(live.id, uid=live.uid, resource_version=live.resource_version)


# ---------------------------------------------------------------- the parent and the Lease


def memory(stack: str, instance: str = "prod", generation: int = 3) -> Memory:
    return Memory(
        stack=stack,
        instance=instance,
        source="main",
        generation=generation,
        good=(Good("c0ffee", "d1", "2026-01-01T00:00:00Z"),),
        quarantine=(Quarantined("d2", "badc0de", "run-1", 'image "x" cannot be pulled', "2026-01-02T00:00:00Z"),),
        holds=(Hold(HoldReason.BLOCKED, "2026-01-02T00:00:00Z", "gitopsd", "the cluster is away"),),
        jobs=(JobDone(UnitId("default", "batch", "Job", "web", "migrate"), "d3", "2026-01-02T00:00:00Z"),),
        audit=AuditHead(7, "abc"),
        kinds=("Deployment.apps", "ConfigMap"),
        namespaces=("web", "api", ""),
    )


@pytest.fixture
def home(cluster: Cluster) -> Iterator[ClusterSettings]:
    """A namespace for parents that does not exist yet."""
    name = f"home-{time.monotonic_ns()}"
    yield ClusterSettings("default", cluster.kubeconfig, namespace=name)
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def test_the_parent_gives_back_what_was_saved(home: ClusterSettings, cluster: Cluster) -> None:
    with connect(home) as api:
        assert api.load_memory("shop") is None
        api.save_memory(memory("shop"))
        assert api.load_memory("shop") == memory("shop")
        body = cluster.get("configmap", "gitopsd-shop", "-n", home.namespace)
        assert body["metadata"]["labels"][marks.ID_LABEL] == marks.applyset_id("gitopsd-shop", home.namespace)
        annotations = body["metadata"]["annotations"]
        assert annotations[marks.CONTAINS_ANNOTATION] == "ConfigMap,Deployment.apps"
        assert annotations[marks.NAMESPACES_ANNOTATION] == "api,web"
        enforced = cluster.get("namespace", home.namespace)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        assert enforced == "restricted"

        api.save_memory(memory("shop"))
        again = cluster.get("configmap", "gitopsd-shop", "-n", home.namespace)
        assert again["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"]
        api.save_memory(memory("shop", generation=4))
        assert api.load_memory("shop") == memory("shop", generation=4)


def test_the_parent_of_another_instance_is_not_overwritten(home: ClusterSettings) -> None:
    with connect(home) as api:
        api.save_memory(memory("shop", "prod-a"))
        with pytest.raises(NeedsPerson, match=r"prod-a.*gitopsd takeover shop"):
            api.save_memory(memory("shop", "prod-b", 9))
        with pytest.raises(EnvironmentFault, match="generation 3, newer than this host's 2"):
            api.save_memory(memory("shop", "prod-a", 2))
        assert api.load_memory("shop") == memory("shop", "prod-a")


def test_a_config_map_of_somebody_else_is_no_parent(home: ClusterSettings, cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", home.namespace)
    cluster.kubectl("create", "configmap", "gitopsd-shop", "-n", home.namespace, "--from-literal=a=b")
    with connect(home) as api:
        expected = f"{home.namespace}/gitopsd-shop exists, but it is not the parent"
        with pytest.raises(NeedsPerson, match=expected):
            api.load_memory("shop")
        with pytest.raises(NeedsPerson, match=expected):
            api.save_memory(memory("shop"))
    assert cluster.get("configmap", "gitopsd-shop", "-n", home.namespace)["data"] == {"a": "b"}


@pytest.mark.parametrize(("key", "value"), [("good", "[{]"), ("generation", '"many"'), ("jobs", '["x"]')])
def test_a_value_that_was_edited_by_hand_is_named(
    home: ClusterSettings, cluster: Cluster, key: str, value: str
) -> None:
    with connect(home) as api:
        api.save_memory(memory("shop"))
        patch = json.dumps({"data": {key: value}})
        cluster.kubectl("patch", "configmap", "gitopsd-shop", "-n", home.namespace, "--type=merge", "-p", patch)
        with pytest.raises(EnvironmentFault, match=f"key '{key}' has been changed to what cannot be understood"):
            api.load_memory("shop")


def test_one_instance_at_a_time_holds_the_lease(home: ClusterSettings, cluster: Cluster) -> None:
    with connect(home) as api:
        api.hold_lease("shop", "a")
        api.hold_lease("shop", "a")
        with pytest.raises(NeedsPerson, match=r"instance 'a' is at work on stack shop.*the Lease is free 60 s after"):
            api.hold_lease("shop", "b")
        api.release_lease("shop", "b")  # not b's: nothing happens
        with pytest.raises(NeedsPerson):
            api.hold_lease("shop", "b")
        api.release_lease("shop", "a")
        api.hold_lease("shop", "b")
        spec = cluster.get("lease", "gitopsd-shop", "-n", home.namespace)["spec"]
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("b", 60)
        stale = json.dumps({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}})
        cluster.kubectl("patch", "lease", "gitopsd-shop", "-n", home.namespace, "--type=merge", "-p", stale)
        api.hold_lease("shop", "a")  # b has not renewed it: expired


def test_a_lease_that_was_given_back_is_not_taken_unseen_from_who_has_it_now(
    home: ClusterSettings, cluster: Cluster
) -> None:
    with connect(home) as ours, connect(home) as theirs:
        ours.hold_lease("shop", "a")
        ours.release_lease("shop", "a")
        theirs.hold_lease("shop", "b")
        with pytest.raises(NeedsPerson, match="instance 'b' is at work"):
            ours.hold_lease("shop", "a")
        theirs.release_lease("shop", "b")
        mark = cluster.audit_offset()
        theirs.hold_lease("shop", "b")
        asked = [e["verb"] for e in cluster.audit_events(mark) if e["objectRef"]["resource"] == "leases"]
        assert asked == ["update"], "what nobody has touched since is taken without a look"
        theirs.release_lease("shop", "b")
        ours.hold_lease("shop", "a")
        cluster.kubectl("delete", "lease", "gitopsd-shop", "-n", home.namespace)
        ours.hold_lease("shop", "a")


def test_only_one_of_many_gets_the_lease(home: ClusterSettings) -> None:
    with connect(home) as api, ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(partial(takes_lease, api), "abcdefgh")) == 1


def takes_lease(api: KubernetesCluster, instance: str) -> bool:
    try:
        api.hold_lease("shop", instance)
    except NeedsPerson:
        return False
    return True


# ---------------------------------------------------------------- faults


def test_overload_and_cut_connections_are_survived(
    sandbox_cluster: Cluster, faults: FaultProxy, namespace: str
) -> None:
    with connect(ClusterSettings("default", faults.kubeconfig())) as api:
        manifest = config_map(namespace)
        faults.answer(429, times=2, method="PATCH", retry_after=1)
        faults.answer(503, times=2, method="PATCH")
        faults.cut(times=1, method="PATCH")
        started = time.monotonic()
        live = applied(api, manifest).live
        assert time.monotonic() - started >= 2
        faults.cut(times=1, method="DELETE", after=True)
        assert api.delete(live.id, uid=live.uid, resource_version=live.resource_version) is Deletion.GONE


def test_the_api_server_goes_away_and_comes_back(own_cluster: Cluster) -> None:
    server = own_cluster.component("kube-apiserver")
    limits = Limits(connect=1, read=2, budget=1)
    with (
        connect(ClusterSettings("default", own_cluster.kubeconfig), limits=limits) as hasty,
        connect(ClusterSettings("default", own_cluster.kubeconfig), limits=Limits(budget=60)) as patient,
    ):
        manifest = config_map("default")
        before = hasty.uid()
        applied(patient, manifest)
        server.stop()
        with pytest.raises(EnvironmentFault, match=f"cluster default .{hasty.server}.: .*refused"):
            hasty.uid()
        with pytest.raises(EnvironmentFault, match="cluster default"):
            hasty.workloads([unit_of(manifest)])

        answers: list[Accepted | Rejection] = []
        manifest["data"] = {"a": "2"}
        writer = threading.Thread(target=lambda: answers.append(patient.apply(unit_of(manifest), manifest)))
        writer.start()
        server.start()
        writer.join(60)
        assert isinstance(answers[0], Accepted)
        assert hasty.uid() == before

        server.pause()
        with pytest.raises(EnvironmentFault, match="does not answer in time"):
            hasty.get(unit_of(manifest))
        server.resume()
        eventually(lambda: reachable(hasty), "the server answers again")

        # Without its database the server answers 5xx; that is nobody's manifest, although a schema error is a 500 too.
        etcd = own_cluster.component("etcd")
        etcd.pause()
        with pytest.raises(EnvironmentFault):
            hasty.apply(unit_of(manifest), {**manifest, "data": {"a": "3"}})
        etcd.resume()
        eventually(lambda: reachable(hasty), "the server answers again")


def reachable(api: KubernetesCluster) -> bool:
    try:
        return bool(api.uid())
    except EnvironmentFault:
        return False


def test_a_server_that_another_authority_vouches_for_is_not_talked_to(sandbox_cluster: Cluster, tmp_path: Path) -> None:
    config = json.loads(sandbox_cluster.kubeconfig.read_text())
    stranger = sandbox_cluster.layout.certificates("kube-scheduler") / "kube-scheduler.crt"
    config["clusters"][0]["cluster"]["certificate-authority"] = str(stranger)
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    started = time.monotonic()
    with (
        connect(ClusterSettings("default", tmp_path / "kubeconfig"), limits=Limits(budget=120)) as api,
        pytest.raises(EnvironmentFault, match=r"certificate is not trusted.*certificate-authority"),
    ):
        api.uid()
    assert time.monotonic() - started < 60  # not tried for the whole budget


def test_a_credential_that_the_server_does_not_know_is_named(sandbox_cluster: Cluster, tmp_path: Path) -> None:
    good = json.loads(sandbox_cluster.kubeconfig.read_text())
    path = tmp_path / "kubeconfig"
    bad = {**good, "users": [{"name": good["users"][0]["name"], "user": {"token": "wrong"}}]}
    path.write_text(json.dumps(bad))
    with connect(ClusterSettings("default", path)) as api:
        with pytest.raises(
            EnvironmentFault, match=f"does not accept the credentials of user '{good['users'][0]['name']}'"
        ):
            api.uid()
        path.write_text(json.dumps(good))  # rotated: read again without a restart
        assert api.uid()
