"""An imprint moves with what drift is judged by, and with nothing else; it holds no value of the object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gitopsd.kinds.imprint import imprint_of, without
from gitopsd.kinds.paths import parse_path
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject

WEB = UnitId("default", "apps", "Deployment", "web", "api")
ROLLOUT = "deployment.kubernetes.io/revision"
APP = 'k:{"name":"app"}'
PORT = 'k:{"containerPort":80,"protocol":"TCP"}'
OURS = {
    "f:metadata": {"f:labels": {"f:app": {}}, "f:annotations": {".": {}, "f:note": {}, "f:hash": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:containers": {APP: {".": {}, "f:name": {}, "f:image": {}, "f:ports": {PORT: {".": {}, "f:name": {}}}}}
        },
    },
}


def entry(manager: str, fields: Mapping[str, Any], **more: str) -> dict[str, Any]:
    made = {"manager": manager, "operation": "Update", "apiVersion": "apps/v1", "time": "t1", "fieldsV1": fields}
    return {**made, **more}


def ours(fields: Mapping[str, Any] = OURS, **more: str) -> dict[str, Any]:
    return entry("gitopsd", fields, operation="Apply", **more)


CONTROLLER = entry("kube-controller-manager", {"f:status": {"f:replicas": {}}}, subresource="status")
CLICK = entry("kubectl", {"f:metadata": {"f:annotations": {"f:who": {}}}})


def live(*entries: Mapping[str, Any], labels: Any = None, annotations: Any = None, **more: Any) -> LiveObject:
    metadata = {
        "name": "api",
        "uid": "u1",
        "resourceVersion": "41",
        "generation": 3,
        "labels": {"app": "api", "theirs": "1"} if labels is None else labels,
        "annotations": {"note": "n", "hash": "h", ROLLOUT: "1"} if annotations is None else annotations,
        "managedFields": list(entries) or [ours(), CONTROLLER, CLICK],
        **more,
    }
    return LiveObject(WEB, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})


BASE = imprint_of(live())


def test_what_is_kept_of_an_object() -> None:
    assert (BASE.uid, BASE.version, BASE.generation, BASE.terminating) == ("u1", 41, 3, False)
    who = [who for who, _ in BASE.others]
    assert who == ["kube-controller-manager Update apps/v1 status", "kubectl Update apps/v1 "]
    assert all(len(digest) == 16 for digest in (BASE.own, BASE.marks, *(what for _, what in BASE.others)))


WITHOUT_IMAGE = without(OURS, [parse_path("spec.template.containers[app].image")])


@pytest.mark.parametrize(
    ("entries", "moved"),
    [
        pytest.param([ours(apiVersion="apps/v2"), CONTROLLER, CLICK], {"own"}, id="another version of the API"),
        pytest.param([ours(time="t2"), CONTROLLER, CLICK], {"own"}, id="the same fields, a second later"),
        pytest.param([ours(time=""), CONTROLLER, CLICK], {"own"}, id="adopted: an entry without a time"),
        pytest.param([ours(WITHOUT_IMAGE), CONTROLLER, CLICK], {"own"}, id="a field was taken"),
        pytest.param([CONTROLLER, CLICK], {"own", "marks"}, id="our entry is gone"),
        pytest.param([ours(), CONTROLLER, {**CLICK, "time": "t2"}], {"others"}, id="others, the same a second later"),
        pytest.param(
            [ours(), CONTROLLER, entry("kubectl", {"f:data": {}})], {"others"}, id="others, more within the second"
        ),
        pytest.param([ours(), CONTROLLER], {"others"}, id="an entry of others is gone"),
        pytest.param([CLICK, ours(), CONTROLLER], set(), id="the same in another order"),
        pytest.param(
            [ours(), CONTROLLER, CLICK, entry("gitopsd", {"f:spec": {}})], {"others"}, id="a patch in our name"
        ),
        pytest.param(
            [ours(), CONTROLLER, CLICK, ours({"f:spec": {"f:replicas": {}}}, subresource="scale")],
            {"others"},
            id="an apply of a subresource in our name",
        ),
    ],
)
def test_each_entry_moves_what_it_belongs_to(entries: list[dict[str, Any]], moved: set[str]) -> None:
    now = imprint_of(live(*entries))
    assert {part for part in ("own", "marks", "others") if getattr(now, part) != getattr(BASE, part)} == moved


@pytest.mark.parametrize(
    ("more", "moved"),
    [
        ({"labels": {"app": "other", "theirs": "1"}}, True),
        ({"labels": {"theirs": "1"}}, True),
        ({"labels": {"app": "api", "theirs": "2"}}, False),
        ({"annotations": {"note": "edited", "hash": "h"}}, True),
        ({"annotations": {"note": "n", "hash": "h", ROLLOUT: "2"}}, False),
        ({"labels": {"app": "n"}, "annotations": {"note": "api", "hash": "h"}}, True),
    ],
)
def test_of_labels_and_annotations_those_count_that_we_own(more: dict[str, Any], *, moved: bool) -> None:
    assert (imprint_of(live(**more)).marks != BASE.marks) is moved


@pytest.mark.parametrize(
    ("path", "lost"),
    [
        ("spec.replicas", ("f:spec", "f:replicas")),
        ("spec.template.containers[app].image", ("f:spec", "f:template", "f:containers", APP, "f:image")),
        (
            "spec.template.containers[app].ports[80].name",
            ("f:spec", "f:template", "f:containers", APP, "f:ports", PORT, "f:name"),
        ),
        ("spec.template.containers[app].ports[80/TCP]", ("f:spec", "f:template", "f:containers", APP, "f:ports", PORT)),
        ("metadata.annotations.hash", ("f:metadata", "f:annotations", "f:hash")),
    ],
)
def test_a_field_that_is_left_to_others_may_be_taken(path: str, lost: tuple[str, ...]) -> None:
    """The server takes empty maps above it away, too."""
    left = _drop(OURS, lost)
    others = (CONTROLLER, CLICK)
    before, after = (imprint_of(live(ours(fields), *others), (path,)) for fields in (OURS, left))
    assert left != OURS
    assert (before.own, before.marks) == (after.own, after.marks)
    assert imprint_of(live(ours(left), *others)).own != BASE.own, "not left to others"


@pytest.mark.parametrize(
    ("path", "lost"),
    [
        ("spec.replicas", ("f:spec", "f:template", "f:containers", APP, "f:image")),
        ("spec.template.containers[app].image", ("f:spec", "f:template", "f:containers", APP, "f:ports")),
        ("spec.template.containers[side].image", ("f:spec", "f:template", "f:containers", APP, "f:image")),
        ("spec.template.containers[app].ports[81].name", ("f:spec", "f:template", "f:containers", APP, "f:ports")),
        ("metadata.annotations.hash", ("f:metadata", "f:annotations", "f:note")),
    ],
)
def test_what_stands_beside_a_field_that_is_left_to_others_is_ours(path: str, lost: tuple[str, ...]) -> None:
    before, after = (imprint_of(live(ours(fields)), (path,)) for fields in (OURS, _drop(OURS, lost)))
    assert before.own != after.own


def test_an_annotation_that_is_left_to_others_may_have_any_value() -> None:
    path = ("metadata.annotations.hash",)
    for value, same in (({"note": "n", "hash": "new"}, True), ({"note": "new", "hash": "h"}, False)):
        assert (imprint_of(live(annotations=value), path).marks == imprint_of(live(), path).marks) is same


@pytest.mark.parametrize(("version", "number"), [("41", 41), ("", 0), ("W/41", 0), ("-1", 0)])
def test_a_version_that_is_no_number_cannot_be_compared(version: str, number: int) -> None:
    assert imprint_of(live(resourceVersion=version)).version == number


def test_an_object_without_entries_is_nobody_s() -> None:
    bare = imprint_of(LiveObject(WEB, {"metadata": {"uid": "u1", "resourceVersion": "1"}}))
    assert (bare.own, bare.marks, bare.others, bare.generation) == ("", "", (), 0)


def test_a_deletion_is_seen() -> None:
    assert imprint_of(live(deletionTimestamp="t9")).terminating


def test_who_has_written_is_one_text_for_all_objects() -> None:
    one, other = imprint_of(live()), imprint_of(live(uid="u2"))
    assert all(a is b for (a, _), (b, _) in zip(one.others, other.others, strict=True))


def test_no_value_is_kept() -> None:
    kept = repr(imprint_of(live(annotations={"note": "s3cret", "hash": "h"})))
    assert "s3cret" not in kept


def _drop(fields: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    step, rest = path[0], path[1:]
    if not rest:
        return {key: below for key, below in fields.items() if key != step}
    below = _drop(fields[step], rest)
    kept = dict(fields) | {step: below}
    if not below:
        del kept[step]
    return kept
