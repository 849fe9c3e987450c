"""Model values to plain JSON values and back, driven by their types alone."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from gitopsd.model.ids import UnitId

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """JSON-ready value of a model value: units as text, enums as their value, tuples as lists."""
    if isinstance(value, UnitId):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(v) for v in value]
    return value


def from_plain(kind: type[T], value: Any) -> T:
    """The model value of type `kind` that `to_plain` made `value` of. Unknown keys are ignored, so that an older
    version can read what a newer one wrote; a value of the wrong shape raises ValueError or TypeError."""
    return typing.cast(T, _decode(kind, value))


def _decode(kind: Any, value: Any) -> Any:
    if kind is Any:
        return value
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(args, value)
    if origin is tuple:
        inner = [args[0]] * len(value) if args[-1] is Ellipsis else args
        return tuple(_decode(k, v) for k, v in zip(inner, value, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {_decode(args[0], k): _decode(args[1], v) for k, v in value.items()}
    if kind is UnitId:
        return UnitId.parse(value)
    return _decode_record(kind, value) if dataclasses.is_dataclass(kind) else kind(value)


def _decode_record(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    return kind(**{name: _decode(hints[name], item) for name, item in value.items() if name in hints})


def _decode_union(args: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in args:
        return None
    (kind,) = (a for a in args if a is not type(None))
    return _decode(kind, value)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(kind)}
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name in names}
