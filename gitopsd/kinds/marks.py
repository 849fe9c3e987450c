"""Marks on objects: ours (an ApplySet label and a self-referencing annotation), and those of other deployers.

The label lets `kubectl` and a rebuilt host list a stack's members. It proves nothing by itself, for labels leak: a
Service's labels are copied to its EndpointSlices, a Deployment's annotations to its ReplicaSets, and people copy whole
objects. So an object is ours only if its annotation also names the very object that carries it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.units import Manifest

PART_OF_LABEL = "applyset.kubernetes.io/part-of"
"""On a member: the id of its ApplySet."""

ID_LABEL = "applyset.kubernetes.io/id"
"""On a parent: the id of the ApplySet that it stands for."""

TOOLING_ANNOTATION = "applyset.kubernetes.io/tooling"
TOOLING = "gitopsd/v1"
CONTAINS_ANNOTATION = "applyset.kubernetes.io/contains-group-kinds"
NAMESPACES_ANNOTATION = "applyset.kubernetes.io/additional-namespaces"

TRACKING_ANNOTATION = "gitopsd.io/tracking-id"
"""On a member: which stack wants which object; see `tracking_id`."""

ARGOCD_ANNOTATION = "argocd.argoproj.io/tracking-id"
ARGOCD_LABELS = ("argocd.argoproj.io/instance", "app.kubernetes.io/instance")
ARGOCD_MANAGER = "argocd-controller"
FLUX_GROUPS = (("kustomize.toolkit.fluxcd.io", "Kustomization"), ("helm.toolkit.fluxcd.io", "HelmRelease"))
HELM_RELEASE_ANNOTATION = "meta.helm.sh/release-name"
HELM_NAMESPACE_ANNOTATION = "meta.helm.sh/release-namespace"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
SEALED_SECRETS = "sealed-secrets"
SEALED_SECRETS_GROUP = "bitnami.com"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who else looks after an object.

    `kind` is argocd, flux, helm or sealed-secrets (those may be named under `adopt`), applyset (a foreign one),
    controller (it is made and kept by another object), or gitopsd (a member of another stack). `detail` names it.
    """

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


def parent_name(stack: str) -> str:
    """The name of the ConfigMap that carries a stack's inventory and memory."""
    return f"gitopsd-{stack}"


def applyset_id(name: str, namespace: str) -> str:
    """The id of the ApplySet whose parent is the ConfigMap `name`, by the formula that kubectl computes and checks."""
    identity = hashlib.sha256(f"{name}.{namespace}.ConfigMap.".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(identity).decode().rstrip('=')}-v1"


def tracking_id(stack: str, unit: UnitId) -> str:
    """`STACK:group/Kind:namespace/name`: the wish of one stack for one object. The cluster is not part of it."""
    return f"{stack}:{_self_reference(unit)}"


def mark(manifest: Manifest, stack: str, unit: UnitId, applyset: str) -> Manifest:
    """The manifest with our marks, whatever marks of ours it carried before (an export of a live object has some)."""
    metadata: Mapping[str, Any] = manifest.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), PART_OF_LABEL: applyset}
    annotations = {**(metadata.get("annotations") or {}), TRACKING_ANNOTATION: tracking_id(stack, unit)}
    return {**manifest, "metadata": {**metadata, "labels": labels, "annotations": annotations}}


def is_ours(live: LiveObject, stack: str, applyset: str) -> bool:
    """Whether both marks say that this stack put this very object there."""
    return live.labels.get(PART_OF_LABEL) == applyset and live.annotations.get(TRACKING_ANNOTATION) == tracking_id(
        stack, live.id
    )


def marked_for_other(live: LiveObject, applyset: str) -> str:
    """The name of the other gitopsd stack whose member this object is, by both marks; "" if there is none."""
    label = live.labels.get(PART_OF_LABEL, "")
    stack = _tracked_by(live, TRACKING_ANNOTATION)
    return stack if label and label != applyset else ""


