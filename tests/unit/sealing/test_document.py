"""What a SealedSecret says is checked whole, at its line, before any key is touched; and what it becomes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.model.errors import Cause, CommitError
from gitopsd.model.sensitive import Sensitive
from gitopsd.sealed.document import (
    CLUSTER_WIDE,
    NAMESPACE_WIDE,
    At,
    Scope,
    SealedSecret,
    is_sealed_secret,
    oaep_label,
    read_sealed_secret,
    scope_of,
)
from gitopsd.sealing.envelope import seal
from gitopsd.sealing.opening import NoKeyOpens, open_items
from tests.support.kubeseal import opening_key

KEY = opening_key()
MARKER = b"correct horse battery staple"


def sealed(value: bytes, label: bytes = b"web/db") -> str:
    return base64.b64encode(seal(KEY.private.public_key(), value, label)).decode()


def manifest(items: dict[str, Any] | None = None, template: Any = None, **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"encryptedData": {"password": sealed(MARKER)} if items is None else items}
    spec |= {} if template is None else {"template": template}
    place = {"name": "db", "namespace": "web"} | metadata
    return {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": place, "spec": spec}


def read(value: dict[str, Any], **options: Any) -> SealedSecret:
    return read_sealed_secret(value, At("k8s/db.yaml", 1), **options)


def opened(secret: SealedSecret) -> dict[str, Any]:
    """The Secret, with its data as bytes."""
    found = secret.secret(open_items(secret, [KEY]).items)
    return {**found, "data": {key: base64.b64decode(value.reveal()) for key, value in found["data"].items()}}


# ---------------------------------------------------------------- scopes


@pytest.mark.parametrize(
    ("annotations", "scope"),
    [
        (None, Scope.STRICT),
        ({}, Scope.STRICT),
        ({NAMESPACE_WIDE: "true"}, Scope.NAMESPACE_WIDE),
        ({CLUSTER_WIDE: "true"}, Scope.CLUSTER_WIDE),
        ({CLUSTER_WIDE: "true", NAMESPACE_WIDE: "true"}, Scope.CLUSTER_WIDE),
        ({CLUSTER_WIDE: "True", NAMESPACE_WIDE: "1"}, Scope.STRICT),
        ({CLUSTER_WIDE: "false", NAMESPACE_WIDE: "true"}, Scope.NAMESPACE_WIDE),
    ],
)
def test_the_scope_is_what_the_controller_reads(annotations: dict[str, str] | None, scope: Scope) -> None:
    assert scope_of(annotations) is scope


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_secret_opens_in_its_own_place_alone(data: st.DataObject) -> None:
    names = st.sampled_from(["a", "b", "a-b", "b-a"])
    scopes = st.sampled_from(list(Scope))
    was = (data.draw(scopes), data.draw(names), data.draw(names))
    now = (data.draw(scopes), data.draw(names), data.draw(names))
    annotation = {Scope.CLUSTER_WIDE: CLUSTER_WIDE, Scope.NAMESPACE_WIDE: NAMESPACE_WIDE}.get(now[0])
    place: dict[str, Any] = {"namespace": now[1], "name": now[2]}
    place |= {"annotations": {annotation: "true"}} if annotation else {}
    secret = read(manifest({"k": sealed(MARKER, oaep_label(*was))}, **place))
    if oaep_label(*was) == oaep_label(*now):
        assert opened(secret)["data"] == {"k": MARKER}
    else:
        with pytest.raises(NoKeyOpens):
            open_items(secret, [KEY])


def test_swapped_items_of_another_secret_do_not_open_but_of_the_same_do() -> None:
    """Kubeseal's label names the Secret, not the item: that is the format, and no more is promised."""
    mine, other = sealed(b"1"), sealed(b"2", b"web/other")
    assert opened(read(manifest({"a": mine})))["data"] == {"a": b"1"}
    with pytest.raises(NoKeyOpens) as caught:
        open_items(read(manifest({"a": mine, "b": other})), [KEY])
    assert [problem.field for problem in caught.value.problems] == ["spec.encryptedData.b"]


def test_what_no_key_opens_is_the_environments_fault_and_says_where_and_what_was_tried() -> None:
    text = yaml.safe_dump_all(
        [{"kind": "Other"}, manifest({"a": sealed(MARKER), "b": sealed(MARKER, b"x/y")})]
    ).encode()
    found = list(yaml.safe_load_all(text))[1]
    line = text[: text.index(b"apiVersion: bitnami")].count(b"\n") + 1
    secret = read_sealed_secret(found, At("k8s/db.yaml", line, text))
    with pytest.raises(NoKeyOpens) as caught:
        open_items(secret, [KEY, opening_key(1)])
    (problem,) = caught.value.problems
    assert caught.value.cause is Cause.ENVIRONMENT
    assert (problem.file, problem.field, problem.unit) == ("k8s/db.yaml", "spec.encryptedData.b", "SealedSecret/db")
    assert problem.line == text[: text.index(b"    b: ")].count(b"\n") + 1
    for said in ("strict", "web/db", KEY.fingerprint, opening_key(1).fingerprint):
        assert said in problem.message


