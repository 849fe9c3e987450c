"""What the record decides: how a second touch of a unit adds to the first, and which runs are worth keeping."""

from __future__ import annotations

from dataclasses import replace

from gitopsd.model.memory import Dirty, Memory
from gitopsd.model.run import Result

KEEP_RUNS = 200  # for each stack

_NO_EFFECT = {Result.UNCHANGED, Result.REFUSED, Result.KEPT}


def touched(former: Dirty | None, now: Dirty) -> Dirty:
    """A dirty unit after one more touch.

    A rollback undoes everything since the last good run, so what the first touch knew outlives the later ones: that we
    made the object, as which uid, and what an adopted object held before and whose it was. The uid changes only when we
    made the object anew; one that somebody else made in between is not ours to remove.
    """
    if former is None:
        return now
    return replace(
        now,
        created=former.created or now.created,
        uid=now.uid if now.uid and (now.created or not former.uid) else former.uid,
        before=now.before if former.before is None else former.before,
        resources=tuple(sorted({*former.resources, *now.resources})),
        revision=now.revision or former.revision,
        owner=now.owner or former.owner,
    )


def without_effect(result: Result) -> bool:
    """Whether an outcome says that the live object is still what it was before the attempt."""
    return result in _NO_EFFECT


def mentioned_runs(memory: Memory | None) -> set[str]:
    """The runs that a stack's memory names: `show` must still find them when they are old."""
    if memory is None:
        return set()
    attempting = {memory.attempting.run} if memory.attempting else set()
    return attempting | {q.run for q in memory.quarantine}
