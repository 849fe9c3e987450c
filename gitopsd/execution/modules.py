"""Terraform root modules at work: planned before the first effect, applied in their wave."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import structlog

from gitopsd.execution.bench import Bench, ModuleJob
from gitopsd.execution.session import Session
from gitopsd.model.errors import Cause, CommitError, EnvironmentFault, GitopsdError, NeedsPerson, Problem, raise_if
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline, Dirty
from gitopsd.model.modules import ModuleFailure, ModulePlan, StateId
from gitopsd.model.plan import Action, Change
from gitopsd.model.ports import Effect
from gitopsd.model.run import Outcome, Result
from gitopsd.model.spec import ApprovalMode
from gitopsd.model.units import TerraformUnit
from gitopsd.planning.moduleplan import AFTER_TERRAFORM, ModuleFinding, approval, gated, made_by
from gitopsd.planning.modules import ModuleCandidate, candidate, facts_of, module_baseline, module_order

log = structlog.get_logger("gitopsd.run")

PARALLEL = 3
"""Plans of Terraform at the same time: each is a process with its providers beside it."""


# ---------------------------------------------------------------- before the first effect


@dataclass(frozen=True, slots=True)
class ModuleScope:
    """Which modules are looked at: all, or (a heal) only those in `only`. `not_run` is why Terraform is
    not started: every candidate is deferred then. With `best_effort`, those whose variables no key opens are left out.
    """

    commit: str
    baselines: Mapping[UnitId, Baseline]
    only: Collection[UnitId] | None = None
    drifted: Collection[UnitId] = ()
    not_run: str = ""
    best_effort: bool = False


def preflight_modules(bench: Bench, modules: Mapping[UnitId, TerraformUnit], scope: ModuleScope) -> list[ModuleFinding]:
    """A finding for each module that has to be run, in the order in which they use each other's outputs.

    Nothing is started for a module whose inputs are those of its last apply. What is planned tells `bench` its outputs.
    Raises CommitError with every mistake, or else EnvironmentFault.
    """
    found: list[ModuleFinding] = []
    errors: list[GitopsdError] = []
    with ThreadPoolExecutor(PARALLEL, "terraform-plan") as pool:
        for level in module_order(modules):
            wanted = [c for m in level if (c := _candidate(bench, m, scope)) is not None]
            wanted = [c for c in wanted if not (scope.best_effort and bench.lock(c.unit))]
            planned = list(pool.map(lambda c: _planned(bench, c, scope), wanted))
            for each in planned:
                if isinstance(each, GitopsdError):
                    errors.append(each)
                else:
                    found.append(each)
            for each, asked in zip(planned, wanted, strict=True):
                plan = each.plan if isinstance(each, ModuleFinding) else None
                bench.expect(asked.unit.component, plan)
    _raise_first(errors)
    return found


def _candidate(bench: Bench, unit: TerraformUnit, scope: ModuleScope) -> ModuleCandidate | None:
    if scope.only is not None and unit.id not in scope.only:
        return None
    missing = bench.missing(v.source for v in unit.variables)
    base = scope.baselines.get(unit.id)
    found = candidate(unit, bench.outputs, base, drifted=unit.id in scope.drifted)
    # An output that does not exist has to be said even if nothing else changed.
    return found or (ModuleCandidate(unit, "changed", "", missing) if missing else None)


def _planned(bench: Bench, asked: ModuleCandidate, scope: ModuleScope) -> ModuleFinding | GitopsdError:
    unit = asked.unit
    gone = bench.missing(v.source for v in unit.variables)
    if gone:
        return CommitError(
            Problem(
                f"its variable takes {gone[0]}, which Terraform component {gone[0].component} does not have",
                file=unit.origin.file,
                line=unit.origin.line,
                unit=str(unit.id),
                remedy=f'add `output "{gone[0].output}"` there, or correct the name',
            )
        )
    job = ModuleJob(unit, scope.commit, known=_known(scope.baselines.get(unit.id)))
    bench.jobs[unit.id] = job
    if not asked.inputs:
        return ModuleFinding(asked, deferred=f"{AFTER_TERRAFORM}{asked.waits_for[0].component}")
    if scope.not_run:
        return ModuleFinding(asked, deferred=scope.not_run)
    try:
        job.plan = bench.terraform.plan(bench.ready(job), known=job.known)
    except GitopsdError as error:
        return error
    job.inputs = asked.inputs
    return ModuleFinding(asked, job.plan)


def plan_destroy(bench: Bench, unit: TerraformUnit, commit: str, reason: str) -> ModuleFinding:
    """How a module that is not wanted any more would be destroyed, by the code of a commit that still had it."""
    asked = ModuleCandidate(unit, reason, "")
    job = ModuleJob(unit, commit, destroy=True)
    bench.jobs[unit.id] = job
    job.plan = bench.terraform.plan(bench.ready(job), destroy=True)
    return ModuleFinding(asked, job.plan, destroy=True, commit=commit)


def _known(base: Baseline | None) -> bool:
    """Whether a state with resources in it has been there."""
    return base is not None and facts_of(base).tracked > 0


def _raise_first(errors: Sequence[GitopsdError]) -> None:
    """A mistake of the commit weighs most: whatever else ends, it stays. A state that is gone blocks like the rest of
    the environment: somebody may bring it back."""
    raise_if(p for e in errors if isinstance(e, CommitError) for p in e.problems)
    raise_if((p for e in errors for p in e.problems), EnvironmentFault)


# ---------------------------------------------------------------- in its wave


def actuate_module(session: Session, change: Change) -> Effect:
    """Apply one module. What Terraform refuses is an outcome; what may work later raises EnvironmentFault."""
    bench = session.bench
    job = bench.jobs[change.unit]
    try:
        plan = _current(session, change, job)
    except CommitError as error:
        return Effect(session.outcome(change, Result.REFUSED, str(error)))
    except NeedsPerson as error:
        raise EnvironmentFault(*error.problems) from error
    if isinstance(plan, str):
        session.leave(change.unit, plan)
        return Effect(session.outcome(change, Result.KEPT, plan))
    if not plan.changes_state:
        return _unchanged(session, change, job, plan)
    mark = _mark(session, change, job, plan)
    if mark is not None:  # what it makes has to be known even if nobody hears how it ended
        session.record.soil(session.spec.name, [mark])
    answer = bench.terraform.apply(
        bench.ready(job), plan, progress=partial(_follow, session, change), stop=session.stopping
    )
    job.done = (*job.done, *answer.resources)
    if isinstance(answer, ModuleFailure):
        return _failed(session, change, job, answer, mark)
    detail = "; ".join(answer.warnings)
    if job.destroy:
        return Effect(_outcome(session, change, job, Result.DELETED, detail), forget=True, dirty=mark)
    bench.learn(job.unit.component, answer.outputs)
    bench.code[job.unit.component] = job.unit, job.commit
    baseline = module_baseline(
        job.unit,
        inputs=job.inputs,
        state=answer.state,
        outputs=answer.outputs,
        commit=job.commit,
        tracked=answer.tracked,
        at=session.now(),
    )
    outcome = _outcome(session, change, job, Result.APPLIED, detail, created=change.action is Action.CREATE)
    return Effect(outcome, baseline=baseline, dirty=mark)


def _follow(session: Session, change: Change, text: str) -> None:
    """What Terraform tells while it applies, resource by resource."""
    log.info("terraform", stack=session.spec.name, run=session.run, unit=str(change.unit), does=text)
    session.progress(f"{change.unit}: {text}")


def _outcome(
    session: Session, change: Change, job: ModuleJob, result: Result, detail: str = "", *, created: bool = False
) -> Outcome:
    return replace(session.outcome(change, result, detail, created=created), resources=job.done)


def _current(session: Session, change: Change, job: ModuleJob) -> ModulePlan | str:
    """The plan to apply: the saved one if its inputs are still these, else a new one that shows nothing new which a
    person would have to allow, or is allowed. A text says why nothing is applied."""
    bench = session.bench
    inputs = "" if job.destroy else bench.inputs(job.unit)
    if job.plan is not None and job.inputs == inputs:
        return job.plan
    lacks = bench.lacks(job)
    if lacks is not None and session.best_effort:
        return f"takes {lacks}, and terraform/{lacks.component} did not go back"
    plan = bench.terraform.plan(bench.ready(job), destroy=job.destroy, known=job.known)
    refusal = _allowed(session, change, job, plan)
    if refusal:
        bench.terraform.discard([plan])
        return refusal
    job.plan, job.inputs = plan, inputs
    return plan


def _allowed(session: Session, change: Change, job: ModuleJob, plan: ModulePlan) -> str:
    """Why a plan that nobody has seen yet may not be applied; "" if it may.

    What the run's own plan showed was allowed before its first effect, unless somebody else moved the state since.
    Raises CommitError if a person said no, or nobody anything.
    """
    shown = set() if job.stale else {(r.address, r.action) for r in change.resources}
    own = next((d.resources for d in session.dirty_before if d.unit == change.unit), ())
    mode = ApprovalMode.ALWAYS if job.destroy else session.approval_mode(job.unit)
    new = [r for r in gated(plan.resources, mode) if (r.address, r.action) not in shown]
    unseen = replace(plan, resources=tuple(new))
    asked = approval(job.unit, unseen, mode, destroy=job.destroy, own=own)
    if asked is None or session.await_approval(asked):
        return ""
    return f"waits for approval: {asked.summary}"


def _mark(session: Session, change: Change, job: ModuleJob, plan: ModulePlan) -> Dirty | None:
    mark = session.dirty(change, created=change.action is Action.CREATE, uid=plan.state.lineage)
    return replace(mark, resources=made_by(plan.resources), revision=job.commit) if mark else None


def _unchanged(session: Session, change: Change, job: ModuleJob, plan: ModulePlan) -> Effect:
    """Nothing is left to do: a try before this one did it, or what was not known yet turned out to be the same."""
    if job.destroy:
        return Effect(_outcome(session, change, job, Result.DELETED, "had nothing left in its state"), forget=True)
    outputs = {name: output for name, output in plan.outputs.items() if output is not None}
    session.bench.learn(job.unit.component, outputs)
    baseline = module_baseline(
        job.unit,
        inputs=job.inputs,
        state=plan.state,
        outputs=outputs,
        commit=job.commit,
        tracked=plan.tracked,
        at=session.now(),
    )
    return Effect(_outcome(session, change, job, Result.UNCHANGED), baseline=baseline)


def _failed(session: Session, change: Change, job: ModuleJob, answer: ModuleFailure, mark: Dirty | None) -> Effect:
    """A part of it may be done: the plan is spent, the next try makes another one."""
    session.bench.terraform.discard([job.plan] if job.plan else [])
    job.plan = None
    if job.done and (answer.interrupted or answer.cause is Cause.ENVIRONMENT):  # no outcome yet; what is done, is done
        unfinished = _outcome(session, change, job, Result.REFUSED, answer.message)
        session.record.audit([replace(session.event(change, unfinished), result="unfinished")])
    if answer.interrupted:
        session.stop_point()  # raises Interrupted: the next start goes on from the state
    if answer.stale:
        job.stale = True
        raise EnvironmentFault(Problem("somebody moved its state; it is planned again", unit=str(change.unit)))
    if answer.interrupted or answer.cause is Cause.ENVIRONMENT:
        raise EnvironmentFault(Problem(answer.message, unit=str(change.unit)))
    base = session.record.baselines(session.spec.name).get(change.unit)
    if base is None:
        base = module_baseline(
            job.unit, inputs="", state=StateId(), outputs={}, commit=job.commit, tracked=0, at=session.now()
        )
    return Effect(
        _outcome(session, change, job, Result.REFUSED, answer.message),
        baseline=replace(base, certain=False),
        dirty=mark,
    )