def test_without_any_key_that_is_said() -> None:
    with pytest.raises(NoKeyOpens, match="no usable key"):
        open_items(read(manifest()), [])


# ---------------------------------------------------------------- the Secret


def test_the_secret_is_what_the_template_says_in_the_place_of_the_sealed_secret() -> None:
    template = {
        "type": "kubernetes.io/basic-auth",
        "immutable": True,
        "metadata": {
            "name": "elsewhere",
            "namespace": "elsewhere",
            "labels": {"app": "db"},
            "annotations": {"a": "b"},
            "creationTimestamp": None,
            "ownerReferences": [{"uid": "x"}],
        },
    }
    assert opened(read(manifest(template=template))) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": "web", "labels": {"app": "db"}, "annotations": {"a": "b"}},
        "type": "kubernetes.io/basic-auth",
        "immutable": True,
        "data": {"password": MARKER},
    }


def test_labels_of_the_sealed_secret_are_not_those_of_the_secret() -> None:
    assert opened(read(manifest(labels={"app": "x"})))["metadata"] == {"name": "db", "namespace": "web"}


@pytest.mark.parametrize(
    ("data", "becomes"),
    [
        ({}, {"user": b"me", "pass": b"\xff"}),
        ({"url": "db://{{ .user }}@h"}, {"user": b"me", "pass": b"\xff", "url": b"db://me@h"}),
        ({"host": "h", "url": "{{ .user }}@{{ .host }}"}, {"host": b"h", "url": b"me@h"}),
        ({"host": "{{ .user }}", "url": "{{ .host }}"}, {"host": b"me", "url": b"{{ .user }}"}),
        ({"user": None}, {"pass": b"\xff"}),
        ({"user": None, "url": "{{ .user }}"}, {"pass": b"\xff", "url": b"me"}),
        ({"user": "another"}, {"user": b"me", "pass": b"\xff"}),
        ({"raw": "{{ .pass }}"}, {"raw": b"\xff"}),
    ],
)
def test_template_data_is_filled_as_the_controller_fills_it(data: dict[str, Any], becomes: dict[str, bytes]) -> None:
    items = {"user": sealed(b"me"), "pass": sealed(b"\xff")}
    found = opened(read(manifest(items, {"data": data})))["data"]
    assert {key: found[key] for key in becomes} == becomes
    assert ("user" in found) is (data.get("user", "") is not None)


def test_a_namespace_may_come_from_the_component_and_cluster_wide_needs_none() -> None:
    value = manifest()
    del value["metadata"]["namespace"]
    assert opened(read(value, default_namespace="web"))["metadata"]["namespace"] == "web"
    with pytest.raises(CommitError, match="namespace"):
        read(value)
    value = manifest({"k": sealed(b"v", b"")}, annotations={CLUSTER_WIDE: "true"})
    del value["metadata"]["namespace"]
    assert opened(read(value))["metadata"] == {"name": "db"}


def test_lines_inside_of_base64_do_not_matter() -> None:
    text = sealed(b"v")
    assert opened(read(manifest({"k": f"{text[:76]}\n{text[76:]}\r\n"})))["data"] == {"k": b"v"}


def test_the_secret_shows_no_value() -> None:
    secret = read(manifest())
    found = open_items(secret, [KEY])
    shown = f"{secret!r} {found!r} {secret.secret(found.items)!r}"
    with pytest.raises(TypeError):
        json.dumps(secret.secret(found.items))
    for form in (MARKER, base64.b64encode(MARKER)):
        assert form.decode() not in shown


def test_the_digest_changes_with_everything_that_decides_and_only_then() -> None:
    items = {"a": sealed(b"1"), "b": sealed(b"2")}
    first = read(manifest(items)).digest
    assert read(manifest(dict(reversed(items.items())))).digest == first
    assert read_sealed_secret(manifest(items), At("elsewhere.yaml", 7)).digest == first
    others = [
        manifest({"a": items["b"], "b": items["a"]}),
        manifest({"a": items["a"]}),
        manifest(items, name="other"),
        manifest(items, namespace="other"),
        manifest(items, annotations={NAMESPACE_WIDE: "true"}),
        manifest(items, {"type": "x"}),
        manifest(items, {"immutable": False}),
        manifest(items, {"metadata": {"labels": {"a": "b"}}}),
        manifest(items, {"metadata": {"annotations": {"a": "b"}}}),
        manifest(items, {"data": {"c": "x"}}),
        manifest(items, {"data": {"a": None}}),
    ]
    assert len({read(value).digest for value in others} | {first}) == len(others) + 1


