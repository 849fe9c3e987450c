"""Where a field stands: computed when an error asks, so that reading a thousand good files costs nothing for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gitopsd.yamltext.documents import decode_text
from gitopsd.yamltext.scalars import ScalarError, key_text, plain_scalar

Step = str | int | Mapping[str, Any]
"""One step down: a key, an index, or the fields that a list's element has (`[name="web"]`)."""

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[((?:\"(?:[^\"\\]|\\.)*\"|[^\]])*)\]")
_SELECTOR: Final = re.compile(r"([A-Za-z]\w*)=(\"(?:[^\"\\]|\\.)*\"|[^,]+)")


class LineIndex:
    """The lines of one text that `parse_documents` took."""

    def __init__(self, data: bytes) -> None:
        self._first_line = 1
        try:
            self._roots = list(yaml.compose_all(decode_text(data, "", len(data)), Loader=yaml.CBaseLoader))
        except yaml.YAMLError:  # JSON with escapes that YAML does not have: its lines are not known
            self._roots = []

    def line(self, document: int, path: Sequence[Step] = ()) -> int:
        """The line of a field of the document with this number; of its deepest parent that is there, if it is not."""
        return _descend(self._roots[document], path) if document < len(self._roots) else self._first_line

    def line_within(self, start: int, path: Sequence[Step]) -> int:
        """The same for the document, or the element of a `List`, that starts on line `start`."""
        for root in self._roots:
            for node in (root, *_items(root)):
                if node.start_mark.line + 1 == start:
                    return _descend(node, path)
        return start


def line_of(data: bytes, document: int, path: str | Sequence[Step]) -> int:
    """The line of a field, `path` as kubectl writes it (`spec.containers[0].image`) or in steps."""
    return LineIndex(data).line(document, parse_path(path) if isinstance(path, str) else path)


def line_within(data: bytes, start: int, path: str | Sequence[Step]) -> int:
    """The line of a field of the object that starts on line `start` (`Origin.line`)."""
    return LineIndex(data).line_within(start, parse_path(path) if isinstance(path, str) else path)


def parse_path(path: str) -> tuple[Step, ...]:
    """Steps of a path as the API server writes it: `spec.ports[0]`, `data[a.b]`, `.spec.ports[name="web"].port`."""
    return tuple(_step(match.group(1), match.group(2)) for match in _STEP.finditer(path))


def _step(name: str | None, inside: str | None) -> Step:
    if inside is None:
        return name or ""
    if inside.isdigit():
        return int(inside)
    fields = {key: _literal(value) for key, value in _SELECTOR.findall(inside)}
    return fields or _literal(inside)


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _items(root: Node) -> list[Node]:
    items = _child(root, "items")
    return list(items[1].value) if items is not None and isinstance(items[1], SequenceNode) else []


def _descend(node: Node, path: Sequence[Step]) -> int:
    line: int = node.start_mark.line + 1
    for step in path:
        found = _child(node, step)
        if found is None:
            return line
        line, node = found
    return line


def _child(node: Node, step: Step) -> tuple[int, Node] | None:
    """(line, value) of one step down; for a key the line is the key's own."""
    if isinstance(node, MappingNode):
        return next(((k.start_mark.line + 1, v) for k, v in node.value if _name(k) == str(step)), None)
    if not isinstance(node, SequenceNode):
        return None
    if isinstance(step, int):
        element = node.value[step] if step < len(node.value) else None
    elif isinstance(step, Mapping):
        element = next((e for e in node.value if _matches(e, step)), None)
    else:
        return None
    return (element.start_mark.line + 1, element) if element is not None else None


def _matches(element: Node, fields: Mapping[str, Any]) -> bool:
    children = {name: _child(element, name) for name in fields}
    return all(
        child is not None and isinstance(child[1], ScalarNode) and child[1].value == str(fields[name])
        for name, child in children.items()
    )


def _name(key: Node) -> str:
    if not isinstance(key, ScalarNode):
        return ""
    if key.style:  # quoted
        return str(key.value)
    try:
        return key_text(plain_scalar(key.value))
    except ScalarError:
        return str(key.value)
