"""What follows the end of a watch, as a table; and that no way of ending makes a hot loop or a silence for ever."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import Mock

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import ProtocolError

from gitopsd.cluster.resume import BARREN, Course, Ended, Lived, Look, Step, after, went_back
from gitopsd.cluster.streams import Broken, Stream

NEVER = Lived()
YOUNG = Lived(began=True)
USEFUL = Lived(began=True, told=True)
OLD = Lived(began=True, long=True)
LISTED = Lived(began=True, listed=True)
FRESH, TRIED = Course(), Course(failures=3)


@pytest.mark.parametrize(
    ("ended", "lived", "course", "step"),
    [
        # A watch that was of use: the next one at once, without words.
        (Ended.ORDINARY, USEFUL, FRESH, Step(FRESH, Look.GO_ON)),
        (Ended.ORDINARY, OLD, TRIED, Step(Course(0, 1), Look.COMPARE)),
        (Ended.CUT, USEFUL, TRIED, Step(FRESH, Look.COMPARE)),
        # One that broke young: a pause, and words if it does so again.
        (Ended.ORDINARY, YOUNG, FRESH, Step(Course(1, 1), Look.COMPARE, pause=True)),
        (Ended.CUT, YOUNG, Course(1), Step(Course(2, 1), Look.COMPARE, tell=True, pause=True)),
        (Ended.CUT, YOUNG, Course(1, 1), Step(Course(2, 2), Look.LIST, tell=True, pause=True)),
        (Ended.CUT, LISTED, Course(1, 2), Step(Course(2, 2), Look.COMPARE, tell=True, pause=True)),
        # A fault is told at once, also after a watch that was of use.
        (Ended.FAULT, NEVER, FRESH, Step(Course(1), Look.COMPARE, tell=True, pause=True)),
        (Ended.FAULT, USEFUL, FRESH, Step(Course(1), Look.COMPARE, tell=True, pause=True)),
        (Ended.FAULT, NEVER, Course(1, 1), Step(Course(2, 1), Look.COMPARE, tell=True, pause=True)),
        # Silence takes its time by itself; twice in a row it is not believed.
        (Ended.SILENT, USEFUL, FRESH, Step(FRESH, Look.COMPARE)),
        (Ended.SILENT, OLD, FRESH, Step(Course(0, 1), Look.COMPARE)),
        (Ended.SILENT, OLD, Course(0, 1), Step(Course(0, 2), Look.LIST)),
        # A position that is not known any more: a list, and from the second time on not at once.
        (Ended.EXPIRED, NEVER, FRESH, Step(Course(1), Look.LIST)),
        (Ended.EXPIRED, USEFUL, Course(1), Step(Course(2), Look.LIST, pause=True)),
        (Ended.EXPIRED, OLD, Course(5), Step(Course(1), Look.LIST)),
    ],
)
def test_what_comes_next(ended: Ended, lived: Lived, course: Course, step: Step) -> None:
    assert after(ended, lived, course) == step


endings = st.lists(st.tuples(st.sampled_from(Ended), st.sampled_from([NEVER, YOUNG, USEFUL, OLD])))
useless = st.lists(
    st.tuples(st.sampled_from(sorted(set(Ended) - {Ended.SILENT}, key=str)), st.sampled_from([NEVER, YOUNG]))
)


def steps(ends: list[tuple[Ended, Lived]]) -> Iterator[Step]:
    course = FRESH
    for ended, lived in ends:
        step = after(ended, lived, course)
        course = step.course
        yield step


@given(useless)
def test_watches_without_use_follow_each_other_with_pauses_that_grow(ends: list[tuple[Ended, Lived]]) -> None:
    for number, step in enumerate(steps(ends)):
        assert step.course.failures == number + 1
        assert step.pause or (number == 0 and step.look is Look.LIST)


@given(endings)
def test_what_was_forgotten_is_listed_and_what_tells_nothing_is_not_believed(ends: list[tuple[Ended, Lived]]) -> None:
    silent = 0
    for (ended, lived), step in zip(ends, steps(ends), strict=True):
        silent = 0 if lived.told or ended is Ended.EXPIRED else silent + lived.began
        if ended is Ended.EXPIRED or silent >= BARREN:
            assert step.look is Look.LIST
        if step.look is Look.GO_ON:
            assert lived.told
        assert step.pause or not step.tell  # who is told that nobody sees has a moment to read it


@pytest.mark.parametrize(
    ("present", "position", "lower"),
    [
        ("9", "10", True),  # as numbers, not as texts
        ("10", "10", False),
        ("11", "10", False),
        ("", "10", False),
        ("9", "", False),
        ("abc", "10", False),
        ("9", "1-9", False),
    ],
)
def test_counters_are_compared_where_they_are_some(present: str, position: str, lower: bool) -> None:
    assert went_back(present, position) is lower


# ---------------------------------------------------------------- lines


def streamed(pieces: list[bytes], end: bytes | Exception = b"") -> Stream:
    answer = Mock(urllib3.BaseHTTPResponse)
    answer.read1.side_effect = [*pieces, end]
    return Stream(answer, 60)


@given(st.lists(st.binary(max_size=6).map(lambda b: b.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_whole_however_they_are_cut_into_pieces(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines) + b"half"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]
    assert list(streamed(pieces).lines()) == [line for line in lines if line.strip()]


def test_whole_lines_before_a_break_are_told() -> None:
    lines = streamed([b"a\nb\nhal"], ProtocolError("gone")).lines()
    assert [next(lines), next(lines)] == [b"a", b"b"]
    with pytest.raises(Broken):
        next(lines)


def test_a_socket_that_is_shut_while_it_is_read_is_a_break() -> None:
    # What the ssl module says depends on how far the read was.
    for error in (ValueError("Read on closed or unwrapped SSL socket."), AttributeError("read")):
        with pytest.raises(Broken):
            list(streamed([], error).lines())
