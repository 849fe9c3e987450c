"""How a stack's memory changes with what happens to it. Pure: times and ids are handed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gitopsd.model.memory import (
    Attempt,
    Destruction,
    Good,
    Hold,
    HoldReason,
    JobDone,
    Memory,
    Pin,
    Quarantined,
)
from gitopsd.model.run import RunKind

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
        HoldReason.CLUSTER,
    }
)
"""Holds that a run which gets as far as its first effect has overcome. A source that is away is not among them: what
is rolled back meanwhile comes from the mirror."""


OF_PEOPLE = frozenset({HoldReason.SUSPENDED, HoldReason.PINNED, HoldReason.DESTROYED})
"""Holds that a person set and `resume` lifts."""

AFTER_FAILURE = frozenset({HoldReason.FAILED, HoldReason.ROLLBACK_FAILED, HoldReason.FLAPPING})
"""Holds that `retry` lifts."""

_BEFORE = AFTER_FAILURE | {HoldReason.QUARANTINED}
"""Holds that say what came of the commit before: a person wants something else now."""


def attempting(memory: Memory, attempt: Attempt) -> Memory:
    """Before the first effect of a run."""
    return replace(memory, attempting=_since(memory, attempt), holds=_without(memory.holds, RUN_HOLDS))


def same_good(memory: Memory, commit: str) -> Memory:
    """Another commit that asks what the newest good one asked takes its place; when it became good stays."""
    newest, *older = memory.good
    return replace(memory, good=(replace(newest, commit=commit), *older))


def good(memory: Memory, found: Good) -> Memory:
    """After the last gate of a deploy. Asking the same again under another commit replaces the newest entry. Failures
    before it are in no row with those that may come."""
    older = tuple(g for g in memory.good if g.digest != found.digest)
    return replace(
        memory,
        good=(found, *older)[:GOOD_KEPT],
        attempting=None,
        quarantine=tuple(replace(q, definition="") for q in memory.quarantine if q.digest != found.digest),
        holds=_without(memory.holds, RUN_HOLDS | {HoldReason.FLAPPING}),
    )


def failed(memory: Memory, found: Quarantined, rollback: Attempt | None) -> Memory:
    """After a failed deploy: its digest is quarantined, and the rollback that follows (if any) is already written."""
    others = tuple(q for q in memory.quarantine if q.digest != found.digest)
    back = _since(memory, rollback) if rollback else None
    return replace(memory, quarantine=(found, *others)[:QUARANTINE_KEPT], attempting=back)


def rolling_back_again(memory: Memory, at: str) -> Memory:
    """What kept a rollback from being whole may be over: it goes on, towards the same revision."""
    good = memory.good[0] if memory.good else None
    attempt = Attempt("", RunKind.ROLLBACK, good.commit if good else "", good.digest if good else "", at)
    holds = _without(memory.holds, frozenset({HoldReason.ROLLBACK_FAILED}))
    return replace(memory, attempting=attempt, holds=holds)


def settled(memory: Memory) -> Memory:
    """After a rollback, however it ended, or a heal: nothing is under way."""
    return replace(memory, attempting=None)


def moved(memory: Memory, clusters: Mapping[str, str], at: str) -> Memory:
    """Other clusters answer under these names, by uid, and a person has accepted them: what ran there has to run again,
    and the good revision, if there is one, is to be deployed anew."""
    good = memory.good[0] if memory.good else None
    again = Attempt("", RunKind.DEPLOY, good.commit, good.digest, at) if good and memory.pin is None else None
    return replace(
        memory,
        clusters={**memory.clusters, **clusters},
        jobs=tuple(job for job in memory.jobs if job.unit.cluster not in clusters),
        attempting=memory.attempting or again,
    )


# ---------------------------------------------------------------- what people order


def suspended(memory: Memory, hold: Hold) -> Memory:
    """Until a person says otherwise. A second suspension replaces the first, but not its beginning."""
    return replace(memory, holds=with_hold(memory.holds, hold))


def resumed(memory: Memory) -> Memory:
    """Everything that a person held goes on. A pinned revision that was reached is what is live: the newest good one,
    whenever that was."""
    good = memory.good
    if memory.pin is not None and memory.live is not None and memory.pin.live:
        good = (memory.live, *(g for g in memory.good if g.digest != memory.live.digest))[:GOOD_KEPT]
    failed = frozenset({HoldReason.FAILED, HoldReason.ROLLBACK_FAILED})
    # What could not be destroyed or gone back to is the next deploy's to mend.
    lifted = OF_PEOPLE | failed if memory.pin or memory.destruction else OF_PEOPLE
    return replace(memory, good=good, pin=None, destruction=None, holds=_without(memory.holds, lifted))


def pinned(memory: Memory, pin: Pin) -> Memory:
    """On the way to a revision that a person chose. It may be one that is live already."""
    holds = _without(memory.holds, _BEFORE)
    quarantine = tuple(q for q in memory.quarantine if q.digest != pin.digest)
    return replace(memory, pin=pin, holds=holds, quarantine=quarantine)


def at_pin(memory: Memory, hold: Hold) -> Memory:
    """The run to the pinned revision was good. The order of the good revisions stays: the pin is no new one."""
    pin = memory.pin
    live = replace(pin, live=True) if pin else None
    return replace(memory, pin=live, attempting=None, holds=with_hold(memory.holds, hold))


def retried(memory: Memory, digest: str) -> Memory:
    """What failed may be tried once more."""
    quarantine = tuple(q for q in memory.quarantine if q.digest != digest)
    return replace(memory, quarantine=quarantine, holds=_without(memory.holds, _BEFORE))


def doomed(memory: Memory, destruction: Destruction) -> Memory:
    """Everything of the stack is to go; where it was pinned to says nothing any more."""
    lifted = _BEFORE | {HoldReason.PINNED}
    return replace(memory, destruction=destruction, pin=None, holds=_without(memory.holds, lifted))


def destroyed(memory: Memory, hold: Hold) -> Memory:
    """Nothing of it is left: no revision is live any more."""
    done = replace(memory.destruction, done=True) if memory.destruction else None
    return replace(
        memory,
        destruction=done,
        good=(),
        attempting=None,
        jobs=(),
        holds=with_hold(memory.holds, hold),
    )


# ---------------------------------------------------------------- holds and jobs


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
