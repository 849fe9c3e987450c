"""What an API server makes of manifests: spellings that mean the same are no override, a policy's values are one."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from gitopsd.cluster import ClusterSettings, KubernetesCluster, connect
from gitopsd.kinds.normalise import group_kind, normalise
from gitopsd.kinds.overridden import overridden_fields
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted
from sandbox import Cluster
from tests.cluster.test_kinds_live import ODD

Manifest = dict[str, Any]
PATIENCE = 60.0
UNSPACED = {
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "FlowSchema",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingWebhookConfiguration",
}


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[KubernetesCluster]:
    with connect(ClusterSettings("default", cluster.kubeconfig)) as connected:
        yield connected


def plain(kind: str, api: str = "v1", **rest: Any) -> Manifest:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "odd", "creationTimestamp": None}, **rest}


def made(api: KubernetesCluster, manifest: Any, namespace: str = "default") -> tuple[str, ...]:
    """The fields that the answer to a dry run has otherwise than they were sent."""
    spaced = {} if manifest["kind"] in UNSPACED else {"namespace": namespace}
    sent = normalise({**manifest, "metadata": {**manifest["metadata"], **spaced}})
    unit = UnitId("default", *group_kind(sent), spaced.get("namespace", ""), sent["metadata"]["name"])
    answer = api.apply(unit, sent, dry_run=True)
    assert isinstance(answer, Accepted), answer
    return overridden_fields(sent, answer.live)


RBAC, ADMISSION, NET = "rbac.authorization.k8s.io/v1", "admissionregistration.k8s.io/v1", "networking.k8s.io/v1"
WEBHOOK = {
    "name": "a.example.org",
    "clientConfig": {"url": "https://example.org/", "caBundle": ""},
    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    "namespaceSelector": {},
    "objectSelector": {"matchLabels": {}},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "timeoutSeconds": 5,
}
SCHEMA = {
    "type": "object",
    "description": "",
    "required": [],
    "properties": {
        "spec": {
            "type": "object",
            "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 10.0, "default": 0, "nullable": False}},
        }
    },
}
DEFINITION = {
    "group": "odd.example.org",
    "preserveUnknownFields": False,
    "scope": "Namespaced",
    "names": {"kind": "Odd", "plural": "odds", "shortNames": [], "categories": None},
    "versions": [
        {
            "name": "v1",
            "served": True,
            "storage": True,
            "deprecated": False,
            "schema": {"openAPIV3Schema": SCHEMA},
            "additionalPrinterColumns": [{"name": "S", "type": "integer", "jsonPath": ".spec.size", "priority": 0}],
        }
    ],
}
POD = {
    "containers": [
        {
            "name": "app",
            "image": "r.example/app:1",
            "ports": [{"containerPort": 80, "hostPort": 0}],
            "resources": {"requests": {"cpu": 0.1, "memory": "129e6", "ephemeral-storage": "1.5Gi"}},
            "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 0, "initialDelaySeconds": 0},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "stdin": False,
            "terminationMessagePath": "",
        }
    ],
    "hostNetwork": False,
    "tolerations": [{"key": "a", "operator": ""}],
    "volumes": [
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "x"}}, {"downwardAPI": {"items": []}}]}},
        {"name": "host", "hostPath": {"path": "/x", "type": ""}},
        {"name": "mem", "emptyDir": {"medium": "", "sizeLimit": "1024Mi"}},
    ],
    "nodeSelector": {"a": "1"},
    "schedulerName": "",
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    ],
}
MORE = [
    plain("Pod", spec=POD),
    plain("Namespace", spec={}),
    plain("PriorityClass", "scheduling.k8s.io/v1", value=0, globalDefault=False, description=""),
    plain("CustomResourceDefinition", "apiextensions.k8s.io/v1", spec=DEFINITION)
    | {"metadata": {"name": "odds.odd.example.org"}},
    plain(
        "APIService",
        "apiregistration.k8s.io/v1",
        spec={
            "group": "odd.example.org",
            "version": "v1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            "caBundle": "",
            "insecureSkipTLSVerify": False,
            "service": {"name": "x", "namespace": "default"},
        },
    )
    | {"metadata": {"name": "v1.odd.example.org"}},
    plain("MutatingWebhookConfiguration", ADMISSION, webhooks=[WEBHOOK]),
    plain("ValidatingWebhookConfiguration", ADMISSION, webhooks=[WEBHOOK]),
    plain(
        "ValidatingAdmissionPolicy",
        ADMISSION,
        spec={
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ]
            },
            "validations": [{"expression": "true"}],
        },
    ),
    plain("ResourceQuota", spec={"hard": {"cpu": "1000m", "pods": 10, "requests.memory": "1024Mi"}, "scopes": []}),
    plain(
        "LimitRange",
        spec={"limits": [{"type": "Container", "default": {"cpu": "1500m"}, "defaultRequest": {"cpu": 1}, "max": {}}]},
    ),
    plain(
        "PersistentVolume",
        spec={
            "capacity": {"storage": "1024Mi"},
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
            "hostPath": {"path": "/x", "type": ""},
            "storageClassName": "",
            "mountOptions": [],
        },
    ),
    plain(
        "StorageClass", "storage.k8s.io/v1", provisioner="x.org/y", parameters={"a": "1"}, allowVolumeExpansion=False
    ),
    plain(
        "Lease", "coordination.k8s.io/v1", spec={"renewTime": "2026-11-23T06:00:00.500000+01:00", "holderIdentity": ""}
    ),
    plain(
        "EndpointSlice",
        "discovery.k8s.io/v1",
        addressType="IPv4",
        endpoints=[{"addresses": ["10.1.2.3"], "conditions": {}}],
        ports=[{"name": "", "port": 80}],
    ),
    plain(
        "Endpoints",
        subsets=[
            {
                "addresses": [{"ip": "10.1.2.4"}, {"ip": "10.1.2.3"}],
                "ports": [{"name": "b", "port": 81}, {"name": "a", "port": 80}],
            }
        ],
    ),
    plain("IngressClass", NET, spec={"controller": "x.org/y"}),
    plain("RuntimeClass", "node.k8s.io/v1", handler="x", overhead={"podFixed": {"cpu": "1000m", "memory": "1024Mi"}}),
    plain("RoleBinding", RBAC, roleRef={"apiGroup": RBAC[:-3], "kind": "Role", "name": "x"}, subjects=[]),
    plain("ClusterRole", RBAC, rules=[], aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "1"}}]}),
    plain(
        "ClusterRoleBinding",
        RBAC,
        roleRef={"apiGroup": RBAC[:-3], "kind": "ClusterRole", "name": "view"},
        subjects=[{"kind": "ServiceAccount", "name": "a", "namespace": "default"}],
    ),
    plain(
        "CronJob",
        "batch/v1",
        spec={
            "schedule": "0 * * * *",
            "suspend": False,
            "jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}},
        },
    ),
    plain(
        "FlowSchema",
        "flowcontrol.apiserver.k8s.io/v1",
        spec={"priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 500, "rules": []},
    ),
    plain(
        "Ingress",
        NET,
        spec={
            "rules": [
                {
                    "host": "",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "a", "port": {"number": 80, "name": ""}}},
                            }
                        ]
                    },
                }
            ]
        },
    ),
]


@pytest.mark.parametrize("odd", [*ODD, *MORE], ids=lambda m: m["kind"])
def test_whatever_the_spelling_nothing_is_overridden(api: KubernetesCluster, odd: Manifest) -> None:
    assert made(api, odd) == ()


def test_what_a_policy_makes_of_our_fields_is_told_by_path(
    api: KubernetesCluster, cluster: Cluster, namespace: str
) -> None:
    name = f"override-{uuid.uuid4().hex[:8]}"
    expression = 'Object{data: {"mode": "mutated", "extra": "added"}}'
    policy = {
        "apiVersion": ADMISSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["configmaps", "secrets"],
                    }
                ],
            },
            "matchConditions": [{"name": "ours", "expression": "object.metadata.name == 'odd'"}],
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        },
    }
    binding = {
        "apiVersion": ADMISSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    for each in (policy, binding):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(each))
    try:
        config = plain("ConfigMap", data={"mode": "a", "other": "b"})
        end = time.monotonic() + PATIENCE
        while made(api, config, namespace) != ("data.mode",):
            assert time.monotonic() < end, made(api, config, namespace)
            time.sleep(0.1)
    finally:
        for each in (binding, policy):
            cluster.kubectl("delete", "--wait=false", str(each["kind"]), name)
