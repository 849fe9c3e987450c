"""What refusals mean, by table. The bodies are those of a real API server (1.36)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.cluster.errors import (
    LONGEST,
    Refusal,
    Trouble,
    absence,
    fields_in,
    meaning,
    read_refusal,
    readable,
    rejection,
    safe_message,
    warnings,
)
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, RejectionKind

UNIT = UnitId("default", "apps", "Deployment", "web", "api")
SECRET = UnitId("default", "", "Secret", "web", "s")


def status(code: int, reason: str = "", message: str = "", **details: Any) -> dict[str, Any]:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code}
    if reason:
        body["reason"] = reason
    if details:
        body["details"] = details
    return body


NAMESPACE_GONE = status(404, "NotFound", 'namespaces "x" not found', name="x", kind="namespaces")
TERMINATING = status(
    403,
    "Forbidden",
    'configmaps "a" is forbidden: unable to create new content in namespace x because it is being terminated',
    name="a",
    kind="configmaps",
    causes=[
        {"reason": "NamespaceTerminating", "message": "namespace x is being terminated", "field": "metadata.namespace"}
    ],
)
SCHEMA = status(
    500,
    message="failed to create typed patch object (web/api; apps/v1, Kind=Deployment): errors:\n"
    "  .spec.replcas: field not declared in schema\n"
    '  .spec.template.spec.containers: duplicate entries for key [name="A"]',
)
WEBHOOK_DOWN = status(
    500,
    "InternalError",
    'Internal error occurred: failed calling webhook "w.example.com": connection refused',
    causes=[{"message": 'failed calling webhook "w.example.com"'}],
)
IMMUTABLE = status(
    422,
    "Invalid",
    'Deployment.apps "api" is invalid: spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: field is immutable',
    name="api",
    group="apps",
    kind="Deployment",
    causes=[
        {
            "reason": "FieldValueInvalid",
            "message": 'Invalid value: {"matchLabels":{"a":"b"}}: field is immutable',
            "field": "spec.selector",
        }
    ],
)
FORBIDDEN = status(
    403, "Forbidden", 'deployments.apps "api" is forbidden: User "u" cannot patch', name="api", kind="deployments"
)
BUSY = status(429, "TooManyRequests", "too many requests", retryAfterSeconds=1)
CONFLICT = status(409, "Conflict", "the object has been modified", name="api", kind="deployments")
NO_DRY_RUN = status(400, "BadRequest", 'admission webhook "w.example.com" does not support dry run')
ROLE_GONE = status(404, "NotFound", 'roles.rbac.authorization.k8s.io "a" not found', name="a", kind="roles")
STRICT = status(400, "BadRequest", 'strict decoding error: unknown field "spec.x"')
TOO_LARGE = status(413, "RequestEntityTooLarge", "limit is 3145728")
TIMEOUT = status(504, "Timeout", "request did not complete within the allotted timeout")


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (400, STRICT, RejectionKind.SCHEMA),
        (400, NO_DRY_RUN, Trouble.NO_DRY_RUN),
        (403, FORBIDDEN, Trouble.FORBIDDEN),
        (403, TERMINATING, RejectionKind.TERMINATING),
        (404, NAMESPACE_GONE, RejectionKind.NAMESPACE_MISSING),
        (404, None, RejectionKind.KIND_UNSERVED),
        (404, ROLE_GONE, RejectionKind.INVALID),
        (409, CONFLICT, RejectionKind.CONFLICT),
        (413, TOO_LARGE, RejectionKind.INVALID),
        (415, status(415, "UnsupportedMediaType", "no"), RejectionKind.INVALID),
        (422, IMMUTABLE, RejectionKind.INVALID),
        (429, BUSY, Trouble.TRANSIENT),
        (500, SCHEMA, Trouble.UNEXPLAINED),
        (500, WEBHOOK_DOWN, Trouble.TRANSIENT),
        (502, None, Trouble.TRANSIENT),
        (504, TIMEOUT, Trouble.TRANSIENT),
    ],
)
def test_a_refused_apply_means(code: int, body: Any, expected: RejectionKind | Trouble) -> None:
    assert meaning(read_refusal(code, body)) is expected


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (404, status(404, "NotFound", 'configmaps "a" not found', name="a", kind="configmaps"), Absence.GONE),
        (404, None, Absence.KIND_UNSERVED),
        (404, status(404, "NotFound", "the server could not find the requested resource"), Absence.KIND_UNSERVED),
        (403, FORBIDDEN, None),
        (500, None, None),
    ],
)
def test_only_a_named_not_found_is_absence(code: int, body: Any, expected: Absence | None) -> None:
    assert absence(read_refusal(code, body)) is expected


def test_a_refusal_names_fields_and_keeps_the_verdict() -> None:
    found = rejection(RejectionKind.NEEDS_RECREATE, read_refusal(422, IMMUTABLE), UNIT, {})
    assert found.fields == ("spec.selector",)
    assert found.message == 'spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: field is immutable'
    assert found.status == 422
    schema = rejection(RejectionKind.SCHEMA, read_refusal(500, SCHEMA), UNIT, {})
    assert schema.fields == (".spec.replcas", ".spec.template.spec.containers")


def test_a_dump_of_a_whole_structure_is_cut_out_of_the_middle() -> None:
    message = f"Invalid value: core.PodTemplateSpec{{{'x' * 5000}}}: field is immutable"
    body = status(422, "Invalid", f'Job "j" is invalid: spec.template: {message}', name="j")
    body["details"]["causes"] = [{"reason": "FieldValueInvalid", "message": message, "field": "spec.template"}]
    text = rejection(RejectionKind.INVALID, read_refusal(422, body), UNIT, {}).message
    assert text.startswith("spec.template: Invalid value")
    assert text.endswith("field is immutable")
    assert len(text) < LONGEST


def test_fields_are_found_in_texts_for_display() -> None:
    assert fields_in("failed (x): .data.k: expected string, got &value{Value:1}") == (".data.k",)
    assert fields_in("strict decoding error") == ()


def test_what_is_no_status_is_no_explanation() -> None:
    assert read_refusal(404, {"kind": "Other", "reason": "NotFound"}) == Refusal(404)
    assert read_refusal(502, "<html>") == Refusal(502)


@given(st.text(st.characters(categories=("L", "N")), min_size=4, max_size=40), st.sampled_from([400, 403, 422, 500]))
def test_no_text_about_a_secret_gets_out(text: str, code: int) -> None:
    value = f"zq{text}"  # nothing that our own words could contain
    manifest = {"data": {"password": value}}
    cause = {"reason": "FieldValueInvalid", "message": f'Invalid value: "{value}"', "field": "data[password]"}
    for message in (f'x: .data.password: got "{value}"', f".data.{value}: bad", f"quoted {value} and .{value}: x"):
        for causes in ([], [cause]):
            refusal = read_refusal(code, status(code, "Invalid", message, name="s", causes=causes))
            shown = rejection(RejectionKind.INVALID, refusal, SECRET, manifest)
            assert value not in repr(shown) + safe_message(refusal, SECRET)


def test_the_field_of_a_secret_is_named_if_the_manifest_has_it() -> None:
    refusal = read_refusal(500, status(500, message="failed (s): .data.password: expected string, got 1"))
    assert rejection(RejectionKind.SCHEMA, refusal, SECRET, {"data": {"password": 1}}).fields == (".data.password",)
    assert rejection(RejectionKind.SCHEMA, refusal, SECRET, {"data": {"other": 1}}).fields == ()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ('299 - "v1 Endpoints is deprecated"', ("v1 Endpoints is deprecated",)),
        ('299 - "one", 299 - "two, with a comma"', ("one", "two, with a comma")),
        (r'299 - "say \"x\" and \\"', ('say "x" and \\',)),
        ('299 k8s "dated" "Sat, 25 Aug 2026 23:34:45 GMT", 299 - "one", 299 - "one"', ("dated", "one")),
    ],
)
def test_warning_headers(header: str, expected: tuple[str, ...]) -> None:
    assert warnings(header, UNIT) == expected


def test_a_warning_about_a_secret_is_announced_but_not_quoted() -> None:
    (text,) = warnings('299 - "hunter2 looks weak"', SECRET)
    assert "hunter2" not in text


_TYPED = "failed to create typed patch object (default/zz; /v1, Kind=ConfigMap): "


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            ".data.a: expected string, got &value.valueUnstructured{Value:false}",
            ".data.a: expected text, found true or false (put it in quotes)",
        ),
        (
            "errors:\n  .data.e: expected string, got &value.valueUnstructured{Value:1e3}\n"
            "  .data.a: expected string, got &value.valueUnstructured{Value:map[b:1]}",
            ".data.e: expected text, found a number (put it in quotes); .data.a: expected text, found a mapping",
        ),
        (
            ".spec.ports: expected list, got &value.valueUnstructured{Value:map[a:[1 2]]}",
            ".spec.ports: expected a list, found a mapping",
        ),
        (
            ".spec.replicas: expected numeric (int or float), got &value.valueUnstructured{Value:two}",
            ".spec.replicas: expected a number, found text",
        ),
        (".spec.foo: field not declared in schema", ".spec.foo: field not declared in schema"),
    ],
)
def test_a_schema_error_is_told_in_the_words_of_yaml(said: str, told: str) -> None:
    assert readable(Refusal(500, message=_TYPED + said)) == told
