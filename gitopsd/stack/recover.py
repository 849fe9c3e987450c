"""After a crash: what became of effects that were intended and whose outcome nobody wrote down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from gitopsd.kinds.marks import is_ours
from gitopsd.model.live import Absence, LiveObject
from gitopsd.model.memory import Baseline, Dirty, Intent
from gitopsd.model.plan import Action
from gitopsd.model.ports import Cluster
from gitopsd.model.run import RunKind, RunRecord, Verdict
from gitopsd.planning.inventory import baseline_of
from gitopsd.stack.ledger import Ledger

log = structlog.get_logger("gitopsd.stack")


def recover(
    ledger: Ledger,
    cluster: Callable[[str], Cluster],
    applyset: Callable[[str], str],
    settle: Callable[[str, str], None],
) -> None:
    """Close runs and intents that a crash left open, by looking at what is live. Never assumes, never writes to a
    cluster. Raises EnvironmentFault while a cluster cannot be asked; nothing is lost by trying again.

    `settle` ends what a crash left running of a Terraform component of a stack.
    """
    state = ledger.state
    if state.intents:
        log.warning("looks after a crash", stack=ledger.stack, unknown=len(state.intents))
    runs = (ledger.record.run(name) for name in {intent.run for intent in state.intents})
    heals = {run.id for run in runs if run is not None and run.kind is RunKind.HEAL}
    dirty: list[Dirty] = []
    baselines: list[Baseline] = []
    known = ledger.record.baselines(ledger.stack)
    for intent in state.intents:
        if intent.unit.is_terraform:
            # What it may have made was marked dirty before Terraform was started; its state tells the rest.
            settle(ledger.stack, intent.component)
            base = known.get(intent.unit)
            baselines += [replace(base, certain=False)] if base is not None else []
            continue
        live = cluster(intent.unit.cluster).get(intent.unit)
        mine = isinstance(live, LiveObject) and is_ours(live, ledger.stack, applyset(intent.unit.cluster))
        base = known.get(intent.unit)
        if base is not None:
            baselines.append(replace(base, certain=False))
        elif mine and isinstance(live, LiveObject):
            base = baseline_of(live, component=intent.component, order=intent.order, digest="", at=ledger.now())
            baselines.append(replace(base, certain=False))
        mark = _dirty(intent, live, mine=mine)
        if mark is not None and intent.run not in heals:
            dirty.append(mark)
    if dirty:
        ledger.record.soil(ledger.stack, dirty)
    if state.intents:
        found = {base.unit for base in baselines}
        # Rebasing ends an intent; one that left nothing behind would otherwise be looked after at every start.
        nothing = [intent.unit for intent in state.intents if intent.unit not in found]
        ledger.record.rebase(ledger.stack, baselines, nothing)
    _close_runs(ledger)


def _dirty(intent: Intent, live: LiveObject | Absence, *, mine: bool) -> Dirty | None:
    """The mark of a unit that may have been touched; None if it certainly was not, or if an older mark says more."""
    if intent.action is Action.RELEASE:
        return None  # an adopted object stays one until it is known to be released
    if isinstance(live, Absence):
        removed = intent.action in {Action.DELETE, Action.RECREATE}
        return _mark(intent, created=False, uid="") if removed else None
    if intent.action is Action.DELETE:
        return _mark(intent, created=False, uid=live.uid) if live.terminating else None
    if intent.action is Action.CREATE and not mine:
        return None  # somebody else made one of that name
    created = mine and live.uid != intent.live_uid and intent.action in {Action.CREATE, Action.RECREATE}
    return _mark(intent, created=created, uid=live.uid)


def _mark(intent: Intent, *, created: bool, uid: str) -> Dirty:
    return Dirty(intent.unit, intent.run, intent.action, intent.order, intent.component, created, uid)


def _open_runs(ledger: Ledger) -> list[RunRecord]:
    return [run for run in ledger.record.runs(ledger.stack) if run.verdict is None]


def _close_runs(ledger: Ledger) -> None:
    for run in _open_runs(ledger):
        reason = "gitopsd ended in the middle of it; the next run goes on from what is live"
        ended = replace(run, finished=ledger.now(), verdict=Verdict.SUPERSEDED, reason=reason)
        ledger.record.finish(ended, [ledger.event("run-end", run=run.id, result="superseded", detail=reason)])
