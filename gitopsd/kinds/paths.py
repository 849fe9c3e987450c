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
        if match is None or (position == 0) == text[0:1].startswith("."):
            raise ValueError(f"{text!r} is no path to a field; write for example spec.template.spec.containers[app].image")
        found.append(match[1] or match[2])
        position = match.end()
    if not found:
        raise ValueError("a path to a field is empty")
    return tuple(found)
