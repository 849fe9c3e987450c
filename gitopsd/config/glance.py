"""A few paths out of a YAML file without a YAML parser, for files where that is safe.

Importing the parser costs more than all else that `gitopsd status` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_COMMENT: Final = re.compile(r"[ ]*(#[^\r\x85\u2028\u2029]*)?")  # or nothing at all
_INDENTED: Final = re.compile(r"[ ]+[^\s#][^\r\t\x85\u2028\u2029]*")
_ITEM: Final = re.compile(r"-[ ]+[^\s#][^\r\t\x85\u2028\u2029]*")
_VALUE: Final = r"""[\w./][\w./:@-]*|"[^"\\]*"|'[^']*'|\{(?:[^{}"'#]|\{[^{}"'#]*\})*\}|\[\]"""
_ENTRY: Final = re.compile(rf"(?P<key>[A-Za-z]+):([ ]+(?P<value>{_VALUE}))?([ ]+#.*|[ ]*)")
_PATH: Final = re.compile(r"[\w.-]*/[\w./-]*")  # with a slash, it is neither a number nor a truth value nor a date


def glance(data: bytes, defaults: Mapping[str, str]) -> dict[str, str] | None:
    """The top-level values of these keys; None for a file that has to be parsed to be sure.

    A line at the left margin of a block mapping is a key of it or an item of a sequence that is its value, as long as
    no scalar, quote or bracket goes on from one line to the next. So each line has to be of a kind that cannot; the
    rest of the file is not checked.
    """
    found: dict[str, str | None] = {}
    key = ""
    for line in data.decode("utf-8", "replace").split("\n"):
        entry = _ENTRY.fullmatch(line)
        if entry is not None and entry["key"] not in found:
            key = entry["key"]
            found[key] = entry["value"]
        elif not _COMMENT.fullmatch(line) and not (_nested(line) and key and key not in defaults):
            return None
    wanted = {name: found.get(name, default) for name, default in defaults.items()}
    texts = {name: text for name, text in wanted.items() if text is not None and _PATH.fullmatch(text)}
    return texts if found and len(texts) == len(wanted) else None


def _nested(line: str) -> bool:
    """Whether this is a line below a key, with all that it opens closed."""
    balanced = line.count("{") == line.count("}") and line.count("[") == line.count("]")
    quoted = line.count('"') % 2 or line.count("'") % 2
    return bool(balanced and not quoted and (_INDENTED.fullmatch(line) or _ITEM.fullmatch(line)))