# ---------------------------------------------------------------- refused


def without(key: str) -> dict[str, Any]:
    value = manifest()
    del value[key]
    return value


@pytest.mark.parametrize(
    ("value", "field", "said"),
    [
        ({**manifest(), "apiVersion": "bitnami.com/v1"}, "apiVersion", "not known"),
        (without("spec"), "spec", "no spec"),
        ({**manifest(), "spec": []}, "spec", "mapping"),
        (manifest(name=""), "metadata.name", "no name"),
        (manifest(namespace=7), "metadata.namespace", "quotes"),
        (manifest(annotations={CLUSTER_WIDE: True}), f"metadata.annotations.{CLUSTER_WIDE}", "quotes"),
        ({**manifest(), "spec": {"data": "AAAA"}}, "spec.data", "old form"),
        ({**manifest(), "spec": {"encryptedDat": {}}}, "spec.encryptedDat", "unknown"),
        (manifest({"k": "%%%"}), "spec.encryptedData.k", "base64"),
        (manifest({"k": 7}), "spec.encryptedData.k", "base64"),
        (manifest({"k": ""}), "spec.encryptedData.k", "no whole"),
        (manifest({"k": sealed(b"")[:360]}), "spec.encryptedData.k", "no whole"),
        (manifest({"k": base64.b64encode(b"plain" * 100).decode()}), "spec.encryptedData.k", "no whole"),
        (manifest({"a/b": sealed(b"")}), "spec.encryptedData.a/b", "letters"),
        (manifest(template=[]), "spec.template", "mapping"),
        (manifest(template={"stringData": {}}), "spec.template.stringData", "unknown"),
        (manifest(template={"type": 7}), "spec.template.type", "quotes"),
        (manifest(template={"immutable": "yes"}), "spec.template.immutable", "true or false"),
        (manifest(template={"metadata": {"finalizers": []}}), "spec.template.metadata.finalizers", "unknown"),
        (manifest(template={"metadata": {"labels": {"a": 1}}}), "spec.template.metadata.labels.a", "quotes"),
        (manifest(template={"data": {"k": 1}}), "spec.template.data.k", "quotes"),
        (manifest(template={"data": {"k": "{{ .none }}"}}), "spec.template.data.k", "no item 'none'"),
        (manifest(template={"data": {"k": "{{ env }}"}}), "spec.template.data.k", "only {{ .item }}"),
        (manifest(template={"data": {"password": "{{"}}), "spec.template.data.password", "without its"),
    ],
)
def test_what_is_wrong_is_the_commits_fault_at_its_field(value: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(CommitError) as caught:
        read(value)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert said in str(problem)
    assert problem.file == "k8s/db.yaml"
    assert problem.unit.startswith("SealedSecret/")


def test_everything_wrong_is_told_at_once_on_its_line() -> None:
    text = b"""\
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: {name: db, namespace: web}
spec:
  encryptedData:
    a: '%'
    b: AAAA
  template:
    data:
      c: '{{ .x }}'
"""
    with pytest.raises(CommitError) as caught:
        read_sealed_secret(yaml.safe_load(text), At("f", 1, text))
    assert [problem.line for problem in caught.value.problems] == [6, 7, 10]


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret"}, True),
        ({"apiVersion": "bitnami.com/v1", "kind": "SealedSecret"}, True),
        ({"apiVersion": "v1", "kind": "Secret"}, False),
        ({"apiVersion": "example.org/v1", "kind": "SealedSecret"}, False),
        ({"kind": "SealedSecret"}, False),
        ([], False),
        (None, False),
    ],
)
def test_what_is_a_sealed_secret(value: Any, is_one: bool) -> None:
    assert is_sealed_secret(value) is is_one


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def _refusal(value: dict[str, Any]) -> CommitError | None:
    try:
        read(value)
    except CommitError as error:
        return error
    return None


@settings(max_examples=80, deadline=None)
@given(JSON, JSON, JSON)
def test_whatever_stands_there_it_is_read_or_refused_in_words(metadata: Any, spec: Any, template: Any) -> None:
    for said in (
        spec,
        {"encryptedData": spec, "template": template},
        {"template": {"data": template, "metadata": spec}},
    ):
        value = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": metadata, "spec": said}
        refusal = _refusal(value)
        assert refusal is None or refusal.problems


def test_an_opened_value_is_not_serialised_by_accident() -> None:
    with pytest.raises(TypeError):
        json.dumps({"a": Sensitive(b"x")})
