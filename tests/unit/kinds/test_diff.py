"""The difference of two objects: complete, readable, the same each time, and silent about Secrets."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.kinds.diff import LAST_APPLIED, diff, same, strip_noise
from gitopsd.kinds.marks import PART_OF_LABEL, TRACKING_ANNOTATION
from gitopsd.model.codec import to_plain
from gitopsd.model.plan import Edit, FieldChange

ADD, REMOVE, REPLACE = Edit.ADD, Edit.REMOVE, Edit.REPLACE


def _spec(before: Any, after: Any) -> list[tuple[Any, ...]]:
    return [(c.path, c.edit, c.before, c.after) for c in diff({"spec": before}, {"spec": after}, secret=False)]


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"replicas": 1}, {"replicas": 2}, [("spec.replicas", REPLACE, 1, 2)]),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": {"d": 2}}}, [("spec.a.c", ADD, None, {"d": 2})]),
        ({"a": None}, {}, [("spec.a", REMOVE, None, None)]),
        ({"on": True}, {"on": 1}, [("spec.on", REPLACE, True, 1)]),
        ({"n": 1}, {"n": 1.0}, []),
        ({"n": "1"}, {"n": 1}, [("spec.n", REPLACE, "1", 1)]),
        ({"x": {"a": 1}}, {"x": [1]}, [("spec.x", REPLACE, {"a": 1}, [1])]),
        (
            {"args": ["a", "b"]},
            {"args": ["a", "c", "d"]},
            [("spec.args[1]", REPLACE, "b", "c"), ("spec.args[2]", ADD, None, "d")],
        ),
        (
            {"containers": [{"name": "app", "image": "x:1"}, {"name": "side", "image": "s"}]},
            {"containers": [{"name": "new", "image": "n"}, {"name": "app", "image": "x:2"}]},
            [
                ("spec.containers[app].image", REPLACE, "x:1", "x:2"),
                ("spec.containers[new]", ADD, None, {"name": "new", "image": "n"}),
                ("spec.containers[side]", REMOVE, {"name": "side", "image": "s"}, None),
            ],
        ),
        (
            {"ports": [{"port": 80, "targetPort": 1}, {"port": 80, "protocol": "UDP"}]},
            {"ports": [{"port": 80, "protocol": "UDP"}, {"port": 80, "protocol": "TCP", "targetPort": 2}]},
            [
                ("spec.ports", REPLACE, ["80/TCP", "80/UDP"], ["80/UDP", "80/TCP"]),
                ("spec.ports[80/TCP].protocol", ADD, None, "TCP"),
                ("spec.ports[80/TCP].targetPort", REPLACE, 1, 2),
            ],
        ),
        (
            {"initContainers": [{"name": "a"}, {"name": "b"}]},
            {"initContainers": [{"name": "b"}, {"name": "a"}]},
            [("spec.initContainers", REPLACE, ["a", "b"], ["b", "a"])],
        ),
        (
            {"rules": [{"verbs": ["get"]}]},
            {"rules": [{"verbs": ["get", "list"]}]},
            [("spec.rules[0].verbs[1]", ADD, None, "list")],
        ),
        ({"tolerations": []}, {"tolerations": [{"key": "a"}]}, [("spec.tolerations[a]", ADD, None, {"key": "a"})]),
    ],
)
def test_what_is_told(before: Any, after: Any, changes: list[Any]) -> None:
    assert _spec(before, after) == changes


def test_keys_that_are_no_words_stand_in_brackets() -> None:
    before, after = (
        {"metadata": {"annotations": {"foo.io/bar": "1"}}},
        {"metadata": {"annotations": {"foo.io/bar": "2"}}},
    )
    assert [c.path for c in diff(before, after, secret=False)] == ["metadata.annotations[foo.io/bar]"]


def test_a_new_and_a_lost_object_are_told_by_section() -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    assert [(c.path, c.edit) for c in diff(None, body, secret=False)] == [(k, ADD) for k in sorted(body)]
    assert [(c.path, c.edit) for c in diff(body, None, secret=False)] == [(k, REMOVE) for k in sorted(body)]


def test_noise_and_our_own_marks_are_no_difference() -> None:
    quiet: dict[str, Any] = {"kind": "ConfigMap", "metadata": {"name": "x", "annotations": {"a": "b"}}, "data": {}}
    loud = copy.deepcopy(quiet)
    loud["status"] = {"x": 1}
    loud["metadata"] |= {
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{}],
        "labels": {PART_OF_LABEL: "s"},
        "annotations": {"a": "b", TRACKING_ANNOTATION: "t"},
    }
    assert diff(quiet, loud, secret=False) == ()
    assert diff(loud, quiet, secret=False) == ()
    assert strip_noise(loud) == quiet


# ---------------------------------------------------------------- Secrets


def _secret(**values: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, **values}


def test_a_secrets_values_are_masked_and_its_keys_named() -> None:
    before = _secret(data={"same": "cXV4", "changed": "c2VjcmV0LW9uZQ==", "gone": "c2VjcmV0LXR3bw=="}, type="Opaque")
    after = _secret(data={"same": "cXV4", "changed": "c2VjcmV0LXRocmVl", "new": "c2VjcmV0LWZvdXI="}, type="Opaque")
    assert diff(before, after, secret=True) == (
        FieldChange("data.changed", REPLACE, masked=True),
        FieldChange("data.gone", REMOVE, masked=True),
        FieldChange("data.new", ADD, masked=True),
    )


def test_a_copy_of_a_secret_in_an_annotation_is_masked() -> None:
    body = _secret(stringData={"a": "x"})
    body["metadata"]["annotations"] = {LAST_APPLIED: '{"data":{"a":"cGFzc3dvcmQ="}}', "team": "web"}
    changes = {c.path: c for c in diff(None, body, secret=True)}
    assert changes[f"metadata.annotations[{LAST_APPLIED}]"].masked
    assert changes["metadata.annotations.team"].after == "web"
    assert changes["stringData.a"].masked


def test_a_secret_is_masked_even_if_the_caller_does_not_know_it_is_one() -> None:
    assert all(c.masked for c in diff(_secret(data={"a": "eA=="}), _secret(data={"a": "eQ=="}), secret=False))


@pytest.mark.parametrize(
    "data", ["hunter2-plain", ["hunter2-plain"], {"a": {"b": "hunter2-plain"}}, {"a": ["hunter2-plain"]}]
)
def test_a_secret_of_the_wrong_shape_is_masked_too(data: Any) -> None:
    for before, after in (
        (None, _secret(data=data)),
        (_secret(data=data), None),
        (_secret(data={"k": "x"}), _secret(data=data)),
    ):
        assert "hunter2" not in repr(diff(before, after, secret=True))


# ---------------------------------------------------------------- properties

_SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "b", "TCP"])
_KEYS = st.sampled_from(["name", "port", "protocol", "a", "b.c", "spec", "key"])
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=10
)
_METADATA = st.dictionaries(st.sampled_from(["name", "uid", "labels", "annotations"]), _JSON, max_size=3)
_MANIFESTS = st.fixed_dictionaries(
    {"kind": st.just("Widget")}, optional={"metadata": _METADATA, "spec": _JSON, "status": _JSON}
)


@given(_MANIFESTS)
def test_nothing_differs_from_itself(manifest: dict[str, Any]) -> None:
    assert diff(manifest, copy.deepcopy(manifest), secret=False) == ()


@given(_MANIFESTS, _MANIFESTS)
def test_without_a_difference_two_objects_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (diff(one, other, secret=False) == ()) == same(strip_noise(one), strip_noise(other))


@given(_JSON, _JSON)
def test_turned_around_it_tells_the_opposite(one: Any, other: Any) -> None:
    opposite = {ADD: REMOVE, REMOVE: ADD, REPLACE: REPLACE}
    forth, back = (diff({"spec": a}, {"spec": b}, secret=False) for a, b in ((one, other), (other, one)))
    assert sorted((c.path, opposite[c.edit]) for c in forth) == sorted((c.path, c.edit) for c in back)


_SECRET_TEXT = st.text("XYZ", min_size=3, max_size=8)
_SECRET_VALUES = st.dictionaries(st.sampled_from(["a", "b", "c.d"]), _SECRET_TEXT, max_size=3)
_SECRETS = st.none() | st.builds(
    lambda data, strings, applied: {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "annotations": {LAST_APPLIED: applied}} if applied else {"name": "s"},
        **({"data": data} if data is not None else {}),
        **({"stringData": strings} if strings is not None else {}),
    },
    st.none() | _SECRET_VALUES,
    st.none() | _SECRET_VALUES,
    st.none() | _SECRET_TEXT,
)


@given(_SECRETS, _SECRETS)
def test_no_value_of_a_secret_is_ever_in_a_difference(
    one: Mapping[str, Any] | None, other: Mapping[str, Any] | None
) -> None:
    changes = diff(one, other, secret=True)
    for shown in (repr(changes), str(to_plain(changes))):
        assert not set("XYZ") & set(shown)
    assert (changes == ()) == same(strip_noise(one or {}), strip_noise(other or {}))
