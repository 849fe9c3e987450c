"""Text that cannot be trusted is refused at its file and line, with every fault at once, and without showing values."""

from __future__ import annotations

import pytest

from gitopsd.model.errors import CommitError
from gitopsd.yamltext import MAX_BYTES, MAX_DOCUMENTS, line_of, line_within, parse_documents, parse_path

BOMB = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (ord("a") + n, ord("a") + n, b",".join([b"*%c" % (ord("a") + n - 1)] * 10)) for n in range(1, 9)
)

FAULTS = {
    "duplicate key": (b"a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", ["a.yaml:5: b.c: this key is already set on line 3"]),
    "every duplicate at once": (
        b"a: 1\na: 2\n---\nb: [{x: 1, x: 2}]\n",
        ["a.yaml:2: a: this key is already set on line 1", "a.yaml:4: b[0].x: this key is already set on line 4"],
    ),
    "keys that mean the same": (b"yes: 1\non: 2\n", ["a.yaml:2: true: this key is already set on line 1"]),
    "two merges": (b"a: &a {b: 1}\nc:\n  <<: *a\n  <<: *a\n", ["a.yaml:4: c: this key is already set on line 3"]),
    "null key": (b"a: 1\n~: 2\n", ["a.yaml:2: a key may not be null; give it a name or put it in quotes"]),
    "template braces": (
        b"a:\n  {{ .Values.x }}: 1\n",
        ["a.yaml:2: a: a key has to be text, not a mapping or list (are there template braces in this file?)"],
    ),
    "infinity": (b"a: 1\nb: .inf\n", ["a.yaml:2: b: .inf is a number that JSON cannot carry"]),
    "wrong tag": (b"a: !!int x\n", ["a.yaml:1: a: this value is not of the type that its tag !!int says"]),
    "binary": (
        b"a: !!binary /w==\n",
        ["a.yaml:1: a: !!binary needs base64 of UTF-8 text; other bytes belong into binaryData"],
    ),
    "merge of a scalar": (b"a:\n  <<: 1\n", ["a.yaml:2: a: << takes a mapping or a list of mappings"]),
    "anchor in itself": (b"a: &a\n  b: *a\n", ["a.yaml:2: the anchor &a contains itself"]),
    "unknown alias": (b"a: 1\nb: *c\n", ["a.yaml:2: the alias *c has no anchor before it in this document"]),
    "alias of another document": (
        b"a: &a 1\n---\nb: *a\n",
        ["a.yaml:3: the alias *a has no anchor before it in this document"],
    ),
    "alias bomb": (BOMB, ["a.yaml:7: the aliases of this file expand to more than 16 MiB"]),
    "depth": (b"a: " + b"[" * 5000, ["a.yaml:1: nested deeper than 200 levels"]),
    "depth through aliases": (
        b"a: &a " + b"[" * 120 + b"]" * 120 + b"\nb: " + b"[" * 120 + b"*a" + b"]" * 120,
        ["a.yaml:2: nested deeper than 200 levels"],
    ),
    "not UTF-8": (b"a: 1\nb: \xff\xfe\n", ["a.yaml:2: this is not UTF-8 text (save it as UTF-8)"]),
    "NUL": (b"a: 1\nb: x\x00y\n", ["a.yaml:2: the control character U+0000 is not allowed in YAML"]),
    "size": (b"#" * (MAX_BYTES + 1), ["a.yaml: the file has 4.0 MiB, more than the 4 allowed"]),
    "documents": (
        b"--- 1\n" * (MAX_DOCUMENTS + 1),
        [f"a.yaml:{MAX_DOCUMENTS + 1}: more than {MAX_DOCUMENTS} documents in one file"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_reported_at_its_line(name: str) -> None:
    data, expected = FAULTS[name]
    with pytest.raises(CommitError) as caught:
        parse_documents(data, "a.yaml")
    assert [str(problem) for problem in caught.value.problems] == expected


def test_a_tab_in_the_indentation_is_named() -> None:
    with pytest.raises(CommitError) as caught:
        parse_documents(b"a:\n  b: 1\n\tc: 2\n", "a.yaml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.remedy) == (3, "indent with spaces: YAML takes no tabs there")


@pytest.mark.parametrize(
    "text", [b"a: [1, 2\nb: 3\n", b"a: 1\n b: 2\n", b"a: 'x\n", b"a: b: c\n", b"- a\nb: 1\n", b"%FOO"]
)
def test_a_fault_of_syntax_has_a_line_and_shows_no_value(text: bytes) -> None:
    with pytest.raises(CommitError) as caught:
        parse_documents(text, "a.yaml")
    (problem,) = caught.value.problems
    assert problem.line is not None
    assert problem.message


JSON_FAULTS = [
    (b'{"a": 1,\n "b": ]', "a.json:2: this is not JSON: "),
    (b'{"a": 1,\n "b": {"c": 1,\n "c": 2}}', "a.json:3: b.c: this key is already set on line 2"),
    (b'{"s": "\\ud83d\\ude00", "c": 1, "c": 2}', "a.json: one object has the key 'c' more than once"),
    (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "a.json:1: nested deeper than 200 levels"),
]


@pytest.mark.parametrize(("data", "expected"), JSON_FAULTS)
def test_a_fault_in_json_is_reported_as_one(data: bytes, expected: str) -> None:
    with pytest.raises(CommitError) as caught:
        parse_documents(data, "a.json")
    assert [str(problem)[: len(expected)] for problem in caught.value.problems] == [expected]


DEPLOYMENT = b"""# comment
apiVersion: apps/v1
kind: Deployment
spec:
  replicas: 3
  template:
    spec:
      containers:
        - name: a
          image: x
        - name: web
          image: y
          env: [{name: Q, value: "1"}]
---
kind: List
items:
  - kind: A
    spec:
      on: 1
"""


@pytest.mark.parametrize(
    ("document", "path", "line"),
    [
        (0, "spec.replicas", 5),
        (0, ".spec.replicas", 5),
        (0, "spec.template.spec.containers[1].image", 12),
        (0, 'spec.template.spec.containers[name="web"].image', 12),
        (0, "spec.template.spec.containers[1].env[0].value", 13),
        (0, "spec.template.spec.nodeName", 7),
        (0, "", 2),
        (1, "items[0].spec", 18),
    ],
)
def test_a_field_is_found_at_its_line(document: int, path: str, line: int) -> None:
    assert line_of(DEPLOYMENT, document, path) == line


def test_a_field_is_found_from_the_line_its_object_starts_on() -> None:
    assert line_within(DEPLOYMENT, 2, "spec.replicas") == 5
    assert line_within(DEPLOYMENT, 17, ("spec", "true")) == 19
    assert line_within(DEPLOYMENT, 4711, "spec") == 4711


def test_paths_are_split_as_the_api_server_writes_them() -> None:
    assert parse_path('.spec.ports[port=80,protocol="TCP"].name') == (
        "spec",
        "ports",
        {"port": 80, "protocol": "TCP"},
        "name",
    )
    assert parse_path('metadata.annotations["a.b/c"]') == ("metadata", "annotations", "a.b/c")
    assert parse_path("data[a.b]") == ("data", "a.b")
