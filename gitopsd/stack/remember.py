"""How a stack's memory changes with what happens to it. Pure: times and ids are handed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gitopsd.model.memory import Attempt, Good, Hold, HoldReason, JobDone, Memory, Quarantined

GOOD_KEPT = 10
"""Good revisions that are remembered: the targets of rollbacks."""

QUARANTINE_KEPT = 50
"""Quarantined digests that are remembered; older ones would be tried again if a commit asked for them."""

RUN_HOLDS = frozenset(
    {
        HoldReason.BLOCKED,
        HoldReason.QUARANTINED,
        HoldReason.APPROVAL,
        HoldReason.ROLLBACK_FAILED,
        HoldReason.FAILED,
        HoldReason.INSTANCE,
    }
)
"""Holds that a run which gets as far as its first effect has overcome. A source that is away is not among them: what
is rolled back meanwhile comes from the mirror."""


def attempting(memory: Memory, attempt: Attempt) -> Memory:
    """Before the first effect of a run."""
    return replace(memory, attempting=_since(memory, attempt), holds=_without(memory.holds, RUN_HOLDS))


def same_good(memory: Memory, commit: str) -> Memory:
    """Another commit that asks what the newest good one asked takes its place; when it became good stays."""
    newest, *older = memory.good
    return replace(memory, good=(replace(newest, commit=commit), *older))


def good(memory: Memory, found: Good) -> Memory:
    """After the last gate of a deploy. Asking the same again under another commit replaces the newest entry."""
    older = tuple(g for g in memory.good if g.digest != found.digest)
    return replace(
        memory,
        good=(found, *older)[:GOOD_KEPT],
        attempting=None,
        quarantine=tuple(q for q in memory.quarantine if q.digest != found.digest),
        holds=_without(memory.holds, RUN_HOLDS),
    )


def failed(memory: Memory, found: Quarantined, rollback: Attempt | None) -> Memory:
    """After a failed deploy: its digest is quarantined, and the rollback that follows (if any) is already written."""
    others = tuple(q for q in memory.quarantine if q.digest != found.digest)
    back = _since(memory, rollback) if rollback else None
    return replace(memory, quarantine=(found, *others)[:QUARANTINE_KEPT], attempting=back)


def settled(memory: Memory) -> Memory:
    """After a rollback, however it ended, or a heal: nothing is under way."""
    return replace(memory, attempting=None)


def with_hold(holds: Iterable[Hold], hold: Hold) -> tuple[Hold, ...]:
    """Set a hold. One that is set already keeps its time, and if nothing changed itself."""
    holds = tuple(holds)
    old = next((h for h in holds if h.reason is hold.reason), None)
    kept = tuple(h for h in holds if h.reason is not hold.reason)
    return (*kept, replace(hold, since=old.since) if old else hold)


def without_holds(holds: Iterable[Hold], reasons: frozenset[HoldReason]) -> tuple[Hold, ...]:
    return _without(tuple(holds), reasons)


def with_jobs(memory: Memory, done: Iterable[JobDone]) -> Memory:
    """Note Jobs that finished; one entry a Job, the newest."""
    jobs = {j.unit: j for j in memory.jobs} | {j.unit: j for j in done}
    return replace(memory, jobs=tuple(sorted(jobs.values(), key=lambda j: j.unit)))


def _since(memory: Memory, attempt: Attempt) -> Attempt:
    before = memory.attempting
    return replace(attempt, since=(before.since or before.at) if before else attempt.at)


def _without(holds: tuple[Hold, ...], reasons: frozenset[HoldReason]) -> tuple[Hold, ...]:
    return tuple(h for h in holds if h.reason not in reasons)
