"""Whether what a watch saw of an object may be drift, from metadata alone.

managedFields say who owns which field and not what it is worth, and two writes of one manager within a second look like
one. So a change is free only where its kind's generation, or the subresource that wrote it, proves that no field of
ours can have changed; all else costs a look. Measured on 38 kinds with their controllers (docs/decisions/0016).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from gitopsd.kinds.builtin import BUILTIN, exact_generation
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
    health = _may_have_another_status(changed, built_in=(group, kind) in BUILTIN)
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
    uncounted = now.generation == 0  # of a kind that newer servers count, such as Pods before Kubernetes 1.33
    if exact and not uncounted and now.generation == last.generation:
        return True
    parts = {_subresource(who) for who in changed}
    if parts == {STATUS}:
        # No status write raises a generation: one that moved tells of another write, which was not seen alone.
        return now.generation == last.generation
    # Of ours /scale can reach the replicas alone, and those we own no longer: else our entry would have changed. It
    # raises the generation by one: more, or none at all, tells that something else came with it or that nobody counts.
    return SCALE in parts and parts <= SUBRESOURCES and now.generation == last.generation + 1


def _may_have_another_status(changed: set[str], *, built_in: bool) -> bool:
    """Two writes of one controller within a second leave no trace; and who writes a custom kind that has no status
    subresource writes its status like any other field."""
    return not changed or not built_in or any(_subresource(who) == STATUS for who in changed)


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
    """How often a unit was mended of what others had written; times are seconds of any clock.

    `managers` are those of the last repair who have been overwritten most often, `repairs` times; none where nobody can
    be named (who removes a field leaves no entry). `last` is when that was. `tally` has the repairs, and the last of
    them, of each manager: two that write by turns are no less a conflict for it.
    """

    managers: tuple[str, ...]
    repairs: int
    last: float
    tally: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def contested(self) -> bool:
        return self.repairs >= REPAIRS_UNTIL_CONTESTED

    @property
    def until(self) -> float:
        """Before this time it is not mended again."""
        if self.repairs < 2:
            return self.last
        return self.last + min(FIRST_TRUCE * 2.0 ** (self.repairs - 2), LONGEST_PAUSE)


NOBODY = ""
"""In a tally: whoever cannot be named."""


def repaired(contest: Contest | None, managers: Iterable[str], now: float) -> Contest:
    """After one more repair, of what `managers` had written."""
    known = contest.tally if contest else {}
    recent = {who: (times, last) for who, (times, last) in known.items() if now - last <= PEACE}
    mended = {who: (recent.get(who, (0, now))[0] + 1, now) for who in set(managers) or {NOBODY}}
    most = max(times for times, _ in mended.values())
    worst = tuple(sorted(who for who, (times, _) in mended.items() if times == most and who != NOBODY))
    return Contest(worst, most, now, recent | mended)
