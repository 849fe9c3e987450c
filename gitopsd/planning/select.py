"""Which units a run has to look at, and which it should remove."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline, Dirty, StackState
from gitopsd.model.units import Desired, KubernetesUnit


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unit that may have to be changed, and why it is looked at."""

    unit: KubernetesUnit
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run is about: candidates by unit, and the inventory's entries that the commit no longer asks for.
    `healing`: it is about units of a good revision, and not about a commit."""

    apply: tuple[Candidate, ...]
    remove: tuple[Baseline, ...]
    healing: bool = False


def select(
    desired: Desired,
    baselines: Mapping[UnitId, Baseline],
    state: StackState,
    *,
    scope: Collection[UnitId] | None = None,
    drifted: Collection[UnitId] = (),
) -> Selection:
    """The candidates of a run.

    Without a `scope` (a deploy): everything whose wish differs from the baseline, has none, whose state nobody knows,
    that drifted or is dirty; and everything to be removed. With a scope (a heal: the drifted; a rollback: the dirty):
    exactly those of its units that `desired` wants. A Job that finished is looked at by neither.
    """
    finished = {(done.unit, done.digest) for done in state.memory.jobs}
    dirty = {d.unit: d for d in state.dirty}
    found = []
    for unit in _worth_a_look(desired, baselines, scope, {*drifted, *dirty}):
        if unit.traits.job and (unit.id, unit.traits.job) in finished:
            continue
        if scope is None:
            # A dirty unit is gated by this run, too: what somebody did to it since it was touched would fail the gate.
            reason = _why(unit, baselines.get(unit.id), unit.id in drifted) or ("dirty" if unit.id in dirty else "")
        else:
            reason = _why_in_scope(unit, baselines.get(unit.id), unit.id in drifted, dirty.get(unit.id))
        if reason:
            found.append(Candidate(unit, reason))
    gone = [b for u, b in baselines.items() if u not in desired.units and not u.is_terraform] if scope is None else []
    return Selection(
        tuple(sorted(found, key=lambda c: c.unit.id)), tuple(sorted(gone, key=lambda b: b.unit)), scope is not None
    )


def _worth_a_look(
    desired: Desired, baselines: Mapping[UnitId, Baseline], scope: Collection[UnitId] | None, marked: Collection[UnitId]
) -> Iterator[KubernetesUnit]:
    """Of thousands of units the few that are not plainly as they were last applied. Costs less than asking why."""
    units = desired.units
    if scope is not None:
        yield from (units[u] for u in {*scope} if u in units)
        return
    for unit in units.values():
        base = baselines.get(unit.id)
        known = base is not None and base.digest == unit.digest and base.certain and unit.id not in marked
        if not known or base is None or (base.component, base.order) != (unit.component, unit.order):
            yield unit


def _why_in_scope(unit: KubernetesUnit, baseline: Baseline | None, drifted: bool, dirty: Dirty | None) -> str:
    if drifted:
        return "drifted"
    return "dirty" if dirty is not None else _why(unit, baseline, drifted) or "asked for"


def _why(unit: KubernetesUnit, baseline: Baseline | None, drifted: bool) -> str:
    """Why a deploy looks at a unit; "" if it has no reason to."""
    if baseline is None:
        return "new"
    if not baseline.digest:
        return "untracked"  # known from its marks in the cluster alone: a lost state directory
    if not baseline.certain:
        return "unknown outcome"
    if (baseline.digest, baseline.component, baseline.order) != (unit.digest, unit.component, unit.order):
        return "changed"
    return "drifted" if drifted else ""
