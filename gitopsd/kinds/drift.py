"""Whether what a watch saw of an object may be drift, from metadata alone.

managedFields say who owns which field and not what it is worth, and two writes of one manager within a second look like
one. So a change is free only where its kind's generation, or the subresource that wrote it, proves that no field of
ours can have changed; all else costs a look. Measured on 38 kinds with their controllers (docs/decisions/0016).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from gitopsd.kinds.builtin import exact_generation
from gitopsd.model.imprint import Imprint

STATUS, SCALE = "status", "scale"
SUBRESOURCES = frozenset({STATUS, SCALE})

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 600.0
"""Seconds from a change to its look: the first time, and when the same writers have been found harmless many times."""

FIRST_TRUCE, REPAIRS_UNTIL_CONTESTED, PEACE = 10.0, 3, 3600.0
"""Seconds from the second repair to the third of what the same manager writes again and again; from how many repairs
on that is called a conflict; and after how many seconds without one it is forgotten."""


class Verdict(StrEnum):
    """What an event means for one unit."""

    STALE = "stale"  # not newer than what is known
    FREE = "free"  # nothing of ours can have changed
    CHECK = "check"  # something of ours has changed
    EXPLAINED = "explained"  # others have written fields of theirs: ours most likely stayed
    UNEXPLAINED = "unexplained"  # something has changed that managedFields do not show


@dataclass(frozen=True, slots=True)
class Appraisal:
    """A verdict. `managers` are those whose entries changed; `health`: the unit's status may have changed."""

    verdict: Verdict
    managers: tuple[str, ...] = ()
    health: bool = False


def appraise(verified: Imprint | None, seen: Imprint | None, now: Imprint, *, group: str, kind: str) -> Appraisal:
    """Judge an object as it is `now`, by what it was when it was last known to be right (`verified`, None if nobody
    knows) and when it was last seen (`seen`, None if that was the same moment)."""
    if any(_not_newer(now, known) for known in (verified, seen)):
        return Appraisal(Verdict.STALE)
    last, right = seen or verified, verified or seen
    if last is None or right is None:
        return Appraisal(Verdict.CHECK)
    changed = _changed(last, now)
    # Two writes of one controller within a second leave no trace there: its status may have changed all the same.
    health = not changed or any(_subresource(who) == STATUS for who in changed)
    if _touches_ours(right, last, now):
        return Appraisal(Verdict.CHECK, health=health)
    if _spares_ours(last, now, changed, exact=exact_generation(group, kind)):
        return Appraisal(Verdict.FREE, health=health)
    managers = tuple(sorted({_manager(who) for who in changed if _subresource(who) not in SUBRESOURCES}))
    return Appraisal(Verdict.EXPLAINED if managers else Verdict.UNEXPLAINED, managers, health)


def _not_newer(now: Imprint, known: Imprint | None) -> bool:
    return known is not None and known.uid == now.uid and 0 < now.version <= known.version


def _touches_ours(right: Imprint, last: Imprint, now: Imprint) -> bool:
    """Another object, one on its way out, or one in which what we own is not as it was."""
    gone = now.uid != right.uid or (now.terminating and not last.terminating)
    return gone or (now.own, now.marks) != (right.own, right.marks)


def _spares_ours(last: Imprint, now: Imprint, changed: set[str], *, exact: bool) -> bool:
    """Whether it is proven that no field of ours has another value."""
    if exact and now.generation == last.generation:
        return True
    parts = {_subresource(who) for who in changed}
    if parts == {STATUS}:
        return not exact  # a status write does not raise the generation: something else came with it
    # Of ours /scale can reach the replicas alone, and those we own no longer: else our entry would have changed.
    return SCALE in parts and parts <= SUBRESOURCES


def _changed(before: Imprint, now: Imprint) -> set[str]:
    """Whose entries came, went or became others."""
    return {who for who, _ in set(before.others) ^ set(now.others)}


def _subresource(who: str) -> str:
    return who.rpartition(" ")[2]


def _manager(who: str) -> str:
    return who.rsplit(" ", 3)[0]


# ---------------------------------------------------------------- pauses


@dataclass(frozen=True, slots=True)
class Calm:
    """How long a change by the same writers may wait for its look, in seconds."""

    managers: tuple[str, ...]
    seconds: float = FIRST_PAUSE


def calmer(calm: Calm) -> Calm:
    """After a look that found nothing."""
    return replace(calm, seconds=min(calm.seconds * 2, LONGEST_PAUSE))


@dataclass(frozen=True, slots=True)
class Contest:
    """How often a unit was mended of what the same managers had written; `last` is when, in seconds of any clock."""

    managers: tuple[str, ...]
    repairs: int
    last: float

    @property
    def contested(self) -> bool:
        return self.repairs >= REPAIRS_UNTIL_CONTESTED

    @property
    def until(self) -> float:
        """Before this time it is not mended again."""
        if self.repairs < 2:
            return self.last
        return self.last + min(FIRST_TRUCE * 2.0 ** (self.repairs - 2), LONGEST_PAUSE)


def repaired(contest: Contest | None, managers: Iterable[str], now: float) -> Contest:
    """After one more repair."""
    who = tuple(sorted(set(managers)))
    if contest is None or contest.managers != who or now - contest.last > PEACE:
        return Contest(who, 1, now)
    return Contest(who, contest.repairs + 1, now)
