"""Paths inside a repository."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def repository_path(path: str, base: str = "") -> str:
    """`path`, relative to the directory `base`, as the repository's root sees it: "" is the root, no `.` or `..` is
    left. Raises ValueError for a path that leaves the repository."""
    if not path or _CONTROL.search(path):
        raise ValueError("expected a path with / between its parts")
    if path.startswith("/"):
        raise ValueError("expected a path inside the repository, not an absolute one")
    parts: list[str] = []
    for part in f"{base}/{path}".split("/"):
        if part == "..":
            if not parts:
                raise ValueError("this path leaves the repository")
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)
