"""The state of the stacks: which phase each is in, and the document that `gitopsd status --json` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gitopsd.model.codec import to_plain
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Health
from gitopsd.model.memory import Good, Hold, HoldReason, Memory
from gitopsd.model.orders import Question
from gitopsd.model.plan import Postponed
from gitopsd.model.run import RunKind
from gitopsd.model.status import DaemonInfo, Phase, SourceFacts, StackFacts
from gitopsd.views.drift import addition_entries, drift_entries, told
from gitopsd.views.history import run_summary

SCHEMA = "gitopsd.io/status/v1"

_FAILURES = {HoldReason.ROLLBACK_FAILED, HoldReason.FAILED}
_BLINDING = {HoldReason.SOURCE, HoldReason.INSTANCE}
"""Holds under which we cannot say that desired is live: it is not known, or not ours to say."""

_URGENCY = {
    Health.DEGRADED: 0,
    Health.MISSING: 1,
    Health.TERMINATING: 2,
    Health.UNKNOWN: 3,
    Health.SUSPENDED: 4,
    Health.PROGRESSING: 5,
    Health.HEALTHY: 6,
}


def phase(facts: StackFacts) -> Phase:
    """The first phase, in the order of `Phase`, that is true of the stack."""
    if facts.current is not None:
        return Phase.ROLLING_BACK if facts.current.kind is RunKind.ROLLBACK else Phase.RUNNING
    holds = _holds(facts)
    if any(hold.reason in _FAILURES for hold in holds) or _between(facts):
        return Phase.FAILED
    synced = _desired_is_live(facts)
    blind = any(hold.reason in _BLINDING for hold in holds)
    if blind or (holds and not synced) or _quarantined(facts):
        return Phase.HELD
    return Phase.SYNCED if synced else Phase.UNKNOWN


def stack_status(facts: StackFacts) -> dict[str, Any]:
    """One stack of the status document."""
    memory = facts.state.memory if facts.state else None
    good = newest_good(memory)
    document: dict[str, Any] = {
        "name": facts.name,
        "source": facts.source,
        "phase": phase(facts).value,
        "message": _message(facts),
        "next": _next(facts),
        "revision": {
            "desired": facts.desired.commit if facts.desired else None,
            "good": good.commit if good else None,
            "quarantined": [q.commit for q in memory.quarantine] if memory else [],
        },
        "run": run_summary(facts.current) | {"progress": facts.progress} if facts.current else None,
        "lastRun": run_summary(facts.last) if facts.last else None,
        "units": _counts(facts),
        "holds": [to_plain(hold) for hold in _holds(facts)],
        "asks": [_question(facts.name, q) for q in (facts.state.questions if facts.state else ())],
        "attention": list(_attention(facts)),
        "quarantine": [to_plain(q) for q in memory.quarantine] if memory else [],
        "pendingPrune": [to_plain(item) for item in _postponed(facts)],
        "orphans": [to_plain(item) for item in facts.orphans],
        "sealingKeys": dict(sorted(facts.keys.items())),
        "drift": drift_entries(facts),
        "additions": addition_entries(facts),
        "moreAdditions": facts.more_additions,
        "onlyReported": facts.only_reported,
        "unwatched": [{"kind": kind, "why": why} for kind, why in sorted(facts.unwatched.items())],
    }
    return document


def status_document(
    daemon: DaemonInfo, stacks: Iterable[StackFacts], at: str | None = None, *, sources: Iterable[SourceFacts] = ()
) -> dict[str, Any]:
    """The whole document; `at` is when it was made (ISO 8601, UTC), None if nobody knows."""
    return {
        "schema": SCHEMA,
        "at": at,
        "daemon": to_plain(daemon),
        "sources": [to_plain(source) for source in sources],
        "stacks": [stack_status(facts) for facts in sorted(stacks, key=lambda f: f.name)],
    }


def newest_good(memory: Memory | None) -> Good | None:
    """The good revision that is live: the newest one, or an older one that a person went back to."""
    return memory.live if memory else None


def _question(stack: str, question: Question) -> dict[str, Any]:
    """What waits for a person, since when and until when, and the commands that answer it."""
    digest = question.approval.digest
    return {
        "digest": digest,
        "summary": question.approval.summary,
        "details": list(question.approval.details) or [f"delete {unit}" for unit in question.approval.units],
        "commit": question.commit,
        "since": question.since,
        "until": question.until,
        "approve": f"gitopsd approve {stack} {digest[:12]}",
        "reject": f"gitopsd reject {stack} {digest[:12]}",
    }


def _holds(facts: StackFacts) -> tuple[Hold, ...]:
    return facts.state.memory.holds if facts.state else ()


def _between(facts: StackFacts) -> bool:
    """Whether live is neither good nor desired: a run has left effects that no gate has found good.

    A heal only writes what is good already: one that ended early leaves drift behind, and no mixture.
    """
    if facts.state is None:
        return False
    attempt = facts.state.memory.attempting
    return bool(facts.state.dirty) or (attempt is not None and attempt.kind is not RunKind.HEAL)


def _postponed(facts: StackFacts) -> Iterator[Postponed]:
    """Deletions that wait, without those that are under way."""
    under_way = {orphan.unit for orphan in facts.orphans}
    return (item for item in (facts.state.postponed if facts.state else ()) if item.unit not in under_way)


def _desired_is_live(facts: StackFacts) -> bool:
    good = newest_good(facts.state.memory) if facts.state else None
    return bool(good and facts.desired and facts.desired.digest == good.digest)


def _quarantined(facts: StackFacts) -> bool:
    return bool(facts.state and facts.desired and facts.state.memory.quarantined(facts.desired.digest))


def _counts(facts: StackFacts) -> dict[str, int]:
    found = Counter(item.assessment.health for item in facts.health.values())
    unseen = max(0, facts.tracked - len(facts.health) - facts.presumed)
    counts = {health.value: found[health] for health in Health}
    counts[Health.HEALTHY.value] += facts.presumed
    counts[Health.UNKNOWN.value] += unseen
    return {"total": facts.tracked, **counts, "drifted": len(facts.drifted)}


def _attention(facts: StackFacts) -> Iterator[Mapping[str, Any]]:
    """Every unit that is not as it should be, the worst first."""
    ailing = {unit for unit, item in facts.health.items() if item.assessment.health is not Health.HEALTHY}
    ailing |= facts.locked.keys()
    orphaned = {orphan.unit: orphan for orphan in facts.orphans}
    entries = [_entry(facts, unit) for unit in (ailing | facts.drifted.keys()) - orphaned.keys()]
    entries += [_orphan(orphan) for orphan in orphaned.values()]
    yield from sorted(entries, key=lambda e: (_URGENCY[Health(e["health"])], e["unit"]))


def _entry(facts: StackFacts, unit: UnitId) -> dict[str, Any]:
    found, drift = facts.health.get(unit), facts.drifted.get(unit)
    if drift is None and unit in facts.locked and (found is None or found.assessment.health is Health.HEALTHY):
        return _locked(facts, unit)
    ailing = found is not None and found.assessment.health is not Health.HEALTHY
    entry: dict[str, Any] = {
        "unit": str(unit),
        "health": found.assessment.health.value if found else Health.UNKNOWN.value,
        "reason": found.assessment.reason if found and ailing else "drifted",
        "since": found.since if found and ailing else drift.since if drift else "",
        "message": found.assessment.message if found and ailing else told(drift) if drift else "",
        "drifted": drift is not None,
    }
    return entry


def _locked(facts: StackFacts, unit: UnitId) -> dict[str, Any]:
    """Nothing is wrong with it yet, but no key opens it any more."""
    locked, found = facts.locked[unit], facts.health.get(unit)
    return {
        "unit": str(unit),
        "health": found.assessment.health.value if found else Health.HEALTHY.value,
        "reason": "no key opens it",
        "since": locked.since,
        "message": locked.detail,
        "drifted": False,
    }


def _orphan(orphan: Postponed) -> dict[str, Any]:
    return {
        "unit": str(orphan.unit),
        "health": Health.TERMINATING.value,
        "reason": "orphan",
        "since": orphan.since,
        "message": orphan.reason,
        "drifted": False,
    }


def _message(facts: StackFacts) -> str:
    """Why the stack is in its phase, in one sentence; "" where the phase says all."""
    found = phase(facts)
    if found in {Phase.RUNNING, Phase.ROLLING_BACK}:
        return facts.progress or (facts.current.reason if facts.current else "")
    if found is Phase.FAILED:
        failures_first = sorted(_holds(facts), key=lambda h: h.reason not in _FAILURES)
        return failures_first[0].detail if failures_first else _left_between(facts)
    if found is Phase.HELD:
        return _why_held(facts)
    if found is Phase.UNKNOWN:
        return "no run yet" if facts.last is None else "the desired revision is not live yet"
    return ""


def _left_between(facts: StackFacts) -> str:
    reason = facts.last.reason if facts.last else ""
    return reason or "a run ended before its gate: live is neither the good nor the desired revision"


def _why_held(facts: StackFacts) -> str:
    holds = _holds(facts)
    if holds:
        return holds[0].detail
    found = facts.state.memory.quarantined(facts.desired.digest) if facts.state and facts.desired else None
    return f"this revision failed before: {found.reason}" if found else ""


def _next(facts: StackFacts) -> str | None:
    """The command that tells more, if there is more to tell."""
    if phase(facts) in {Phase.FAILED, Phase.HELD}:
        run = _culprit(facts)
        return f"gitopsd show {run}" if run else None
    worst = next(_attention(facts), None)
    return f"gitopsd why {worst['unit']}" if worst else None


def _culprit(facts: StackFacts) -> str:
    quarantine = facts.state.memory.quarantine if facts.state else ()
    wanted = next((q.run for q in quarantine if facts.desired and q.digest == facts.desired.digest), "")
    return wanted or (facts.last.id if facts.last else "")
