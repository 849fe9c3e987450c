"""JSON values as Terraform writes them: what is nothing, what is equal, where the marked leaves are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def settled(value: Any) -> Any:
    """A value without the ways to write nothing: null, "", [] and {} are all None, also inside. Providers change them
    for one another between two reads."""
    if isinstance(value, dict):
        kept = {key: inner for key, item in value.items() if (inner := settled(item)) is not None}
        return kept or None
    if isinstance(value, list):
        return [settled(item) for item in value] or None
    return None if value == "" else value


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal but for how nothing is written. True is not 1 here."""
    return one is other or canonical(settled(one)) == canonical(settled(other))


def canonical(value: Any) -> str:
    """One text for each value. (The faster libraries refuse integers beyond 64 bits, which Terraform has.)"""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def marked(mask: Any) -> bool:
    """Whether one of Terraform's masks (`after_unknown`, `after_sensitive`, ...) marks anything."""
    if isinstance(mask, dict):
        return any(map(marked, mask.values()))
    return any(map(marked, mask)) if isinstance(mask, list) else mask is True


def part_of_mask(mask: Any, key: str | int) -> Any:
    """What a mask says of a part; one that marks the whole marks each part."""
    return True if mask is True else part(mask, key)


def part(value: Any, key: str | int) -> Any:
    """A part of a value, None if it has no such part."""
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int):
        return value[key] if key < len(value) else None
    return None


def marked_leaves(value: Any, mask: Any) -> Iterator[Any]:
    """The scalars of `value` that `mask` marks."""
    if mask is True:
        yield from leaves(value)
    elif isinstance(mask, dict) and isinstance(value, dict):
        for key, inner in mask.items():
            yield from marked_leaves(value.get(key), inner)
    elif isinstance(mask, list) and isinstance(value, list):
        for item, inner in zip(value, mask, strict=False):
            yield from marked_leaves(item, inner)


def leaves(value: Any) -> Iterator[Any]:
    """Every scalar in a value; keys of maps are names, and none."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif value is not None:
        yield value


def join(path: str, key: str | int) -> str:
    """A path as people write it: `tags.owner`, `rule[0].port`, `labels["example.com/a"]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not _WORD.fullmatch(key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key
