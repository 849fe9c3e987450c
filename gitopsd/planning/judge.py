"""What to do about one candidate, from what was found out about it: a change, nothing, or an error that says why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gitopsd.kinds.diff import diff
from gitopsd.kinds.fields import overridden, owns_all
from gitopsd.kinds.jobs import job_state
from gitopsd.kinds.marks import SEALED_SECRETS, Owner, is_ours, owner_of, sealed_secret_owner
from gitopsd.kinds.options import RECREATE
from gitopsd.kinds.paths import element_key, natural_keys
from gitopsd.model.errors import Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted, LiveObject, Rejection, RejectionKind
from gitopsd.model.memory import Baseline
from gitopsd.model.plan import Action, Change, FieldChange
from gitopsd.model.spec import StackSpec
from gitopsd.model.units import KubernetesUnit
from gitopsd.planning.creators import is_job
from gitopsd.planning.findings import SHAPE, Finding
from gitopsd.planning.podcheck import PodAnswer, judge_pod
from gitopsd.planning.select import Candidate

ADOPTABLE = frozenset({"argocd", "flux", "helm", SEALED_SECRETS})
"""Deployers that a component may name under `adopt`."""


@dataclass(frozen=True, slots=True)
class View:
    """What judging one unit needs to know of the rest. `first` is what the plan deletes before its waves, `handed` what
    other stacks have let go of by the time that it is carried out."""

    spec: StackSpec
    units: Mapping[UnitId, KubernetesUnit]
    baselines: Mapping[UnitId, Baseline]
    applysets: Mapping[str, str]
    changing: Collection[UnitId]
    claims: Mapping[UnitId, str]
    first: Collection[UnitId] = ()
    handed: Collection[UnitId] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """Without a change and without problems, the unit is as it should be.

    `mistakes` are the commit's; `faults` end without another commit. `foreign`: the object is somebody's, who may give
    it up: another commit helps, too.
    """

    change: Change | None = None
    mistakes: tuple[Problem, ...] = ()
    faults: tuple[Problem, ...] = ()
    foreign: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Standing:
    """Whose the live object is: already ours, or taken over now (from `adopted_from`, "" for nobody)."""

    ours: bool
    marked: bool = False
    adopted_from: str = ""


def judge(candidate: Candidate, finding: Finding, view: View) -> Judgement:
    """Decide about one candidate."""
    unit = candidate.unit
    holder = view.claims.get(unit.id)
    if holder is not None:
        return _blocked(unit, f"stack {holder} has it", "it is handed over once that stack no longer asks for it")
    standing = _standing(unit, finding.live, view)
    if isinstance(standing, Judgement):
        return standing
    if finding.deferred:
        action = Action.CREATE if finding.live is None else _action(standing)
        return Judgement(replace(_change(candidate, finding, standing, action), deferred=finding.deferred))
    if isinstance(finding.dry_run, Rejection):
        held = _held_by(unit.id, finding.dry_run, view)
        if held is not None and finding.live is None:
            change = _change(candidate, finding, standing, Action.CREATE)
            return Judgement(replace(change, deferred=f"known after deletion of {held}"))
        return _refused(candidate, finding, finding.dry_run, standing)
    return _accepted(candidate, finding, finding.dry_run, standing, view)


# ---------------------------------------------------------------- whose it is


def _standing(unit: KubernetesUnit, live: LiveObject | None, view: View) -> _Standing | Judgement:
    if live is None:
        return _Standing(ours=True)
    applyset = view.applysets[unit.id.cluster]
    if is_ours(live, view.spec.name, applyset):
        # Ended between marking it and taking its owner off, or the controller took it back: it is not safe yet.
        holder = sealed_secret_owner(live)
        return _Standing(ours=True, marked=True) if holder is None else _somebodys(unit, holder)
    owner = owner_of(live, applyset)
    if owner is not None and owner.kind == "gitopsd" and unit.id in view.handed:
        return _Standing(ours=False, adopted_from=str(owner))
    if owner is not None:
        return _somebodys(unit, owner)
    baseline = view.baselines.get(unit.id)
    if baseline is not None and baseline.uid == live.uid:
        return _Standing(ours=True)  # the very object that we applied; somebody took our marks off
    return _Standing(ours=False)


def _somebodys(unit: KubernetesUnit, owner: Owner) -> _Standing | Judgement:
    if owner.kind in unit.adopt:
        return _Standing(ours=False, adopted_from=str(owner))
    text = f"exists already and belongs to {owner}"
    if owner.kind == "gitopsd":
        return _blocked(unit, text, "it can be taken over once that stack has released it")
    remedy = "take it out of git, or have its owner give it up"
    if owner.kind == SEALED_SECRETS:
        remedy = f"to take it over from that controller, add `adopt: [{owner.kind}]` to component {unit.component}"
    elif owner.kind in ADOPTABLE:
        remedy = f"to take it over, add `adopt: [{owner.kind}]` to component {unit.component}, or delete it there"
    return Judgement(foreign=(_problem(unit, text, remedy),))


# ---------------------------------------------------------------- answers of the API server


def _accepted(candidate: Candidate, finding: Finding, answer: Accepted, standing: _Standing, view: View) -> Judgement:
    unit, live, sent = candidate.unit, finding.live, finding.sent
    if live is not None and live.terminating:
        return _blocked(unit, "is being deleted", f"it waits for its finalizers: {_finalizers(live)}")
    if live is None:
        change = _change(candidate, finding, standing, Action.CREATE, diff(None, sent, secret=_secret(unit.id)))
    else:
        fields = diff(live.body, answer.live.body, secret=_secret(unit.id))
        if not fields and standing.marked and owns_all(sent, live):
            return Judgement()
        change = _change(candidate, finding, standing, _action(standing), fields)
        change = replace(change, overrides=overridden(answer.live.body, live))
    pod = judge_pod(unit, finding.pod, change, view.units, view.changing) if finding.pod else PodAnswer()
    untried = (f"its pods could not be tried out: {finding.pod_untried}",) if finding.pod_untried else ()
    change = replace(change, warnings=(*answer.warnings, *pod.warnings, *untried))
    return Judgement(change, mistakes=pod.mistakes)


def _refused(candidate: Candidate, finding: Finding, answer: Rejection, standing: _Standing) -> Judgement:
    unit = candidate.unit
    if answer.kind is RejectionKind.NEEDS_RECREATE and finding.live is not None:
        return _immutable(candidate, finding, finding.live, answer, standing)
    if answer.kind is RejectionKind.WEDGED:
        change = _change(candidate, finding, standing, _action(standing), _written(finding))
        warning = "another writer's elements are in a list of ours and keep it from merging: the list is replaced"
        return Judgement(replace(change, warnings=(warning,)))
    text = told(unit.id, answer)
    if answer.kind is RejectionKind.NAMESPACE_MISSING:
        return _blocked(unit, f"namespace {unit.id.namespace} does not exist", "create it, or add it to the stack")
    if answer.kind is RejectionKind.KIND_UNSERVED:
        return _blocked(unit, f"the cluster does not serve {unit.api_version} {unit.id.kind} now", "see its definition")
    if answer.kind in {RejectionKind.TERMINATING, RejectionKind.CONFLICT} or _of_quota(answer):
        return _blocked(unit, text)
    field = ", ".join(answer.fields)
    return _mistake(unit, text if answer.kind in SHAPE else f"is not admitted: {text}", field=field)


def _immutable(
    candidate: Candidate, finding: Finding, live: LiveObject, answer: Rejection, standing: _Standing
) -> Judgement:
    """Only deleting and making it anew gives what git asks: by its author's leave, and never with what is not ours."""
    unit = candidate.unit
    if not standing.ours:
        text = f"exists already, is not this stack's, and differs in what cannot be changed: {told(unit.id, answer)}"
        return _mistake(
            unit, text, "write into git what is live, or delete it yourself", field=", ".join(answer.fields)
        )
    if live.terminating:
        return _blocked(unit, "is being deleted", f"it waits for its finalizers: {_finalizers(live)}")
    if is_job(unit.id):
        if job_state(live) == "running":
            return _blocked(unit, "is running with another template; it is replaced when it has finished")
    elif not unit.options.recreate:
        remedy = f'undo the change, or annotate the object {RECREATE}: "true" to have it deleted and made anew'
        text = f"cannot be changed in place: {told(unit.id, answer)}"
        return _mistake(unit, text, remedy, field=", ".join(answer.fields))
    return Judgement(_change(candidate, finding, standing, Action.RECREATE, _written(finding)))


