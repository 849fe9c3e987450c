"""Which texts may reach git as the name of a branch, a tag or a commit."""

from __future__ import annotations

import re

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|\.$|/$|^[-./]|^@$")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def is_ref_name(name: str) -> bool:
    """Whether git takes `name` as a branch or tag (git-check-ref-format). An option, a refspec pattern or a revision
    expression never passes."""
    return bool(name) and not _FORBIDDEN.search(name)


def is_object_id(text: str) -> bool:
    """Whether `text` is a full object id, SHA-1 or SHA-256."""
    return bool(_OBJECT_ID.fullmatch(text))
