"""Drift means owned fields: what others have added is told apart, by manager and path and without values."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gitopsd.kinds.foreign import SHOWN, foreign_additions, writers
from gitopsd.model.live import LiveObject
from gitopsd.model.status import Addition, Writer
from tests.unit.kinds.samples import entry, live

APP = 'k:{"name":"app"}'
SIDECAR = 'k:{"name":"proxy"}'
OURS = {
    "f:metadata": {"f:labels": {"f:team": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:template": {"f:spec": {"f:containers": {APP: {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}}}},
        "f:tolerations": {},
    },
}


def deployment(*entries: dict[str, Any], ours: Any = None) -> LiveObject:
    own = entry("gitopsd", OURS if ours is None else ours)
    metadata = {"name": "api", "namespace": "web", "managedFields": [own, *entries]}
    return live({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})


def container(fields: dict[str, Any], step: str = APP) -> dict[str, Any]:
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": {step: fields}}}}}


PLACE = "spec.template.spec.containers"
ROWS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a container that was injected counts as one": (
        container({".": {}, "f:name": {}, "f:image": {}}, SIDECAR),
        (f"{PLACE}[proxy]",),
    ),
    "a field of a container of ours": (container({"f:command": {}}), (f"{PLACE}[app].command",)),
    "what both own is ours": (container({"f:image": {}}), ()),
    "what lies below a list that we own whole is ours": (
        {"f:spec": {"f:tolerations": {'v:"x"': {}}}},
        (),
    ),
    "annotations are told one by one, in brackets where the key needs them": (
        {"f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}, "f:note": {}}}},
        ("metadata.annotations.note", "metadata.annotations[kubectl.kubernetes.io/restartedAt]"),
    ),
    "an element of a list by several keys": (
        {"f:spec": {"f:ports": {'k:{"port":5433,"protocol":"TCP"}': {".": {}, "f:port": {}}}}},
        ("spec.ports[5433/TCP]",),
    ),
    "an element of a set": ({"f:metadata": {"f:finalizers": {'v:"x/y"': {}}}}, ("metadata.finalizers[x/y]",)),
    "an element by its index": ({"f:spec": {"f:items": {"i:3": {}}}}, ("spec.items[3]",)),
    "a status that a custom kind keeps in the object": ({"f:status": {"f:ready": {}}}, ()),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_others_have_added(name: str) -> None:
    theirs, paths = ROWS[name]
    found = foreign_additions(deployment(entry("injector", theirs, time="2026-11-23T05:00:00Z")))
    assert [a.fields for a in found] == ([paths] if paths else [])
    assert all((a.manager, a.more, a.at) == ("injector", 0, "2026-11-23T05:00:00Z") for a in found)


def test_several_entries_of_one_manager_are_one_addition_with_the_newest_time() -> None:
    one = entry("tool", {"f:spec": {"f:a": {}}}, apiVersion="apps/v1beta1", time="2026-11-23T05:00:00Z")
    other = entry("tool", {"f:spec": {"f:b": {}}}, time="2026-11-23T06:00:00Z")
    third = entry("another", {"f:spec": {"f:a": {}}})
    assert foreign_additions(deployment(one, other, third)) == (
        Addition("another", ("spec.a",)),
        Addition("tool", ("spec.a", "spec.b"), at="2026-11-23T06:00:00Z"),
    )


@pytest.mark.parametrize(
    "theirs",
    [
        entry(
            "kube-controller-manager", {"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}}
        ),
        entry("autoscaler", {"f:spec": {"f:paused": {}}}, subresource="scale"),
        entry("tool", {"f:status": {"f:x": {}}}, subresource="status"),
        entry("gitopsd", {"f:spec": {"f:paused": {}}}, operation="Update"),
        entry("tool", {}),
    ],
)
def test_what_is_nobodys_addition(theirs: dict[str, Any]) -> None:
    assert foreign_additions(deployment(theirs)) == ()


def test_what_is_left_to_others_on_purpose_is_no_addition() -> None:
    theirs = entry("tool", {"f:spec": {"f:replicas": {}, "f:paused": {}}, "f:metadata": {"f:labels": {"f:x": {}}}})
    seen = deployment(theirs, ours={})
    assert [a.fields for a in foreign_additions(seen, ("spec.replicas", "metadata.labels[x]"))] == [("spec.paused",)]


def test_a_field_that_somebody_took_from_us_is_drift_and_no_addition() -> None:
    lost: Any = copy.deepcopy(OURS)
    del lost["f:spec"]["f:replicas"]
    seen = deployment(entry("kubectl-edit", {"f:spec": {"f:replicas": {}, "f:paused": {}}}), ours=lost)
    (found,) = foreign_additions(seen, wanted=deployment())
    assert found.fields == ("spec.paused",)


def test_of_many_paths_a_few_are_kept_and_the_others_counted() -> None:
    theirs: dict[str, Any] = {"f:data": {f"f:key-{number:03}": {} for number in range(SHOWN + 7)}}
    (found,) = foreign_additions(deployment(entry("tool", theirs)))
    assert (found.fields[0], len(found.fields), found.more) == ("data.key-000", SHOWN, 7)


def test_writers_have_the_newest_of_their_times_if_there_is_one() -> None:
    seen = deployment(
        entry("b", {}, time="2026-11-23T05:00:00Z"),
        entry("b", {}, time="2026-11-23T06:00:00Z", subresource="scale"),
        entry("a", {}),
        entry("c", {}, time="2026-11-23T07:00:00Z"),
    )
    assert writers(seen, ["b", "a"]) == (Writer("a"), Writer("b", "2026-11-23T06:00:00Z"))
