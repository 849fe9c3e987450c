"""What would go along with a container, and who may have drifted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from gitopsd.execution.contents import content
from gitopsd.execution.sweep import moved, suspicious
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject, Resource
from gitopsd.model.ports import Cluster
from tests.unit.execution.fakes import FakeCluster
from tests.unit.planning.samples import APPLYSETS, applied, baseline, crd, desired, live_object, manifest, only, stack

SPEC = stack()
LIST = frozenset({"list"})
KINDS = (
    Resource("", "ConfigMap", "configmaps", True, ("v1",), LIST),
    Resource("", "ServiceAccount", "serviceaccounts", True, ("v1",), LIST),
    Resource("", "Event", "events", True, ("v1",), LIST),
    Resource("", "Namespace", "namespaces", False, ("v1",), LIST),
    Resource("authentication.k8s.io", "TokenReview", "tokenreviews", True, ("v1",), frozenset({"create"})),
)


def inside(kind: str, name: str, namespace: str = "web", **metadata: Any) -> LiveObject:
    unit = UnitId("default", "", kind, namespace, name)
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    return live_object(unit, body, manager="kubectl", **metadata)


def cluster(*objects: LiveObject) -> Cluster:
    return cast(Cluster, FakeCluster({o.id: o for o in objects}, kinds=KINDS))


SPACE = applied(only(desired(SPEC, manifest("Namespace", "web"))))
ROWS = {
    "nothing": ((), ""),
    "what Kubernetes puts into every namespace": (
        (inside("ConfigMap", "kube-root-ca.crt"), inside("ServiceAccount", "default")),
        "",
    ),
    "what a controller made for something else": ((inside("ConfigMap", "x", ownerReferences=[{"kind": "A"}]),), ""),
    "what is on its way out": ((inside("ConfigMap", "x", deletionTimestamp="2030-01-01T00:00:00Z"),), ""),
    "news about other objects": ((inside("Event", "x"),), ""),
    "another namespace's": ((inside("ConfigMap", "x", "other"),), ""),
    "somebody's property": ((inside("ServiceAccount", "robot"),), "ServiceAccount/web/robot"),
    "a ConfigMap of that name, but not that kind": (
        (inside("ServiceAccount", "kube-root-ca.crt"),),
        "ServiceAccount/web/kube-root-ca.crt",
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_would_go_along_with_a_namespace(row: str) -> None:
    objects, found = ROWS[row]
    assert content(cluster(*objects), SPACE) == found


def test_what_would_go_along_with_a_definition() -> None:
    definition = applied(only(desired(SPEC, crd("Widget"))))
    unit = UnitId("default", "example.org", "Widget", "web", "w")
    widget = live_object(unit, manifest("Widget.example.org", "w"))
    assert content(cluster(), definition) == ""
    assert content(cluster(widget), definition) == "Widget.example.org/web/w"


def test_other_kinds_contain_nothing_and_nobody_is_asked() -> None:
    there = FakeCluster()
    assert content(cast(Cluster, there), inside("ConfigMap", "x")) == ""
    assert there.asked == []


# ---------------------------------------------------------------- sweep

UNIT = only(desired(SPEC, manifest("ConfigMap")))
LIVE = applied(UNIT, version="5")
BASE = baseline(LIVE, UNIT)

MOVED = {
    "as it was applied": (BASE, LIVE, False),
    "written since": (BASE, applied(UNIT, version="6"), True),
    "another object of that name": (BASE, applied(UNIT, uid="other", version="5"), True),
    "gone, or its label taken off": (BASE, None, True),
    "known from its marks alone": (replace(BASE, digest=""), LIVE, True),
}


@pytest.mark.parametrize("row", MOVED)
def test_who_deserves_a_closer_look(row: str) -> None:
    base, live, suspect = MOVED[row]
    assert moved({UNIT.id: base}, {UNIT.id: live} if live else {}) == ({UNIT.id} if suspect else set())


def test_each_cluster_is_asked_for_its_own_kinds_alone() -> None:
    other = replace(BASE, unit=UNIT.id._replace(cluster="other"))
    here, there = FakeCluster({LIVE.id: LIVE}), FakeCluster()
    clusters = {"default": cast(Cluster, here), "other": cast(Cluster, there)}
    assert suspicious(clusters, APPLYSETS, {UNIT.id: BASE, other.unit: other}) == {other.unit}


def test_a_cluster_that_cannot_be_asked_has_not_drifted() -> None:
    class Away(FakeCluster):
        def members(self, applyset: str, group_kinds: Any) -> tuple[LiveObject, ...]:
            raise EnvironmentFault("away")

    with pytest.raises(EnvironmentFault):
        suspicious({"default": cast(Cluster, Away())}, APPLYSETS, {UNIT.id: BASE})
