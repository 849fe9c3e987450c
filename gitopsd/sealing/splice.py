"""Where the sealed texts of a file stand, and a new text in the place of one with every other byte as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gitopsd.model.errors import CommitError, Problem
from gitopsd.sealed.document import At, is_sealed_secret
from gitopsd.yamltext import parse_documents
from gitopsd.yamltext.documents import decode_text
from gitopsd.yamltext.scalars import plain_scalar

_BOM: Final = b"\xef\xbb\xbf"
MAX_BYTES: Final = 16 * 1024 * 1024
"""Size of a file that is looked into; SealedSecrets of several MiB do exist, as a List."""

_REFERENCE: Final = re.compile(r"[&*!]")
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_REMEDY: Final = "write the sealed text out in its place, without anchor, alias, merge or tag"


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one sealed text: characters [start, end) of the file's text."""

    item: str
    start: int
    end: int
    style: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Found:
    """One SealedSecret of a file: its value, where it stands, and the node of its `spec.encryptedData`."""

    manifest: Mapping[str, Any]
    at: At
    slots: tuple[Slot, ...]
    node: MappingNode | None


@dataclass(frozen=True, slots=True)
class Edit:
    """Another text in the place of the characters [start, end)."""

    start: int
    end: int
    text: str


class SealedFile:
    """One YAML or JSON file, and the SealedSecrets in it. Raises CommitError if it cannot be read for sure."""

    def __init__(self, file: str, data: bytes) -> None:
        self.name = file
        self._data = data
        self._bom = data.startswith(_BOM)
        self._documents = parse_documents(data, file, MAX_BYTES)
        self.text = decode_text(data, file, MAX_BYTES)
        self.found = tuple(self._find())

    def edited(self, edits: list[Edit]) -> bytes:
        """The file after these edits, which do not overlap."""
        text = self.text
        for edit in sorted(edits, key=lambda e: e.start, reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return (_BOM if self._bom else b"") + text.encode()

    @property
    def manifests(self) -> tuple[Any, ...]:
        """Every document of the file."""
        return tuple(document.value for document in self._documents)

    def added(self, found: Found, item: str, sealed: str) -> Edit:
        """The edit that adds a sealed text to a SealedSecret: on a line of its own after the others, as they are
        indented, or inside of the braces. Raises CommitError if there is no mapping to add it to."""
        if found.node is None:
            place = found.at.line_of(("spec", "encryptedData"))
            remedy = "write encryptedData: {} there"
            raise CommitError(Problem("there is nothing to add an item to", self.name, place, remedy=remedy))
        if found.node.flow_style or not found.node.value:
            return self._added_in_braces(found.node, item, sealed)
        last = found.node.value[-1][1]
        end = last.end_mark.index
        if last.style in {"|", ">"}:
            end = last.start_mark.index + len(self.text[last.start_mark.index : end].rstrip())
        stop = self.text.find("\n", end)
        stop = len(self.text) if stop < 0 else stop - 1 if self.text[stop - 1] == "\r" else stop
        indent = " " * self._column(found.node)
        return Edit(stop, stop, f"{self._ending()}{indent}{scalar(item)}: {sealed}")

    def _added_in_braces(self, node: MappingNode, item: str, sealed: str) -> Edit:
        text = f'{json.dumps(item)}: "{sealed}"'
        if not node.value:
            place = node.start_mark.index + 1
            return Edit(place, place, text)
        place, key = node.value[-1][1].end_mark.index, node.value[-1][0]
        own_line = key.start_mark.line > node.start_mark.line
        gap = self._ending() + " " * key.start_mark.column if own_line else " "
        return Edit(place, place, f",{gap}{text}")

    def _column(self, mapping: MappingNode) -> int:
        """Where the keys of a mapping in lines begin; the first may be written out as `? key`, be it over lines."""
        written_out = self.text[mapping.start_mark.index : mapping.start_mark.index + 1] == "?"
        column: int = (mapping if written_out else mapping.value[0][0]).start_mark.column
        return column

    def _ending(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def replaced(self, slot: Slot, sealed: str) -> Edit:
        """The edit that puts a sealed text into a slot, in the slot's own style of YAML."""
        old = self.text[slot.start : slot.end]
        if slot.style in {"|", ">"}:
            return Edit(slot.start, slot.end, _block(old, sealed, folds=slot.style == ">"))
        quote = slot.style or ""
        return Edit(slot.start, slot.end, f"{quote}{sealed}{quote}")

    # ------------------------------------------------------------ finding

    def _find(self) -> Iterator[Found]:
        wanted = [document for document in self._documents if any(_sealed(document.value))]
        if not wanted:
            return
        try:
            roots = list(yaml.compose_all(self.text, Loader=yaml.CBaseLoader))
        except yaml.YAMLError:  # JSON with escapes or tabs that YAML does not have
            raise CommitError(Problem("this JSON is none that YAML allows", self.name, remedy="write YAML")) from None
        for document in wanted:
            for manifest, node in _pairs(document.value, roots[document.index]):
                yield self._located(manifest, node)

    def _located(self, manifest: Mapping[str, Any], node: Node) -> Found:
        line = node.start_mark.line + 1
        at = At(self.name, line, self._data)
        spec = manifest.get("spec")
        said = spec.get("encryptedData") if isinstance(spec, Mapping) else None
        items = said if isinstance(said, Mapping) else {}
        inner = _value(_value(node, "spec"), "encryptedData")
        slots = tuple(self._slots(inner)) if isinstance(inner, MappingNode) else ()
        if sorted(slot.item for slot in slots) != sorted(items):
            place = at.line_of(("spec", "encryptedData"))
            raise CommitError(Problem("the places of its sealed texts are not certain", self.name, place, "", _REMEDY))
        return Found(manifest, at, slots, inner if isinstance(inner, MappingNode) else None)

    def _slots(self, mapping: MappingNode) -> Iterator[Slot]:
        for key, value in mapping.value:
            if not isinstance(key, ScalarNode) or not isinstance(value, ScalarNode):
                continue  # no item; that the numbers differ is said above
            start, end = value.start_mark.index, value.end_mark.index
            written = self.text[start:end]
            if start < key.end_mark.index or _REFERENCE.match(written):
                message = "this sealed text is written by reference"
                line = key.start_mark.line + 1
                raise CommitError(Problem(message, self.name, line, field=str(key.value), remedy=_REMEDY))
            yield Slot(str(key.value), start, end, value.style, value.start_mark.line + 1)


def _sealed(value: Any) -> Iterator[Mapping[str, Any]]:
    """The SealedSecrets of a document, which may be a List of them."""
    if is_sealed_secret(value):
        yield value
    elif isinstance(value, Mapping) and isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _sealed(item)


def _pairs(value: Any, node: Node) -> Iterator[tuple[Mapping[str, Any], Node]]:
    if is_sealed_secret(value):
        yield value, node
    elif isinstance(value, Mapping) and isinstance(value.get("items"), list):
        inner = _value(node, "items")
        if isinstance(inner, SequenceNode):
            for item, element in zip(value["items"], inner.value, strict=True):
                yield from _pairs(item, element)


def _value(node: Node | None, key: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.value if isinstance(name, ScalarNode) and name.value == key), None)


# ---------------------------------------------------------------- block scalars


def _block(old: str, sealed: str, *, folds: bool) -> str:
    """A literal or folded scalar with another content: header, indentation, width of its lines, line ends and what
    follows stay. Folding would put spaces between lines, where base64 must have none: there it stays on one."""
    lines = old.splitlines(keepends=True)
    filled = [number for number, line in enumerate(lines) if number and line.strip()]
    first, last = filled[0], filled[-1]
    indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
    ending = _ending(lines[0])
    width = len(lines[first].strip()) if last > first and not folds else len(sealed)
    pieces = [indent + sealed[at : at + width] for at in range(0, len(sealed), width)]
    return "".join(lines[:first]) + ending.join(pieces) + _ending(lines[last]) + "".join(lines[last + 1 :])


def scalar(text: str) -> str:
    """A text as a key of YAML: plain where every reader takes it for that text, else quoted."""
    return text if _PLAIN.fullmatch(text) and plain_scalar(text) == text else json.dumps(text)


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]
