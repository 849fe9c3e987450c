"""Finds what a person meant by a name that they typed."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from gitopsd.model.errors import GitopsdError, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.run import RunRecord

NEAR = 5
"""Suggestions that an error lists."""


class NotFound(GitopsdError):
    """Nothing, or more than one thing, has the name that was typed."""


def find_unit(text: str, units: Collection[UnitId]) -> UnitId:
    """The unit of this name. The case of its kind, its group, its namespace and its cluster may be left out where
    that leaves one unit alone: `deployment/api`. Raises NotFound with the units of similar names."""
    exact = next((unit for unit in units if str(unit) == text), None)
    if exact is not None:
        return exact
    found = sorted(unit for unit in units if _means(text, unit))
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(
            Problem(f"{text!r} may be {_listed(map(str, found[:NEAR]))}", remedy="write one of them in full")
        )
    raise NotFound(_unknown(f"no stack has a unit {text!r}", text, map(str, units), "gitopsd status shows the stacks"))


def find_run(text: str, runs: Collection[RunRecord]) -> RunRecord:
    """The run of this id, or the only one whose id starts or ends so; `last` is the newest (`runs` are newest first).
    Raises NotFound with runs of similar ids."""
    if text == "last" and runs:
        return next(iter(runs))
    exact = [run for run in runs if run.id == text]
    found = exact or [run for run in runs if run.id.startswith(text) or run.id.endswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(Problem(f"{text!r} may be {_listed(r.id for r in found[:NEAR])}", remedy="write more of the id"))
    if not runs:
        raise NotFound(Problem("there are no runs yet"))
    raise NotFound(_unknown(f"there is no run {text!r}", text, (r.id for r in runs), "gitopsd history lists the runs"))


def _means(text: str, unit: UnitId) -> bool:
    head, _, rest = text.rpartition(":") if ":" in text.split("/", 1)[0] else ("", "", text)
    kind, *path = rest.split("/")
    return (
        head in {"", unit.cluster}
        and kind.lower() in {unit.kind.lower(), unit.group_kind.lower()}
        and path in ([unit.name], [unit.namespace, unit.name])
    )


def _unknown(message: str, text: str, names: Iterable[str], otherwise: str) -> Problem:
    near = difflib.get_close_matches(text, list(names), n=NEAR, cutoff=0.5)
    return Problem(message, remedy=f"did you mean {_listed(near)}?" if near else otherwise)


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
