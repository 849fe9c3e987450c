"""Paths to fields as people write them: `spec.template.spec.containers[app].image`, `metadata.annotations[foo.io/bar]`.

A bracket holds a map's key that has other characters than a plain word, or says which element of a list is meant: by
its natural key (a container's name, a port's number), by its text, or by its index.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Path = tuple[str, ...]

_PLAIN = re.compile(r"[A-Za-z0-9_$-]+")
_SEGMENT = re.compile(r"\.?([A-Za-z0-9_$/-]+)|\[([^\]]+)\]")
"""A word, after a dot unless it is the first; or a bracket."""

NATURAL_KEYS: tuple[tuple[str, ...], ...] = (
    ("mountPath",),
    ("devicePath",),
    ("name",),
    ("containerPort", "protocol"),
    ("port", "protocol"),
    ("topologyKey", "whenUnsatisfiable"),
    ("uid",),
    ("type",),
    ("ip",),
    ("key",),
)
"""What tells the elements of a list apart, the first that all elements have (as the API's own list maps do)."""

DEFAULTS = {"protocol": "TCP"}
"""Parts of keys that the API server fills in."""


def parse_path(text: str) -> Path:
    """The segments of a path. Raises ValueError with a sentence for a person."""
    found: list[str] = []
    position = 0
    while position < len(text):
        match = _SEGMENT.match(text, position)
        if match is None or (text[position] == "." and position == 0) or _glued(text, position):
            raise ValueError(f"{text!r} is no path; write one as in spec.template.spec.containers[app].image")
        found.append(match[1] or match[2])
        position = match.end()
    if not found:
        raise ValueError("a path is empty; write one as in spec.replicas or metadata.annotations[example.com/key]")
    return tuple(found)


def split_paths(text: str) -> tuple[str, ...]:
    """The paths of a comma-separated list, each checked; commas in brackets belong to a key. Raises ValueError."""
    found = tuple(part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip())
    for path in found:
        parse_path(path)
    return found


def child(path: str, key: str) -> str:
    """The path of a map's entry."""
    if not _PLAIN.fullmatch(key):
        return element(path, key)
    return f"{path}.{key}" if path else key


def element(path: str, key: str) -> str:
    """The path of a list's element, or of an entry whose key is not a plain word."""
    return f"{path}[{key}]"


def natural_keys(*lists: Sequence[Any]) -> tuple[str, ...] | None:
    """The fields whose values tell all elements of each list apart; None if there are none: then only their index does.

    Several lists are versions of the same one: their elements are to be matched.
    """
    for names in NATURAL_KEYS:
        if all(_distinguish(items, names) for items in lists) and any(lists):
            return names
    return None


def element_key(item: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """What stands in the brackets for this element."""
    return "/".join(str(item.get(name, DEFAULTS.get(name, ""))) for name in names)


def find_element(items: Sequence[Any], segment: str) -> int | None:
    """The index of the element that a path's segment means; None if the list has none."""
    for index, item in enumerate(items):
        if not isinstance(item, Mapping | list) and str(item) == segment:
            return index
    for names in NATURAL_KEYS:
        if _distinguish(items, names):
            keys = [{element_key(item, names), str(item[names[0]])} for item in items]
            index = next((i for i, key in enumerate(keys) if segment in key), -1)
            if index >= 0:
                return index
    indexed = natural_keys(items) is None and segment.isdecimal() and int(segment) < len(items)
    return int(segment) if indexed else None


def _glued(text: str, position: int) -> bool:
    """Whether a word follows a bracket without a dot between them."""
    return position > 0 and text[position] not in ".["


def _distinguish(items: Sequence[Any], names: tuple[str, ...]) -> bool:
    seen: set[str] = set()
    for item in items:
        if not isinstance(item, Mapping) or not all(_is_key(item.get(n, DEFAULTS.get(n))) for n in names):
            return False
        key = element_key(item, names)
        if key in seen:
            return False
        seen.add(key)
    return True


def _is_key(value: Any) -> bool:
    return isinstance(value, str | int) and value != "" and not isinstance(value, bool)
