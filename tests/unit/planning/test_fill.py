"""SEMANTICS 2 and 14: outputs take the place of declared names in scalars; sensitive ones in a Secret's texts alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.errors import CommitError
from gitopsd.model.modules import Output, OutputRef, Outputs
from gitopsd.model.sensitive import Sensitive
from gitopsd.model.spec import StackSpec, TerraformComponent
from gitopsd.model.units import KubernetesUnit
from gitopsd.planning.fill import Lacking, fill, filled_digest
from gitopsd.planning.resolve import resolve
from tests.unit.planning.samples import REVISION, component, document, manifest, only, stack

NAMES = ("host", "port", "ratio", "on", "names", "tags", "nothing", "password", "gone")
VALUES = {name: OutputRef("net", name) for name in NAMES}
KNOWN: dict[str, Any] = {
    "host": "db.example",
    "port": 5432,
    "ratio": 0.5,
    "on": True,
    "names": ["a", "b"],
    "tags": {"k": "v"},
    "nothing": None,
}


def outputs(**values: Any) -> Outputs:
    found: dict[OutputRef, Output] = {}
    for name, value in (KNOWN | {"password": Sensitive("hunter2")} | values).items():
        shown = value.reveal() if isinstance(value, Sensitive) else value
        found[VALUES[name]] = Output(json.dumps(shown), value, sensitive=isinstance(value, Sensitive))
    return found


def unit(body: Any, **values: OutputRef) -> KubernetesUnit:
    spec = stack(component(values=values or VALUES), TerraformComponent("net", "infra/net"))
    return resolved(spec, body)


def without_values(body: Any) -> KubernetesUnit:
    return resolved(stack(), body)


def resolved(spec: StackSpec, body: Any) -> KubernetesUnit:
    return only(resolve(spec, REVISION, "digest", [document(body, line=7)], {}))


def filled(body: Any, known: Outputs | None = None, **values: OutputRef) -> Any:
    found = fill(unit(body, **values), outputs() if known is None else known)
    assert isinstance(found, KubernetesUnit), found
    assert not found.values
    return found.manifest


def faults(body: Any, known: Outputs | None = None) -> list[str]:
    with pytest.raises(CommitError) as caught:
        fill(unit(body), outputs() if known is None else known)
    return [str(problem) for problem in caught.value.problems]


# ---------------------------------------------------------------- what takes the place of what


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${host}", "db.example"),
        ("${port}", 5432),
        ("${ratio}", 0.5),
        ("${on}", True),
        ("${names}", ["a", "b"]),
        ("${tags}", {"k": "v"}),
        ("${nothing}", None),
        (" ${port}", " 5432"),
        ("${host}:${port}", "db.example:5432"),
        ("r=${ratio} o=${on}", "r=0.5 o=true"),
        ("$${host}", "${host}"),
        ("$${host} is ${host}", "${host} is db.example"),
        ("$$${host}", "$${host}"),
        ("${host}$${port}${port}", "db.example${port}5432"),
        ("${other} ${host}", "${other} db.example"),
        ("$${other} ${host}", "$${other} db.example"),
        ("${host }${ host}$host${host-x}${}", "${host }${ host}$host${host-x}${}"),
        ("${host", "${host"),
    ],
)
def test_a_scalar_takes_the_outputs_type_and_a_text_takes_its_text(text: str, value: Any) -> None:
    body = manifest("Widget.example.org", spec={"field": text, "list": [{"deep": [text]}]})
    assert filled(body)["spec"] == {"field": value, "list": [{"deep": [value]}]}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (manifest("ConfigMap", data={"a": "${port}"}), ("data", "a")),
        (manifest("ConfigMap", labels={"a": "${port}"}), ("metadata", "labels", "a")),
        (manifest("Widget.example.org", annotations={"a": "${port}"}), ("metadata", "annotations", "a")),
        (
            manifest("Service", spec={"selector": {"a": "x"}, "nodeSelector": {"a": "${port}"}}),
            ("spec", "nodeSelector", "a"),
        ),
        (manifest("Pod", spec={"containers": [{"args": ["${port}"]}]}), ("spec", "containers", 0, "args", 0)),
        (
            manifest("Pod", spec={"containers": [{"env": [{"name": "P", "value": "${port}"}]}]}),
            ("spec", "containers", 0, "env", 0, "value"),
        ),
    ],
)
def test_a_number_becomes_text_where_kubernetes_takes_nothing_else(body: Any, path: tuple[Any, ...]) -> None:
    found: Any = filled(body)
    for step in path:
        found = found[step]
    assert found == "5432"


def test_a_number_stays_one_where_kubernetes_takes_numbers() -> None:
    body = manifest("Service", spec={"ports": [{"port": "${port}", "name": "p${port}"}]})
    assert filled(body)["spec"]["ports"] == [{"port": 5432, "name": "p5432"}]


def test_keys_are_left_alone() -> None:
    body = manifest("ConfigMap", data={"${host}": "${host}"})
    assert filled(body)["data"] == {"${host}": "db.example"}


def test_what_an_output_says_is_not_read_again() -> None:
    body = manifest("ConfigMap", data={"a": "${host}", "b": "<${host}>"})
    assert filled(body, outputs(host="${port} $${port}"))["data"] == {
        "a": "${port} $${port}",
        "b": "<${port} $${port}>",
    }


def test_a_null_takes_a_field_away_as_it_does_in_a_manifest() -> None:
    assert filled(manifest("Service", spec={"type": "${nothing}", "clusterIP": "None"}))["spec"] == {
        "clusterIP": "None"
    }


def test_a_unit_without_values_is_as_it_was() -> None:
    body = manifest("ConfigMap", data={"a": "${other} $${other}"})
    assert unit(body) == without_values(body)
    assert fill(unit(body), {}) == unit(body)
    assert filled_digest(unit(body), {}) == unit(body).digest


def test_an_escaped_name_is_unescaped_also_where_nothing_is_filled() -> None:
    found = unit(manifest("ConfigMap", data={"a": "$${host}", "b": "$${other}"}))
    assert found.values == {}
    assert found.manifest["data"] == {"a": "${host}", "b": "$${other}"}
    assert fill(found, outputs()) == found


def test_only_names_that_stand_in_it_are_a_units_values() -> None:
    body = manifest("ConfigMap", data={"a": "${host} $${port}"})
    body["status"] = {"seen": "${ratio}"}
    found = unit(body)
    assert found.values == {"host": OutputRef("net", "host")}
    assert filled(body)["data"] == {"a": "db.example ${port}"}


# ---------------------------------------------------------------- where nothing can stand


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({**manifest("ConfigMap"), "apiVersion": "${host}"}, "apiVersion: ${host} cannot stand here: which object"),
        ({**manifest("ConfigMap"), "kind": "Config${host}"}, "kind: ${host} cannot stand here: which object"),
        (manifest("ConfigMap", "x-${port}"), "metadata.name: ${port} cannot stand here: which object"),
        (manifest("ConfigMap", "x", "${host}"), "metadata.namespace: ${host} cannot stand here: which object"),
        (
            manifest("ConfigMap", annotations={"gitopsd.io/ignore": "data.${host}"}),
            "metadata.annotations[gitopsd.io/ignore]: ${host} cannot stand here: gitopsd reads",
        ),
        (
            manifest("ConfigMap", annotations={"argocd.argoproj.io/sync-wave": "${port}"}),
            "metadata.annotations[argocd.argoproj.io/sync-wave]: ${port} cannot stand here: gitopsd reads",
        ),
        (manifest("Secret", data={"a.b": "${host}"}), "data[a.b]: ${host} cannot stand in base64 (use stringData)"),
        (manifest("ConfigMap", binaryData={"a": "${host}"}), "binaryData.a: ${host} cannot stand in base64 (use data)"),
    ],
)
def test_a_value_that_cannot_wait_is_an_error_of_the_manifest_with_its_place(body: Any, told: str) -> None:
    with pytest.raises(CommitError) as caught:
        unit(body)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("k8s/app/all.yaml", 7)
    assert told in str(problem)


def test_an_escaped_name_in_a_name_is_only_text() -> None:
    assert unit(manifest("ClusterRole", "a-$${host}")).id.name == "a-${host}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<${names}>", "the output net.names is a list, and only a text can stand here"),
        ("<${tags}>", "the output net.tags is an object, and only a text can stand here"),
        ("<${nothing}>", "the output net.nothing is null, and only a text can stand here"),
    ],
)
def test_what_is_no_text_cannot_stand_in_one(text: str, told: str) -> None:
    (fault,) = faults(manifest("Widget.example.org", spec={"a": text}))
    assert fault.startswith(f"k8s/app/all.yaml:7: Widget.example.org/web/x: spec.a: {told}")
    (fault,) = faults(manifest("ConfigMap", data={"a": text.strip("<>")}))
    assert "data.a" in fault


# ---------------------------------------------------------------- sensitive outputs


def secret(**texts: str) -> dict[str, Any]:
    return manifest("Secret", stringData=texts)


def plain(data: Any) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_a_secrets_texts_become_base64_only_with_their_values_in_them() -> None:
    body = secret(url="pg://app:${password}@${host}:${port}", port="${port}", note="$${host}", as_is="${other}")
    body["data"] = {"url": "bm8=", "kept": "eWVz"}
    found = filled(body)
    assert "stringData" not in found
    assert plain(found["data"]) == {
        "url": "pg://app:hunter2@db.example:5432",
        "port": "5432",
        "note": "${host}",
        "as_is": "${other}",
        "kept": "yes",
    }


def test_the_unfilled_secret_keeps_its_texts_that_wait() -> None:
    found = unit(secret(a="${password}", b="ready", c="$${port}"))
    assert found.manifest["stringData"] == {"a": "${password}"}
    assert plain(found.manifest["data"]) == {"b": "ready", "c": "${port}"}


def test_a_text_of_a_secret_that_is_none_is_told_although_others_wait() -> None:
    with pytest.raises(CommitError, match=r"stringData\.b: must be text"):
        unit({**secret(a="${password}"), "stringData": {"a": "${password}", "b": 5}})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (manifest("ConfigMap", data={"a": "x${password}"}), "data.a"),
        (manifest("Secret", annotations={"a": "${password}"}), "metadata.annotations.a"),
        (manifest("Widget.example.org", spec={"a": [{"b": "${password}"}]}), "spec.a[0].b"),
        ({**manifest("Secret.example.org"), "stringData": {"a": "${password}"}}, "stringData.a"),
    ],
)
@pytest.mark.parametrize("value", [Sensitive("hunter2"), None])
def test_a_sensitive_output_may_stand_in_a_secrets_texts_alone(body: Any, field: str, value: Any) -> None:
    known = {**outputs(), VALUES["password"]: Output("digest", value, sensitive=True)}
    (fault,) = faults(body, known)
    assert f"{field}: the output net.password is sensitive" in fault
    assert fault.startswith("k8s/app/all.yaml:7")
    assert "hunter2" not in fault


def test_a_sensitive_list_in_a_text_is_told_without_its_value() -> None:
    (fault,) = faults(secret(a="${password}"), outputs(password=Sensitive(["hunter2"])))
    assert "the output net.password is a list" in fault
    assert "hunter2" not in fault


# ---------------------------------------------------------------- what is not known yet


def test_what_is_lacking_is_told_apart_by_how_it_can_be_had() -> None:
    body = secret(a="${password}${host}${gone}")
    unread = Output("digest", None, sensitive=True)
    host, password, gone = VALUES["host"], VALUES["password"], VALUES["gone"]
    known = {ref: output for ref, output in outputs().items() if ref != host}
    assert fill(unit(body), known) == Lacking(unknown=(gone, host))
    assert fill(unit(body), {**known, password: unread}) == Lacking((gone, host), (password,))
    complete = {**outputs(gone="x"), password: unread}
    assert fill(unit(body), complete) == Lacking(unread=(password,))


def test_the_digest_is_of_the_template_and_the_outputs_digests() -> None:
    body = secret(a="${password}${host}")
    unread = {**outputs(), VALUES["password"]: Output('"hunter2"', None, sensitive=True)}
    digest = filled_digest(unit(body), outputs())
    found = fill(unit(body), outputs())
    assert isinstance(found, KubernetesUnit)
    assert digest == found.digest == filled_digest(found, {})
    assert filled_digest(unit(body), unread) == digest, "nobody has to read a sensitive value to see that"
    assert filled_digest(unit(body), {}) is None
    others = [
        filled_digest(unit(body), outputs(host="other")),
        filled_digest(unit(body), outputs(password=Sensitive("other"))),
        filled_digest(unit(secret(a="${password}${host} ")), outputs()),
        filled_digest(unit(body, host=OutputRef("net", "ratio"), password=VALUES["password"]), outputs()),
        unit(body).digest,
    ]
    assert len({digest, *others}) == 6
    assert filled_digest(unit(body), outputs(port=1)) == digest, "an output that does not stand in it"


# ---------------------------------------------------------------- properties

PIECES = st.sampled_from(["${host}", "${port}", "$${host}", "$${port}", "$", "{", "}", "${other}", "$${other}", "a"])
TEXTS = st.lists(PIECES, max_size=6).map("".join)
BODIES = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def of(spec: Any) -> KubernetesUnit:
    return unit(manifest("Widget.example.org", spec={"body": spec}), host=VALUES["host"], port=VALUES["port"])


@given(BODIES)
def test_filling_twice_is_filling_once(body: Any) -> None:
    once = fill(of(body), outputs())
    assert isinstance(once, KubernetesUnit)
    assert fill(once, outputs()) == once
    assert fill(once, {}) == once


@given(TEXTS)
def test_only_declared_names_change_and_all_of_them_do(text: str) -> None:
    found = fill(of({"x": text, "y": [text]}), outputs(port="5432"))
    assert isinstance(found, KubernetesUnit)
    marks = text.replace("$${host}", "\1").replace("$${port}", "\2")
    expected = marks.replace("${host}", "db.example").replace("${port}", "5432")
    expected = expected.replace("\1", "${host}").replace("\2", "${port}")
    assert found.manifest["spec"]["body"] == {"x": expected, "y": [expected]}


@given(BODIES)
def test_without_a_declared_name_nothing_changes_but_escapes(body: Any) -> None:
    named = manifest("Widget.example.org", spec={"body": body})
    assert unit(named, elsewhere=VALUES["host"]) == without_values(named)


@given(st.permutations(list(VALUES.items())), st.permutations(sorted(KNOWN)))
def test_the_order_of_names_and_outputs_is_irrelevant(values: list[tuple[str, OutputRef]], known: list[str]) -> None:
    body = manifest("Widget.example.org", spec={name: f"${{{name}}}" for name in KNOWN})
    first = fill(unit(body), outputs())
    again = fill(unit(body, **dict(values)), {VALUES[name]: outputs()[VALUES[name]] for name in known})
    assert isinstance(first, KubernetesUnit)
    assert again == first
