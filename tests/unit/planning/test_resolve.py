"""SEMANTICS 2: identity without version, every mistake at once, with file and line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.errors import CommitError, EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Resource
from gitopsd.model.units import Manifest
from gitopsd.planning.resolve import resolve
from tests.unit.planning.samples import REVISION, catalog, component, crd, desired, document, manifest, only, stack


def bare(kind: str, name: str = "x", **body: Any) -> dict[str, Any]:
    return manifest(kind, name, "", **body)


@pytest.mark.parametrize(
    ("body", "namespace", "expected"),
    [
        (bare("ConfigMap"), "", "ConfigMap/default/x"),
        (bare("ConfigMap"), "team", "ConfigMap/team/x"),
        (manifest("ConfigMap"), "team", "ConfigMap/web/x"),
        (bare("Namespace"), "team", "Namespace/x"),
    ],
)
def test_the_namespace_is_the_objects_own_or_its_components_or_default(
    body: Manifest, namespace: str, expected: str
) -> None:
    unit = only(desired(stack(component(namespace=namespace)), body))
    assert str(unit.id) == expected
    assert unit.manifest["metadata"].get("namespace", "") == unit.id.namespace


def test_a_namespace_on_an_object_that_has_none_is_dropped() -> None:
    body = bare("ClusterRole")
    body["metadata"]["namespace"] = "web"
    unit = only(desired(stack(), body))
    assert str(unit.id) == "ClusterRole.rbac.authorization.k8s.io/x"
    assert "namespace" not in unit.manifest["metadata"]


def test_a_kind_is_what_a_definition_in_the_same_commit_says_it_is() -> None:
    definition = crd("Widget")
    definition["spec"]["scope"] = "Cluster"
    units = desired(stack(), definition, manifest("Widget.example.org", "w")).units
    assert UnitId("default", "example.org", "Widget", "", "w") in units


def test_a_kind_that_the_cluster_serves_has_the_scope_that_the_cluster_says() -> None:
    served = catalog(Resource("example.org", "Widget", "widgets", False, ("v1",)))
    wanted = resolve(stack(), REVISION, "d", [document(manifest("Widget.example.org", "w"))], {"default": served})
    assert [str(u) for u in wanted.units] == ["Widget.example.org/w"]


def test_a_new_version_may_come_with_its_definition_in_the_same_commit() -> None:
    served = catalog(Resource("example.org", "Widget", "widgets", True, ("v1",)))
    definition = crd("Widget")
    definition["spec"]["versions"].append({"name": "v2", "served": True, "storage": False})
    body = {**manifest("Widget.example.org", "w"), "apiVersion": "example.org/v2"}
    wanted = resolve(stack(), REVISION, "d", [document(definition), document(body)], {"default": served})
    assert UnitId("default", "example.org", "Widget", "web", "w") in wanted.units


@pytest.mark.parametrize(
    ("api_version", "kind", "words"),
    [
        ("example.org/v1", "Widget", ["Kind Widget of example.org/v1", "CustomResourceDefinition"]),
        ("apps/v1beta1", "Deployment", ["Deployment of apps/v1beta1", "it has v1"]),
        ("v1", "Deployment", ["Deployment of v1", "spelling"]),
    ],
)
def test_a_kind_that_nobody_serves_or_brings_blocks_and_is_not_the_commits_fault(
    api_version: str, kind: str, words: list[str]
) -> None:
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}}
    with pytest.raises(EnvironmentFault) as error:
        desired(stack(), document(body, file="k8s/app/x.yaml", line=8))
    text = str(error.value)
    assert text.startswith("k8s/app/x.yaml:8")
    assert all(word in text for word in ["cluster default", *words]), text


def test_without_a_catalog_unknown_kinds_are_taken_as_they_are() -> None:
    wanted = resolve(stack(), REVISION, "d", [document(manifest("Odd.example.org", "o"))], {})
    assert [str(u) for u in wanted.units] == ["Odd.example.org/web/o"]


def test_every_mistake_is_told_at_once_with_its_place() -> None:
    spec = stack(component("a"), component("b", depends_on=("nobody",)))
    documents = [
        document({"kind": "ConfigMap", "metadata": {"name": "x"}}, "a", "a.yaml", 1),
        document({"apiVersion": "v1", "kind": "ConfigMap"}, "a", "a.yaml", 5),
        document({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}}, "a", "a.yaml", 9),
        document(manifest("ConfigMap", "bad", annotations={"gitopsd.io/wave": "soon"}), "a", "a.yaml", 13),
        document(manifest("Secret", "numbers", stringData={"port": 80}), "a", "a.yaml", 17),
        document(manifest("ConfigMap", "twice"), "a", "a.yaml", 21),
        document(manifest("ConfigMap", "twice"), "b", "b.yaml", 2),
        document(manifest("Widget.example.org", "unserved"), "b", "b.yaml", 8),
    ]
    with pytest.raises(CommitError) as error:
        desired(spec, *documents)
    found = {(p.file, p.line): str(p) for p in error.value.problems}
    assert set(found) == {*(("a.yaml", n) for n in (1, 5, 9, 13, 17)), ("b.yaml", 2), ("gitopsd.yaml", 11)}
    assert "apiVersion" in found["a.yaml", 1]
    assert "generateName" in found["a.yaml", 9]
    assert "ConfigMap/web/bad" in found["a.yaml", 13]
    assert "stringData.port" in found["a.yaml", 17]
    assert "a.yaml:21" in found["b.yaml", 2]
    assert "components a and b" in found["b.yaml", 2]


@pytest.mark.parametrize("where", ["metadata", "labels", "annotations", "name", "namespace", "kind"])
@pytest.mark.parametrize("value", [None, 7, ["list"]])
def test_no_shape_of_a_document_gives_anything_but_a_unit_or_a_problem(where: str, value: Any) -> None:
    body = manifest("ConfigMap")
    target = body if where in {"metadata", "kind"} else body["metadata"]
    target[where] = value
    assert _outcome(body) in {"ConfigMap/web/x", "ConfigMap/default/x", "k8s/app/all.yaml:1"}


def _outcome(body: Manifest) -> str:
    """The unit that comes of a document, or the place that its problem names."""
    try:
        return str(only(desired(stack(), body)).id)
    except (CommitError, EnvironmentFault) as error:
        (place,) = {f"{p.file}:{p.line}" for p in error.problems}
        return place


def test_the_same_name_in_two_clusters_is_two_units() -> None:
    spec = stack(component("a"), component("b", cluster="other"))
    wanted = desired(spec, document(manifest("ConfigMap"), "a"), document(manifest("ConfigMap"), "b"))
    assert [str(u) for u in wanted.units] == ["ConfigMap/web/x", "other:ConfigMap/web/x"]


def test_the_digest_is_of_the_whole_wish_and_of_nothing_else() -> None:
    body = manifest("ConfigMap", data={"a": "1"})
    same = {**body, "status": {}, "metadata": {**body["metadata"], "creationTimestamp": None}}
    digest = only(desired(stack(), body)).digest
    assert only(desired(stack(component(wave=3)), document(same, line=99))).digest == digest
    other = manifest("ConfigMap", data={"a": "1"}, annotations={"gitopsd.io/prune": "disabled"})
    assert only(desired(stack(), other)).digest != digest
    assert only(desired(stack(component(adopt=("helm",))), body)).digest != digest


@given(st.permutations([manifest("ConfigMap", n) for n in "abcd"] + [crd("Widget"), manifest("Widget.example.org")]))
def test_the_order_of_documents_is_irrelevant(documents: list[Manifest]) -> None:
    placed = [document(d, line=1) for d in documents]
    first = desired(stack(), *sorted(placed, key=lambda d: str(d.manifest)))
    again = desired(stack(), *placed)
    assert again == first
    assert list(again.units) == list(first.units)
