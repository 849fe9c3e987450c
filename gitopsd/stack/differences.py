"""What has drifted, and what others have added: of the plan that mends it, what a person sees. Of a Secret no values.

Little is kept, however much has drifted: a few fields of each unit, and of each value its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gitopsd.kinds.foreign import foreign_additions, writers
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted
from gitopsd.model.modules import Edit, FieldChange, ResourceAction, ResourceChange
from gitopsd.model.plan import Change, Plan
from gitopsd.model.status import Addition, UnitDrift, Writer
from gitopsd.model.units import Desired
from gitopsd.planning.findings import Finding
from gitopsd.planning.send import Targets, autoscaled_targets, ignored_paths

FIELDS = 12
"""Fields of one unit that are kept."""

NAMED = 4
"""Fields that are named in the sentence about a unit."""

LONGEST = 160
"""Characters of a value that are kept."""

ASKS = "what mends it waits for approval"

_OF_RESOURCE = {
    ResourceAction.CREATE: Edit.ADD,
    ResourceAction.DESTROY: Edit.REMOVE,
    ResourceAction.FORGET: Edit.REMOVE,
}


@dataclass(frozen=True, slots=True)
class Foreign:
    """What others have written to the objects that were looked at: the managers of what is ours, and what they have
    added. Of every object that was looked at, `additions` has something, be it nothing."""

    managers: Mapping[UnitId, tuple[Writer, ...]] = field(default_factory=dict)
    additions: Mapping[UnitId, tuple[Addition, ...]] = field(default_factory=dict)


NOTHING = Foreign()
"""Nobody was looked at."""


def foreign(plan: Plan, findings: Mapping[UnitId, Finding], desired: Desired) -> Foreign:
    """Of what a plan was made of."""
    managers = {
        change.unit: writers(found.live, change.overrides)
        for change in plan.applies()
        if change.overrides and (found := findings.get(change.unit)) is not None and found.live is not None
    }
    autoscaled = autoscaled_targets(desired)
    return Foreign(managers, {unit: _additions(found, desired, autoscaled) for unit, found in findings.items()})


def _additions(found: Finding, desired: Desired, autoscaled: Targets) -> tuple[Addition, ...]:
    if found.live is None:
        return ()
    ignore = ignored_paths(desired.units[found.unit], autoscaled)
    wanted = found.dry_run.live if isinstance(found.dry_run, Accepted) else None
    return foreign_additions(found.live, ignore, wanted=wanted)


def drift_of(plan: Plan, managers: Mapping[UnitId, tuple[Writer, ...]] | None = None) -> dict[UnitId, UnitDrift]:
    """For each drifted unit, what differs. `managers` say when somebody wrote what the plan overrides."""
    return {c.unit: _drift(c, (managers or {}).get(c.unit)) for c in plan.applies()}


def awaited(plan: Plan, units: Collection[UnitId]) -> dict[UnitId, UnitDrift]:
    """The drift of units that are not mended before a person allows it."""
    found = {unit: drift for unit, drift in drift_of(plan).items() if unit in units}
    return {unit: replace(drift, detail=f"{drift.detail}; {ASKS}") for unit, drift in found.items()}


def _drift(change: Change, managers: tuple[Writer, ...] | None) -> UnitDrift:
    fields = list(_fields(change))
    return UnitDrift(
        detail=_sentence(change, fields),
        fields=tuple(_cut(f) for f in fields[:FIELDS]),
        more=max(0, len(fields) - FIELDS),
        managers=tuple(map(Writer, change.overrides)) if managers is None else managers,
    )


def _fields(change: Change) -> Iterator[FieldChange]:
    """What is live and what it becomes; of something that is gone that is no news."""
    if not change.unit.is_terraform:
        yield from change.diff if change.live_uid else ()
        return
    for resource in change.resources:
        yield from _of_resource(resource)
    yield from (replace(f, path=f"output.{f.path}") for f in change.diff)


def _of_resource(resource: ResourceChange) -> Iterator[FieldChange]:
    """A resource's attributes that are not as they should be; the resource itself where it is there or not."""
    known = [f for f in resource.diff if not f.unknown]  # the others only follow
    if resource.action in _OF_RESOURCE or not known:
        yield FieldChange(resource.address, _OF_RESOURCE.get(resource.action, Edit.REPLACE), unknown=True)
        return
    yield from (replace(f, path=f"{resource.address}.{f.path}") for f in known)


def _sentence(change: Change, fields: Sequence[FieldChange]) -> str:
    if change.unit.is_terraform:
        return _named(_of_module(change)) or change.deferred
    if not change.live_uid:
        return "it is gone"
    return _named([f.path for f in fields]) or "its fields are owned by others"


def _of_module(change: Change) -> list[str]:
    gone = {r.address for r in change.resources if r.action is ResourceAction.CREATE}
    fields = [f for resource in change.resources for f in _of_resource(resource)]
    words = [f"{f.path} is gone" if f.path in gone else f.path for f in fields]
    return words or [f"output {f.path}" for f in change.diff]


def _named(paths: Sequence[str]) -> str:
    rest = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(paths[:NAMED]) + rest


# ---------------------------------------------------------------- keeping little


def _cut(change: FieldChange) -> FieldChange:
    return replace(change, before=_short(change.before), after=_short(change.after))


def _short(value: Any) -> Any:
    """The value, or the beginning of its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def bounded(drifts: Iterable[tuple[UnitId, UnitDrift]], most: int) -> dict[UnitId, UnitDrift]:
    """With the fields of so many units alone; of the others their number stays."""
    found: dict[UnitId, UnitDrift] = {}
    for unit, drift in drifts:
        whole = most > 0 or not drift.fields
        most -= bool(drift.fields)
        found[unit] = drift if whole else replace(drift, fields=(), more=drift.more + len(drift.fields))
    return found
