"""What a plain scalar means: the rules of the YAML library inside kubectl and the API server, not those of PyYAML.

That library (sigs.k8s.io/yaml) takes the booleans of YAML 1.1 (`yes`, `on`, `y` too), knows `0o14` and `014` as twelve,
leaves dates and `12:30` as text, and writes a float without fraction (`1e3`, `1.0`) as an integer.
"""

from __future__ import annotations

import math
import re
from typing import Final

Scalar = str | int | float | bool | None

_TAG: Final = "tag:yaml.org,2002:"
MERGE_TAG: Final = _TAG + "merge"
BINARY_TAG: Final = _TAG + "binary"

_WORDS: Final[dict[str, Scalar]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NOT_FINITE: Final = frozenset(sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")) | frozenset(
    (".nan", ".NaN", ".NAN")
)
_NUMBER_STARTS: Final = frozenset("0123456789+-.")
_DECIMAL: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_PREFIXED: Final = re.compile(r"([-+]?)0(?:([xX])([0-9a-fA-F]+)|([bB])([01]+)|[oO]?([0-7]+))")
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    _TAG + "int": (int,),
    _TAG + "float": (int, float),
    _TAG + "bool": (bool,),
    _TAG + "null": (type(None),),
}


class ScalarError(ValueError):
    """A scalar that has no JSON value; the text says why, to a person."""


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar without a tag. Raises ScalarError for infinities and NaN."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if text in _NOT_FINITE:
        raise ScalarError(f"{text} is a number that JSON cannot carry")
    return _number(text)


def tagged_scalar(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit tag. Tags that are not YAML's own say nothing here: the text stays."""
    kinds = _TYPES.get(tag)
    if kinds is None:
        return text
    value = plain_scalar(text)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ScalarError(f"this value is not of the type that its tag !!{tag.removeprefix(_TAG)} says")
    return value


def whole(number: float) -> int | float:
    """A float as its JSON text is read back: an integer if it has no fraction and fits into 64 bits."""
    if number.is_integer() and -(2.0**63) <= number < 2.0**64:
        return int(number)
    return number


def key_text(value: Scalar) -> str:
    """A mapping's key as text, as JSON has to have it. Raises ScalarError for a key that has no certain text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None:
        raise ScalarError("a key may not be null; give it a name or put it in quotes")
    if not 1e-4 <= abs(value) < 1e6:
        raise ScalarError("write this number in quotes: as a key it has no certain text")
    return repr(value)


def _number(text: str) -> Scalar:
    bare = text if text[0] == "." else text.replace("_", "")
    number: int | None = None
    if _INTEGER.fullmatch(bare):
        number = int(bare)
    elif match := _PREFIXED.fullmatch(bare):
        sign, _, hexadecimal, _, binary, octal = match.groups()
        digits, base = (hexadecimal, 16) if hexadecimal else (binary, 2) if binary else (octal, 8)
        number = int(sign + digits, base)
    if number is not None and -(2**63) <= number < 2**64:
        return number
    if _DECIMAL.fullmatch(bare):
        value = float(bare)
        return whole(value) if math.isfinite(value) else text
    return text
