"""Files of documents: bytes in, located values out, or every problem at once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gitopsd.model.errors import CommitError, Problem, raise_if
from gitopsd.yamltext.build import Builder
from gitopsd.yamltext.scalars import whole

MAX_BYTES: Final = 4 * 1024 * 1024
"""Size of one file. The API server takes requests of 3 MiB at most, etcd values of 1.5 MiB."""

MAX_DOCUMENTS: Final = 10_000
"""Documents in one file."""

PARSER_VERSION: Final = "1"
"""Part of every cache key of a parsed text: to be raised whenever the same text would give another value."""

_CONTROL: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Located:
    """One document: its value as JSON would carry it (never None), the line of its first token, and its number
    in the stream, which empty documents count in. Aliased parts are the same Python object: do not change it."""

    value: Any
    line: int
    index: int


class _NotPlainJson(Exception):
    """JSON that has no certain value; the text says why."""


def parse_documents(data: bytes, file: str, max_bytes: int = MAX_BYTES) -> tuple[Located, ...]:
    """Every document of a YAML or JSON text; empty ones are left out.

    Read as kubectl reads it, and stricter where that hides mistakes: duplicate keys are errors. Raises CommitError with
    every problem of the text, at `file` and line; problems name keys but never show values.
    """
    text = decode_text(data, file, max_bytes)
    start = text.lstrip()[:1]
    fault: Problem | None = None
    if start and start in "{[":  # JSON, or a flow collection of YAML
        try:
            return (Located(_json(text), text[: text.index(start)].count("\n") + 1, 0),)
        except orjson.JSONDecodeError as error:
            fault = Problem(f"this is not JSON: {error.msg}", file=file, line=error.lineno)
        except _NotPlainJson as error:
            fault = Problem(str(error), file=file)
    builder = Builder(text, file, MAX_DOCUMENTS)
    builder.read()
    if fault is not None and _tells_more(fault, builder):
        raise CommitError(fault)
    raise_if(set(builder.problems))
    return tuple(Located(value, line, index) for value, line, index in builder.roots)


def decode_text(data: bytes, file: str, max_bytes: int = MAX_BYTES) -> str:
    """The text of a file, if it is one that YAML allows. Raises CommitError with the line of the first bad byte."""
    if len(data) > max_bytes:
        size = f"{len(data) / 1024 / 1024:.1f} MiB"
        raise CommitError(Problem(f"the file has {size}, more than the {max_bytes // 1024 // 1024} allowed", file=file))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CommitError(Problem("this is not UTF-8 text", file=file, line=line, remedy="save it as UTF-8")) from None
    if found := _CONTROL.search(text):
        line = text[: found.start()].count("\n") + 1
        code = f"U+{ord(found.group()):04X}"
        raise CommitError(Problem(f"the control character {code} is not allowed in YAML", file=file, line=line))
    return text


def _json(text: str) -> Any:
    """A text that is one JSON value. Raises orjson's error for anything else, _NotPlainJson for doubtful values."""
    orjson.loads(text)  # stricter than the standard library, which takes NaN and lone surrogates, and limits depth
    value = json.loads(text, object_pairs_hook=_object, parse_float=_float, parse_int=_int)
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise _NotPlainJson("nested too deep") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise _NotPlainJson(f"one object has the key {twice[0]!r} more than once")
    return result


def _float(text: str) -> int | float:
    return whole(float(text))


def _int(text: str) -> int | float:
    number = int(text) if len(text) <= 20 else float(text)
    return number if -(2**63) <= number < 2**64 else _float(text)


def _tells_more(fault: Problem, builder: Builder) -> bool:
    """Whether what is wrong with a text as JSON says more than what is wrong (if anything) with it as YAML."""
    if fault.line is None:  # JSON as far as syntax goes: YAML finds the same fault, with its line, if it can read it
        return builder.broken or not builder.problems
    return bool(builder.problems) and fault.file.endswith(".json")
