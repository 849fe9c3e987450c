"""What one unit waits for: what `gitopsd why UNIT` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Health
from gitopsd.model.memory import Baseline, StackState
from gitopsd.model.plan import Change, Plan
from gitopsd.model.run import Observation, Outcome, Result, RunRecord
from gitopsd.views.drift_text import added_line, drift_details, remedy
from gitopsd.views.layout import Block, dim, good, line, strong, warn
from gitopsd.views.times import ago
from gitopsd.views.words import counted, short

SCHEMA = "gitopsd.io/why/v1"

_DONE = {Health.HEALTHY, Health.SUSPENDED}


@dataclass(frozen=True, slots=True)
class WhyFacts:
    """All that is known of a unit. `status` is its stack's part of the status document (None if there is no such
    document), `run` the stack's newest run, whole, whether it goes on or not."""

    unit: UnitId
    stack: str
    daemon_running: bool
    status: Mapping[str, Any] | None = None
    state: StackState | None = None
    run: RunRecord | None = None
    baseline: Baseline | None = None


def why_document(facts: WhyFacts) -> dict[str, Any]:
    """What `gitopsd why UNIT --json` prints. An empty `waitsFor` means that there is nothing to wait for."""
    waits = [wait for find in (_daemon, _run, _holds, _postponed, _attention, _drift) for wait in find(facts)]
    baseline = facts.baseline
    tracked = {"component": baseline.component, "digest": baseline.digest, "at": baseline.at} if baseline else None
    return {
        "schema": SCHEMA,
        "unit": str(facts.unit),
        "stack": facts.stack,
        "tracked": tracked,
        "waitsFor": waits,
        "drift": _drift_entry(facts),
        "additions": entries_of(facts.unit, facts.status, "additions"),
        "message": "" if waits else _at_rest(facts),
    }


