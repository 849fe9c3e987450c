"""The texts in Terraform code that could be paths: enough of its syntax to tell a text from a comment or a label.

What the code means is Terraform's business: it says what is wrong with it.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from gitopsd.yamltext import LineIndex

MODULE: Final = "\x01"
"""Stands in a text for `${path.module}`."""
ROOT: Final = "\x02"
"""Stands in a text for `${path.root}` and `${path.cwd}`, which are the same directory here."""
UNKNOWN: Final = "\0"
"""Stands in a text for anything else that is put in."""

SCANNER_VERSION: Final = "1"
"""Part of every cache key of a scanned text: to be raised whenever the same code would give other texts."""

_MAX_LENGTH: Final = 1024
_MAX_DEPTH: Final = 200
"""Texts in texts: each may have to look for its end in all that follows."""
_NO_PATH: Final = re.compile(r"[\x03-\x1f\x7f]|^/|^\s*$")


class Role(IntEnum):
    """What a text is to the code around it."""

    ANY = 0
    VALUE = 1  # what an argument is set to
    SOURCE = 2  # where a module's code is


class Text(NamedTuple):
    """A text, with marks for what is put into it, and the line that it begins on."""

    text: str
    line: int
    role: Role


class Unreadable(Exception):
    """A file that is not what its name says; `line` is where that shows."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def texts_of_code(code: str) -> tuple[Text, ...]:
    """Every text of `*.tf`, `*.tofu` and `*.tfvars` that could be a path; labels of blocks are none. Raises Unreadable
    for code that nobody wrote by hand."""
    scanner = _Scanner(code, _Code(0))
    scanner.run()
    return _paths(text for text in scanner.texts if text is not None)


