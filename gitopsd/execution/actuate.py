"""One change of a plan, made real. Knows nothing of waves, gates or why; returns what the record has to learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gitopsd.execution.contents import content
from gitopsd.execution.freeing import Freed, free
from gitopsd.execution.modules import actuate_module
from gitopsd.execution.session import Session
from gitopsd.kinds.marks import (
    PART_OF_LABEL,
    SEALED_SECRETS,
    TRACKING_ANNOTATION,
    is_ours,
    sealed_secret_of,
    sealed_secret_text,
)
from gitopsd.kinds.overridden import admission_warning, among, overridden_fields
from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, Deletion, LiveObject, Rejection, RejectionKind
from gitopsd.model.memory import Dirty
from gitopsd.model.plan import Action, Change
from gitopsd.model.ports import Effect
from gitopsd.model.run import Result, RunKind
from gitopsd.model.units import KubernetesUnit, Manifest
from gitopsd.planning.inventory import baseline_of
from gitopsd.planning.judge import told
from gitopsd.planning.send import ignored_paths, manifest_to_send

DELETE_PATIENCE = 30.0
"""Seconds to wait for an object to be gone before it is called an orphan with a pending finalizer."""

FINALIZER_PATIENCE = 5.0
"""Seconds for finalizers: those of Kubernetes itself (a definition's objects, a claim in use) are done sooner, others
may need a person."""

DELETE_TRIES = 5
"""A controller may write between our read and our delete; after this many such races the environment is at fault."""

TRANSIENT = frozenset({RejectionKind.TERMINATING, RejectionKind.CONFLICT})
"""Refusals that end by themselves, when a namespace is gone or another writer is done."""


def actuate(session: Session, change: Change) -> Effect:
    """Make one change. A refusal is an outcome; what may work later raises EnvironmentFault."""
    if change.unit.is_terraform:
        return actuate_module(session, change)
    if change.action is Action.DELETE:
        return _delete(session, change)
    if change.action is Action.RELEASE:
        return _release(session, change)
    if change.action is Action.RECREATE:
        _clear_the_way(session, change)
    return _apply(session, change)


def former_values(session: Session, change: Change) -> Dirty | None:
    """What an object that is about to be adopted holds in the fields that we will set, for a rollback to restore.

    A Secret's values are never kept: there the mark alone is made.
    """
    unit = session.units[change.unit]
    live = session.cluster(change.unit).get(change.unit, unit.api_version)
    if isinstance(live, Absence):
        return None
    kept = None if unit.id.kind == "Secret" else _restrict(live.body, unit.manifest)
    reference = sealed_secret_of(live)
    owner = "" if reference is None else sealed_secret_text(change.unit, reference)
    mark = Dirty(change.unit, session.run, change.action, change.order, change.component, uid=live.uid, before=kept)
    return replace(mark, owner=owner)


def _restrict(live: Any, wanted: Any) -> Any:
    """The part of `live` at the paths that `wanted` sets; lists whole: their elements have no sure identity here."""
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        return {key: _restrict(live[key], wanted[key]) for key in wanted if key in live}
    return live


def _apply(session: Session, change: Change) -> Effect:
    unit = session.units[change.unit]
    cluster = session.cluster(change.unit)
    made_before = change.unit in session.unanswered and _made_by_lost_try(session, change)
    manifest = _manifest(session, unit)
    answer = cluster.apply(change.unit, manifest)
    if isinstance(answer, Rejection) and answer.kind is RejectionKind.WEDGED:
        answer = _unwedge(session, unit)
    if isinstance(answer, Rejection):
        return _refused(session, change, answer)
    freed = free(session, unit, manifest, answer.live) if SEALED_SECRETS in unit.adopt else Freed(answer.live)
    live, created = freed.live, answer.created or made_before
    if freed.refused is not None:
        return _half_taken(session, change, live, freed.refused)
    base = baseline_of(
        live,
        component=change.component,
        order=change.order,
        digest=unit.digest,
        at=session.now(),
        ignore=ignored_paths(unit, session.autoscaled),
    )
    outcome = session.outcome(change, Result.APPLIED, "; ".join((*_adopted(freed), *answer.warnings)), live, created)
    return Effect(
        replace(outcome, warnings=_overridden(session, change, manifest, answer)),
        baseline=base,
        dirty=session.dirty(change, created=created, uid=live.uid),
        freed=str(freed.reference.get("uid", "")) if freed.reference else "",
    )


def _overridden(session: Session, change: Change, manifest: Manifest, answer: Accepted) -> tuple[str, ...]:
    """The warning that admission made something else of what was sent, once for what is wished: after that only when
    this very change had it do so."""
    fields = overridden_fields(manifest, answer.live)
    if not fields:
        return ()
    base = session.record.baselines(session.spec.name).get(change.unit)
    told = base is not None and base.digest == session.units[change.unit].digest
    return () if told and not among(fields, (f.path for f in change.diff)) else (admission_warning(fields),)


def _adopted(freed: Freed) -> tuple[str, ...]:
    reference = freed.reference
    return () if reference is None else (f"adopted from {sealed_secret_text(freed.live.id, reference)}",)


def _half_taken(session: Session, change: Change, live: LiveObject, answer: Rejection) -> Effect:
    """Applied, but its owner cannot be taken off: a rollback has to give it back."""
    refused = _refused(session, change, answer, live)
    return replace(refused, dirty=session.dirty(change, created=False, uid=live.uid))


def _refused(session: Session, change: Change, answer: Rejection, live: LiveObject | None = None) -> Effect:
    if answer.kind in TRANSIENT:
        raise EnvironmentFault(Problem(told(change.unit, answer), unit=str(change.unit)))
    return Effect(session.outcome(change, Result.REFUSED, told(change.unit, answer), live))


def _made_by_lost_try(session: Session, change: Change) -> bool:
    """Whether an earlier try of this run made the object, though nobody heard of it: a rollback has to remove it."""
    if change.action not in {Action.CREATE, Action.RECREATE}:
        return False
    live = session.cluster(change.unit).get(change.unit)
    ours = isinstance(live, LiveObject) and is_ours(live, session.spec.name, session.applysets[change.unit.cluster])
    return ours and isinstance(live, LiveObject) and live.uid != change.live_uid


def _manifest(session: Session, unit: KubernetesUnit) -> Mapping[str, Any]:
    """What is sent for a unit now. Only fields left to others need a look at the live object."""
    target = (unit.id.kind, unit.id.namespace, unit.id.name)
    live = None
    if unit.options.ignore or target in session.autoscaled:
        seen = session.cluster(unit.id).get(unit.id, unit.api_version)
        live = None if isinstance(seen, Absence) else seen
    return manifest_to_send(unit, live, session.spec.name, session.applysets[unit.id.cluster], session.autoscaled)


def _unwedge(session: Session, unit: KubernetesUnit) -> Accepted | Rejection:
    """Replace the lists that another writer's elements keep from merging with ours, then apply once more."""
    cluster = session.cluster(unit.id)
    live = cluster.get(unit.id, unit.api_version)
    manifest = _manifest(session, unit)
    if isinstance(live, LiveObject):
        operations = [{"op": "test", "path": "/metadata/resourceVersion", "value": live.resource_version}]
        operations += list(_list_replacements(live.body, manifest, ""))
        patched = cluster.patch(unit.id, operations)
        if isinstance(patched, Rejection):
            return patched
    return cluster.apply(unit.id, manifest)


def _list_replacements(live: Any, wanted: Any, path: str) -> list[dict[str, Any]]:
    """RFC 6902 operations that make every list of ours at which the live object differs exactly ours."""
    found: list[dict[str, Any]] = []
    for key, value in wanted.items():
        here = f"{path}/{_pointer(key)}"
        if key not in live or live[key] == value:
            continue
        if isinstance(value, list):
            found.append({"op": "replace", "path": here, "value": value})
        elif isinstance(value, Mapping) and isinstance(live[key], Mapping):
            found += _list_replacements(live[key], value, here)
    return found


def _clear_the_way(session: Session, change: Change) -> None:
    """Delete what cannot be changed in place and wait until it is gone. Raises EnvironmentFault if it stays."""
    cluster = session.cluster(change.unit)
    for _ in range(DELETE_TRIES):
        live = cluster.get(change.unit)
        if isinstance(live, Absence) or live.uid != change.live_uid:
            return  # a try before this one has deleted it already
        if not live.terminating:
            answer = cluster.delete(change.unit, uid=live.uid, resource_version=live.resource_version)
            if answer is Deletion.CHANGED:
                continue
        if _wait_gone(session, change.unit, live.uid):
            return
        remedy = f"look at its finalizers: {_finalizers(live)}"
        raise EnvironmentFault(
            Problem("is to be made anew, but its deletion does not end", unit=str(change.unit), remedy=remedy)
        )
    raise _outwritten(change.unit)


def _wait_gone(session: Session, unit: UnitId, uid: str, patience: float = DELETE_PATIENCE) -> bool:
    cluster, deadline, delay = session.cluster(unit), session.clock.monotonic() + patience, 0.05
    while session.clock.monotonic() < deadline:
        seen = cluster.get(unit)
        if seen is Absence.GONE or (isinstance(seen, LiveObject) and seen.uid != uid):
            return True
        if isinstance(seen, LiveObject) and seen.terminating and seen.metadata.get("finalizers"):
            session.stop_point()  # somebody else's work: it may take for ever
        session.attention.wait(delay)
        delay = min(delay * 2, 1.0)
    return False


def _finalizers(live: LiveObject) -> str:
    return ", ".join(live.metadata.get("finalizers") or ()) or "none"


# ---------------------------------------------------------------- removing


def _delete(session: Session, change: Change) -> Effect:
    """Delete an object if it still is the very one that was planned and is ours; else say why it is kept."""
    cluster = session.cluster(change.unit)
    for _ in range(DELETE_TRIES):
        live = cluster.get(change.unit)
        if isinstance(live, Absence):
            return _gone_already(session, change, live)
        kept = _why_keep(session, change, live)
        if kept:
            return _kept(session, change, live, kept)
        if live.terminating:
            return _terminating(session, change, live)
        answer = cluster.delete(change.unit, uid=live.uid, resource_version=live.resource_version)
        if answer is Deletion.GONE:
            return _gone(session, change, "")
        if answer is Deletion.TERMINATING:
            return _terminating(session, change, live)
    raise _outwritten(change.unit)


def _outwritten(unit: UnitId) -> EnvironmentFault:
    return EnvironmentFault(Problem("somebody writes it faster than it can be deleted", unit=str(unit)))


def _why_keep(session: Session, change: Change, live: LiveObject) -> str:
    """The last look before a deletion; the reason to leave the object alone, or nothing."""
    if change.live_uid and live.uid != change.live_uid:
        return "another object has its name now"
    if not is_ours(live, session.spec.name, session.applysets[change.unit.cluster]):
        return "its marks say that it is no longer this stack's"
    if live.owner_references:
        owner = live.owner_references[0]
        return f"{owner.get('kind')} {owner.get('name')} owns it"
    if session.kind is RunKind.ROLLBACK:
        found = content(session.cluster(change.unit), live)
        if found:
            return f"it is not empty: {found} would go along"
    return ""


def _gone_already(session: Session, change: Change, absence: Absence) -> Effect:
    if absence is Absence.KIND_UNSERVED:
        problem = Problem("its kind is not served now, so nobody knows whether it is there", unit=str(change.unit))
        raise EnvironmentFault(problem)
    return _gone(session, change, "was gone already")


def _gone(session: Session, change: Change, detail: str) -> Effect:
    return Effect(
        session.outcome(change, Result.DELETED, detail),
        forget=True,
        dirty=session.dirty(change, created=False, uid=""),
    )


def _terminating(session: Session, change: Change, live: LiveObject) -> Effect:
    """The delete was taken. Short-lived finalizers are waited for; finalizers are never stripped."""
    patience = FINALIZER_PATIENCE if live.metadata.get("finalizers") else DELETE_PATIENCE
    if _wait_gone(session, change.unit, live.uid, patience):
        return _gone(session, change, "")
    seen = session.cluster(change.unit).get(change.unit)
    if seen is Absence.GONE:
        return _gone(session, change, "")
    finalizers = _finalizers(seen if isinstance(seen, LiveObject) else live)
    detail = f"is being deleted; waits for its finalizers: {finalizers}"
    return Effect(
        session.outcome(change, Result.TERMINATING, detail, live),
        dirty=session.dirty(change, created=False, uid=live.uid),
    )


def _release(session: Session, change: Change) -> Effect:
    """Give an object back to whoever it belonged to: former values where they are known, our marks off."""
    cluster = session.cluster(change.unit)
    live = cluster.get(change.unit)
    if isinstance(live, Absence):
        return _gone_already(session, change, live)
    if not is_ours(live, session.spec.name, session.applysets[change.unit.cluster]):
        return _kept(session, change, live, "it does not carry this stack's marks")
    known = next((d for d in session.dirty_before if d.unit == change.unit), None)
    if known is not None and known.before is not None:
        # Applying the former values with our own manager also removes what else we had added, the marks included.
        answer: object = cluster.apply(change.unit, known.before)
        detail = "left in place with its former values"
    else:
        answer = _unmark(session, change.unit, live)
        detail = "left in place; its former values are not known" if session.best_effort else "handed over as it is"
        if session.best_effort:
            session.leave(change.unit, detail)
    if isinstance(answer, Rejection):
        return _refused(session, change, answer, live)
    if known is not None and known.owner and sealed_secret_of(live) is None:
        detail = f"{detail}; {known.owner} does not own it any more"
    released = session.dirty(change, created=False, uid=live.uid)
    return Effect(session.outcome(change, Result.KEPT, detail, live), forget=True, dirty=released)


def _kept(session: Session, change: Change, live: LiveObject, reason: str) -> Effect:
    """Left alone. It is tracked no longer if it is not the stack's, as the plan took it to be."""
    session.leave(change.unit, reason)
    ours = is_ours(live, session.spec.name, session.applysets[change.unit.cluster])
    return Effect(session.outcome(change, Result.KEPT, reason, live), forget=not ours or live.uid != change.live_uid)


def _unmark(session: Session, unit: UnitId, live: LiveObject) -> LiveObject | Absence | Rejection:
    operations: list[Mapping[str, Any]] = [{"op": "test", "path": "/metadata/uid", "value": live.uid}]
    if PART_OF_LABEL in live.labels:
        operations.append({"op": "remove", "path": f"/metadata/labels/{_pointer(PART_OF_LABEL)}"})
    if TRACKING_ANNOTATION in live.annotations:
        operations.append({"op": "remove", "path": f"/metadata/annotations/{_pointer(TRACKING_ANNOTATION)}"})
    return session.cluster(unit).patch(unit, operations)


def _pointer(key: str) -> str:
    """A key as RFC 6901 writes it inside a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
