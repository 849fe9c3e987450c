"""Whose fields these are, and what that means for what is sent. Sets as API servers of 1.36 write them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gitopsd.kinds.fields import (
    autoscaled,
    ignorable,
    keep_ignored,
    overridden,
    own_entry,
    owns_all,
)
from gitopsd.model.live import LiveObject
from tests.unit.kinds.samples import entry, live

APP = 'k:{"name":"app"}'
PORT = 'k:{"containerPort":80,"protocol":"TCP"}'


def _git(**spec: Any) -> dict[str, Any]:
    """A Deployment as in git; `spec` replaces entries of its spec."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api", "namespace": "web", "labels": {"team": "a"}},
        "spec": {
            "replicas": 3,
            "template": {
                "spec": {
                    "containers": [
                        {"name": "app", "image": "x:1", "ports": [{"containerPort": 80}], "args": ["a", "b"]}
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                }
            },
            **spec,
        },
    }


def _owned() -> dict[str, Any]:
    """What an apply of `_git()` owns."""
    return {
        "f:metadata": {"f:labels": {"f:team": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:template": {
                "f:spec": {
                    "f:containers": {
                        APP: {
                            ".": {},
                            "f:name": {},
                            "f:image": {},
                            "f:args": {},
                            "f:ports": {PORT: {".": {}, "f:containerPort": {}}},
                        }
                    },
                    "f:volumes": {'k:{"name":"tmp"}': {".": {}, "f:name": {}, "f:emptyDir": {}}},
                }
            },
        },
    }


def _live(*entries: dict[str, Any], **spec: Any) -> LiveObject:
    body = copy.deepcopy(_git(**spec))
    body["metadata"]["managedFields"] = list(entries)
    return live(body)


def _container(manifest: Any) -> Any:
    return manifest["spec"]["template"]["spec"]["containers"][0]


def _without(fields: dict[str, Any], *path: str) -> dict[str, Any]:
    """The set without what is at a path; what is emptied by that goes too, as on the server."""
    below = _without(fields[path[0]], *path[1:]) if len(path) > 1 else {}
    rest = {step: inner for step, inner in fields.items() if step != path[0]}
    return {**rest, path[0]: below} if below else rest


# ---------------------------------------------------------------- our entry


def test_our_entry_is_the_apply_on_the_object_itself() -> None:
    others = [
        entry("gitopsd", {"f:spec": {}}, operation="Update"),
        entry("gitopsd", {"f:status": {}}, subresource="status"),
        entry("kubectl", {}, operation="Apply"),
    ]
    assert own_entry(_live(*others)) is None
    assert own_entry(_live(*others, entry("gitopsd", {"f:x": {}}, time="t"))) == entry("gitopsd", {"f:x": {}}, time="t")


def test_an_entry_without_time_is_ours_too() -> None:
    assert own_entry(_live(entry("gitopsd", _owned()))) is not None


# ---------------------------------------------------------------- do we own what we set


def test_after_an_apply_we_own_all() -> None:
    assert owns_all(_git(), _live(entry("gitopsd", _owned())))


@pytest.mark.parametrize(
    "lost",
    [
        ("f:spec", "f:replicas"),
        ("f:metadata", "f:labels"),
        ("f:spec", "f:template", "f:spec", "f:containers", APP, "f:image"),
        ("f:spec", "f:template", "f:spec", "f:containers", APP, "f:args"),
        ("f:spec", "f:template", "f:spec", "f:containers", APP, "f:ports", PORT),
        ("f:spec", "f:template", "f:spec", "f:containers", APP),
        ("f:spec", "f:template"),
    ],
    ids=lambda lost: "/".join(lost[-2:]),
)
def test_a_lost_field_is_noticed_though_its_value_is_equal(lost: tuple[str, ...]) -> None:
    assert not owns_all(_git(), _live(entry("gitopsd", _without(_owned(), *lost)), entry("intruder", _owned())))


def test_an_object_that_we_never_applied_is_not_ours_whatever_its_values() -> None:
    assert not owns_all(_git(), _live(entry("kubectl", _owned())))


def test_ownership_under_another_api_version_counts_for_nothing() -> None:
    assert not owns_all(_git(), _live(entry("gitopsd", _owned(), apiVersion="apps/v1beta1")))


def test_empty_maps_and_lists_need_no_owner() -> None:
    manifest = _git(strategy={"rollingUpdate": {}}, hostAliases=[])
    manifest["metadata"]["finalizers"] = []
    manifest["metadata"]["annotations"] = {}
    assert owns_all(manifest, _live(entry("gitopsd", _owned())))


def test_atomic_maps_and_lists_are_owned_as_a_whole() -> None:
    fields: dict[str, Any] = {"f:spec": {"f:selector": {}, "f:rules": {}}}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "X",
        "metadata": {"name": "x"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "rules": [{"verbs": ["get"]}]},
    }
    assert owns_all(
        manifest, live({**manifest, "metadata": {"name": "x", "managedFields": [entry("gitopsd", fields)]}})
    )


