"""From a Secret to a SealedSecret: everything of it arrives, and nothing of its values in clear."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gitopsd.model.errors import CommitError, UsageError
from gitopsd.model.sensitive import Sensitive
from gitopsd.sealed.document import CLUSTER_WIDE, NAMESPACE_WIDE, At, Scope, read_sealed_secret
from gitopsd.sealing.opening import open_items
from gitopsd.sealing.seal import ToSeal, _shows, placed, read_secrets, sealed_yaml
from gitopsd.yamltext import parse_documents
from tests.support.kubeseal import opening_key, secret

KEY = opening_key()
MARKER = "correct horse battery staple"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def read(manifest: Any) -> ToSeal:
    (found,) = read_secrets(yaml.safe_dump(manifest).encode(), "secret.yaml")
    return found


def opened(text: str) -> dict[str, Any]:
    """The Secret that comes out of it, read as Kubernetes reads it, data as bytes."""
    (document,) = parse_documents(text.encode(), "f")
    sealed = read_sealed_secret(document.value, At())
    made = sealed.secret(open_items(sealed, [KEY]).items)
    return {**made, "data": {key: base64.b64decode(value.reveal()) for key, value in made["data"].items()}}


def sealed(manifest: Any) -> str:
    return sealed_yaml(placed(read(manifest)), KEY.private.public_key())


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[-._a-zA-Z0-9]{1,8}", fullmatch=True), st.binary(max_size=40), min_size=1, max_size=4
    ),
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.sampled_from(["y", "no", "0o14", "1e3", "12:30", "2001-01-01", "~", "null", "db"]),
)
def test_what_goes_in_comes_out(data: dict[str, bytes], labels: dict[str, str], name: str) -> None:
    """Also names and labels that YAML would take for something else than text."""
    assume(not any(_shows(label.encode(), value) for label in labels.values() for value in data.values()))
    ours = ToSeal(name, name, Scope.STRICT, {k: Sensitive(v) for k, v in data.items()}, "t", None, labels)
    made = opened(sealed_yaml(ours, KEY.private.public_key()))
    assert made["data"] == data
    assert made["metadata"].get("labels", {}) == labels
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == (name, name)


def test_data_and_string_data_type_and_metadata_arrive() -> None:
    manifest = secret("db", "web", {"a": b"\xff", "b": b"old"}, type="x/y", immutable=True)
    manifest |= {"stringData": {"b": "new"}}
    manifest["metadata"] |= {"labels": {"l": "1"}, "annotations": {"note": "2"}}
    assert opened(sealed(manifest)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": "web", "labels": {"l": "1"}, "annotations": {"note": "2"}},
        "type": "x/y",
        "immutable": True,
        "data": {"a": b"\xff", "b": b"new"},
    }


def test_what_a_live_secret_drags_along_is_left_behind() -> None:
    manifest = secret("db", "web", {"a": MARKER.encode()})
    manifest["metadata"] |= {
        "annotations": {LAST_APPLIED: f'{{"stringData":{{"a":"{MARKER}"}}}}'},
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-23T00:00:00Z",
        "ownerReferences": [{"uid": "x"}],
    }
    text = sealed(manifest)
    assert opened(text)["metadata"] == {"name": "db", "namespace": "web"}
    for shown in (MARKER, "ownerReferences", "resourceVersion", LAST_APPLIED):
        assert shown not in text


@pytest.mark.parametrize("place", ["annotations", "labels"])
@pytest.mark.parametrize("form", [MARKER, base64.b64encode(MARKER.encode()).decode(), f'{{"a": "{MARKER}"}}'])
def test_a_value_shown_in_the_metadata_is_refused_without_showing_it(place: str, form: str) -> None:
    manifest = secret("db", "web", {"a": MARKER.encode()})
    manifest["metadata"][place] = {"copied": form}
    with pytest.raises(CommitError, match="copied shows the value of item a") as caught:
        sealed(manifest)
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((value, value.decode()) for value in (b"x", b"1234567", b"12345678", b" ")),
        *((value, base64.b64encode(value).decode()) for value in (b"x", b"\xff", b"12345", b"123456")),
        (b"hunter\n", "hunter"),
        (b"x", "eA"),
        (b"12345678", "user=12345678"),
        (b"123456", "user=MTIzNDU2"),
    ],
)
@pytest.mark.parametrize("place", ["annotations", "labels"])
def test_a_value_that_is_the_whole_of_a_label_or_a_good_part_of_it_is_refused(
    place: str, value: bytes, text: str
) -> None:
    manifest = secret("db", "web", {"a": value})
    manifest["metadata"][place] = {"copied": text}
    with pytest.raises(CommitError, match="copied shows the value of item a"):
        sealed(manifest)


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"", ""), (b"", "shop"), (b"\n", ""), (b"1234567", "user=1234567"), (b"12345", "user=MTIzNDU"), (b"ab", "cab")],
)
def test_a_short_value_that_occurs_in_a_longer_text_is_chance(value: bytes, text: str) -> None:
    manifest = secret("db", "web", {"a": value})
    manifest["metadata"]["annotations"] = {"note": text}
    assert opened(sealed(manifest))["metadata"]["annotations"] == {"note": text}


def test_the_annotation_that_says_the_scope_shows_no_value() -> None:
    manifest = secret("db", "web", {"debug": b"true"}, metadata={"annotations": {NAMESPACE_WIDE: "true"}})
    assert opened(sealed(manifest))["data"] == {"debug": b"true"}


@pytest.mark.parametrize(
    ("annotations", "asked", "scope"),
    [
        ({}, None, Scope.STRICT),
        ({NAMESPACE_WIDE: "true"}, None, Scope.NAMESPACE_WIDE),
        ({CLUSTER_WIDE: "true"}, None, Scope.CLUSTER_WIDE),
        ({CLUSTER_WIDE: "true"}, Scope.STRICT, Scope.STRICT),
        ({}, Scope.CLUSTER_WIDE, Scope.CLUSTER_WIDE),
    ],
)
def test_the_scope_is_the_commands_else_that_of_the_annotations(
    annotations: dict[str, str], asked: Scope | None, scope: Scope
) -> None:
    found = placed(read(secret("db", "web", {"a": b"1"}, metadata={"annotations": annotations})), scope=asked)
    text = sealed_yaml(found, KEY.private.public_key())
    assert found.scope is scope
    assert read_sealed_secret(yaml.safe_load(text), At()).scope is scope
    assert (CLUSTER_WIDE in text, NAMESPACE_WIDE in text) == (
        scope is Scope.CLUSTER_WIDE,
        scope is Scope.NAMESPACE_WIDE,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "ConfigMap"}, "no Secret"),
        ({"apiVersion": "v2"}, "no Secret"),
        ({"stringdata": {"a": MARKER}}, "stringdata: unknown in a Secret"),
        ({"data": {"a": MARKER}}, "data.a: a value under data has to be base64"),
        ({"data": {"a": 7}}, "data.a: a value under data has to be base64"),
        ({"data": [MARKER]}, "data: expected a mapping"),
        ({"stringData": {"a": 7}}, "stringData.a: expected text"),
        ({"data": {"a/b": "AA=="}}, "data.a/b: a key of a Secret"),
        ({"immutable": "yes"}, "immutable: expected true or false"),
        ({"type": 7}, "type: expected text"),
        ({"metadata": {"name": 7}}, "metadata.name: expected text"),
    ],
)
def test_what_is_wrong_with_a_secret_is_said_without_its_values(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CommitError) as caught:
        read(secret("db", "web", {"a": b"1"}) | change)
    assert said in str(caught.value)
    assert MARKER not in str(caught.value)
    assert MARKER not in repr(caught.value.problems)


def test_no_secret_at_all_is_said() -> None:
    with pytest.raises(CommitError, match="no Secret"):
        read_secrets(b"# nothing\n", "f")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "other"}, "the command line 'other'"),
        ({"namespace": "other"}, "the command line 'other'"),
    ],
)
def test_a_command_that_contradicts_the_secret_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        placed(read(secret("db", "web", {"a": b"1"})), **options)  # type: ignore[arg-type]


def test_where_it_goes_has_to_be_known() -> None:
    items = {"a": Sensitive(b"1")}
    with pytest.raises(UsageError, match="--name"):
        placed(ToSeal("", "web", Scope.STRICT, items))
    with pytest.raises(UsageError, match="--namespace"):
        placed(ToSeal("db", "", Scope.NAMESPACE_WIDE, items))
    with pytest.raises(UsageError, match="nothing to seal"):
        placed(ToSeal("db", "web", Scope.STRICT, {}))
    assert placed(ToSeal("db", "", Scope.CLUSTER_WIDE, items)).namespace == ""
