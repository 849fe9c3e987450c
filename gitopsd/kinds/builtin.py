"""What is known of the kinds that Kubernetes itself serves and people keep in git."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gitopsd.model.units import GateRole, Manifest


@dataclass(frozen=True, slots=True)
class Builtin:
    """A kind of Kubernetes' own. `rank` is its place inside a wave: lower ranks are applied first."""

    group: str
    kind: str
    namespaced: bool
    rank: int


class CustomKind(NamedTuple):
    """A kind that a CustomResourceDefinition declares; `versions` are those that are served."""

    group: str
    kind: str
    namespaced: bool
    versions: tuple[str, ...]


# Places inside a wave. What others need comes before them; what sends traffic to workloads comes after them, and what
# could refuse everybody's requests (webhooks, aggregated APIs) comes last.
NAMESPACE, DEFINITION, CLASS, QUOTA, ACCOUNT, ROLE, BINDING, CONFIG, STORAGE, SERVICE = range(10)
UNKNOWN, WORKLOAD, AROUND, POLICY, GUARD = 10, 11, 12, 13, 14

_RBAC, _ADMISSION = "rbac.authorization.k8s.io", "admissionregistration.k8s.io"
_STORAGE, _NETWORK = "storage.k8s.io", "networking.k8s.io"

_TABLE: tuple[tuple[str, str, bool, int], ...] = (
    ("", "Namespace", False, NAMESPACE),
    ("apiextensions.k8s.io", "CustomResourceDefinition", False, DEFINITION),
    ("scheduling.k8s.io", "PriorityClass", False, CLASS),
    ("node.k8s.io", "RuntimeClass", False, CLASS),
    (_STORAGE, "StorageClass", False, CLASS),
    (_STORAGE, "CSIDriver", False, CLASS),
    (_STORAGE, "CSINode", False, CLASS),
    (_STORAGE, "CSIStorageCapacity", True, CLASS),
    (_STORAGE, "VolumeAttachment", False, STORAGE),
    (_STORAGE, "VolumeAttributesClass", False, CLASS),
    (_NETWORK, "IngressClass", False, CLASS),
    (_NETWORK, "ServiceCIDR", False, CLASS),
    (_NETWORK, "IPAddress", False, CLASS),
    ("resource.k8s.io", "DeviceClass", False, CLASS),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", False, CLASS),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", False, QUOTA),
    ("", "Node", False, CLASS),
    ("", "ResourceQuota", True, QUOTA),
    ("", "LimitRange", True, QUOTA),
    ("", "ServiceAccount", True, ACCOUNT),
    (_RBAC, "ClusterRole", False, ROLE),
    (_RBAC, "Role", True, ROLE),
    (_RBAC, "ClusterRoleBinding", False, BINDING),
    (_RBAC, "RoleBinding", True, BINDING),
    ("certificates.k8s.io", "CertificateSigningRequest", False, CONFIG),
    ("certificates.k8s.io", "ClusterTrustBundle", False, CONFIG),
    ("", "ConfigMap", True, CONFIG),
    ("", "Secret", True, CONFIG),
    ("", "PodTemplate", True, CONFIG),
    (_NETWORK, "NetworkPolicy", True, CONFIG),
    ("coordination.k8s.io", "Lease", True, CONFIG),
    ("", "PersistentVolume", False, STORAGE),
    ("", "PersistentVolumeClaim", True, STORAGE),
    ("resource.k8s.io", "ResourceClaimTemplate", True, STORAGE),
    ("resource.k8s.io", "ResourceClaim", True, STORAGE),
    ("resource.k8s.io", "ResourceSlice", False, STORAGE),
    ("", "Service", True, SERVICE),
    ("", "Endpoints", True, SERVICE),
    ("discovery.k8s.io", "EndpointSlice", True, SERVICE),
    ("apps", "ControllerRevision", True, CONFIG),
    ("apps", "DaemonSet", True, WORKLOAD),
    ("apps", "Deployment", True, WORKLOAD),
    ("apps", "ReplicaSet", True, WORKLOAD),
    ("apps", "StatefulSet", True, WORKLOAD),
    ("", "ReplicationController", True, WORKLOAD),
    ("", "Pod", True, WORKLOAD),
    ("batch", "Job", True, WORKLOAD),
    ("batch", "CronJob", True, WORKLOAD),
    ("autoscaling", "HorizontalPodAutoscaler", True, AROUND),
    ("policy", "PodDisruptionBudget", True, AROUND),
    (_NETWORK, "Ingress", True, AROUND),
    ("", "Event", True, AROUND),
    ("events.k8s.io", "Event", True, AROUND),
    (_ADMISSION, "ValidatingAdmissionPolicy", False, POLICY),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding", False, GUARD),
    (_ADMISSION, "MutatingAdmissionPolicy", False, POLICY),
    (_ADMISSION, "MutatingAdmissionPolicyBinding", False, GUARD),
    (_ADMISSION, "ValidatingWebhookConfiguration", False, GUARD),
    (_ADMISSION, "MutatingWebhookConfiguration", False, GUARD),
    ("apiregistration.k8s.io", "APIService", False, GUARD),
)

