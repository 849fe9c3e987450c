"""Texts of Terraform code are found whatever is around them, and nothing in the code can stop the search."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.render.hcl import MODULE, ROOT, UNKNOWN, Role, Text, Unreadable, texts_of_code, texts_of_json


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        ('a = "x"', [Text("x", 1, Role.VALUE)]),
        ('\n\na = f("x")', [Text("x", 3, Role.ANY)]),
        ('a = [\n  "x",\n  "y",\n]', [Text("x", 2, Role.ANY), Text("y", 3, Role.ANY)]),
        (
            'a = { b = "x", c = "y", "d" = "z" }',
            [Text(t, 1, Role(r)) for t, r in zip("xydz", (1, 1, 0, 0), strict=True)],
        ),
        (
            'module "m" {\n  source = "x"\n  y { source = "z" }\n}',
            [Text("x", 2, Role.SOURCE), Text("z", 3, Role.VALUE)],
        ),
        ('resource "a" "b" {\n  source = "x"\n}', [Text("x", 2, Role.VALUE)]),
        (r'a = "\"x\\y\u0041\U00000042"', [Text('"x\\yAB', 1, Role.VALUE)]),
        (r'a = "one\ntwo"', []),
        ('a = "$${x} %%{y} $x %y"', [Text("${x} %{y} $x %y", 1, Role.VALUE)]),
        ('a = "${path.module}/x"', [Text(f"{MODULE}/x", 1, Role.VALUE)]),
        ('a = "${~ path.root ~}/x"', [Text(f"{ROOT}/x", 1, Role.VALUE)]),
        ('a = "x${path.modules}${path.module.x}"', [Text(f"x{UNKNOWN}{UNKNOWN}", 1, Role.VALUE)]),
        ('a = "x%{ for y in z }${y}%{ endfor }"', [Text(f"x{UNKNOWN * 3}", 1, Role.VALUE)]),
        ('a = "x${f({ b = "}" })}z"', [Text(f"x{UNKNOWN}z", 1, Role.VALUE), Text("}", 1, Role.VALUE)]),
        ("a = path.module\n", [Text(MODULE, 1, Role.VALUE)]),
        ("locals { a = path.root }", [Text(ROOT, 1, Role.VALUE)]),
        ("a = path.module == b\n", []),
        ("a = dirname(path.module)\n", []),
        ('a == "x"', [Text("x", 1, Role.ANY)]),
        ('# "a"\n// "b"\n/* "c"\n "d" **/ e = "f"', [Text("f", 4, Role.VALUE)]),
        ('a = "# no comment"', [Text("# no comment", 1, Role.VALUE)]),
        ('a = <<EOT\n"x" EOT\nEOT\nb = "y"', [Text("y", 4, Role.VALUE)]),
        ('a = <<-EOT\n  ${f("x")} $${f("z")}\n  EOT\nb = "y"', [Text("x", 2, Role.ANY), Text("y", 4, Role.VALUE)]),
        ('a = <<A\n${<<B\n"x"\nB\n}\nA\nb = "y"', [Text("y", 7, Role.VALUE)]),
        ('a = <<EOT\nEOT${f("x")}\nEOT\nb = "y"', [Text("x", 2, Role.ANY), Text("y", 4, Role.VALUE)]),
        ('a = "x\nb = "y"', [Text("x", 1, Role.VALUE), Text("y", 2, Role.VALUE)]),
        ('a = "x', []),
        ('a = "${', []),
        ("a = <<EOT\nx", []),
        ('}}}) a = "x"', [Text("x", 1, Role.VALUE)]),
        ('a = ""', []),
        ('a = "/x"', []),
        ('module "m" { source = "/x" }', [Text("/x", 1, Role.SOURCE)]),
    ],
)
def test_texts_with_what_they_are(code: str, texts: list[Text]) -> None:
    assert sorted(texts_of_code(code)) == sorted(texts)


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        ('{"a": {"b": ["x",\n "y"]}}', [Text("x", 1, Role.VALUE), Text("y", 2, Role.VALUE)]),
        ('{"module": {"m": {"source": "x"}}}', [Text("x", 1, Role.SOURCE)]),
        ('{"module": [{"m": [{"source": "x"}]}]}', [Text("x", 1, Role.SOURCE)]),
        ('{"module": {"m": {"x": {"source": "x"}}}}', [Text("x", 1, Role.VALUE)]),
        ('{"a": "x", "a": "y"}', [Text("x", 1, Role.VALUE), Text("y", 1, Role.VALUE)]),
        ('{"a": "${path.module}/x"}', [Text(f"{MODULE}/x", 1, Role.VALUE)]),
        ('{"a": "${f(\\"x\\")} \\"y\\""}', [Text(f'{UNKNOWN} "y"', 1, Role.VALUE), Text("x", 1, Role.ANY)]),
        ('{"a": 1, "b": null, "c": true}', []),
        ('"x"', [Text("x", 1, Role.VALUE)]),
    ],
)
def test_texts_of_the_json_form(code: str, texts: list[Text]) -> None:
    assert sorted(texts_of_json(code)) == sorted(texts)


@pytest.mark.parametrize(
    ("code", "line"), [("", 1), ("{\n\n]", 3), ("[" * 100_000, 1), ("1" * 10_000, 1), ('{"a": "\x00"}', 1)]
)
def test_what_is_no_json_is_told_with_its_line(code: str, line: int) -> None:
    with pytest.raises(Unreadable) as caught:
        texts_of_json(code)
    assert caught.value.line == line


SYMBOLS = st.sampled_from(
    ['"', "${", "%{", "}", "{", "$${", "\\", "\n", "<<A\n", "A", "a", " = ", "/*", "*/", "#", ","]
)


@given(st.lists(SYMBOLS, max_size=40).map("".join))
def test_no_code_stops_the_search(code: str) -> None:
    found = texts_of_code(code + '\n"\n*/\nA\n')
    assert all(1 <= text.line <= code.count("\n") + 5 for text in found)


@pytest.mark.parametrize("piece", ['"${', '"${"a"', "<<A\n${"], ids=repr)
def test_what_nobody_wrote_by_hand_is_refused_with_its_line(piece: str) -> None:
    with pytest.raises(Unreadable, match="nested too deep") as caught:
        texts_of_code("a = " + piece * 20_000)
    assert caught.value.line == 1 + 100 * piece.count("\n")


@pytest.mark.parametrize(
    "piece", ["{", "/*", "<<A\n", '"', 'a = "b" ', "a = <<A\n${x}\n", '"${x}"', "<<A\nA\n", '"b" {', "[", "]"], ids=repr
)
def test_the_time_grows_with_the_length_alone(piece: str) -> None:
    def seconds(count: int) -> float:
        code = "a = " + piece * count
        start = time.process_time()
        texts_of_code(code)
        return time.process_time() - start

    few, many = (min(seconds(count) for _ in range(3)) for count in (3_000, 30_000))
    assert many < 30 * few + 0.01, "ten times the code takes a hundred times as long if every piece looks at all others"
