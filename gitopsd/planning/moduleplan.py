"""What Terraform's plans mean for a run: changes, approvals, destruction of what vanished, and the way back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gitopsd.model.codec import to_plain
from gitopsd.model.errors import Problem
from gitopsd.model.ids import UnitId, modules_of
from gitopsd.model.memory import Baseline
from gitopsd.model.modules import DESTRUCTIVE, ModulePlan, ResourceAction, ResourceChange, StateId
from gitopsd.model.plan import Action, Approval, Change, Leftover, Postponed
from gitopsd.model.spec import ApprovalMode
from gitopsd.model.units import TerraformUnit
from gitopsd.planning.modules import NEW, ModuleCandidate, TrackedModule, facts_of
from gitopsd.planning.prune import abandon_digest

AFTER_TERRAFORM = "known after apply of terraform/"
"""How the reason begins why something is deferred until a module has been applied."""

MADE = frozenset({ResourceAction.CREATE, ResourceAction.REPLACE})
"""What leaves a resource behind that was not there before."""


@dataclass(frozen=True, slots=True)
class ModuleFinding:
    """What was found out about a candidate: Terraform's plan, or why there is none yet (`deferred`)."""

    candidate: ModuleCandidate
    plan: ModulePlan | None = None
    deferred: str = ""
    destroy: bool = False
    commit: str = ""  # whose code it is; "" for the commit that is planned


