"""The Terraform side of a plan: which modules run, what of them needs a person, and objects filled with outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from gitopsd.execution.bench import Bench, ModuleJob, missing_output
from gitopsd.execution.modules import ModuleScope, plan_destroy, preflight_modules
from gitopsd.model.errors import CommitError, GitopsdError, NeedsPerson, Problem, raise_if
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline, StackState
from gitopsd.model.modules import Output, OutputRef
from gitopsd.model.plan import Approval, Change, Leftover, Postponed
from gitopsd.model.spec import ApprovalMode, StackSpec
from gitopsd.model.units import Desired, KubernetesUnit, TerraformUnit
from gitopsd.planning.moduleplan import (
    AFTER_TERRAFORM,
    ModuleChanges,
    ModuleFinding,
    approval,
    later_change,
    module_change,
    state_clashes,
    vanished,
)
from gitopsd.planning.modules import facts_of, module_baseline
from gitopsd.planning.prune import abandon_digest
from gitopsd.planning.seals import left_locked

NOT_IN_GIT = "no longer in git"
BROUGHT = "made by the failed run"
BACK = "back to the good revision"

Code = Callable[[str], Mapping[UnitId, TerraformUnit]]
"""The modules that a commit asks for. Raises CommitError or NeedsPerson for one that cannot be read."""


@dataclass(frozen=True, slots=True)
class ModulePart:
    """What Terraform adds to a plan, and what it means for the rest.

    `filled` is what the commit asks with known outputs in the place of values; `waiting` are objects whose values are
    known after apply, and of what. `equal` are modules that were found as they should be.
    """

    filled: Desired
    changes: ModuleChanges
    equal: tuple[Baseline, ...] = ()
    waiting: Mapping[UnitId, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """What a plan looks at. `dirty` units are compared whatever their baseline says. `others` are the inventories of
    the host's other stacks. `not_run` is why a preview does not start Terraform, `granted` are digests that a person
    allowed. With `best_effort`, what no key opens is left as it is and listed, and keeps nothing else."""

    spec: StackSpec
    desired: Desired
    baselines: Mapping[UnitId, Baseline]
    scope: Collection[UnitId] | None
    drifted: Collection[UnitId]
    dirty: Collection[UnitId]
    others: Mapping[str, Mapping[UnitId, Baseline]]
    at: str
    not_run: str = ""
    granted: Collection[str] = ()
    best_effort: bool = False


def deploy_part(bench: Bench, look: Look, code: Code) -> ModulePart:
    """The part of a deploy or heal. Raises CommitError with every mistake, or else EnvironmentFault."""
    modules, commit = look.desired.modules, look.desired.revision.commit
    raise_if(state_clashes(modules, look.others))
    gone = vanished(modules, look.baselines, look.spec.file, look.granted)
    raise_if(gone.mistakes)
    known = _without_abandoned(look, modules)
    bench.recall(known, modules.values(), commit)
    scope = ModuleScope(commit, known, look.scope, look.drifted, look.not_run, look.best_effort)
    findings = preflight_modules(bench, modules, scope)
    raise_if(_missing(bench, look.spec))
    changes: list[Change] = []
    approvals: list[Approval] = []
    equal: list[Baseline] = []
    for finding in findings:
        unit, change = finding.candidate.unit, module_change(finding)
        if change is not None:
            changes.append(change)
            asked = approval(unit, finding.plan, unit.approval) if finding.plan else None
            approvals += [asked] if asked else []
        else:
            equal.append(_equal(finding, commit, look.at))
    filled, waiting = _fill(bench, look)
    found = ModuleChanges(tuple(changes), approvals=tuple(approvals), equal=tuple(b.unit for b in equal))
    if look.scope is None:
        found = _with_destroyed(bench, replace(found, forget=gone.forget), gone.destroy, code, look)
    return ModulePart(filled, replace(found, leftovers=left_locked(bench.locked)), tuple(equal), waiting)


def _without_abandoned(look: Look, modules: Collection[UnitId]) -> dict[UnitId, Baseline]:
    """The inventory without modules that a person abandoned although git asks for them: they are made anew, from
    whatever state there is."""
    return {
        unit: base
        for unit, base in look.baselines.items()
        if not (unit in modules and abandon_digest(base) in look.granted)
    }


def rollback_part(bench: Bench, look: Look, state: StackState, code: Code) -> ModulePart:
    """The part of a rollback: dirty modules back to the good revision's code, and what was added is destroyed.

    Terraform is asked nothing before the objects are back: they take the outputs that were recorded when all was good,
    and wait for it only where a value is sensitive.
    """
    dirty = {d.unit: d for d in state.dirty if d.unit.is_terraform}
    modules, commit = look.desired.modules, look.desired.revision.commit
    bench.recall(look.baselines, modules.values(), commit)
    for unit in dirty:
        bench.expect(unit.name, None)
    bench.outputs |= _remembered(state, dirty)
    filled, waiting = _fill(bench, look)
    changes: list[Change] = []
    prune: list[Change] = []
    lost: list[Leftover] = []
    for unit, mark in dirty.items():
        if unit in modules:
            job = ModuleJob(modules[unit], commit)
            if not bench.lock(job.unit):
                changes.append(later_change(job.unit, BACK, destroy=False))
        else:
            try:
                job = ModuleJob(_code_of(bench, unit, mark.revision, code), mark.revision, destroy=True)
            except GitopsdError as error:
                lost.append(
                    Leftover(unit, f"its code cannot be read any more, so that it cannot be destroyed: {error}")
                )
                continue
            if not bench.lock(job.unit):
                prune.append(replace(later_change(job.unit, BROUGHT, destroy=True), revision=mark.revision))
        bench.jobs[unit] = job
    leftovers = (*lost, *left_locked(bench.locked))
    return ModulePart(filled, ModuleChanges(tuple(changes), tuple(prune), leftovers=leftovers), (), waiting)


def _remembered(state: StackState, dirty: Collection[UnitId]) -> dict[OutputRef, Output]:
    """The outputs of dirty modules as they were when the stack was good."""
    good = state.memory.live
    found = {OutputRef.parse(name): output for name, output in (good.outputs if good else {}).items()}
    return {ref: output for ref, output in found.items() if UnitId.terraform(ref.component) in dirty}


# ---------------------------------------------------------------- destroyed


def _with_destroyed(
    bench: Bench, part: ModuleChanges, gone: Collection[Baseline], code: Code, look: Look
) -> ModuleChanges:
    """With the destruction of modules that the commit does not have any more, by the code that was applied last. A
    person has to allow it, or to take the component out of the inventory."""
    prune: list[Change] = []
    approvals: list[Approval] = []
    forget: list[Leftover] = []
    postponed: list[Postponed] = []
    for baseline in gone:
        facts = facts_of(baseline)
        try:
            module = _code_of(bench, baseline.unit, facts.commit, code)
            if look.best_effort and bench.lock(module):
                continue
            finding = plan_destroy(bench, module, facts.commit, NOT_IN_GIT)
        except CommitError as error:
            abandon = f"`gitopsd abandon {look.spec.name} {baseline.unit.name}`"
            remedy = f"put the component back, or {abandon} to forget it and leave what it made"
            postponed.append(Postponed(baseline.unit, f"cannot be destroyed: {error}; {remedy}"))
            continue
        change = module_change(finding)
        if change is None or finding.plan is None:
            forget.append(Leftover(baseline.unit, "has nothing left in its state"))
            continue
        prune.append(change)
        asked = approval(finding.candidate.unit, finding.plan, ApprovalMode.ALWAYS, destroy=True)
        approvals += [asked] if asked else []
    return replace(
        part,
        prune=tuple(prune),
        approvals=(*part.approvals, *approvals),
        forget=(*part.forget, *forget),
        postponed=tuple(postponed),
    )


def _code_of(bench: Bench, unit: UnitId, commit: str, code: Code) -> TerraformUnit:
    """The module as a commit has it. Raises CommitError."""
    try:
        modules = code(commit)
    except NeedsPerson as error:
        raise CommitError(*error.problems) from error
    if unit not in modules:
        raise CommitError(Problem(f"commit {commit[:12]} has no such component", unit=str(unit)))
    for module in modules.values():  # the outputs that it takes may come from one that is gone as well
        bench.code.setdefault(module.component, (module, commit))
    return modules[unit]


# ---------------------------------------------------------------- pieces


def _missing(bench: Bench, spec: StackSpec) -> list[Problem]:
    return [
        missing_output(ref, file=spec.file, line=component.line, component=component.name)
        for component in spec.kubernetes
        for ref in bench.missing(component.uses)
    ]


def _fill(bench: Bench, look: Look) -> tuple[Desired, dict[UnitId, str]]:
    """What is asked, with the outputs that are known, and which objects wait for which. Raises CommitError."""
    templates = {u: unit for u, unit in look.desired.units.items() if unit.values}
    if not templates:
        return look.desired, {}
    filled: dict[UnitId, KubernetesUnit] = {}
    waiting: dict[UnitId, str] = {}
    problems: list[Problem] = []
    for unit, template in templates.items():
        looked_at = unit in look.drifted or unit in look.dirty or (look.scope is not None and unit in look.scope)
        try:
            found = bench.filled(template, None if looked_at else look.baselines.get(unit))
        except CommitError as error:
            problems += error.problems
            continue
        if found is not None:
            filled[unit] = found
        else:
            ref = next(r for r in template.values.values() if r not in bench.outputs)
            waiting[unit] = f"{AFTER_TERRAFORM}{ref.component}"
    raise_if(problems)
    return replace(look.desired, units={**look.desired.units, **filled}), waiting


def _equal(finding: ModuleFinding, commit: str, at: str) -> Baseline:
    plan, asked = finding.plan, finding.candidate
    if plan is None:
        raise AssertionError("a module without a plan is never found equal")
    outputs = {name: output for name, output in plan.outputs.items() if output is not None}
    return module_baseline(
        asked.unit, inputs=asked.inputs, state=plan.state, outputs=outputs, commit=commit, tracked=plan.tracked, at=at
    )
