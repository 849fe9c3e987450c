"""What may be deleted: guards over everything that a commit no longer asks for, and the order of deletions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gitopsd.kinds.builtin import PROTECTED, rank
from gitopsd.kinds.marks import is_ours
from gitopsd.kinds.options import PRUNE
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, LiveObject
from gitopsd.model.memory import Baseline
from gitopsd.model.orders import ABANDON_GRANT, PRUNE_GRANT
from gitopsd.model.plan import Action, Approval, Change, Leftover, Postponed
from gitopsd.model.spec import StackSpec
from gitopsd.model.units import Desired, PrunePolicy
from gitopsd.planning.creators import is_crd, is_namespace

FOR_A_PERSON = (
    "takes its contents along: `gitopsd prune` allows that, `gitopsd abandon` leaves it as it is and forgets it"
)
"""How the reason of a deletion ends that a person alone has to allow."""

ABANDONED = "abandoned by a person: it stays as it is, and is tracked no longer"

UNSERVED = "its kind is not served now, so nobody knows whether it is there"

WEBHOOK_CONFIGURATIONS = frozenset({"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"})


@dataclass(frozen=True, slots=True)
class Removals:
    """What becomes of the units that the commit no longer asks for; each is in exactly one of these but `approvals`."""

    first: tuple[Change, ...] = ()
    prune: tuple[Change, ...] = ()
    postponed: tuple[Postponed, ...] = ()
    forget: tuple[Leftover, ...] = ()
    approvals: tuple[Approval, ...] = ()


@dataclass(frozen=True, slots=True)
class _Fate:
    """Of one unit: a change, or the reason to wait, or the reason to drop it from the inventory."""

    change: Change | None = None
    first: bool = False
    wait: str = ""
    forget: str = ""


def removals(
    spec: StackSpec,
    desired: Desired,
    remove: Sequence[Baseline],
    baselines: Mapping[UnitId, Baseline],
    live: Mapping[UnitId, LiveObject | Absence],
    *,
    claims: Mapping[UnitId, str],
    applysets: Mapping[str, str],
    granted: Collection[str] = (),
) -> Removals:
    """Sort `remove` by what may be done about each. Deletions that a person has to allow are in the plan all the same;
    nothing of the plan may be carried out while it has approvals that nobody gave."""
    crds_gone = {b.unit for b in remove if is_crd(b.unit) and live[b.unit] is Absence.GONE}
    fates: dict[UnitId, _Fate] = {}
    for baseline in remove:
        seen = live[baseline.unit]
        if isinstance(seen, Absence):
            reason = absent_for_good(baseline.unit, seen, crds_gone)
            reason = reason or (ABANDONED if abandon_digest(baseline) in granted else "")
            fates[baseline.unit] = _Fate(forget=reason) if reason else _Fate(wait=UNSERVED)
        elif abandon_digest(baseline) in granted and is_ours(seen, spec.name, applysets[baseline.unit.cluster]):
            fates[baseline.unit] = _Fate(_removal(baseline, seen, Action.RELEASE, ABANDONED))
        else:
            ours = is_ours(seen, spec.name, applysets[baseline.unit.cluster])
            allowed = prune_digest(baseline.unit, seen.uid) in granted
            fates[baseline.unit] = _present(baseline, seen, claims.get(baseline.unit, ""), ours=ours, allowed=allowed)
    changes = [f.change for f in fates.values() if f.change is not None]
    deletions = [c for c in changes if c.action is Action.DELETE]
    return Removals(
        first=descending((f.change for f in fates.values() if f.change is not None and f.first), spec),
        prune=descending((f.change for f in fates.values() if f.change is not None and not f.first), spec),
        postponed=tuple(Postponed(unit, f.wait) for unit, f in sorted(fates.items()) if f.wait),
        forget=tuple(Leftover(unit, f.forget) for unit, f in sorted(fates.items()) if f.forget),
        approvals=_approvals(spec, desired, deletions, len(baselines)),
    )


def prune_digest(unit: UnitId, uid: str) -> str:
    """What a person allows by `gitopsd prune`: the deletion of this very object, though it is protected."""
    return f"{PRUNE_GRANT}{unit.cluster}:{unit}:{uid}"


def abandon_digest(baseline: Baseline) -> str:
    """What a person says by `gitopsd abandon`: this very unit is to be left as it is and forgotten."""
    return f"{ABANDON_GRANT}{baseline.unit.cluster}:{baseline.unit}:{baseline.uid}"


def _present(baseline: Baseline, live: LiveObject, claimed_by: str, *, ours: bool, allowed: bool) -> _Fate:
    if not ours:
        return _Fate(forget="left in place: it does not carry this stack's marks any more")
    wait = _why_wait(baseline, live, allowed=allowed)
    if wait:
        return _Fate(wait=wait)
    if claimed_by:
        return _Fate(_removal(baseline, live, Action.RELEASE, f"stack {claimed_by} asks for it now"))
    first = _policy(baseline, live) == PrunePolicy.FIRST
    return _Fate(_removal(baseline, live, Action.DELETE, "no longer in git"), first=first)


def _why_wait(baseline: Baseline, live: LiveObject, *, allowed: bool) -> str:
    """Why an object of ours is not deleted now; "" if it may be."""
    if live.terminating:
        finalizers = ", ".join(live.metadata.get("finalizers") or ()) or "none"
        return f"is being deleted already; waits for its finalizers: {finalizers}"
    if live.uid != baseline.uid:
        return "somebody made it anew (another uid): delete it yourself if it should go"
    if live.owner_references:
        return owner_text(live)
    policy = _policy(baseline, live)
    if policy == PrunePolicy.DISABLED:
        return f"{PRUNE}: {policy}"
    if is_protected(baseline.unit) and policy != PrunePolicy.FIRST and not allowed:
        return f"a {baseline.unit.kind} {FOR_A_PERSON}"
    return ""


def waits_for_a_person(waiting: Postponed) -> bool:
    """Whether a deletion waits for nothing but a person's word. Who made the object anew, owns it or pinned it has to
    act first."""
    return waiting.reason.endswith(FOR_A_PERSON)


def _policy(baseline: Baseline, live: LiveObject) -> str:
    """`gitopsd.io/prune` as it is live or was in git; whichever is more careful."""
    was: Mapping[str, str] = baseline.metadata.get("annotations") or {}
    found = {live.annotations.get(PRUNE), was.get(PRUNE)}
    if PrunePolicy.DISABLED in found:
        return PrunePolicy.DISABLED
    return PrunePolicy.FIRST if found == {PrunePolicy.FIRST} else PrunePolicy.DEFAULT


def _removal(baseline: Baseline, live: LiveObject, action: Action, reason: str) -> Change:
    return Change(
        unit=baseline.unit,
        action=action,
        component=baseline.component,
        order=baseline.order,
        live_uid=live.uid,
        reason=reason,
    )


def _approvals(spec: StackSpec, desired: Desired, deletions: Sequence[Change], tracked: int) -> tuple[Approval, ...]:
    found = []
    if not spec.prune.allows(len(deletions), tracked):
        summary = f"{len(deletions)} of {tracked} objects would be deleted, which is more than spec.prune allows"
        found.append(_approval(summary, deletions))
    for component in spec.components:
        theirs = [c for c in deletions if c.component == component.name]
        if theirs and not any(u.component == component.name for u in desired.units.values()):
            summary = f"component {component.name} renders nothing any more; {len(theirs)} objects would be deleted"
            found.append(_approval(summary, theirs))
    return tuple(found)


def _approval(summary: str, deletions: Sequence[Change]) -> Approval:
    """Bound to exactly these objects: the same list under another commit keeps it, any other list lapses it."""
    units = tuple(sorted(c.unit for c in deletions))
    lines = sorted(f"{c.unit.cluster} {c.unit} {c.live_uid}" for c in deletions)
    return Approval(hashlib.sha256("\n".join(lines).encode()).hexdigest(), summary, units, removal=True)


# ---------------------------------------------------------------- shared with rollbacks


def descending(changes: Iterable[Change], spec: StackSpec) -> tuple[Change, ...]:
    """Deletions in their order: users before what they use, the reverse of how they were applied.

    Webhook configurations go first of all, or they would refuse the rest once their backend is gone. Namespaces wait
    for every APIService: one without its backend keeps all namespaces from being deleted.
    """
    changes = list(changes)
    depths = _depths(spec)
    lowest = min((c.order for c in changes if c.unit.kind == "APIService"), default=None)

    def key(change: Change) -> tuple[bool, int, int, int, int, UnitId]:
        order = change.order
        if lowest is not None and is_namespace(change.unit):
            order = min(order, lowest)
        return (
            change.unit.kind not in WEBHOOK_CONFIGURATIONS,
            -order[0],
            -order[1],
            -depths.get(change.component, 0),
            -rank(change.unit.group, change.unit.kind),
            change.unit,
        )

    return tuple(sorted(changes, key=key))


def _depths(spec: StackSpec) -> dict[str, int]:
    """How long the longest chain of `dependsOn` below each component is. The spec has no circle (`check_order`)."""
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths[name] = max((depth(other) + 1 for other in spec.component(name).after), default=0)
        return depths[name]

    for component in spec.components:
        depth(component.name)
    return depths


def absent_for_good(unit: UnitId, absence: Absence, definitions: Collection[UnitId]) -> str:
    """How it is known that an object does not exist; "" if it is not.

    An unserved kind proves nothing about its objects, unless the definition of the kind is among those that are gone
    or go now (`definitions`): its objects go with it.
    """
    if absence is Absence.GONE:
        return "is gone already"
    with_it = any(crd.cluster == unit.cluster and crd.name.endswith(f".{unit.group}") for crd in definitions)
    return "goes with the definition of its kind" if with_it else ""


def is_protected(unit: UnitId) -> bool:
    return (unit.group, unit.kind) in PROTECTED


def owner_text(live: LiveObject) -> str:
    owner = live.owner_references[0]
    return f"{owner.get('kind')} {owner.get('name')} owns it"
