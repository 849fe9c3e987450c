"""What is known of built-in kinds: their order, which of them gate, which are never pruned unasked."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gitopsd.kinds.builtin import BUILTIN, PROTECTED, custom_kinds, gates, rank
from gitopsd.model.units import GateRole

RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"

# Each kind needs, or is better off with, those on its left being there first.
CHAINS: list[list[tuple[str, str]]] = [
    [
        ("", "Namespace"),
        ("", "ServiceAccount"),
        (RBAC, "Role"),
        (RBAC, "RoleBinding"),
        ("", "ConfigMap"),
        ("apps", "Deployment"),
    ],
    [("apiextensions.k8s.io", "CustomResourceDefinition"), ("example.com", "Widget"), ("apps", "Deployment")],
    [("", "Secret"), ("example.com", "Widget")],
    [("", "ResourceQuota"), ("", "Pod")],
    [("scheduling.k8s.io", "PriorityClass"), ("apps", "DaemonSet")],
    [("storage.k8s.io", "StorageClass"), ("", "PersistentVolume"), ("apps", "StatefulSet")],
    [("", "PersistentVolumeClaim"), ("apps", "Deployment")],
    [("networking.k8s.io", "NetworkPolicy"), ("apps", "Deployment")],
    [("", "Service"), ("apps", "StatefulSet"), ("networking.k8s.io", "Ingress")],
    [("apps", "Deployment"), ("autoscaling", "HorizontalPodAutoscaler"), (ADMISSION, "ValidatingWebhookConfiguration")],
    [("apps", "Deployment"), ("policy", "PodDisruptionBudget"), ("apiregistration.k8s.io", "APIService")],
    [(ADMISSION, "ValidatingAdmissionPolicy"), (ADMISSION, "ValidatingAdmissionPolicyBinding")],
    [("networking.k8s.io", "IngressClass"), ("networking.k8s.io", "Ingress")],
]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain[0][1])
def test_inside_a_wave_what_others_need_comes_first(chain: list[tuple[str, str]]) -> None:
    for before, after in itertools.pairwise(chain):
        assert rank(*before) < rank(*after), f"{before[1]} before {after[1]}"


def test_what_can_refuse_everybodys_requests_comes_last() -> None:
    last = max(b.rank for b in BUILTIN.values())
    kinds = {b.kind for b in BUILTIN.values() if b.rank == last}
    assert {"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService"} <= kinds


def test_kinds_whose_deletion_takes_more_along_are_protected() -> None:
    assert {kind for _, kind in PROTECTED} == {
        "Namespace",
        "CustomResourceDefinition",
        "PersistentVolume",
        "PersistentVolumeClaim",
    }


@pytest.mark.parametrize(
    ("group", "kind", "gating"),
    [
        ("apps", "Deployment", True),
        ("apps", "StatefulSet", True),
        ("apps", "DaemonSet", True),
        ("apps", "ReplicaSet", True),
        ("", "Pod", True),
        ("batch", "Job", True),
        ("apiextensions.k8s.io", "CustomResourceDefinition", True),
        ("apiregistration.k8s.io", "APIService", True),
        ("", "Namespace", True),
        ("example.com", "Widget", True),
        ("example.com", "Ingress", True),
        ("autoscaling", "HorizontalPodAutoscaler", False),
        ("policy", "PodDisruptionBudget", False),
        ("networking.k8s.io", "Ingress", False),
        ("", "Service", False),
        ("", "PersistentVolumeClaim", False),
        ("batch", "CronJob", False),
        ("", "ConfigMap", False),
    ],
)
def test_which_kinds_gate(group: str, kind: str, gating: bool) -> None:
    assert gates(group, kind, GateRole.DEFAULT, {}) is gating
    assert gates(group, kind, GateRole.REQUIRED, {})
    assert not gates(group, kind, GateRole.IGNORE, {})


def _crd(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}


def test_a_definition_says_what_it_declares() -> None:
    crd = _crd(
        group="example.com",
        scope="Cluster",
        names={"kind": "Widget"},
        versions=[{"name": "v2", "served": True}, {"name": "v1", "served": False}, {"name": "v1beta1"}],
    )
    assert custom_kinds(crd) == ("example.com", "Widget", False, ("v2", "v1beta1"))
    assert custom_kinds(_crd(group="example.com", scope="Namespaced", names={"kind": "W"})) == (
        "example.com",
        "W",
        True,
        (),
    )


@pytest.mark.parametrize(
    "manifest",
    [
        {"kind": "ConfigMap", "spec": {"group": "g", "names": {"kind": "K"}}},
        _crd(),
        _crd(group="example.com"),
        _crd(group=3, names={"kind": "W"}),
        _crd(group="example.com", names=[]),
        {"kind": "CustomResourceDefinition", "spec": None},
    ],
)
def test_what_declares_no_kind_is_left_to_the_server(manifest: dict[str, Any]) -> None:
    assert custom_kinds(manifest) is None


def test_versions_of_the_wrong_shape_are_left_to_the_server() -> None:
    assert custom_kinds(_crd(group="g", names={"kind": "K"}, versions=["v1", None])) == ("g", "K", True, ())