BUILTIN: Mapping[tuple[str, str], Builtin] = {
    (group, kind): Builtin(group, kind, namespaced, rank) for group, kind, namespaced, rank in _TABLE
}
"""Every built-in kind, by (group, kind)."""

_EXACT = frozenset(
    {
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "Deployment"),
        ("batch", "Job"),
        ("batch", "CronJob"),
        ("", "Pod"),
        ("", "PodTemplate"),
        ("policy", "PodDisruptionBudget"),
        (_NETWORK, "Ingress"),
        (_NETWORK, "IngressClass"),
        (_NETWORK, "NetworkPolicy"),
        ("discovery.k8s.io", "EndpointSlice"),
        (_ADMISSION, "ValidatingAdmissionPolicy"),
        (_ADMISSION, "ValidatingAdmissionPolicyBinding"),
        (_ADMISSION, "MutatingAdmissionPolicy"),
        (_ADMISSION, "ValidatingWebhookConfiguration"),
        (_ADMISSION, "MutatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
    }
)
"""Kinds whose metadata.generation moves with every change of their spec. Deployments (annotations) and EndpointSlices
(labels) raise it for a little more. Not here are those without one, PriorityClass, whose stays at 1 whatever is
written, and custom kinds: of those only the ones with a status subresource keep it, which metadata does not show."""


def exact_generation(group: str, kind: str) -> bool:
    """Whether an unchanged generation proves an unchanged spec."""
    return (group, kind) in _EXACT


PROTECTED = frozenset(
    {
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("", "PersistentVolume"),
        ("", "PersistentVolumeClaim"),
    }
)
"""Kinds whose deletion takes other people's objects or data along: never pruned unless a person says so."""

_GATING = frozenset(
    {
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("", "Pod"),
        ("batch", "Job"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("", "Namespace"),
    }
)


def rank(group: str, kind: str) -> int:
    """The place of a kind inside a wave; ascending to apply, descending to delete. Custom resources come just before
    workloads: they are often their configuration, or what makes their Secrets."""
    builtin = BUILTIN.get((group, kind))
    return builtin.rank if builtin else UNKNOWN


def gates(group: str, kind: str, role: GateRole, manifest: Manifest) -> bool:  # noqa: ARG001 - see below
    """Whether a wave waits for the health of an object of this kind.

    Built-in kinds whose health depends on what is not ours (a cloud, metrics, a consumer) are shown only. Custom
    resources gate: one that never reports a condition is healthy as soon as it exists. Kind and role decide so far; the
    manifest belongs to the question.
    """
    if role is not GateRole.DEFAULT:
        return role is GateRole.REQUIRED
    return (group, kind) in _GATING or (group, kind) not in BUILTIN


def custom_kinds(manifest: Manifest) -> CustomKind | None:
    """The kind that a CRD manifest declares; None if it is no CRD or lacks what names it (the server will say what)."""
    if manifest.get("kind") != "CustomResourceDefinition":
        return None
    spec: Mapping[str, Any] = _mapping(manifest.get("spec"))
    group, kind = spec.get("group"), _mapping(spec.get("names")).get("kind")
    if not isinstance(group, str) or not isinstance(kind, str):
        return None
    versions = [v for v in spec.get("versions") or () if isinstance(v, Mapping) and v.get("served", True)]
    return CustomKind(
        group, kind, spec.get("scope", "Namespaced") != "Cluster", tuple(str(v.get("name", "")) for v in versions)
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
