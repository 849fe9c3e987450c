"""From libyaml's events to plain values, without recursion: depth, aliases and keys are judged as they come.

Composing nodes first (as PyYAML's loaders do) recurses in C for as deep as the text wants, and expands an alias before
anybody can say no. Events do neither.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import yaml
from yaml._yaml import CParser

from gitopsd.model.errors import Problem
from gitopsd.yamltext.scalars import (
    BINARY_TAG,
    MERGE_TAG,
    ScalarError,
    key_text,
    plain_scalar,
    tagged_scalar,
)

MAX_DEPTH: Final = 200
"""Levels of nesting. orjson writes 254; no schema of Kubernetes needs a hundred."""

MAX_WEIGHT: Final = 16 * 1024 * 1024
"""Characters (and eight for each value) that aliases may add to one file."""

_UNSET: Final = object()
_MERGE: Final = object()


class Stop(Exception):
    """The text cannot be read any further; the problem is already in the list."""


class _Frame:
    """A mapping or list that is still open."""

    __slots__ = ("anchor", "height", "key", "key_lines", "line", "merges", "value", "weight")

    def __init__(self, value: dict[str, Any] | list[Any], line: int, anchor: str | None) -> None:
        self.value: Any = value
        self.line = line
        self.anchor = anchor
        self.weight = 8
        self.height = 1
        self.key: Any = _UNSET
        self.key_lines: dict[Any, int] = {}
        self.merges: list[Mapping[str, Any]] = []


class Builder:
    """Reads one stream. `roots` are (value, line of its first token, number of the document in the stream); `broken`
    says that a fault of syntax ended the reading."""

    def __init__(self, text: str, file: str, max_documents: int) -> None:
        self.roots: list[tuple[Any, int, int]] = []
        self.problems: list[Problem] = []
        self.broken = False
        self._file = file
        self._text = text
        self._max_documents = max_documents
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._document = -1
        self._expanded = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: self._open,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.DocumentStartEvent: self._begin,
        }

    def read(self) -> None:
        """Read everything. Faults are in `problems` afterwards; after a fault of syntax the rest is unread."""
        parser = CParser(self._text)
        handlers, nothing = self._handlers, _ignore
        try:
            while type(event := parser.get_event()) is not yaml.StreamEndEvent:
                handlers.get(type(event), nothing)(event)
        except Stop:
            pass  # its problem was noted where it was found
        except yaml.MarkedYAMLError as error:
            self.broken = True
            self.problems.append(self._syntax(error))
        finally:
            parser.dispose()

    # ------------------------------------------------------------ events

    def _begin(self, event: yaml.DocumentStartEvent) -> None:
        self._document += 1
        self._anchors = {}
        if len(self.roots) >= self._max_documents:
            self._stop(f"more than {self._max_documents} documents in one file", _line(event))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        text, line = event.value, _line(event)
        frame = self._frames[-1] if self._frames else None
        plain = event.implicit[0] and event.tag is None
        try:
            if frame is not None and frame.key is _UNSET and _is_merge(text, event.tag, plain, frame):
                value: Any = _MERGE
            elif plain:
                value = plain_scalar(text)
            elif event.tag is None:
                value = text
            else:
                value = _decoded(text) if event.tag == BINARY_TAG else tagged_scalar(event.tag, text)
        except ScalarError as error:
            self._note(str(error), line)
            value = text
        self._complete(value, 8 + len(text), 0, line, event.anchor)

    def _alias(self, event: yaml.AliasEvent) -> None:
        line = _line(event)
        if any(frame.anchor == event.anchor for frame in self._frames):
            self._stop(f"the anchor &{event.anchor} contains itself", line)
        anchored = self._anchors.get(event.anchor or "")
        if anchored is None:
            self._stop(f"the alias *{event.anchor} has no anchor before it in this document", line)
        value, weight, height = anchored
        self._expanded += weight
        if self._expanded > MAX_WEIGHT:
            self._stop(f"the aliases of this file expand to more than {MAX_WEIGHT // 1024 // 1024} MiB", line)
        if len(self._frames) + height > MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels", line)
        self._complete(value, weight, height, line, None)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        line = _line(event)
        if len(self._frames) >= MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels", line)
        self._frames.append(_Frame({} if type(event) is yaml.MappingStartEvent else [], line, event.anchor))

    def _close(self, _: yaml.MappingEndEvent | yaml.SequenceEndEvent) -> None:
        frame = self._frames.pop()
        value = frame.value
        if frame.merges:
            merged: dict[str, Any] = {}
            for source in reversed(frame.merges):  # the first one wins
                merged.update(source)
            value = merged | value
        self._complete(value, frame.weight, frame.height, frame.line, frame.anchor)

    # ------------------------------------------------------------ values

    def _complete(self, value: Any, weight: int, height: int, line: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, weight, height)
        if not self._frames:
            if value is not None:  # a document of comments alone
                self.roots.append((value, line, self._document))
            return
        frame = self._frames[-1]
        frame.weight += weight
        frame.height = max(frame.height, height + 1)
        if type(frame.value) is list:
            frame.value.append(value)
        elif frame.key is _UNSET:
            frame.key = self._key(value, line)
            first = frame.key_lines.setdefault(frame.key, line)
            if frame.key in frame.value or (frame.key is _MERGE and frame.merges):
                self._note(f"this key is already set on line {first}", line)
        else:
            if frame.key is _MERGE:
                frame.merges.extend(self._merged(value, line))
            else:
                frame.value[frame.key] = value
            frame.key = _UNSET

    def _key(self, value: Any, line: int) -> Any:
        if value is _MERGE:
            return value
        if isinstance(value, (dict, list)):
            self._note("a key has to be text, not a mapping or list (are there template braces in this file?)", line)
            return str(value)
        try:
            return key_text(value)
        except ScalarError as error:
            self._note(str(error), line)
            return str(value)

    def _merged(self, value: Any, line: int) -> list[Mapping[str, Any]]:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            self._note("<< takes a mapping or a list of mappings", line)
            return []
        return list(sources)

    # ------------------------------------------------------------ faults

    def _path(self) -> str:
        path = ""
        for frame in self._frames:
            if type(frame.value) is list:
                path += f"[{len(frame.value)}]"
            elif isinstance(frame.key, str):
                path += f".{frame.key}" if path else frame.key
        return path

    def _note(self, message: str, line: int) -> None:
        self.problems.append(Problem(message, file=self._file, line=line, field=self._path()))

    def _stop(self, message: str, line: int) -> NoReturn:
        self.problems.append(Problem(message, file=self._file, line=line))
        raise Stop

    def _syntax(self, error: yaml.MarkedYAMLError) -> Problem:
        mark = error.problem_mark or error.context_mark
        message = error.problem or "this is not YAML"
        if error.context and error.context_mark is not None:
            message += f" {error.context} that starts on line {error.context_mark.line + 1}"
        remedy = ""
        if mark is not None and self._indented_by_tab(mark.line):
            remedy = "indent with spaces: YAML takes no tabs there"
        return Problem(message, file=self._file, line=mark.line + 1 if mark else None, remedy=remedy)

    def _indented_by_tab(self, line: int) -> bool:
        lines = self._text.split("\n")
        around = lines[max(0, line - 1) : line + 1]
        return any("\t" in text[: len(text) - len(text.lstrip())] for text in around)


def _ignore(_: object) -> None:
    """Ends of documents and streams carry nothing."""


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _is_merge(text: str, tag: str | None, plain: bool, frame: _Frame) -> bool:
    return text == "<<" and (plain or tag == MERGE_TAG) and type(frame.value) is dict


def _decoded(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise ScalarError("!!binary needs base64 of UTF-8 text; other bytes belong into binaryData") from None