def test_two_ports_of_one_number_are_told_apart_by_their_protocol() -> None:
    manifest = _git()
    _container(manifest)["ports"] = [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]
    assert not owns_all(manifest, _live(entry("gitopsd", _owned())))


# ---------------------------------------------------------------- whom we override


def test_the_managers_of_a_value_that_we_change_are_named() -> None:
    image: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:containers": {APP: {"f:image": {}}}}}}}
    found = _live(
        entry("gitopsd", _owned()),
        entry("kubectl-edit", {"f:spec": {"f:replicas": {}}}),
        entry("image-bot", image),
        entry("hpa", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
        entry("labeller", {"f:metadata": {"f:labels": {"f:other": {}}}}),
        replicas=7,
    )
    assert overridden(_git(), found) == ("hpa", "kubectl-edit")
    changed = _git(replicas=7)
    _container(changed)["image"] = "x:2"
    assert overridden(changed, found) == ("image-bot",)
    assert overridden(_git(replicas=7), found) == ()


def test_what_the_manifest_does_not_set_or_the_object_does_not_have_overrides_nobody() -> None:
    found = _live(
        entry(
            "other",
            {
                "f:spec": {
                    "f:paused": {},
                    "f:template": {"f:spec": {"f:containers": {'k:{"name":"side"}': {".": {}, "f:image": {}}}}},
                }
            },
        ),
        paused=True,
    )
    manifest = _git()
    manifest["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "s"})
    assert overridden(manifest, found) == ()


def test_of_a_dry_runs_answer_only_what_we_own_in_it_counts() -> None:
    # A controller may write between the look at the object and the dry run.
    revision: dict[str, Any] = {"f:metadata": {"f:labels": {"f:team": {}, "f:revision": {}}}}
    found, answer = (
        _live(entry("controller", revision)),
        _live(entry("gitopsd", _owned()), entry("controller", revision)),
    )
    found.metadata["labels"].update(team="theirs", revision="1")
    answer.metadata["labels"].update(team="theirs", revision="2")
    assert overridden(answer.body, found) == ()
    answer.metadata["labels"].update(team="ours")
    assert overridden(answer.body, found) == ("controller",)


def test_a_manifest_that_sets_nothing_is_owned_by_nobody_and_that_is_enough() -> None:
    bare = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}, "secrets": []}
    assert owns_all(bare, live(bare))


def test_an_atomic_list_of_another_manager_is_overridden_as_a_whole() -> None:
    args: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:containers": {APP: {"f:args": {}}}}}}}
    manifest = _git()
    _container(manifest)["args"] = ["a"]
    assert overridden(manifest, _live(entry("other", args))) == ("other",)


# ---------------------------------------------------------------- ignored fields

REPLICAS = ("spec.replicas",)


def test_a_new_object_starts_with_what_git_says() -> None:
    assert keep_ignored(_git(), None, REPLICAS) == _git()


def test_a_field_that_is_ours_alone_goes_out_with_its_live_value() -> None:
    # Left out, it would be removed: the server resets replicas to 1.
    sent = keep_ignored(_git(replicas=3), _live(entry("gitopsd", _owned()), replicas=5), REPLICAS)
    assert sent == _git(replicas=5)


def test_a_field_that_has_left_git_is_still_sent_while_it_is_ours_alone() -> None:
    manifest = _git()
    del manifest["spec"]["replicas"]
    assert keep_ignored(manifest, _live(entry("gitopsd", _owned()), replicas=5), REPLICAS) == _git(replicas=5)


@pytest.mark.parametrize("more", [{"subresource": "scale"}, {}])
def test_a_field_is_left_out_once_another_manager_owns_it(more: dict[str, str]) -> None:
    hpa = entry("kube-controller-manager", {"f:spec": {"f:replicas": {}}}, **more)
    for ours in (_owned(), _without(_owned(), "f:spec", "f:replicas")):
        sent = keep_ignored(_git(), _live(entry("gitopsd", ours), hpa, replicas=5), REPLICAS)
        assert "replicas" not in sent["spec"]


def test_a_field_that_nobody_owns_is_left_out() -> None:
    # An autoscaler's /scale of replicas that were never owned leaves no trace in managedFields.
    found = _live(entry("gitopsd", _without(_owned(), "f:spec", "f:replicas")), replicas=5)
    assert "replicas" not in keep_ignored(_git(), found, REPLICAS)["spec"]


def test_a_field_of_a_list_element_is_found_by_the_elements_name() -> None:
    path = ("spec.template.spec.containers[app].image",)
    found = _live(entry("gitopsd", _owned()))
    manifest = _git()
    _container(manifest)["image"] = "x:2"
    assert _container(keep_ignored(manifest, found, path))["image"] == "x:1"
    bot = entry("image-bot", {"f:spec": {"f:template": {"f:spec": {"f:containers": {APP: {"f:image": {}}}}}}})
    kept = keep_ignored(manifest, _live(entry("gitopsd", _owned()), bot), path)
    assert "image" not in _container(kept)
    assert _container(kept)["name"] == "app"


