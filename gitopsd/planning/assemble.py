"""A run's plan, made of what was selected and found out: of a deploy or heal, and of a rollback."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gitopsd.kinds.marks import is_ours
from gitopsd.kinds.options import PRUNE
from gitopsd.model.errors import EnvironmentFault, raise_if
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, LiveObject
from gitopsd.model.memory import Baseline, Dirty, StackState
from gitopsd.model.plan import Action, Change, Leftover, Plan
from gitopsd.model.spec import StackSpec
from gitopsd.model.units import Desired, PrunePolicy
from gitopsd.planning.creators import is_crd, is_job
from gitopsd.planning.findings import Finding
from gitopsd.planning.graph import waves
from gitopsd.planning.judge import View, judge
from gitopsd.planning.moduleplan import AFTER_TERRAFORM, ModuleChanges
from gitopsd.planning.prune import UNSERVED, absent_for_good, descending, owner_text, removals
from gitopsd.planning.select import Candidate, Selection

DATA_KINDS = frozenset({"PersistentVolume", "PersistentVolumeClaim"})
"""What a rollback never deletes, whoever made it: there may be data in it."""

NO_MODULES = ModuleChanges()

JOB_RAN = "a rollback never runs a Job again; it stays as it is"


def assemble(  # noqa: PLR0917 - the order of the stages
    spec: StackSpec,
    desired: Desired,
    selection: Selection,
    findings: Mapping[UnitId, Finding],
    baselines: Mapping[UnitId, Baseline],
    state: StackState,
    *,
    removals_live: Mapping[UnitId, LiveObject | Absence],
    claims: Mapping[UnitId, str],
    applysets: Mapping[str, str],
    modules: ModuleChanges = NO_MODULES,
    granted: Collection[str] = (),
    handed: Collection[UnitId] = (),
) -> Plan:
    """The plan of a deploy or heal. `handed` are units that other stacks let go of before.

    `modules` is what Terraform adds; `granted` are digests that a person allowed. `removals_live` has every unit of
    `selection.remove`; `state` tells since when deletions wait; `claims` are units that other stacks of this host have
    or ask for. Raises CommitError with every mistake of the commit, or else
    EnvironmentFault with everything that stands in the way for now. A plan with approvals may be shown, and carried
    out once a person gave them.
    """
    since = {p.unit: p.since for p in state.postponed}
    removed = removals(
        spec,
        desired,
        selection.remove,
        baselines,
        removals_live,
        claims=claims,
        applysets=applysets,
        granted=granted,
    )
    first = {c.unit for c in removed.first}
    changing = {c.unit.id for c in selection.apply}
    view = View(spec, desired.units, baselines, applysets, changing, claims, first, handed)
    judged = [(c.unit.id, judge(c, findings[c.unit.id], view)) for c in selection.apply]
    foreign = [problem for _, judgement in judged for problem in judgement.foreign]
    # Where a run waits in the middle, or a heal for one object, everything else would wait with it.
    final = foreign if state.dirty or selection.healing else []
    raise_if([*(problem for _, judgement in judged for problem in judgement.mistakes), *final])
    raise_if([*(problem for _, judgement in judged for problem in judgement.faults), *foreign], EnvironmentFault)
    return Plan(
        stack=spec.name,
        commit=desired.revision.commit,
        digest=desired.digest,
        waves=waves(
            [*(j.change for _, j in judged if j.change is not None), *modules.changes], spec, desired.everything
        ),
        first=removed.first,
        prune=descending((*removed.prune, *modules.prune), spec),
        postponed=tuple(replace(p, since=since.get(p.unit, "")) for p in (*removed.postponed, *modules.postponed)),
        approvals=(*removed.approvals, *modules.approvals),
        equal=tuple(sorted((*(unit for unit, j in judged if j.change is None), *modules.equal))),
        forget=(*removed.forget, *modules.forget),
    )


# ---------------------------------------------------------------- rollback


@dataclass
class _Way:
    """What a rollback does, unit by unit."""

    changes: list[Change] = field(default_factory=list)
    equal: list[UnitId] = field(default_factory=list)
    forget: list[Leftover] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)


def assemble_rollback(  # noqa: PLR0917 - the order of the stages
    spec: StackSpec,
    desired_good: Desired | None,
    state: StackState,
    baselines: Mapping[UnitId, Baseline],
    findings: Mapping[UnitId, Finding],
    removals_live: Mapping[UnitId, LiveObject | Absence],
    applysets: Mapping[str, str],
    modules: ModuleChanges = NO_MODULES,
    locked: Mapping[UnitId, str] | None = None,
) -> Plan:
    """The plan that takes everything dirty back to the good revision, or to nothing if there is none.

    Objects go first, for they wait for Terraform only where they need a value of it that nobody has recorded.

    Best effort: what cannot go back is a leftover of the plan and keeps nothing else. `findings` are of the dirty units
    that the good revision wants (without finished Jobs), `removals_live` of the others. `locked` are sealed Secrets
    that no key opens any more, and why.
    """
    units = desired_good.units if desired_good else {}
    dirty = sorted((d for d in state.dirty if not d.unit.is_terraform), key=lambda d: d.unit)
    view = View(spec, units, baselines, applysets, {d.unit for d in dirty}, claims={})
    undone = _undo([d for d in dirty if d.unit not in units], removals_live, view)
    first = descending((c for c in undone.changes if _goes_first(c, removals_live[c.unit])), spec)
    view = replace(view, first={c.unit for c in first})
    back = _back_to_good((d for d in dirty if d.unit in units), findings, view, locked or {})
    everything = desired_good.everything if desired_good else {}
    at_once = [c for c in back.changes if not _awaits_output(c)]
    after = [c for c in back.changes if _awaits_output(c)]
    leftovers = (*back.leftovers, *undone.leftovers, *modules.leftovers)
    return Plan(
        stack=spec.name,
        commit=desired_good.revision.commit if desired_good else "",
        digest=desired_good.digest if desired_good else "",
        waves=(*waves(at_once, spec, everything), *waves([*modules.changes, *after], spec, everything)),
        first=first,
        prune=descending((*(c for c in undone.changes if c not in first), *modules.prune), spec),
        equal=(*back.equal, *modules.equal),
        forget=(*undone.forget, *modules.forget),
        leftovers=tuple(sorted(leftovers, key=lambda left: left.unit)),
    )


def _awaits_output(change: Change) -> bool:
    return change.deferred.startswith(AFTER_TERRAFORM)


def _back_to_good(
    dirty: Iterable[Dirty], findings: Mapping[UnitId, Finding], view: View, locked: Mapping[UnitId, str]
) -> _Way:
    way = _Way()
    for mark in dirty:
        if mark.unit in locked:
            way.leftovers.append(Leftover(mark.unit, locked[mark.unit], environment=True))
            continue
        finding = findings.get(mark.unit)
        if finding is None:  # a Job that finished for the good revision
            if mark.created:
                way.leftovers.append(Leftover(mark.unit, JOB_RAN))
            continue
        judged = judge(Candidate(view.units[mark.unit], "back to the good revision"), finding, view)
        problems = (*judged.mistakes, *judged.faults, *judged.foreign)
        if problems:
            way.leftovers.append(Leftover(mark.unit, "; ".join(p.message for p in problems)))
        elif judged.change is None:
            way.equal.append(mark.unit)
        elif is_job(mark.unit):
            way.leftovers.append(Leftover(mark.unit, JOB_RAN))
        else:
            way.changes.append(judged.change)
    return way


def _undo(dirty: Sequence[Dirty], live: Mapping[UnitId, LiveObject | Absence], view: View) -> _Way:
    """Of what the good revision does not want: what the failed run made goes, what it took over is given back."""
    way = _Way()
    definitions = {d.unit for d in dirty if is_crd(d.unit) and d.created}
    for mark in dirty:
        seen = live[mark.unit]
        if is_job(mark.unit) and mark.created:
            way.leftovers.append(Leftover(mark.unit, "it has run; what it did is not undone"))
        if isinstance(seen, Absence):
            reason = absent_for_good(mark.unit, seen, definitions)
            if reason:
                way.forget.append(Leftover(mark.unit, reason))
            else:
                way.leftovers.append(Leftover(mark.unit, UNSERVED))
        elif mark.created:
            kept = _why_keep(mark, seen, view)
            if kept:
                way.leftovers.append(Leftover(mark.unit, kept))
            else:
                way.changes.append(_removal(mark, seen, Action.DELETE, "made by the failed run"))
        elif mark.action is Action.ADOPT:
            way.changes.append(_removal(mark, seen, Action.RELEASE, "taken over by the failed run"))
        elif mark.action not in {Action.DELETE, Action.RELEASE}:
            text = "was there before the failed run without being in the good revision: its former state is not known"
            way.leftovers.append(Leftover(mark.unit, text))
    return way


def _goes_first(change: Change, live: LiveObject | Absence) -> bool:
    """What its author wants deleted before the waves is so in a rollback, too: it may hold what has to come back."""
    asked = isinstance(live, LiveObject) and live.annotations.get(PRUNE) == PrunePolicy.FIRST
    return asked and change.action is Action.DELETE


def _why_keep(mark: Dirty, live: LiveObject, view: View) -> str:
    """Why an object that the failed run made stays; "" if it may go."""
    if live.uid != mark.uid:
        return "another object has its name now" if mark.uid else "nobody knows whether the failed run made it"
    if mark.unit.kind in DATA_KINDS:
        return f"made by the failed run, but a {mark.unit.kind} may hold data: delete it yourself"
    if not is_ours(live, view.spec.name, view.applysets[mark.unit.cluster]):
        return "somebody took this stack's marks off"
    if live.owner_references:
        return owner_text(live)
    if live.annotations.get(PRUNE) == PrunePolicy.DISABLED:
        return f"{PRUNE}: {PrunePolicy.DISABLED}"
    return ""


def _removal(mark: Dirty, live: LiveObject, action: Action, reason: str) -> Change:
    return Change(mark.unit, action, mark.component, mark.order, live_uid=live.uid, reason=reason)