def _held_by(unit: UnitId, answer: Rejection, view: View) -> UnitId | None:
    """What goes before this unit is made, and may hold until then what the unit was refused for: two objects of one
    kind cannot have the same node port, address or host name. Asked again once that is gone."""
    if answer.kind not in {RejectionKind.INVALID, RejectionKind.ADMISSION}:
        return None
    kind = (unit.cluster, unit.group, unit.kind)
    return next((f for f in sorted(view.first) if (f.cluster, f.group, f.kind) == kind), None)


def _of_quota(answer: Rejection) -> bool:
    """Quota has no code of its own: a 403 whose text, the same in every release, is all there is. Others free it."""
    return answer.kind is RejectionKind.ADMISSION and "exceeded quota" in answer.message


def told(unit: UnitId, answer: Rejection) -> str:
    """The server's words about a unit; not about a Secret, whose values they may quote."""
    if _secret(unit):
        return (
            f"the API server refuses it ({answer.kind.value}); its words are not shown, for they may quote the Secret"
        )
    return answer.message


# ---------------------------------------------------------------- building blocks


def _action(standing: _Standing) -> Action:
    return Action.UPDATE if standing.ours else Action.ADOPT


def _change(
    candidate: Candidate,
    finding: Finding,
    standing: _Standing,
    action: Action,
    fields: tuple[FieldChange, ...] = (),
) -> Change:
    unit = candidate.unit
    return Change(
        unit=unit.id,
        action=action,
        component=unit.component,
        order=unit.order,
        digest=unit.digest,
        live_uid=finding.live.uid if finding.live else "",
        reason=candidate.reason,
        diff=fields,
        adopted_from=standing.adopted_from,
        origin=unit.origin,
    )


