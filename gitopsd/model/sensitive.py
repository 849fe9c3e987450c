"""A value that nobody may read by accident."""

from __future__ import annotations

from typing import Any


class Sensitive:
    """Carries a secret value from where it is read to where it is used. Neither its text, nor its representation, nor a
    JSON made of it shows the value: `reveal` is the one way to it, and easy to search for."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def reveal(self) -> Any:
        return self._value

    def __repr__(self) -> str:
        return "Sensitive(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and self._value == other._value

    def __hash__(self) -> int:
        return hash(Sensitive)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a sensitive value is not serialised")
