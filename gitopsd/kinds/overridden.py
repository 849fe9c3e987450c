"""What the cluster made of our fields while it took them: the work of admission policies and webhooks.

Such a field is as the policy wants it and clean in every dry run from then on, so that nothing but the answer to our
own apply shows that git is not what is live. The server also writes much in its own way that means the same: a
quantity, a field with nothing in it, base64 in lines. None of that counts (each was seen on a real API server).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

from gitopsd.kinds.diff import same
from gitopsd.kinds.normalise import SERVER_METADATA, TEXT_MAPS, group_kind
from gitopsd.kinds.paths import child, element, element_key, natural_keys
from gitopsd.model.live import LiveObject
from gitopsd.model.units import Manifest

NAMED = 8
"""Fields that the warning names."""

_IDENTITY = SERVER_METADATA | {"name", "namespace"}

_LITERAL = TEXT_MAPS | {"args", "command", "image", "matchFields"}
"""Where the server leaves every text as it is."""

_ENV = ("env", "value")

_FILLED = frozenset(
    {
        "nodePort",
        "healthCheckNodePort",
        "hostPort",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    }
)
"""Numbers whose 0 means that the server chooses."""

_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:[eE]([+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])?)")
_SCALE: Mapping[str | None, Decimal] = {
    None: Decimal(1),
    **{name: Decimal(1024) ** power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{name: Decimal(1000) ** power for power, name in enumerate("num", -3)},
    **{name: Decimal(1000) ** power for power, name in enumerate("kMGTPE", 1)},
}
_NANO = Decimal("1e-9")
"""The smallest step of a quantity: the server rounds up to it."""

_LONGEST_NUMBER = 64
"""Characters of a quantity: longer ones the server does not take, and to count with them takes long."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:")

Keys = tuple[str, ...]
"""The names of maps and lists that lead somewhere, without what tells elements apart."""


def overridden_fields(sent: Manifest, answer: LiveObject) -> tuple[str, ...]:
    """The paths at which the answer to an apply is not what was sent, sorted. Never a value.

    Elements and keys that were added beside ours are not ours; nor does the order of a list say anything.
    """
    found: list[str] = []
    texts = group_kind(sent) == ("", "ConfigMap")
    for key, value in sent.items():
        if key in {"apiVersion", "kind", "status"}:
            continue
        keys: Keys = ("labels",) if texts and key == "data" else (key,)  # a map of texts like labels
        theirs = answer.body.get(key)
        if key == "metadata" and isinstance(value, Mapping):
            value = {name: item for name, item in value.items() if name not in _IDENTITY}  # noqa: PLW2901
        found += _lost(key, value, theirs, keys)
    return tuple(sorted(set(found)))


def admission_warning(fields: Sequence[str]) -> str:
    """What a person is told about them."""
    rest = f" and {len(fields) - NAMED} more" if len(fields) > NAMED else ""
    return (
        f"overridden by admission: {', '.join(fields[:NAMED])}{rest} "
        "(an admission policy or webhook changes what git says; the cluster keeps its value)"
    )


def among(fields: Iterable[str], changed: Iterable[str]) -> bool:
    """Whether one of the fields is, holds or belongs to one of those that changed."""
    paths = tuple(changed)
    return any(_holds(one, other) or _holds(other, one) for one in fields for other in paths)


def _holds(outer: str, inner: str) -> bool:
    return inner == outer or (inner.startswith(outer) and inner[len(outer)] in ".[")


# ---------------------------------------------------------------- walking


def _lost(path: str, sent: Any, got: Any, keys: Keys) -> Iterator[str]:
    """Where `got` (None for nothing) is not what was sent."""
    if sent is got or (isinstance(sent, str) and sent == got) or _says_nothing(sent, got, keys):
        return
    if isinstance(sent, Mapping) and isinstance(got, Mapping):
        for key, value in sent.items():
            yield from _lost(child(path, str(key)), value, got.get(key), (*keys, str(key)))
    elif isinstance(sent, list) and isinstance(got, list):
        yield from _lost_of_list(path, sent, got, keys)
    elif isinstance(sent, Mapping) and got is None:
        if next(_lost(path, sent, {}, keys), None) is not None:
            yield path
    elif not _alike(sent, got, keys):
        yield path