@dataclass(frozen=True, slots=True)
class ModuleChanges:
    """What Terraform adds to a plan: changes of its waves and of its prune, and what goes along with them."""

    changes: tuple[Change, ...] = ()
    prune: tuple[Change, ...] = ()
    approvals: tuple[Approval, ...] = ()
    postponed: tuple[Postponed, ...] = ()
    forget: tuple[Leftover, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    equal: tuple[UnitId, ...] = ()


# ---------------------------------------------------------------- changes


def module_change(finding: ModuleFinding) -> Change | None:
    """What a run does about a module; None if Terraform finds everything as it should be."""
    unit, plan = finding.candidate.unit, finding.plan
    change = Change(
        unit=unit.id,
        action=_action(finding),
        component=unit.component,
        order=unit.order,
        digest="" if finding.destroy else finding.candidate.inputs,
        reason=finding.candidate.reason,
        deferred=finding.deferred,
        origin=unit.origin,
        revision=finding.commit,
    )
    if plan is None:
        return change
    if not plan.changes_state:
        return None
    return replace(
        change,
        live_uid=state_text(plan.state),
        diff=plan.output_changes,
        resources=plan.resources,
        warnings=plan.warnings,
    )


def later_change(unit: TerraformUnit, reason: str, *, destroy: bool) -> Change:
    """A change that Terraform is asked about only in its place: a rollback waits for nothing that can be slow."""
    return Change(
        unit=unit.id,
        action=Action.DELETE if destroy else Action.UPDATE,
        component=unit.component,
        order=unit.order,
        reason=reason,
        deferred="planned when the objects are back",
        origin=unit.origin,
    )


def _action(finding: ModuleFinding) -> Action:
    if finding.destroy:
        return Action.DELETE
    fresh = not finding.plan.tracked if finding.plan is not None else finding.candidate.reason == NEW
    return Action.CREATE if fresh else Action.UPDATE


def state_text(state: StateId) -> str:
    """A state as plans and the audit name it."""
    return f"{state.lineage}#{state.serial}" if state.lineage else ""


def gated(resources: Iterable[ResourceChange], mode: ApprovalMode) -> tuple[ResourceChange, ...]:
    """The changes that a person has to allow."""
    if mode is ApprovalMode.NEVER:
        return ()
    if mode is ApprovalMode.ALWAYS:
        return tuple(r for r in resources if r.action is not ResourceAction.READ)
    return tuple(r for r in resources if r.action in DESTRUCTIVE)


def approval(
    unit: TerraformUnit, plan: ModulePlan, mode: ApprovalMode, *, destroy: bool = False, own: Collection[str] = ()
) -> Approval | None:
    """What a person has to allow before this plan is applied; None if nothing. Of a module that is destroyed that is
    everything, whatever its `mode`.

    Bound to the state it was made on and to every change that needs it: another state or another change asks anew, an
    unrelated commit does not. `own` are addresses that the runs which are taken back have made: they may go.
    """
    asked = [
        r
        for r in gated(plan.resources, ApprovalMode.ALWAYS if destroy else mode)
        if not (r.action in DESTRUCTIVE and r.address in own)
    ]
    if not asked:
        return None
    body: list[Any] = [
        str(unit.id),
        unit.state_key,
        unit.workspace,
        to_plain(plan.state),
        to_plain(sorted_changes(asked)),
    ]
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    counts = {a: sum(1 for r in asked if r.action is a) for a in dict.fromkeys(r.action for r in asked)}
    words = ", ".join(f"{count} to {action}" for action, count in counts.items())
    what = "is destroyed" if destroy else "would change"
    return Approval(
        digest, f"Terraform component {unit.component} {what}: {words}", (unit.id,), resource_lines(asked), destroy
    )


def sorted_changes(resources: Iterable[ResourceChange]) -> list[ResourceChange]:
    return sorted(resources, key=lambda r: (r.address, r.action))


def resource_lines(resources: Iterable[ResourceChange]) -> tuple[str, ...]:
    return tuple(f"{r.action} {r.address}{f' ({r.reason})' if r.reason else ''}" for r in sorted_changes(resources))


def made_by(resources: Iterable[ResourceChange]) -> tuple[str, ...]:
    """The addresses at which a plan leaves a new resource: a rollback of its run may take them away."""
    return tuple(sorted(r.address for r in resources if r.action in MADE))


# ---------------------------------------------------------------- modules that are no longer wanted


@dataclass(frozen=True, slots=True)
class Vanished:
    """Modules that the commit does not have any more, by what becomes of each."""

    destroy: tuple[Baseline, ...] = ()
    forget: tuple[Leftover, ...] = ()
    mistakes: tuple[Problem, ...] = ()


def vanished(
    modules: Mapping[UnitId, TerraformUnit],
    baselines: Mapping[UnitId, Baseline],
    file: str,
    granted: Collection[str] = (),
) -> Vanished:
    """Sort what the inventory has and the commit has not. A state that another component goes on with is handed over;
    a component that looks renamed is a mistake, because it would be destroyed and made anew. What a person abandoned
    (`granted`) is forgotten with its state as it is."""
    gone = [baselines[unit] for unit in modules_of(baselines) if unit not in modules]
    keys = {(m.state_key, m.workspace): m for m in modules.values()}
    new = {(m.path, m.workspace): m for u, m in modules.items() if u not in baselines}
    destroy: list[Baseline] = []
    forget: list[Leftover] = []
    mistakes: list[Problem] = []
    for baseline in gone:
        facts = facts_of(baseline)
        heir, twin = keys.get((facts.state_key, facts.workspace)), new.get((facts.path, facts.workspace))
        if abandon_digest(baseline) in granted:
            where = f"its state {facts.state_key!r} stays where it is" if facts.state_key else "its state stays"
            forget.append(Leftover(baseline.unit, f"abandoned by a person: {where}, with everything in it"))
        elif heir is not None:
            forget.append(Leftover(baseline.unit, f"component {heir.component} goes on with its state"))
        elif twin is not None:
            mistakes.append(_renamed(baseline, facts, twin, file))
        else:
            destroy.append(baseline)
    return Vanished(tuple(destroy), tuple(forget), tuple(mistakes))


def _renamed(baseline: Baseline, facts: TrackedModule, twin: TerraformUnit, file: str) -> Problem:
    return Problem(
        f"component {twin.component} has the directory of {baseline.component}, which is gone: renamed, it would be "
        "destroyed and made anew",
        file=twin.origin.file or file,
        line=twin.origin.line,
        unit=str(twin.id),
        remedy=f"add `stateKey: {facts.state_key}` to component {twin.component}",
    )


def state_clashes(
    modules: Mapping[UnitId, TerraformUnit], others: Mapping[str, Mapping[UnitId, Baseline]]
) -> list[Problem]:
    """Modules whose state another stack of this host uses already: its Terraform would destroy what is not in it."""
    taken = {
        (facts.state_key, facts.workspace): stack
        for stack, baselines in others.items()
        for unit, baseline in baselines.items()
        if unit.is_terraform and (facts := facts_of(baseline)).state_key
    }
    return [
        Problem(
            f"the state {m.state_key!r} belongs to stack {taken[m.state_key, m.workspace]}",
            file=m.origin.file,
            line=m.origin.line,
            unit=str(m.id),
            remedy="give this component another `stateKey`",
        )
        for m in modules.values()
        if (m.state_key, m.workspace) in taken
    ]