def why_text(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    """The same for a person."""
    yield line(strong(document["unit"]), f" of stack {document['stack']}")
    for wait in document["waitsFor"]:
        since = f" ({ago(wait['since'], now)})" if wait["since"] else ""
        yield line(warn(wait["kind"]), f"{since}: {wait['detail']}", indent=2)
        if wait["kind"] == "drift" and document["drift"]:
            yield from drift_details(document["drift"], now, indent=4)
            yield line(dim("what ends it: "), document["drift"]["remedy"], indent=4)
        if wait["next"]:
            yield line(dim(f"more: {wait['next']}"), indent=4)
    if document["message"]:
        yield line(good("waits for nothing"), f": {document['message']}", indent=2)
    for added in document["additions"]:
        yield added_line(added, now)
    tracked = document["tracked"]
    if tracked:
        text = f"last applied {ago(tracked['at'], now)}, component {tracked['component']}"
        yield line(dim(f"{text}, digest {short(tracked['digest'])}"), indent=2)


def _wait(kind: str, detail: str, since: str | None = "", more: str = "") -> dict[str, Any]:
    return {"kind": kind, "detail": detail, "since": since or None, "next": more or None}


def _daemon(facts: WhyFacts) -> Iterator[dict[str, Any]]:
    if not facts.daemon_running:
        yield _wait("daemon", "gitopsd is not running; what follows is as last known")


# ---------------------------------------------------------------- the run that goes on


def _run(facts: WhyFacts) -> Iterator[dict[str, Any]]:
    run = facts.run
    if run is None or run.verdict is not None or run.plan is None:
        return
    change = next((change for change in run.plan.changes() if change.unit == facts.unit), None)
    if change is None:
        return
    outcome = _last(run.outcomes, facts.unit)
    found = _after(run, outcome) if outcome else _before(run, run.plan, change)
    if found:
        yield found


def _after(run: RunRecord, outcome: Outcome) -> dict[str, Any] | None:
    """The unit had its turn: its gate, or its finalizers."""
    more = f"gitopsd show {run.id}"
    if outcome.result is Result.TERMINATING:
        return _wait("finalizer", outcome.detail or "its deletion was taken; a finalizer is not done", outcome.at, more)
    if outcome.result in {Result.REFUSED, Result.KEPT}:
        return _wait(outcome.result.value, outcome.detail, outcome.at, more)
    seen = next((seen for seen in run.observations if seen.unit == str(outcome.unit)), None)
    if seen is None or seen.health in _DONE:
        return None
    return _wait("gate", _seen(seen), seen.at, more)


def _before(run: RunRecord, plan: Plan, change: Change) -> dict[str, Any]:
    """The unit did not have its turn yet: what comes before it and is not good."""
    blockers = list(_blockers(run, plan, change))
    place = "its turn in wave " + _order(change.order) if change in tuple(plan.applies()) else "its turn to be deleted"
    known = f"; {change.deferred}" if change.deferred else ""
    first = f"{blockers[0]}" if blockers else "the units beside it"
    others = f" and {counted(len(blockers) - 1, 'other unit')}" if len(blockers) > 1 else ""
    return _wait("wave", f"{place} comes after {first}{others}{known}", run.started, f"gitopsd show {run.id}")


def _blockers(run: RunRecord, plan: Plan, change: Change) -> Iterator[str]:
    """Units before it in the plan that are not applied yet, or applied and not healthy."""
    seen = {observation.unit: observation for observation in run.observations}
    for earlier in _earlier(plan, change):
        name = str(earlier.unit)
        outcome, observation = _last(run.outcomes, earlier.unit), seen.get(name)
        if outcome is None:
            yield f"{name} (not {'deleted' if earlier in plan.prune else 'applied'} yet)"
        elif observation is not None and observation.health not in _DONE:
            yield f"{name} ({_seen(observation)})"


def _earlier(plan: Plan, change: Change) -> Iterator[Change]:
    yield from (earlier for earlier in plan.first if change not in plan.first)
    for wave in plan.waves:
        for layer in wave.layers:
            if change in layer.changes:
                return
            yield from layer.changes
    yield from plan.prune[: plan.prune.index(change)] if change in plan.prune else ()


# ---------------------------------------------------------------- while nothing runs


def _holds(facts: WhyFacts) -> Iterator[dict[str, Any]]:
    memory = facts.state.memory if facts.state else None
    for hold in memory.holds if memory else ():
        more = f"gitopsd show {facts.run.id}" if facts.run else ""
        yield _wait("hold", f"the stack is held ({hold.reason.value}): {hold.detail}", hold.since, more)
    if facts.status is None or memory is None:
        return
    for item in memory.quarantine:
        if item.commit == facts.status["revision"]["desired"] or item.unit == str(facts.unit):
            text = f"commit {short(item.commit)} is quarantined: {item.reason}"
            yield _wait("quarantine", text, item.at, f"gitopsd show {item.run}")


def _postponed(facts: WhyFacts) -> Iterator[dict[str, Any]]:
    for item in facts.state.postponed if facts.state else ():
        if item.unit == facts.unit:
            yield _wait("prune", f"its deletion is postponed: {item.reason}", item.since)


def _attention(facts: WhyFacts) -> Iterator[dict[str, Any]]:
    for entry in facts.status["attention"] if facts.status else ():
        if entry["unit"] == str(facts.unit) and entry["reason"] != "drifted":
            parts = (entry["health"], entry["reason"], entry.get("message", ""))
            yield _wait("health", ": ".join(part for part in parts if part), entry["since"])


def _drift(facts: WhyFacts) -> Iterator[dict[str, Any]]:
    """Also of a unit whose health is the greater trouble."""
    for entry in entries_of(facts.unit, facts.status, "drift"):
        yield _wait("drift", f"live is not what was applied: {entry['detail']}", entry["since"])


def _drift_entry(facts: WhyFacts) -> dict[str, Any] | None:
    entry = next(iter(entries_of(facts.unit, facts.status, "drift")), None)
    return {**entry, "remedy": remedy(facts.status, entry)} if entry and facts.status else None


def entries_of(unit: UnitId, stack: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    """What a stack's part of the status document lists about one unit."""
    return [entry for entry in (stack or {}).get(name, ()) if entry["unit"] == str(unit)]


def _at_rest(facts: WhyFacts) -> str:
    if facts.baseline is None:
        return "it is not tracked: no run has applied it, or it was deleted"
    if facts.run is not None and facts.run.verdict is None:
        return "the run that goes on does not change it"
    return "it is as git asks, and nothing is wrong with it"


def _seen(seen: Observation) -> str:
    return ": ".join(part for part in (seen.health.value, seen.reason, seen.message) if part)


def _order(order: Sequence[int]) -> str:
    return f"{order[0]}" if not order[1] else f"{order[0]}, object wave {order[1]}"


def _last(outcomes: Sequence[Outcome], unit: UnitId) -> Outcome | None:
    return next((outcome for outcome in reversed(outcomes) if outcome.unit == unit), None)