def _lost_of_list(path: str, sent: Sequence[Any], got: Sequence[Any], keys: Keys) -> Iterator[str]:
    names = natural_keys(sent, got)
    if names is not None:
        theirs = {element_key(item, names): item for item in got}
        for item in sent:
            key = element_key(item, names)
            yield from _lost(element(path, key), item, theirs.get(key), keys)
        return
    missing = [index for index, item in enumerate(sent) if not any(_agree(item, other, keys) for other in got)]
    if any(not isinstance(sent[index], Mapping) for index in missing):
        yield path  # the elements are values: they name nothing
        return
    for index in missing:
        here = element(path, str(index))
        yield from _lost(here, sent[index], got[index], keys) if len(sent) == len(got) else (here,)


def _agree(sent: Any, got: Any, keys: Keys) -> bool:
    """Whether an element of one list is one of the other's. A text with nothing in it is an element like any other."""
    if not isinstance(sent, Mapping | list):
        return _alike(sent, got, keys)
    return next(_lost("", sent, got, keys), None) is None


# ---------------------------------------------------------------- spellings


def _says_nothing(sent: Any, got: Any, keys: Keys) -> bool:
    """Whether a value asks for nothing that the server could not fill in or leave out as it likes."""
    if sent is None or (isinstance(sent, Mapping | list) and _hollow(sent)):
        return True
    if sent == "":
        return not _literal(keys) or (got is None and keys[-2:] == _ENV)
    if got is None:
        return sent is False or (isinstance(sent, int | float) and sent == 0)
    return sent == 0 and not isinstance(sent, bool) and keys[-1] in _FILLED


def _hollow(value: Any) -> bool:
    """Whether there is nothing in a map or list but maps and lists with nothing in them."""
    if isinstance(value, Mapping):
        return all(item is None or (isinstance(item, Mapping | list) and _hollow(item)) for item in value.values())
    return all(isinstance(item, Mapping | list) and _hollow(item) for item in value)


def _alike(sent: Any, got: Any, keys: Keys) -> bool:
    """Whether two values mean the same."""
    if same(sent, got):
        return True
    if isinstance(sent, bool) or isinstance(got, bool) or _literal(keys):
        return False
    if isinstance(sent, str) and isinstance(got, str):
        return _same_bytes(sent, got) or _same_time(sent, got) or _same_quantity(sent, got)
    return _same_quantity(sent, got)


def _literal(keys: Keys) -> bool:
    return any(key in _LITERAL for key in keys) or keys[-2:] == _ENV


def _same_bytes(one: str, other: str) -> bool:
    """base64 tools fold lines."""
    joined = "".join(one.split())
    return joined == "".join(other.split()) and len(joined) % 4 == 0 and _BASE64.fullmatch(joined) is not None


def _same_time(one: str, other: str) -> bool:
    if not (_TIME.match(one) and _TIME.match(other)):
        return False
    try:
        times = [datetime.fromisoformat(text) for text in (one, other)]
    except ValueError:
        return False
    first, second = ((t if t.tzinfo else t.replace(tzinfo=UTC)).replace(microsecond=0) for t in times)
    return first == second


def _same_quantity(one: Any, other: Any) -> bool:
    first, second = _quantity(one), _quantity(other)
    if first is None or second is None:
        return False
    return first == second or _up(first) == _up(second)


def _quantity(value: Any) -> Decimal | None:
    """The number that a quantity names (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity)."""
    text = str(value) if isinstance(value, str | int | float) else ""
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if match is None or len(match[2] or "") > 3:
        return None
    number = Decimal(match[1])
    return number.scaleb(int(match[2])) if match[2] else number * _SCALE[match[3]]


def _up(number: Decimal) -> Decimal:
    return (number / _NANO).to_integral_value(ROUND_CEILING)
