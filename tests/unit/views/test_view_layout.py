"""Lines and tables on a terminal and in a pipe; nothing that others wrote may steer the terminal."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.views.layout import Block, Span, Style, Table, bad, good, line, printed, visible
from gitopsd.views.times import absolute, ago, took
from tests.unit.views.samples import NOW, at


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() -> None:
    table = Table(("A", "LONG", "C"), [(Span("aaa"), Span("b"), Span("c")), (Span("a"), Span(""), Span(""))], indent=1)
    assert list(printed([table], colour=False)) == [" A    LONG  C", " aaa  b     c", " a"]


def test_wide_characters_take_two_columns() -> None:
    table = Table(("A", "B"), [(Span("日本"), Span("x")), (Span("e\u0301"), Span("y"))])
    assert list(printed([table], colour=False)) == ["A     B", "日本  x", "e\u0301     y"]


def test_colours_only_where_asked_and_never_in_the_width() -> None:
    blocks: list[Block] = [line("is ", good("fine")), Table(("A", "B"), [(bad("x"), Span("y"))])]
    assert list(printed(blocks, colour=False)) == ["is fine", "A  B", "x  y"]
    assert list(printed(blocks, colour=True)) == [
        "is \x1b[32mfine\x1b[0m",
        "\x1b[2mA\x1b[0m  \x1b[2mB\x1b[0m",
        "\x1b[31mx\x1b[0m  y",
    ]


@given(st.text(), st.booleans())
def test_text_of_others_neither_steers_the_terminal_nor_adds_lines(text: str, colour: bool) -> None:
    for shown in printed([line(text), Table(("H",), [(Span(text, Style.BAD),)])], colour=colour):
        bare = shown.replace("\x1b[31m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
        assert all(c.isprintable() or c == " " for c in bare)
        assert len(shown.splitlines()) <= 1


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_what_is_printable_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (at(0), "just now"),
        (at(0.5), "30 s ago"),
        (at(3), "3 min ago"),
        (at(119), "1 h ago"),
        (at(60 * 24 * 9), "9 d ago"),
        (at(-5), "in 5 min"),
        ("", ""),
        (None, ""),
        ("yesterday", "yesterday"),
    ],
)
def test_relative_times(then: str | None, expected: str) -> None:
    assert ago(then, NOW) == expected


def test_times_of_other_zones_are_shown_in_utc() -> None:
    local = (NOW + timedelta(hours=2)).isoformat().replace("+00:00", "+02:00")
    assert absolute(local) == "2026-11-22 12:00:00Z"
    assert ago(local, NOW) == "just now"


def test_a_run_that_goes_on_took_no_time_yet() -> None:
    assert (took(at(3), None), took(at(3), at(1))) == ("", "2 min")
