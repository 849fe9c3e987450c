"""YAML is read as kubectl reads it: a table of the traps, kubectl itself as the witness, and properties."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.errors import CommitError
from gitopsd.yamltext import parse_documents

TRAPS: list[tuple[str, Any]] = [
    ("true", True), ("True", True), ("TRUE", True), ("tRUE", "tRUE"), ("false", False),
    ("yes", True), ("no", False), ("on", True), ("Off", False), ("y", True), ("N", False), ("yEs", "yEs"),
    ('"yes"', "yes"), ("'no'", "no"), ('"true"', "true"), ("!!str true", "true"), ('!!bool "yes"', True),
    ("~", None), ("null", None), ("Null", None), ("nULL", "nULL"), ("", None), ('""', ""),
    ("2001-01-01", "2001-01-01"), ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
    ("12:30", "12:30"), ("190:20:30", "190:20:30"), ("1:30.5", "1:30.5"),
    ("0o14", 12), ("014", 12), ("08", 8), ("09.5", 9.5), ("0b11", 3), ("0b12", "0b12"), ("0x1F", 31), ("-0x1f", -31),
    ("0o8", "0o8"), ("-0o7", -7), ("0xfg", "0xfg"), ("1_000", 1000), ("1_0.5", 10.5), ("_1", "_1"),
    ("1e3", 1000), ("1E+3", 1000), ("1.0", 1), ("1.", 1), (".5", 0.5), ("-.5", -0.5), ("+1", 1), (".e3", ".e3"),
    ("1e", "1e"), ("1e400", "1e400"), ("1.10", 1.1), ("1.2.3", "1.2.3"), ("1.5e3", 1500), ("100m", "100m"),
    ("18446744073709551615", 18446744073709551615), ("123456789012345678901234", 1.2345678901234569e23),
    ("=", "="), ("<<", "<<"), ('!!int "12"', 12), ('!!float "3"', 3), ("!!binary aGVsbG8=", "hello"), ("!own 12", "12"),
]  # fmt: skip


def value_of(text: str) -> Any:
    (document,) = parse_documents(f"v: {text}\n".encode(), "a.yaml")
    return document.value["v"]


@pytest.mark.parametrize(("text", "expected"), TRAPS)
def test_scalar_has_the_value_that_kubectl_gives_it(text: str, expected: Any) -> None:
    found = value_of(text)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is the witness")
def test_kubectl_reads_the_traps_alike(tmp_path: Path) -> None:
    lines = [f"  k{number}: {text}" for number, (text, _) in enumerate(TRAPS)]
    file = tmp_path / "traps.yaml"
    file.write_text("\n".join(["apiVersion: v1", "kind: ConfigMap", "metadata: {name: x}", "data:", *lines, ""]))
    command = ["kubectl", "label", "--local", "-f", str(file), "-o", "json", "a=b"]
    result = subprocess.run(command, capture_output=True, check=True, timeout=60)
    theirs = json.loads(result.stdout)["data"]
    (ours,) = parse_documents(file.read_bytes(), "traps.yaml")
    for number, (text, _) in enumerate(TRAPS):
        mine, other = ours.value["data"][f"k{number}"], theirs[f"k{number}"]
        same = math.isclose(mine, other) if isinstance(mine, float) or mine == 2**64 - 1 else mine == other
        assert same, text
        assert isinstance(mine, bool) == isinstance(other, bool), text


def test_keys_become_text_as_in_json() -> None:
    (document,) = parse_documents(b"{1: a, yes: b, 1.5: c, 0x10: d, 2001-01-01: e}", "a.yaml")
    assert document.value == {"1": "a", "true": "b", "1.5": "c", "16": "d", "2001-01-01": "e"}


def test_anchors_aliases_and_merge_keys_work() -> None:
    text = b"""
base: &base {a: 1, b: 2}
more: &more {b: 3, c: 4}
one: {<<: *base, a: 9}
two:
  <<: [*base, *more]
  d: *base
quoted: {"<<": text}
"""
    (document,) = parse_documents(text, "a.yaml")
    assert document.value["one"] == {"a": 9, "b": 2}
    assert document.value["two"] == {"a": 1, "b": 2, "c": 4, "d": {"a": 1, "b": 2}}
    assert document.value["quoted"] == {"<<": "text"}


def test_several_documents_know_their_lines_and_empty_ones_are_left_out() -> None:
    text = b"# head\n---\n# nothing\n---\n\na: 1\n---\n- b\n...\n"
    assert [(d.value, d.line, d.index) for d in parse_documents(text, "a.yaml")] == [({"a": 1}, 6, 1), (["b"], 8, 2)]


def test_byte_order_mark_and_windows_line_ends_are_read() -> None:
    (document,) = parse_documents(b"\xef\xbb\xbfa: 1\r\nb: |\r\n  x\r\n  y\r\n", "a.yaml")
    assert document.value == {"a": 1, "b": "x\ny\n"}


def test_json_numbers_are_whole_where_go_writes_them_whole() -> None:
    (document,) = parse_documents(b'{"a": 1.0, "b": 1e3, "c": 0.5, "d": 123456789012345678901234}', "a.json")
    assert [type(v) for v in document.value.values()] == [int, int, float, float]


def test_a_json_file_may_hold_what_only_yaml_allows() -> None:
    assert parse_documents(b"{a: b, # comment\n}", "a.json")[0].value == {"a": "b"}
    assert [d.value for d in parse_documents(b'{"a": 1}\n---\n{"a": 2}\n', "a.json")] == [{"a": 1}, {"a": 2}]


texts = st.text(st.characters(exclude_categories=["Cs"]))
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e15, 1e15) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, trees, max_size=4))
def test_whatever_json_writes_is_read_back_equal(value: dict[str, Any]) -> None:
    (document,) = parse_documents(json.dumps(value).encode(), "a.json")
    assert document.value == value


@given(st.dictionaries(texts, trees, min_size=1, max_size=4))
def test_json_inside_yaml_is_read_back_equal(value: dict[str, Any]) -> None:
    plain = json.dumps(value, ensure_ascii=True)
    if "\\ud" in plain:  # YAML has no surrogate escapes
        return
    (document,) = parse_documents(f"- {plain}\n".encode(), "a.yaml")
    assert document.value == [value]


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything_but_problems(data: bytes) -> None:
    with suppress(CommitError):
        parse_documents(data, "a.yaml")
