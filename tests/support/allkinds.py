"""An object of every kind that people keep in git, and an edit of a field of it that git sets."""

from __future__ import annotations

from typing import Any, NamedTuple

Manifest = dict[str, Any]

RBAC, NET, ADMISSION = "rbac.authorization.k8s.io/v1", "networking.k8s.io/v1", "admissionregistration.k8s.io/v1"
FLOW = "flowcontrol.apiserver.k8s.io/v1"
TEAM = {"metadata": {"labels": {"team": "edited"}}}
"""Of what cannot be changed but for its labels."""

CONTAINER = {"name": "app", "image": "registry.example/app:1"}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [CONTAINER]}}
SELECTOR = {"matchLabels": {"app": "x"}}
RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
SUBJECT = {"kind": "User", "name": "dana", "apiGroup": "rbac.authorization.k8s.io"}
WEBHOOK = {
    "name": "a.example.org",
    "clientConfig": {"url": "https://localhost:1/"},
    "rules": [{"apiGroups": ["none.example.org"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}],
    "failurePolicy": "Ignore",
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "timeoutSeconds": 5,
}
CONSTRAINTS = {
    "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
}


class Kept(NamedTuple):
    """A manifest, and a merge patch by which somebody changes what it sets."""

    manifest: Manifest
    edit: Manifest


def _made(api: str, kind: str, edit: Manifest = TEAM, /, *, cluster: bool = False, name: str = "", **rest: Any) -> Kept:
    metadata = {"name": name or kind.lower(), "labels": {"team": "web"}}
    return Kept({"apiVersion": api, "kind": kind, "metadata": metadata, **rest, "_cluster": cluster}, edit)


def _definition(plural: str, kind: str, *, status: bool) -> Kept:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {
        "group": "example.org",
        "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
        "scope": "Namespaced",
        "versions": [{**version, "subresources": {"status": {}}} if status else version],
    }
    name = f"{plural}.example.org"
    return _made("apiextensions.k8s.io/v1", "CustomResourceDefinition", TEAM, cluster=True, name=name, spec=spec)


def _spec(**values: Any) -> Manifest:
    return {"spec": values}


KEPT: tuple[Kept, ...] = (
    _made("v1", "ServiceAccount", {"automountServiceAccountToken": True}, automountServiceAccountToken=False),
    _made("v1", "ConfigMap", {"data": {"key": "edited"}}, data={"key": "git"}),
    _made("v1", "Secret", {"data": {"key": "ZWRpdGVk"}}, data={"key": "Z2l0"}),
    _made("v1", "Service", _spec(selector={"app": "edited"}), spec={"selector": {"app": "x"}, "ports": [{"port": 80}]}),
    _made("v1", "PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
          "resources": {"requests": {"storage": "1Gi"}}}),
    _made("v1", "PersistentVolume", _spec(persistentVolumeReclaimPolicy="Delete"), cluster=True,
          spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"},
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "other"}),
    _made("v1", "ResourceQuota", _spec(hard={"configmaps": "99"}), spec={"hard": {"configmaps": "1k"}}),
    _made("v1", "LimitRange", _spec(limits=[{"type": "Container", "max": {"cpu": "9"}}]),
          spec={"limits": [{"type": "Container", "max": {"cpu": "64"}}]}),
    _made("v1", "Pod", spec={"containers": [CONTAINER]}),
    _made("v1", "PodTemplate", {"template": {"metadata": {"labels": {"app": "edited"}}}}, template=TEMPLATE),
    _made("v1", "Endpoints", {"subsets": [{"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 80}]}]},
          subsets=[{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80}]}]),
    _made("apps/v1", "Deployment", _spec(minReadySeconds=1), spec={"replicas": 1, "minReadySeconds": 0,
          "selector": SELECTOR, "template": TEMPLATE}),
    _made("apps/v1", "StatefulSet", _spec(minReadySeconds=1), spec={"replicas": 1, "minReadySeconds": 0,
          "serviceName": "x", "selector": SELECTOR, "template": TEMPLATE}),
    _made("apps/v1", "DaemonSet", _spec(minReadySeconds=1), spec={"minReadySeconds": 0, "selector": SELECTOR,
          "template": TEMPLATE}),
    _made("apps/v1", "ReplicaSet", _spec(replicas=2), spec={"replicas": 1, "selector": {"matchLabels": {"app": "rs"}},
          "template": {**TEMPLATE, "metadata": {"labels": {"app": "rs"}}}}),
    _made("batch/v1", "CronJob", _spec(schedule="1 1 1 1 *"), spec={"schedule": "0 0 1 1 *", "jobTemplate": {
          "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}}}),
    _made("autoscaling/v2", "HorizontalPodAutoscaler", _spec(maxReplicas=9), spec={"maxReplicas": 3,
          "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "elsewhere"}}),
    _made("policy/v1", "PodDisruptionBudget", _spec(maxUnavailable=5), spec={"maxUnavailable": 1,
          "selector": SELECTOR}),
    _made(NET, "Ingress", _spec(ingressClassName="edited"), spec={"ingressClassName": "git", "defaultBackend": {
          "service": {"name": "x", "port": {"number": 80}}}}),
    _made(NET, "IngressClass", cluster=True, spec={"controller": "example.org/x"}),
    _made(NET, "NetworkPolicy", _spec(podSelector={"matchLabels": {"app": "edited"}}), spec={"podSelector": SELECTOR}),
    _made("discovery.k8s.io/v1", "EndpointSlice", {"endpoints": [{"addresses": ["10.9.9.9"]}]}, addressType="IPv4",
          endpoints=[{"addresses": ["10.1.1.1"]}], ports=[{"name": "a", "port": 80}]),
    _made("coordination.k8s.io/v1", "Lease", _spec(holderIdentity="edited"), spec={"holderIdentity": "git"}),
    _made("storage.k8s.io/v1", "StorageClass", {"allowVolumeExpansion": False}, cluster=True,
          provisioner="example.org/none", allowVolumeExpansion=True),
    _made("storage.k8s.io/v1", "CSIDriver", cluster=True, name="csi.example.org", spec={"attachRequired": False}),
    _made("scheduling.k8s.io/v1", "PriorityClass", {"description": "edited"}, cluster=True, value=7,
          description="git"),
    _made("node.k8s.io/v1", "RuntimeClass", cluster=True, handler="none"),
    _made(RBAC, "Role", {"rules": [{**RULE, "verbs": ["list"]}]}, rules=[RULE]),
    _made(RBAC, "RoleBinding", {"subjects": [{**SUBJECT, "name": "edited"}]}, subjects=[SUBJECT],
          roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "role"}),
    _made(RBAC, "ClusterRole", {"rules": [{**RULE, "verbs": ["list"]}]}, cluster=True, rules=[RULE]),
    _made(RBAC, "ClusterRoleBinding", {"subjects": [{**SUBJECT, "name": "edited"}]}, cluster=True, subjects=[SUBJECT],
          roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "clusterrole"}),
    _made(ADMISSION, "ValidatingWebhookConfiguration", {"webhooks": [{**WEBHOOK, "timeoutSeconds": 9}]}, cluster=True,
          webhooks=[WEBHOOK]),
    _made(ADMISSION, "MutatingWebhookConfiguration", {"webhooks": [{**WEBHOOK, "timeoutSeconds": 9}]}, cluster=True,
          webhooks=[WEBHOOK]),
    _made(ADMISSION, "ValidatingAdmissionPolicy", _spec(failurePolicy="Fail"), cluster=True, spec={
          "failurePolicy": "Ignore", "matchConstraints": CONSTRAINTS, "validations": [{"expression": "true"}]}),
    _made(ADMISSION, "ValidatingAdmissionPolicyBinding", _spec(policyName="edited"), cluster=True, spec={
          "policyName": "git", "validationActions": ["Audit"]}),
    _made("apiregistration.k8s.io/v1", "APIService", _spec(groupPriorityMinimum=99), cluster=True,
          name="v1.local.example.org", spec={"group": "local.example.org", "version": "v1",
          "groupPriorityMinimum": 10, "versionPriority": 10}),
    _made(FLOW, "FlowSchema", _spec(matchingPrecedence=9999), cluster=True, spec={"matchingPrecedence": 9000,
          "priorityLevelConfiguration": {"name": "global-default"}}),
    _definition("gadgets", "Gadget", status=True),
    _definition("widgets", "Widget", status=False),
    _made("example.org/v1", "Gadget", _spec(size=9), spec={"size": 1}),
    _made("example.org/v1", "Widget", _spec(size=9), spec={"size": 1}),
)  # fmt: skip
"""All but Namespaces and Jobs, which have rules of their own."""


def placed(kept: Kept, namespace: str) -> Manifest:
    """The manifest with its namespace, where its kind has one."""
    body = {key: value for key, value in kept.manifest.items() if key != "_cluster"}
    if kept.manifest["_cluster"]:
        return body
    return {**body, "metadata": {**body["metadata"], "namespace": namespace}}