def owner_of(live: LiveObject, applyset: str) -> Owner | None:
    """Who besides this ApplySet looks after an object; None for its own members and for what is nobody's.

    A controller goes first: it keeps writing, whatever labels it has copied from its own object. Marks that stay on an
    object after we adopted it do not make it somebody else's again.
    """
    if live.labels.get(PART_OF_LABEL) == applyset and _tracked_by(live, TRACKING_ANNOTATION):
        return None
    stack = marked_for_other(live, applyset)
    if stack:
        return Owner("gitopsd", f"stack {stack}")
    return _controller(live) or _argocd(live) or _flux(live) or _helm(live) or _foreign_applyset(live, applyset)


def sealed_secret_of(live: LiveObject) -> Mapping[str, Any] | None:
    """The ownerReference of the SealedSecret out of which the sealed-secrets controller keeps making an object. While
    it is there, the garbage collector takes the object as soon as that SealedSecret is gone, whoever else marked it."""
    return next(filter(_is_sealed_secret, filter(_controls, live.owner_references)), None)


def sealed_secret_owner(live: LiveObject) -> Owner | None:
    """The same as an owner."""
    reference = sealed_secret_of(live)
    return None if reference is None else Owner(SEALED_SECRETS, sealed_secret_text(live.id, reference))


def sealed_secret_text(unit: UnitId, reference: Mapping[str, Any]) -> str:
    """A SealedSecret as people are told of it; it is in the namespace of what it owns."""
    return f"SealedSecret {unit.namespace}/{reference.get('name', '')}"


def _self_reference(unit: UnitId) -> str:
    return f"{unit.group}/{unit.kind}:{unit.namespace}/{unit.name}"


def _tracked_by(live: LiveObject, annotation: str) -> str:
    """The part before the self-reference; "" if the annotation is missing or was copied from another object."""
    name, _, reference = live.annotations.get(annotation, "").partition(":")
    return name if reference == _self_reference(live.id) else ""


def _controls(reference: Mapping[str, Any]) -> bool:
    return bool(reference.get("controller"))


def _is_sealed_secret(reference: Mapping[str, Any]) -> bool:
    group = str(reference.get("apiVersion", "")).partition("/")[0]
    return (group, reference.get("kind")) == (SEALED_SECRETS_GROUP, "SealedSecret")


def _controller(live: LiveObject) -> Owner | None:
    """There is at most one controller: the API server sees to that."""
    for reference in filter(_controls, live.owner_references):
        return sealed_secret_owner(live) or Owner(
            "controller", f"{reference.get('kind', '')} {reference.get('name', '')}"
        )
    return None


def _argocd(live: LiveObject) -> Owner | None:
    """By its annotation, or by its label. The usual one is also set by many charts: there its manager must be seen."""
    application = _tracked_by(live, ARGOCD_ANNOTATION)
    if not application:
        own, usual = (live.labels.get(label, "") for label in ARGOCD_LABELS)
        wrote = any(entry.get("manager") == ARGOCD_MANAGER for entry in live.managed_fields)
        application = own or (usual if wrote else "")
    return Owner("argocd", f"Application {application}") if application else None


def _flux(live: LiveObject) -> Owner | None:
    for group, kind in FLUX_GROUPS:
        name = live.labels.get(f"{group}/name")
        if name:
            return Owner("flux", f"{kind} {live.labels.get(f'{group}/namespace', '')}/{name}")
    return None


def _helm(live: LiveObject) -> Owner | None:
    release = live.annotations.get(HELM_RELEASE_ANNOTATION)
    if not release or live.labels.get(MANAGED_BY_LABEL) != "Helm":
        return None
    return Owner("helm", f"release {live.annotations.get(HELM_NAMESPACE_ANNOTATION, '')}/{release}")


def _foreign_applyset(live: LiveObject, applyset: str) -> Owner | None:
    label = live.labels.get(PART_OF_LABEL, "")
    if not label or label == applyset or TRACKING_ANNOTATION in live.annotations:
        return None  # with an annotation that names another object, the label came along in the same copy
    return Owner("applyset", label)
