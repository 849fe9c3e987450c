"""Whether a root module says by itself where its state is kept. Only as much of HCL is read as that takes: comments,
strings and heredocs are passed over, so that a `backend` in any of them is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<heredoc><<-?(?P<end>[A-Za-z_][\w-]*)[ \t]*\r?\n)
      | (?P<quote>")
      | (?P<word>[A-Za-z_][\w-]*)
      | (?P<open>\{) | (?P<close>\})
      | (?P<other>\S)""",
    re.VERBOSE | re.DOTALL,
)


def own_backend(files: Mapping[str, bytes]) -> str:
    """The backend that a root module names ("s3", or "cloud"), "" if it leaves that to others. `files` are those of its
    directory by name; a file that cannot be read as HCL or JSON is Terraform's to complain about."""
    for name in sorted(files):
        text = files[name].decode(errors="replace")
        found = _in_json(text) if name.endswith(".json") else _in_hcl(text)
        if found:
            return found
    return ""


def is_code(name: str) -> bool:
    """Whether Terraform or OpenTofu reads a file of this name as code."""
    return name.endswith((".tf", ".tf.json", ".tofu", ".tofu.json")) and not name.startswith(".")


def _in_json(text: str) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return ""
    for body in _bodies(document, "terraform"):
        for backend in _bodies(body, "backend"):
            return str(next(iter(backend), ""))
        if "cloud" in body:
            return "cloud"
    return ""


def _bodies(document: Any, key: str) -> Iterator[Mapping[str, Any]]:
    """The blocks of a type in HCL's JSON form: an object, or a list of objects."""
    found = document.get(key) if isinstance(document, dict) else None
    for body in found if isinstance(found, list) else [found]:
        if isinstance(body, dict):
            yield body


def _in_hcl(text: str) -> str:
    header: list[str] = []
    blocks: list[str] = []
    for kind, value in _tokens(text):
        if kind in {"word", "string"}:
            header.append(value)
        elif kind == "open":
            if blocks == ["terraform"] and header[-2:-1] == ["backend"]:
                return header[-1]
            if blocks == ["terraform"] and header[-1:] == ["cloud"]:
                return "cloud"
            blocks.append(header[0] if len(header) == 1 else "")
            header = []
        elif kind == "close":
            blocks = blocks[:-1]
            header = []
        else:
            header = []  # an `=` or another sign: what stands before it opens no block
    return ""


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    position = 0
    while match := _TOKEN.search(text, position):
        position = match.end()
        kind = str(match.lastgroup)
        if match["heredoc"]:
            position = _heredoc_end(text, position, match["end"])
            yield "other", ""
        elif kind == "quote":
            position, value = _string(text, position)
            yield "string", value
        elif kind != "comment":
            yield kind, match[0]


def _heredoc_end(text: str, position: int, word: str) -> int:
    end = re.compile(rf"^[ \t]*{re.escape(word)}[ \t]*\r?$", re.MULTILINE).search(text, position)
    return end.end() if end else len(text)


def _string(text: str, position: int) -> tuple[int, str]:
    """Where a quoted string ends, and what is in it; `${...}` may hold strings again."""
    start, depth = position, 0
    while position < len(text):
        sign = text[position]
        if sign == "\\" and not depth:
            position += 2
            continue
        if not depth and sign == '"':
            return position + 1, text[start:position]
        if sign in "$%" and text[position + 1 : position + 2] == "{":
            escaped = not depth and text[position - 1 : position] == sign and position > start
            depth, position = (depth if escaped else depth + 1), position + 2
            continue
        if depth and sign == '"':
            position, _ = _string(text, position + 1)
            continue
        depth += (sign == "{") - (sign == "}") if depth else 0
        position += 1
    return position, text[start:]