def test_an_element_that_is_not_live_yet_is_sent_as_in_git() -> None:
    manifest = _git()
    manifest["spec"]["template"]["spec"]["containers"].append({"name": "new", "image": "n"})
    assert (
        keep_ignored(manifest, _live(entry("gitopsd", _owned())), ("spec.template.spec.containers[new].image",))
        == manifest
    )


def test_an_element_that_has_left_git_goes_with_its_ignored_field() -> None:
    manifest = _git()
    manifest["spec"]["template"]["spec"]["containers"] = [{"name": "other", "image": "o"}]
    assert (
        keep_ignored(manifest, _live(entry("gitopsd", _owned())), ("spec.template.spec.containers[app].image",))
        == manifest
    )
    del manifest["spec"]["template"]["spec"]["containers"]
    assert (
        keep_ignored(manifest, _live(entry("gitopsd", _owned())), ("spec.template.spec.containers[app].image",))
        == manifest
    )


def test_of_a_map_each_entry_goes_its_own_way() -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "c",
            "managedFields": [
                entry("gitopsd", {"f:data": {"f:mine": {}, "f:shared": {}, "f:gone": {}}}, apiVersion="v1"),
                entry("other", {"f:data": {"f:shared": {}, "f:theirs": {}}}, apiVersion="v1"),
            ],
        },
        "data": {"mine": "live", "shared": "live", "theirs": "live"},
    }
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c"},
        "data": {"mine": "git", "shared": "git"},
    }
    assert keep_ignored(manifest, live(body), ("data",))["data"] == {"mine": "live"}
    assert keep_ignored(manifest, live(body), ("data.shared",))["data"] == {"mine": "git"}
    assert keep_ignored(manifest, live(body), ("data.theirs",)) == manifest


def test_an_annotation_with_dots_and_slashes() -> None:
    manifest = _git()
    fields = {**_owned(), "f:metadata": {"f:annotations": {"f:foo.io/bar": {}}}}
    found = _live(entry("gitopsd", fields))
    assert isinstance(found.body["metadata"], dict)
    found.body["metadata"]["annotations"] = {"foo.io/bar": "live"}
    sent = keep_ignored(manifest, found, ("metadata.annotations[foo.io/bar]",))
    assert sent["metadata"]["annotations"] == {"foo.io/bar": "live"}
    assert "annotations" not in manifest["metadata"]


def test_elements_of_a_list_that_we_share_go_their_own_way() -> None:
    spec: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:containers": {APP: {"f:image": {}}}}}}}
    sent = keep_ignored(
        _git(), _live(entry("gitopsd", _owned()), entry("bot", spec)), ("spec.template.spec.containers",)
    )
    assert sent["spec"]["template"]["spec"]["containers"] == [
        {"name": "app", "ports": [{"containerPort": 80, "protocol": "TCP"}], "args": ["a", "b"]}
    ]


def test_a_part_of_what_we_own_as_a_whole() -> None:
    fields: dict[str, Any] = {"f:spec": {"f:selector": {}}}
    body = {"apiVersion": "v1", "kind": "X", "spec": {"selector": {"a": "live", "b": "live"}}}
    found = live({**body, "metadata": {"name": "x", "managedFields": [entry("gitopsd", fields)]}})
    manifest = {"kind": "X", "spec": {"selector": {"a": "git", "b": "git"}}}
    assert keep_ignored(manifest, found, ("spec.selector.a",))["spec"]["selector"] == {"a": "live", "b": "git"}


@pytest.mark.parametrize(
    "path", ["spec.replicas.x", "spec.template.spec.containers[9].image", "nothing.at.all", "spec.x[0]"]
)
def test_a_path_to_nothing_changes_nothing(path: str) -> None:
    assert keep_ignored(_git(), _live(entry("gitopsd", _owned())), (path,)) == _git()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("spec", True),
        ("metadata.labels", True),
        ("metadata", False),
        ("metadata.name", False),
        ("kind", False),
        ("metadata.namespace", False),
        ("apiVersion", False),
    ],
)
def test_what_identifies_an_object_cannot_be_ignored(path: str, allowed: bool) -> None:
    assert ignorable(path) is allowed


# ---------------------------------------------------------------- autoscaling


def test_targets_of_autoscalers() -> None:
    def hpa(kind: str, target: Any, namespace: str = "web") -> dict[str, Any]:
        return {"kind": kind, "metadata": {"name": "h", "namespace": namespace}, "spec": {"scaleTargetRef": target}}

    found = autoscaled(
        [
            hpa("HorizontalPodAutoscaler", {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}),
            hpa("HorizontalPodAutoscaler", {"kind": "StatefulSet", "name": "db"}, "data"),
            hpa("ScaledObject", {"name": "worker"}),
            hpa("HorizontalPodAutoscaler", {"kind": "Deployment"}),
            hpa("HorizontalPodAutoscaler", "nonsense"),
            hpa("ConfigMap", {"kind": "Deployment", "name": "not"}),
            {"kind": "HorizontalPodAutoscaler", "metadata": None, "spec": None},
        ]
    )
    assert found == {("Deployment", "web", "api"), ("StatefulSet", "data", "db"), ("Deployment", "web", "worker")}