def _written(finding: Finding) -> tuple[FieldChange, ...]:
    """The difference in the fields that we write, where no dry run can tell the whole one."""
    live = finding.live.body if finding.live else None
    return diff(_restricted(live, finding.sent), finding.sent, secret=_secret(finding.unit))


def _restricted(live: Any, sent: Any) -> Any:
    if isinstance(live, Mapping) and isinstance(sent, Mapping):
        return {key: _restricted(live[key], value) for key, value in sent.items() if key in live}
    if isinstance(live, list) and isinstance(sent, list):
        return _restricted_list(live, sent)
    return live


def _restricted_list(live: Sequence[Any], sent: Sequence[Any]) -> list[Any]:
    """Each element as far as we write it, or whole where we write none like it: that one goes."""
    names = natural_keys(live, sent)
    if names is None:
        return [_restricted(old, sent[at]) if at < len(sent) else old for at, old in enumerate(live)]
    written = {element_key(item, names): item for item in sent}
    keys = (element_key(old, names) for old in live)
    return [_restricted(old, written[key]) if key in written else old for old, key in zip(live, keys, strict=True)]


def _secret(unit: UnitId) -> bool:
    return unit.kind == "Secret" and not unit.group


def _finalizers(live: LiveObject) -> str:
    return ", ".join(live.metadata.get("finalizers") or ()) or "none"


def _mistake(unit: KubernetesUnit, message: str, remedy: str = "", *, field: str = "") -> Judgement:
    return Judgement(mistakes=(_problem(unit, message, remedy, field),))


def _blocked(unit: KubernetesUnit, message: str, remedy: str = "") -> Judgement:
    return Judgement(faults=(_problem(unit, message, remedy),))


def _problem(unit: KubernetesUnit, message: str, remedy: str, field: str = "") -> Problem:
    return Problem(message, file=unit.origin.file, line=unit.origin.line, field=field, unit=str(unit.id), remedy=remedy)
