"""Nested values as one column: JSON, compressed when that pays."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import orjson

from gitopsd.model.codec import from_plain, to_plain

T = TypeVar("T")
P = ParamSpec("P")

COMPRESS_FROM = 512  # bytes; managedFields shrink to a fifth, short values would only grow
COMPRESSED = b"x"  # first byte of every zlib stream, and of no JSON text
_INT64 = range(-(2**63), 2**64)


class DamagedValue(Exception):
    """A stored value that is not what was stored, or that a version wrote which this one does not understand."""


def decoding(decode: Callable[P, T]) -> Callable[P, T]:
    """Let a function that decodes stored values raise DamagedValue for whatever it stumbles over."""

    @functools.wraps(decode)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return decode(*args, **kwargs)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedValue(f"{type(error).__name__}: {error}") from error

    return checked


def pack(value: Any) -> bytes:
    """Bytes of a model value or plain JSON value, for `unpack`."""
    plain = to_plain(value)
    try:
        text = orjson.dumps(plain)
    except TypeError:
        text = orjson.dumps(_storable(plain))
    return zlib.compress(text, 1) if len(text) >= COMPRESS_FROM else text


@decoding
def unpack(kind: type[T], blob: bytes) -> T:
    """The value of type `kind` that `pack` made `blob` of; raises DamagedValue if it is none."""
    return from_plain(kind, unpack_plain(blob))


def unpack_plain(blob: bytes) -> Any:
    """The plain JSON value in `blob`; raises ValueError or TypeError if it is none."""
    try:
        return orjson.loads(zlib.decompress(blob) if blob.startswith(COMPRESSED) else blob)
    except zlib.error as error:
        raise ValueError(f"a compressed value cannot be read: {error}") from error


def printable(text: str) -> str:
    """The text with what is no Unicode replaced: names in old commits may be in any encoding."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _storable(value: Any) -> Any:
    """What JSON can hold of a value that it cannot hold whole: broken text, and numbers of a manifest that are too
    big for any API server. A record with a replacement character is better than a run that stops over a name."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(k)): _storable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_storable(v) for v in value]
    if isinstance(value, int) and value not in _INT64:
        return str(value)
    return value
