"""Text for a person as data: lines and tables of styled spans, and the one printer for terminals and pipes.

rich would do this as well, but importing it costs more than the whole of `gitopsd status` may take.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple


class Style(Enum):
    """Meaning, not colour; the value is the terminal's code (ECMA-48, SGR)."""

    NONE = ""
    GOOD = "32"
    BAD = "31"
    WARN = "33"
    DIM = "2"
    STRONG = "1"


class Span(NamedTuple):
    """A piece of text with one style."""

    text: str
    style: Style = Style.NONE


class Line(NamedTuple):
    """One line; `indent` is in columns."""

    spans: tuple[Span, ...] = ()
    indent: int = 0


class Table(NamedTuple):
    """Rows under a head, in columns as wide as their widest cell."""

    head: tuple[str, ...]
    rows: Sequence[tuple[Span, ...]]
    indent: int = 0


Block = Line | Table


def line(*parts: str | Span, indent: int = 0) -> Line:
    """A line of these parts, joined without a gap."""
    return Line(tuple(p if isinstance(p, Span) else Span(p) for p in parts), indent)


def good(text: str) -> Span:
    return Span(text, Style.GOOD)


def bad(text: str) -> Span:
    return Span(text, Style.BAD)


def warn(text: str) -> Span:
    return Span(text, Style.WARN)


def dim(text: str) -> Span:
    return Span(text, Style.DIM)


def strong(text: str) -> Span:
    return Span(text, Style.STRONG)


BLANK = Line()


def printed(blocks: Iterable[Block], *, colour: bool) -> Iterator[str]:
    """The lines to print, without their line ends."""
    for block in blocks:
        if isinstance(block, Table):
            yield from _table(block, colour)
        else:
            text = "".join(_paint(Span(visible(s.text), s.style), colour) for s in block.spans)
            yield (" " * block.indent + text).rstrip()


def visible(text: str) -> str:
    """The text with everything escaped that a terminal would obey instead of show: commit subjects, object names and
    the messages of pods are written by others, and must neither recolour nor rewrite the screen, nor forge a line."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def _table(table: Table, colour: bool) -> Iterator[str]:
    rows = [tuple(Span(visible(c.text), c.style) for c in row) for row in table.rows]
    head = tuple(Span(title, Style.DIM) for title in table.head)
    widths = [max(_width(row[i].text) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        last = max((i for i, cell in enumerate(row) if cell.text), default=-1)
        cells = (_paint(c, colour) + _gap(c, widths[i], i == last) for i, c in enumerate(row[: last + 1]))
        yield (" " * table.indent + "".join(cells)).rstrip()


def _gap(cell: Span, width: int, last: bool) -> str:
    return "" if last else " " * (width - _width(cell.text) + 2)


def _width(text: str) -> int:
    """Columns that the text takes on a terminal (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def _paint(span: Span, colour: bool) -> str:
    return f"\x1b[{span.style.value}m{span.text}\x1b[0m" if colour and span.style.value and span.text else span.text