def texts_of_json(code: str) -> tuple[Text, ...]:
    """The same of the JSON form. Raises Unreadable for what is no JSON."""
    try:
        value = json.loads(code, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise Unreadable(f"this is not JSON: {error.msg}", error.lineno) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, a thousand brackets
        raise Unreadable("this is too long or too deep", 1) from None
    lines = LineIndex(code.encode())
    found: list[Text] = []
    for path, text in _json_texts(value, ()):
        whole = _Template(0, end=_NEVER)
        scanner = _Scanner(text, whole)
        scanner.run()
        line = lines.line(0, path)
        found.append(Text("".join(whole.pieces), line, Role.SOURCE if _is_source(path) else Role.VALUE))
        found += [Text(inner.text, line, inner.role) for inner in scanner.texts if inner is not None]
    return _paths(found)


def _paths(texts: Iterator[Text] | list[Text]) -> tuple[Text, ...]:
    """Those that could be one, or should be, each once."""
    could = (t for t in texts if t.role is Role.SOURCE or (len(t.text) <= _MAX_LENGTH and not _NO_PATH.search(t.text)))
    return tuple(dict.fromkeys(could))


# ---------------------------------------------------------------- the JSON form


class _Pairs(list[tuple[str, Any]]):
    """An object with every one of its keys: Terraform lets some stand twice."""


def _json_texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, _Pairs):
        for key, item in value:
            yield from _json_texts(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _json_texts(item, (*path, number))


def _is_source(path: tuple[str | int, ...]) -> bool:
    """Whether this is `source` of a module, with or without lists around the blocks."""
    names = [step for step in path if isinstance(step, str)]
    return len(names) == 3 and names[0] == "module" and names[2] == "source"


# ---------------------------------------------------------------- the language's own form

_TOKEN: Final = re.compile(
    r"(?P<blank>[ \t\r]+)|(?P<newline>\n)"
    r"|(?P<comment>(?:\#|//)[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z))"
    r"|(?P<heredoc><<-?(?P<tag>[^\W\d][\w-]*)[ \t]*\r?\n)"
    r"|(?P<quote>\")|(?P<word>[^\W\d][\w-]*)"
    r"|(?P<open>[{(\[])|(?P<close>[})\]])"
    r"|(?P<other>[=!<>]=|=>)|(?P<equals>=)|(?P<rest>.)"
)
_QUOTED: Final = re.compile(
    r"(?P<plain>[^\"\\$%\n]+)|(?P<escape>\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.))"
    r"|(?P<literal>\$\$\{|%%\{)|(?P<put>[$%]\{)|(?P<end>[\"\n])|(?P<rest>[\s\S])"
)
_PUT: Final = re.compile(r"(?P<literal>\$\$\{|%%\{)|(?P<put>[$%]\{)")
_NEVER: Final = re.compile(r"(?!)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}
_DIRECTORIES: Final = {"path.module": MODULE, "path.root": ROOT, "path.cwd": ROOT}
_DIRECTORY: Final = re.compile(r"[\s~]*(?:abspath\(\s*)?(path\.(?:module|root|cwd))[\s)~]*")


@dataclass(slots=True)
class _Code:
    """A whole file, or an expression inside a text that begins at `start`. `blocks` are the brackets that are open, by
    the type of their block; `line` is what stands before on the same line: (kind, word, index of the text)."""

    start: int
    blocks: list[str] = field(default_factory=list)
    line: list[tuple[str, str, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Template:
    """A text that is being read. `index` is its place among the texts. One that is not in quotes goes on until `end`:
    `stop` is where that was found last (from, to)."""

    index: int
    role: Role = Role.ANY
    end: re.Pattern[str] | None = None
    pieces: list[str] = field(default_factory=list)
    stop: tuple[int, int] = (-1, -1)


class _Scanner:
    """Goes through a text once. `modes` are the texts and expressions that are open, the innermost last."""

    def __init__(self, code: str, outermost: _Code | _Template) -> None:
        self.texts: list[Text | None] = []
        self._code = code
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", code))]
        self._modes: list[_Code | _Template] = [outermost]

    def run(self) -> None:
        while self._at < len(self._code):
            mode = self._modes[-1]
            if isinstance(mode, _Code):
                self._in_code(mode)
            elif mode.end is None:
                self._in_quotes(mode)
            else:
                self._unquoted(mode, mode.end)

    def _take(self, pattern: re.Pattern[str]) -> tuple[str, re.Match[str]]:
        match = pattern.match(self._code, self._at)
        if match is None or match.lastgroup is None:
            raise AssertionError("the last alternative takes any character")
        self._at = match.end()
        return match.lastgroup, match

    def _enter(self, mode: _Code | _Template) -> None:
        if len(self._modes) >= _MAX_DEPTH:
            raise Unreadable("nested too deep", bisect_right(self._starts, self._at - 1))
        self._modes.append(mode)

    # ------------------------------------------------------------ code

    def _in_code(self, mode: _Code) -> None:
        kind, match = self._take(_TOKEN)
        if kind == "quote":
            index = len(self.texts)
            self.texts.append(None)
            self._enter(_Template(index, _role(mode)))
            mode.line.append(("text", "", index))
        elif kind == "heredoc":
            end = re.compile(rf"^[ \t]*{re.escape(match['tag'])}[ \t]*\r?$", re.MULTILINE)
            self._enter(_Template(-1, end=end))
        elif kind == "newline" or match[0] == ",":
            self._end_line(mode)
        elif kind == "open":
            mode.blocks.append(self._block(mode) if match[0] == "{" else "")
            mode.line.clear()
        elif kind == "close":
            self._close(mode)
        elif kind not in {"blank", "comment"}:
            mode.line.append((kind, match[0], -1))

    def _end_line(self, mode: _Code) -> None:
        """`NAME = path.module` is all that is said of a directory."""
        kinds = [kind for kind, _, _ in mode.line]
        if kinds == ["word", "equals", "word", "rest", "word"]:
            mark = _DIRECTORIES.get("".join(word for _, word, _ in mode.line[2:]))
            if mark:
                self.texts.append(Text(mark, bisect_right(self._starts, self._at - 1), Role.VALUE))
        mode.line.clear()

    def _block(self, mode: _Code) -> str:
        """The type of the block whose brace opens here, "" for an object. Its labels are no texts."""
        if not mode.line or mode.line[0][0] != "word" or any(kind not in {"word", "text"} for kind, _, _ in mode.line):
            return ""
        for _, _, index in mode.line:
            if index >= 0:
                self.texts[index] = None
        return mode.line[0][1]

    def _close(self, mode: _Code) -> None:
        self._end_line(mode)
        if mode.blocks:
            mode.blocks.pop()
        elif len(self._modes) > 1:  # the expression ends, and the text around it goes on
            self._modes.pop()
            around = self._modes[-1]
            if isinstance(around, _Template):
                around.pieces.append(_value(self._code[mode.start : self._at - 1]))

    # ------------------------------------------------------------ texts

    def _in_quotes(self, mode: _Template) -> None:
        kind, match = self._take(_QUOTED)
        if kind == "end":
            line = bisect_right(self._starts, match.start())
            self.texts[mode.index] = Text("".join(mode.pieces), line, mode.role)
            self._modes.pop()
            self._at = match.start() if match[0] == "\n" else self._at  # it ends the line of code, too
        elif kind == "put":
            self._enter(_Code(match.start()))
        elif kind == "escape":
            mode.pieces.append(_unescaped(match[0]))
        else:
            mode.pieces.append(match[0][1:] if kind == "literal" else match[0])

    def _unquoted(self, mode: _Template, end: re.Pattern[str]) -> None:
        if mode.stop[0] < self._at:
            last = end.search(self._code, self._at)
            mode.stop = last.span() if last else (len(self._code), len(self._code))
        put = _PUT.search(self._code, self._at, mode.stop[0])
        mode.pieces.append(self._code[self._at : put.start() if put else mode.stop[0]])
        self._at = put.end() if put else mode.stop[1]
        if put is None:
            self._modes.pop()
        elif put["put"]:
            self._enter(_Code(put.start()))
        else:
            mode.pieces.append(put[0][1:])


def _role(mode: _Code) -> Role:
    """What the text that begins here is: `NAME = "..."` sets an argument."""
    if len(mode.line) != 2 or [kind for kind, _, _ in mode.line] != ["word", "equals"]:
        return Role.ANY
    return Role.SOURCE if mode.blocks == ["module"] and mode.line[0][1] == "source" else Role.VALUE


def _value(put: str) -> str:
    """The mark for `${...` or `%{...` without its closing brace."""
    directory = _DIRECTORY.fullmatch(put, 2) if put.startswith("$") else None
    return UNKNOWN if directory is None else _DIRECTORIES[directory[1]]


def _unescaped(text: str) -> str:
    if text[1] in "uU" and len(text) > 2:
        code = int(text[2:], 16)
        return chr(code) if code <= 0x10FFFF else UNKNOWN
    return _ESCAPES.get(text[1], text[1])
