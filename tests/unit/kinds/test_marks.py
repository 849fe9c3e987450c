"""Whose an object is: by marks that prove it, not by labels that leak."""

from __future__ import annotations

from typing import Any

import pytest

from gitopsd.kinds.marks import (
    PART_OF_LABEL,
    TRACKING_ANNOTATION,
    Owner,
    applyset_id,
    is_ours,
    mark,
    marked_for_other,
    owner_of,
    parent_name,
    tracking_id,
)
from gitopsd.model.ids import UnitId
from tests.unit.kinds.samples import config_map, live

SET = applyset_id(parent_name("site"), "gitopsd-system")
OTHER_SET = applyset_id(parent_name("shop"), "gitopsd-system")
UNIT = UnitId("default", "", "ConfigMap", "web", "settings")


def test_the_id_is_what_kubectl_computes() -> None:
    # Unpadded URL-safe base64 of SHA-256("NAME.NAMESPACE.KIND.GROUP"), here computed with openssl.
    assert applyset_id("gitopsd-site", "gitopsd-system") == "applyset-HPmQN3fceVOq3IVnQoxCDb3kZtJzFsW8-vOrXhRoYRE-v1"


def test_the_tracking_id_names_the_object_that_carries_it() -> None:
    assert tracking_id("site", UNIT) == "site:/ConfigMap:web/settings"
    deployment = UnitId("elsewhere", "apps", "Deployment", "web", "api")
    assert tracking_id("site", deployment) == "site:apps/Deployment:web/api"
    role = UnitId("default", "rbac.authorization.k8s.io", "ClusterRole", "", "system:x")
    assert tracking_id("site", role) == "site:rbac.authorization.k8s.io/ClusterRole:/system:x"


def test_a_marked_object_is_ours_and_only_ours() -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "web"}}
    body = mark(manifest, "site", UNIT, SET)
    assert manifest == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "web"}}
    assert is_ours(live(body), "site", SET)
    assert not is_ours(live(body), "shop", SET)
    assert not is_ours(live(body), "site", OTHER_SET)
    assert owner_of(live(body), SET) is None


def test_marks_in_git_are_replaced() -> None:
    exported = mark(
        {"kind": "ConfigMap", "metadata": {"name": "settings", "labels": {"a": "b"}}}, "shop", UNIT, OTHER_SET
    )
    metadata = mark(exported, "site", UNIT, SET)["metadata"]
    assert metadata["labels"] == {"a": "b", PART_OF_LABEL: SET}
    assert metadata["annotations"] == {TRACKING_ANNOTATION: tracking_id("site", UNIT)}


@pytest.mark.parametrize(
    ("labels", "annotations"),
    [
        pytest.param({PART_OF_LABEL: SET}, {}, id="label alone"),
        pytest.param({}, {TRACKING_ANNOTATION: "site:/ConfigMap:web/settings"}, id="annotation alone"),
        pytest.param({PART_OF_LABEL: SET}, {TRACKING_ANNOTATION: "site:/ConfigMap:web/other"}, id="a copied object"),
        pytest.param(
            {PART_OF_LABEL: SET}, {TRACKING_ANNOTATION: "site:/ConfigMap:shop/settings"}, id="copied elsewhere"
        ),
        pytest.param({PART_OF_LABEL: SET}, {TRACKING_ANNOTATION: "nonsense"}, id="no tracking id at all"),
    ],
)
def test_half_of_our_marks_makes_nothing_ours(labels: dict[str, str], annotations: dict[str, str]) -> None:
    found = config_map(labels, annotations)
    assert not is_ours(found, "site", SET)
    assert owner_of(found, SET) is None, "nobody's: it may be adopted, but never deleted"


def _controlled(kind: str, api: str, **more: Any) -> dict[str, Any]:
    return {"ownerReferences": [{"kind": kind, "apiVersion": api, "name": "n", "uid": "u", "controller": True, **more}]}


