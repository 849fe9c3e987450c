"""Finds what a person meant by a name that they typed."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from gitopsd.model.errors import Problem, UsageError
from gitopsd.model.ids import UnitId

NEAR = 5
"""Suggestions that an error lists."""


def find_unit(text: str, units: Collection[UnitId]) -> UnitId:
    """The unit of this name. The case of its kind, its group, its namespace and its cluster may be left out where
    that leaves one unit alone: `deployment/api`. Raises UsageError with the units of similar names."""
    exact = next((unit for unit in units if str(unit) == text), None)
    if exact is not None:
        return exact
    found = sorted(unit for unit in units if _means(text, unit))
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            Problem(f"{text!r} may be {_listed(map(str, found[:NEAR]))}", remedy="write one of them in full")
        )
    names = (str(unit) for unit in units)
    raise UsageError(_unknown(f"no stack has a unit {text!r}", text, names, "gitopsd status shows the stacks"))


def _means(text: str, unit: UnitId) -> bool:
    head, _, rest = text.rpartition(":") if ":" in text.split("/", 1)[0] else ("", "", text)
    kind, *path = rest.split("/")
    return (
        head in {"", unit.cluster}
        and kind.lower() in {unit.kind.lower(), unit.group_kind.lower()}
        and path in ([unit.name], [unit.namespace, unit.name])
    )


def find_name(text: str, names: Iterable[str], what: str) -> str:
    """The name itself if it is one of `names`. Raises UsageError with similar ones, or all if they are few."""
    known = sorted(names)
    if text in known:
        return text
    otherwise = f"there is {_listed(known)}" if 0 < len(known) <= NEAR else f"there are {len(known)}"
    raise UsageError(_unknown(f"there is no {what} {text!r}", text, known, otherwise if known else "there is none yet"))


def _unknown(message: str, text: str, names: Iterable[str], otherwise: str) -> Problem:
    near = difflib.get_close_matches(text, list(names), n=NEAR, cutoff=0.5)
    return Problem(message, remedy=f"did you mean {_listed(near)}?" if near else otherwise)


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
