"""Paths to fields: what people write, and what a difference shows, are the same language."""

from __future__ import annotations

from typing import Any

import pytest

from gitopsd.kinds.paths import child, element, find_element, natural_keys, parse_path, split_paths


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("spec.replicas", ("spec", "replicas")),
        ("spec.template.spec.containers[app].image", ("spec", "template", "spec", "containers", "app", "image")),
        ("metadata.annotations[foo.io/bar]", ("metadata", "annotations", "foo.io/bar")),
        ("metadata.annotations.team", ("metadata", "annotations", "team")),
        ("data[a.b.c]", ("data", "a.b.c")),
        ("data.key", ("data", "key")),
        ("spec.ports[80/TCP].nodePort", ("spec", "ports", "80/TCP", "nodePort")),
        ("webhooks[0][x]", ("webhooks", "0", "x")),
    ],
)
def test_a_path_is_read(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    "text", ["", ".", ".spec", "spec.", "spec..x", "a[b", "a]b", "a[]", "a[b]c", "a b", "[", "/x y"]
)
def test_what_is_no_path_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(text)


def test_a_list_of_paths_keeps_commas_in_brackets() -> None:
    assert split_paths(" spec.replicas ,data[a,b],, data.c") == ("spec.replicas", "data[a,b]", "data.c")
    assert split_paths("") == ()


def test_a_path_that_is_shown_can_be_written() -> None:
    shown = child(element(child(child("", "spec"), "containers"), "app"), "a.b/c")
    assert shown == "spec.containers[app][a.b/c]"
    assert parse_path(shown) == ("spec", "containers", "app", "a.b/c")


@pytest.mark.parametrize(
    ("items", "names"),
    [
        ([{"name": "a"}, {"name": "b"}], ("name",)),
        ([{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}], ("containerPort", "protocol")),
        ([{"port": 80, "targetPort": 1}, {"port": 81}], ("port", "protocol")),
        ([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}], ("mountPath",)),
        ([{"type": "Ready"}, {"type": "Stalled"}], ("type",)),
        ([{"key": "a"}, {"key": "b"}], ("key",)),
        ([{"key": "a", "value": 1}, {"key": "a", "value": 2}], None),
        ([{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}], None),
        ([{"name": "a"}, {}], None),
        ([{"name": "a"}, "text"], None),
        (["a", "b"], None),
        ([], None),
    ],
)
def test_elements_are_told_apart_by_what_the_server_tells_them_apart_by(items: Any, names: Any) -> None:
    assert natural_keys(items) == names


@pytest.mark.parametrize(
    ("items", "segment", "index"),
    [
        ([{"name": "a"}, {"name": "b"}], "b", 1),
        ([{"name": "a"}, {"name": "b"}], "1", None),
        ([{"containerPort": 80, "name": "http"}, {"containerPort": 81, "name": "m"}], "81", 1),
        ([{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}], "80/UDP", 1),
        (["x", "y"], "y", 1),
        (["x", "y"], "1", 1),
        (["x", "y"], "2", None),
        ([{"a": 1}, {"b": 2}], "0", 0),
        ([], "0", None),
    ],
)
def test_an_element_is_found_by_its_key_or_its_index(items: Any, segment: str, index: int | None) -> None:
    assert find_element(items, segment) == index
