"""Model values to plain JSON values and back, driven by their types alone."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from gitopsd.model.ids import UnitId

T = TypeVar("T")

Decoder = Callable[[Any], Any]

_PLAIN = frozenset({str, int, bool, float, type(None)})


def to_plain(value: Any) -> Any:
    """JSON-ready value of a model value: units as text, enums as their value, tuples as lists."""
    if type(value) in _PLAIN:  # nearly everything is; an enum that is a text, too, is of another type
        return value
    if isinstance(value, UnitId):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_plain(getattr(value, name)) for name in _fields(type(value))}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    return [to_plain(v) for v in value] if isinstance(value, (list, tuple, set, frozenset)) else value


def from_plain(kind: type[T], value: Any) -> T:
    """The model value of type `kind` that `to_plain` made `value` of. Unknown keys are ignored, so that an older
    version can read what a newer one wrote; a value of the wrong shape raises ValueError or TypeError."""
    return typing.cast(T, _decoder(typing.cast(Any, kind))(value))


@cache
def _decoder(kind: Any) -> Decoder:
    """How values of a type are read: found out once, for thousands of records are read."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _itself
    if origin in (typing.Union, types.UnionType):
        return _of_union(args)
    if origin is tuple:
        return _of_tuple(args)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        key, item = map(_decoder, args)
        return lambda value: {key(k): item(v) for k, v in value.items()}
    if dataclasses.is_dataclass(kind) and kind is not UnitId:
        return _of_record(kind)
    return UnitId.parse if kind is UnitId else typing.cast(Decoder, kind)


def _itself(value: Any) -> Any:
    return value


def _of_union(args: tuple[Any, ...]) -> Decoder:
    (inner,) = (_decoder(a) for a in args if a is not type(None))
    if type(None) not in args:
        return inner
    return lambda value: None if value is None else inner(value)


def _of_tuple(args: tuple[Any, ...]) -> Decoder:
    if args[-1] is Ellipsis:
        each = _decoder(args[0])
        return lambda value: tuple(each(v) for v in value)
    places = [_decoder(a) for a in args]
    return lambda value: tuple(place(v) for place, v in zip(places, value, strict=True))


def _of_record(kind: Any) -> Decoder:
    def read(value: Mapping[str, Any]) -> Any:
        known = _members(kind)
        return kind(**{name: known[name](item) for name, item in value.items() if name in known})

    return read


@cache
def _members(kind: Any) -> dict[str, Decoder]:
    hints = typing.get_type_hints(kind)
    return {name: _decoder(hints[name]) for name in _fields(kind)}


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))