@pytest.mark.parametrize(
    ("found", "owner"),
    [
        (
            config_map(annotations={"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:web/settings"}),
            Owner("argocd", "Application shop"),
        ),
        (config_map(annotations={"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:web/another"}), None),
        (config_map({"argocd.argoproj.io/instance": "shop"}), Owner("argocd", "Application shop")),
        (config_map({"app.kubernetes.io/instance": "shop"}), None),
        (
            config_map({"app.kubernetes.io/instance": "shop"}, managedFields=[{"manager": "argocd-controller"}]),
            Owner("argocd", "Application shop"),
        ),
        (
            config_map(
                {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
            ),
            Owner("flux", "Kustomization flux-system/apps"),
        ),
        (
            config_map(
                {
                    "helm.toolkit.fluxcd.io/name": "db",
                    "helm.toolkit.fluxcd.io/namespace": "web",
                    "app.kubernetes.io/managed-by": "Helm",
                },
                {"meta.helm.sh/release-name": "db", "meta.helm.sh/release-namespace": "web"},
            ),
            Owner("flux", "HelmRelease web/db"),
        ),
        (
            config_map(
                {"app.kubernetes.io/managed-by": "Helm"},
                {"meta.helm.sh/release-name": "db", "meta.helm.sh/release-namespace": "web"},
            ),
            Owner("helm", "release web/db"),
        ),
        (config_map({"app.kubernetes.io/managed-by": "Helm"}), None),
        (
            config_map(**_controlled("SealedSecret", "bitnami.com/v1alpha1")),
            Owner("sealed-secrets", "SealedSecret web/n"),
        ),
        (config_map(**_controlled("SealedSecret", "other.example/v1")), Owner("controller", "SealedSecret n")),
        (config_map(**_controlled("Certificate", "cert-manager.io/v1")), Owner("controller", "Certificate n")),
        (config_map(**_controlled("Database", "example.com/v1", controller=False)), None),
        (config_map({PART_OF_LABEL: "applyset-foreign-v1"}), Owner("applyset", "applyset-foreign-v1")),
        (
            config_map({PART_OF_LABEL: OTHER_SET}, {TRACKING_ANNOTATION: "shop:/ConfigMap:web/settings"}),
            Owner("gitopsd", "stack shop"),
        ),
        (config_map({PART_OF_LABEL: OTHER_SET}, {TRACKING_ANNOTATION: "shop:/ConfigMap:web/copied"}), None),
        (config_map({"team": "a"}), None),
    ],
)
def test_marks_of_others(found: Any, owner: Owner | None) -> None:
    assert owner_of(found, SET) == owner


def test_a_controller_counts_more_than_labels_copied_from_its_object() -> None:
    found = config_map({"kustomize.toolkit.fluxcd.io/name": "apps"}, **_controlled("Widget", "example.com/v1"))
    assert owner_of(found, SET) == Owner("controller", "Widget n")


def test_what_we_adopted_stays_ours_with_its_old_marks() -> None:
    old = {"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:web/settings"}
    found = config_map({PART_OF_LABEL: SET}, {**old, TRACKING_ANNOTATION: tracking_id("site", UNIT)})
    assert is_ours(found, "site", SET)
    assert owner_of(found, SET) is None


def test_leaked_labels_of_a_service_do_not_make_its_endpoint_slice_a_member() -> None:
    slice_ = live(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "api-x7k2p",
                "namespace": "web",
                "labels": {PART_OF_LABEL: SET},
                **_controlled("Service", "v1"),
            },
        }
    )
    assert not is_ours(slice_, "site", SET)
    assert owner_of(slice_, SET) == Owner("controller", "Service n")


def test_leaked_annotations_of_a_deployment_do_not_make_its_replica_set_a_member() -> None:
    replica_set = live(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": "api",
                "namespace": "web",
                "labels": {PART_OF_LABEL: SET},
                "annotations": {TRACKING_ANNOTATION: "site:apps/Deployment:web/api"},
            },
        }
    )
    assert not is_ours(replica_set, "site", SET)


def test_a_member_of_another_stack_is_named_for_the_handover() -> None:
    member = config_map({PART_OF_LABEL: OTHER_SET}, {TRACKING_ANNOTATION: "shop:/ConfigMap:web/settings"})
    assert marked_for_other(member, SET) == "shop"
    assert marked_for_other(member, OTHER_SET) == ""
    assert marked_for_other(config_map(annotations=member.annotations), SET) == ""
