"""From an object's metadata to what is kept of it for judging drift."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from gitopsd.kinds.fields import Fields, is_own
from gitopsd.kinds.paths import Path, parse_path
from gitopsd.model.imprint import Imprint
from gitopsd.model.live import LiveObject

DIGEST_BYTES = 8
"""Two states of one object have to be told apart, not all objects of the world: 2^-64 that a change goes unseen."""


def imprint_of(live: LiveObject, ignore: Sequence[str] = ()) -> Imprint:
    """The imprint of an object; `ignore` are the paths of fields that are left to others."""
    own, marks = "", ""
    others: list[tuple[str, str]] = []
    for entry in live.managed_fields:
        fields: Fields = entry.get("fieldsV1") or {}
        if is_own(entry):
            owned = without(fields, [parse_path(path) for path in ignore]) if ignore else fields
            own = _digest(entry.get("apiVersion"), entry.get("time"), owned)
            marks = _digest(_owned_texts(owned, live.metadata))
        else:
            others.append((_who(entry), _digest(entry.get("time"), fields)))
    version = live.resource_version
    return Imprint(
        uid=live.uid,
        version=int(version) if version.isdecimal() else 0,
        generation=live.generation,
        own=own,
        marks=marks,
        others=tuple(sorted(others)),
        terminating=live.terminating,
    )


def _who(entry: Mapping[str, Any]) -> str:
    """Whose entry it is: thousands of objects have those of the same few controllers."""
    parts = (entry.get(key) or "" for key in ("manager", "operation", "apiVersion", "subresource"))
    return sys.intern(" ".join(map(str, parts)))


def _digest(*what: Any) -> str:
    return hashlib.blake2b(orjson.dumps(what, option=orjson.OPT_SORT_KEYS), digest_size=DIGEST_BYTES).hexdigest()


def _owned_texts(fields: Fields, metadata: Mapping[str, Any]) -> list[Any]:
    """The labels and annotations that we own, as they are: of these alone metadata has the values."""
    owned: Fields = fields.get("f:metadata") or {}
    found = []
    for sort in ("labels", "annotations"):
        texts: Mapping[str, Any] = metadata.get(sort) or {}
        keys = sorted(step[2:] for step in owned.get(f"f:{sort}") or {} if step.startswith("f:"))
        found.append([[key, texts.get(key)] for key in keys])
    return found


def without(fields: Fields, paths: Iterable[Path]) -> Fields:
    """A set without what stands at these paths."""
    left: Fields = fields
    for path in paths:
        left = _cut(left, path)
    return left


def _cut(fields: Fields, path: Path) -> Fields:
    """A set without what stands at a path. What is empty then was there for that alone."""
    found: dict[str, Any] = {}
    for step, below in fields.items():
        if not _leads_to(step, path[0]):
            found[step] = below
        elif len(path) > 1 and below:
            rest = _cut(below, path[1:])
            if rest and rest.keys() != {"."}:
                found[step] = rest
        elif len(path) > 1:
            found[step] = below
    return found


def _leads_to(step: str, segment: str) -> bool:
    """Whether a step of a set is the field or the element that a path's segment names."""
    sort, _, text = step.partition(":")
    if sort == "f":
        return text == segment
    if sort == "k":
        keys = [str(value) for value in orjson.loads(text).values()]
        return segment in keys or "/".join(keys) == segment
    return sort in {"v", "i"} and text in {segment, f'"{segment}"'}
