"""Templates put values into their places; everything else of Go's language is refused, not guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.sealed.template import Reference, TemplateError, fill, parse_template, references

VALUES = {"a": b"1", "b": b"\xff", "with-dash": b"2", "ä": b"3", "x.y": b"4"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", b""),
        ("plain", b"plain"),
        ("}} { } {", b"}} { } {"),
        ("{{ .a }}", b"1"),
        ("{{.a}}", b"1"),
        ("{{\n.a\t}}", b"1"),
        ("x{{ .a }}y{{ .b }}z", b"x1y\xffz"),
        ('{{ index . "with-dash" }}', b"2"),
        ("{{ index . `x.y` }}", b"4"),
        ('{{index ."a"}}', b"1"),
        ("{{ .ä }}", b"3"),
        ('{{ "{{" }}', b"{{"),
        ('{{ "}}" }} {{ `{{ .a }}` }}', b"}} {{ .a }}"),
        ("x \n {{- .a -}} \n y", b"x1y"),
        ("x {{- .a }} y", b"x1 y"),
        ("x {{ .a -}} \t\r\n y", b"x 1y"),
        (" {{- .a -}} {{- .a -}} ", b"11"),
    ],
)
def test_texts_and_references(text: str, filled: bytes) -> None:
    assert fill(parse_template(text), VALUES) == filled


@pytest.mark.parametrize(
    "text",
    [
        "{{",
        "{{ .a",
        "{{ .a }",
        "{{ }}",
        "{{ . }}",
        "{{ .a.b }}",
        "{{ .with-dash }}",
        "{{ .1 }}",
        "{{ $x }}",
        "{{ .a | b64enc }}",
        '{{ env "HOME" }}',
        "{{ range . }}{{ end }}",
        "{{ if .a }}x{{ end }}",
        "{{/* comment */}}",
        '{{ "a\\n" }}',
        "{{-.a}}",
        '{{ index . "a" "b" }}',
        '{{ index .a "b" }}',
        "{{ 1 }}",
    ],
)
def test_anything_else_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(text + "MARKER")
    assert "MARKER" not in str(caught.value)


def test_references_are_known_before_anything_is_opened() -> None:
    template = parse_template('{{ .a }} {{ index . "b-c" }} {{ "d" }}')
    assert references(template) == {"a", "b-c"}
    assert Reference("a") in template


@given(st.text())
def test_any_text_is_taken_or_refused_and_never_a_crash(text: str) -> None:
    try:
        template = parse_template(text)
    except TemplateError:
        return
    fill(template, dict.fromkeys(references(template), b""))


@given(st.text(alphabet=st.characters(exclude_characters="{", exclude_categories=["Cs"])))
def test_a_text_without_braces_stays(text: str) -> None:
    assert fill(parse_template(text), {}) == text.encode()
