"""A clean dry run does not mean that the manifest is honoured: what admission made of it is told, spellings are not.

The spellings are those that an API server of 1.36 was seen to change.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.kinds.normalise import normalise
from gitopsd.kinds.overridden import NAMED, admission_warning, among, overridden_fields
from gitopsd.model.live import LiveObject
from tests.unit.kinds.samples import live

Body = dict[str, Any]


def body(kind: str, api: str = "v1", **fields: Any) -> Body:
    metadata = {"name": "x", "namespace": "web", **fields.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}


def answer(manifest: Body) -> LiveObject:
    return live({**manifest, "metadata": {**manifest["metadata"], "uid": "u", "resourceVersion": "7"}})


def found(git: Body, stored: Body) -> tuple[str, ...]:
    """What is told of a manifest as git has it, applied as always, and of what became of it."""
    return overridden_fields(normalise(git), answer(stored))


def deployment(container: Body | None = None, **spec: Any) -> Body:
    containers = [{"name": "app", "image": "x:1", **(container or {})}]
    template = {"spec": {"containers": containers, **spec.pop("pod", {})}, **spec.pop("template", {})}
    return body("Deployment", "apps/v1", spec={"template": template, **spec})


def service(*ports: Body, **spec: Any) -> Body:
    return body("Service", spec={"ports": list(ports), **spec})


def resources(git: Any, stored: Any) -> tuple[Body, Body]:
    made = ({"resources": {"requests": {"cpu": cpu, "memory": memory}}} for cpu, memory in (git, stored))
    one, other = map(deployment, made)
    return one, other


def policy(**spec: Any) -> Body:
    return body("NetworkPolicy", "networking.k8s.io/v1", spec={"podSelector": {}, **spec})


def hpa(value: Any) -> Body:
    metric = {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": value}}}
    return body("HorizontalPodAutoscaler", "autoscaling/v2", spec={"metrics": [metric], "maxReplicas": 3})


def env(*values: Body) -> Body:
    return deployment({"env": [{"name": f"E{number}", **value} for number, value in enumerate(values)]})


def claim(**metadata: Any) -> Body:
    made = {"metadata": {"name": "data", **metadata}, "spec": {"resources": {"requests": {"storage": "1024Mi"}}}}
    return body("StatefulSet", "apps/v1", spec={"volumeClaimTemplates": [made]})


STORED_CLAIM = body(
    "StatefulSet",
    "apps/v1",
    spec={
        "volumeClaimTemplates": [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data"},
                "spec": {"resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem"},
                "status": {"phase": "Pending"},
            }
        ]
    },
)
DEFAULTED = service(
    {"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30123},
    clusterIP="10.0.0.7",
    clusterIPs=["10.0.0.7"],
    sessionAffinity="None",
    type="NodePort",
)
CRD = {"group": "x.org", "scope": "Namespaced"}

SPELLINGS: dict[str, tuple[Body, Body]] = {
    "millis of a core": resources(("1000m", "1Gi"), ("1", "1Gi")),
    "a number": resources((1, "1Gi"), ("1", "1Gi")),
    "a fraction": resources((0.1, "1Gi"), ("100m", "1Gi")),
    "a number with a point": resources((2.0, "1Gi"), ("2", "1Gi")),
    "1024Mi": resources(("1", "1024Mi"), ("1", "1Gi")),
    "1.5Gi": resources(("1", "1.5Gi"), ("1", "1536Mi")),
    "bytes and exponents": resources(("1e0", "129e6"), ("1", "129M")),
    "less than the smallest step": resources(("0.0000000001", "1Gi"), ("1n", "1Gi")),
    "an autoscaler's thousand": (hpa(1000), hpa("1k")),
    "an env value with nothing in it": (env({"value": ""}), env({})),
    "empty and null lists and maps": (
        deployment(
            {"args": [], "env": None, "resources": {"limits": {}}}, pod={"tolerations": [], "securityContext": {}}
        ),
        deployment({"resources": {}}, pod={"securityContext": {"fsGroup": 1}}),
    ),
    "an empty list that a default fills": (
        body("Service", spec={"ipFamilies": [], "selector": {}}),
        body("Service", spec={"ipFamilies": ["IPv4"]}),
    ),
    "a null in a map of texts": (
        body("ConfigMap", data={"a": None}, metadata={"annotations": {"n": None}}),
        body("ConfigMap", data={"a": ""}, metadata={"annotations": {"n": ""}}),
    ),
    "an address and a port to be chosen": (service({"port": 80, "nodePort": 0}, clusterIP=""), DEFAULTED),
    "fields that are left out": (service({"port": 80}), DEFAULTED),
    "probes whose 0 means the default": (
        deployment({"readinessProbe": {"periodSeconds": 0, "timeoutSeconds": 0, "initialDelaySeconds": 0}}),
        deployment({"readinessProbe": {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3}}),
    ),
    "base64 in lines": (
        body("Secret", data={"a": "aGVs\nbG8g\nd29y\nbGQ=\n"}),
        body("Secret", data={"a": "aGVsbG8gd29ybGQ="}),
    ),
    "base64 in lines elsewhere": (
        body("ConfigMap", binaryData={"a": "aGVs\nbG8="}),
        body("ConfigMap", binaryData={"a": "aGVsbG8="}),
    ),
    "stringData that wins over data": (
        body("Secret", data={"a": "b2xk"}, stringData={"a": "new"}),
        body("Secret", data={"a": "bmV3"}),
    ),
    "a Secret's key without a value": (body("Secret", data={"k": None}), body("Secret", data={"k": ""})),
    "creationTimestamp null, in templates too": (
        deployment(template={"metadata": {"creationTimestamp": None}})
        | {"metadata": {"name": "x", "creationTimestamp": None}},
        deployment(template={"metadata": {}}),
    ),
    "a claim template": (claim(creationTimestamp=None), STORED_CLAIM),
    "what only the server sets": (
        body("ConfigMap", metadata={"generation": 7, "selfLink": "/x", "creationTimestamp": "2020-01-01T00:00:00Z"}),
        body("ConfigMap", metadata={"generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}),
    ),
    "globalDefault false": (
        body("PriorityClass", "scheduling.k8s.io/v1", value=0, globalDefault=False, description=""),
        body("PriorityClass", "scheduling.k8s.io/v1", value=0, preemptionPolicy="PreemptLowerPriority"),
    ),
    "preserveUnknownFields false": (
        body("CustomResourceDefinition", "apiextensions.k8s.io/v1", spec={**CRD, "preserveUnknownFields": False}),
        body("CustomResourceDefinition", "apiextensions.k8s.io/v1", spec={**CRD, "conversion": {"strategy": "None"}}),
    ),
    "an empty caBundle": (
        body("APIService", "apiregistration.k8s.io/v1", spec={"caBundle": "", "group": "x.org"}),
        body("APIService", "apiregistration.k8s.io/v1", spec={"group": "x.org"}),
    ),
    "no rules": (
        body("Role", "rbac.authorization.k8s.io/v1", rules=[]),
        body("Role", "rbac.authorization.k8s.io/v1", rules=None),
    ),
    "rules that a controller computes": (
        body("ClusterRole", "rbac.authorization.k8s.io/v1", rules=[], aggregationRule={"clusterRoleSelectors": [{}]}),
        body(
            "ClusterRole",
            "rbac.authorization.k8s.io/v1",
            rules=[{"verbs": ["get"]}],
            aggregationRule={"clusterRoleSelectors": [{}]},
        ),
    ),
    "a status in git": (
        deployment(replicas=1) | {"status": {"replicas": 7}},
        deployment(replicas=1) | {"status": {}},
    ),
    "a policy's empty egress": (policy(egress=[], policyTypes=["Egress"]), policy(policyTypes=["Egress"])),
    "the order of a set": (
        policy(policyTypes=["Ingress", "Egress"]) | {"metadata": {"name": "x", "finalizers": ["b/b", "a/a"]}},
        policy(policyTypes=["Egress", "Ingress"]) | {"metadata": {"name": "x", "finalizers": ["a/a", "b/b"]}},
    ),
    "an element of a set twice": (
        body("PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce", "ReadWriteOnce"]}),
        body("PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"]}),
    ),
    "whole numbers with a point": (deployment(replicas=2.0), deployment(replicas=2)),
    "80 and 80/UDP": (
        service({"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}),
        service(
            {"name": "b", "port": 80, "protocol": "UDP"}, {"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80}
        ),
    ),
    "a time in another zone": (
        body("Lease", "coordination.k8s.io/v1", spec={"renewTime": "2026-11-23T06:00:00+01:00"}),
        body("Lease", "coordination.k8s.io/v1", spec={"renewTime": "2026-11-23T05:00:00.000000Z"}),
    ),
    "what was added beside ours": (
        deployment(pod={"tolerations": [{"key": "a", "operator": "Exists"}]}),
        deployment(
            {"env": [{"name": "ADDED", "value": "1"}], "imagePullPolicy": "Always"},
            pod={
                "tolerations": [
                    {"key": "z", "operator": "Exists"},
                    {"key": "a", "operator": "Exists", "effect": "NoExecute"},
                ],
                "priority": 0,
            },
        ),
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_no_override(name: str) -> None:
    assert found(*SPELLINGS[name]) == ()


APP = "spec.template.spec.containers[app]"
OVERRIDES: dict[str, tuple[Body, Body, tuple[str, ...]]] = {
    "a value of a ConfigMap": (
        body("ConfigMap", data={"mode": "a", "b": "1"}),
        body("ConfigMap", data={"mode": "mutated", "b": "1"}),
        ("data.mode",),
    ),
    "a text that would be the same quantity elsewhere": (
        body("ConfigMap", data={"cpu": "1000m", "t": "a\n"}, metadata={"labels": {"v": "1.0"}}),
        body("ConfigMap", data={"cpu": "1", "t": "a"}, metadata={"labels": {"v": "1"}}),
        ("data.cpu", "data.t", "metadata.labels.v"),
    ),
    "an empty text of a ConfigMap": (
        body("ConfigMap", data={"a": "", "b": ""}),
        body("ConfigMap", data={"a": "x"}),
        ("data.a", "data.b"),
    ),
    "an env value": (
        env({"value": ""}, {"value": "1000m"}),
        env({"value": "x"}, {"value": "1"}),
        (
            f"{APP}.env[E0].value",
            f"{APP}.env[E1].value",
        ),
    ),
    "replicas": (deployment(replicas=0), deployment(replicas=7), ("spec.replicas",)),
    "a switch that was off": (
        deployment(pod={"hostNetwork": False}),
        deployment(pod={"hostNetwork": True}),
        ("spec.template.spec.hostNetwork",),
    ),
    "a switch that was on": (
        deployment(pod={"hostNetwork": True}),
        deployment(),
        ("spec.template.spec.hostNetwork",),
    ),
    "an image and a quantity": (
        deployment({"image": "x:1", "resources": {"limits": {"cpu": "2"}}}),
        deployment({"image": "mirror/x:1", "resources": {"limits": {"cpu": "1"}}}),
        (f"{APP}.image", f"{APP}.resources.limits.cpu"),
    ),
    "an element that is gone": (
        deployment({"ports": [{"containerPort": 80}]}),
        deployment({"ports": [{"containerPort": 8080, "protocol": "TCP"}]}),
        (f"{APP}.ports[80/TCP]",),
    ),
    "a whole list": (deployment({"args": ["a", "1000m"]}), deployment({"args": ["a", "1"]}), (f"{APP}.args",)),
    "a list that is gone": (deployment({"args": ["a"]}), deployment(), (f"{APP}.args",)),
    "a map that is gone": (
        deployment(pod={"nodeSelector": {"disk": "ssd"}}),
        deployment(),
        ("spec.template.spec.nodeSelector",),
    ),
    "inside a list without keys": (
        policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, {"ports": [{"port": 80}]}]),
        policy(
            ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/16"}}]}, {"ports": [{"port": 80, "protocol": "TCP"}]}]
        ),
        ("spec.ingress[0].from[0].ipBlock.cidr",),
    ),
    "an element too few in a list without keys": (
        policy(
            ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, {"from": [{"ipBlock": {"cidr": "1.0.0.0/8"}}]}]
        ),
        policy(ingress=[{"from": [{"ipBlock": {"cidr": "1.0.0.0/8"}}]}]),
        ("spec.ingress[0]",),
    ),
    "the core group of a rule": (
        body("Role", "rbac.authorization.k8s.io/v1", rules=[{"apiGroups": [""], "verbs": ["get"]}]),
        body("Role", "rbac.authorization.k8s.io/v1", rules=[{"apiGroups": ["apps"], "verbs": ["get"]}]),
        ("rules[0].apiGroups",),
    ),
    "a label and an annotation": (
        body("ConfigMap", metadata={"labels": {"team": "a", "empty": ""}, "annotations": {"example.org/x": "1"}}),
        body("ConfigMap", metadata={"labels": {"team": "b"}}),
        ("metadata.annotations", "metadata.labels.empty", "metadata.labels.team"),
    ),
    "a field of a custom resource that its schema drops": (
        body("Widget", "example.org/v1", spec={"size": 3, "colour": "red"}),
        body("Widget", "example.org/v1", spec={"size": 3}),
        ("spec.colour",),
    ),
    "a number for a truth": (
        body("Widget", "example.org/v1", spec={"on": True, "off": False, "n": 1}),
        body("Widget", "example.org/v1", spec={"on": 1, "off": 0, "n": True}),
        ("spec.n", "spec.off", "spec.on"),
    ),
    "a Secret": (
        body("Secret", data={"password": "aHVudGVyMg==", "same": "YQ=="}, type="Opaque"),
        body("Secret", data={"password": "c3dvcmRmaXNo", "same": "YQ=="}, type="Opaque"),
        ("data.password",),
    ),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_an_override_is_told_by_its_paths(name: str) -> None:
    git, stored, paths = OVERRIDES[name]
    assert found(git, stored) == paths


def test_of_a_secret_no_value_is_told() -> None:
    git, stored, _ = OVERRIDES["a Secret"]
    told = admission_warning(found(git, stored))
    assert told == (
        "overridden by admission: data.password "
        "(an admission policy or webhook changes what git says; the cluster keeps its value)"
    )


def test_of_many_fields_some_are_named() -> None:
    told = admission_warning([f"data.k{number:02}" for number in range(NAMED + 3)])
    assert "data.k07 and 3 more (" in told


@pytest.mark.parametrize(
    ("fields", "changed", "expected"),
    [
        (["spec.replicas"], ["spec.replicas"], True),
        (["spec.containers[app].image"], ["spec.containers[app]"], True),
        (["spec.containers[app]"], ["spec.containers[app].image"], True),
        (["spec.replicas"], ["spec.replicasets", "data"], False),
        (["spec.replicas"], [], False),
    ],
)
def test_whether_a_change_is_about_what_is_overridden(fields: list[str], changed: list[str], expected: bool) -> None:
    assert among(fields, changed) is expected


SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text("ab0.mM= \n", max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "port", "a", "env"]), inner),
    max_leaves=12,
)


@given(spec=VALUES, more=VALUES)
def test_what_is_taken_as_it_was_sent_is_never_overridden(spec: Any, more: Any) -> None:
    sent = body("Widget", "example.org/v1", spec=spec)
    assert overridden_fields(sent, answer({**sent, "added": more})) == ()


@given(spec=VALUES, stored=VALUES)
def test_whatever_is_answered_is_compared_without_a_fault(spec: Any, stored: Any) -> None:
    sent, got = (body("Widget", "example.org/v1", spec=value) for value in (spec, stored))
    assert all(path.startswith("spec") for path in overridden_fields(sent, answer(got)))


@pytest.mark.parametrize("text", ["1e999999999", "9" * 5000, "1" + "0" * 60 + "Ei", "1e-999"])
def test_a_monstrous_number_costs_no_time(text: str) -> None:
    sent, got = (body("Widget", "example.org/v1", spec={"a": value}) for value in (text, "1"))
    assert overridden_fields(sent, answer(got)) == ("spec.a",)
