"""What the watches have seen of one stack: which of its units may have drifted, and when each deserves a closer look.

Watch threads only leave what they saw; the stack's own thread judges it, against what it recorded itself. So an event
of our own apply is never taken for somebody else's, however early it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

import structlog

from gitopsd.kinds.drift import Calm, Verdict, appraise, calmer
from gitopsd.kinds.foreign import foreign_additions
from gitopsd.kinds.imprint import imprint_of
from gitopsd.model.ids import UnitId
from gitopsd.model.imprint import Imprint
from gitopsd.model.memory import Baseline
from gitopsd.model.status import Addition
from gitopsd.model.watching import Blind, Removed, Seen, Sighted, WatchEvent, Whole

log = structlog.get_logger("gitopsd.watch")

NEVER = float("inf")

SOON = 0.5
"""Seconds until a change is looked at that need be no drift: several of them make one look."""

HEALTH_PAUSE = 10.0
"""Seconds between two looks at the health of one unit."""

RULES_PAUSE = 600.0
"""Seconds between two looks at everything because of rules that may be about everything."""


@dataclass(frozen=True, slots=True, order=True)
class Topic:
    """What one watch is about: a kind of one cluster; with `rules` all of its objects, whoever made them."""

    cluster: str
    group: str
    kind: str
    rules: bool = False

    def __str__(self) -> str:
        name = f"{self.kind}.{self.group}" if self.group else self.kind
        return f"{name} in cluster {self.cluster}"


@dataclass(frozen=True, slots=True)
class Interest:
    """What one stack has in one cluster: its ApplySet, and the kinds (group, kind) that it tracks."""

    applyset: str
    kinds: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Look:
    """What deserves a look now: `suspects` at their fields, `ailing` at their health."""

    suspects: frozenset[UnitId]
    ailing: frozenset[UnitId]


class Vigil:
    """The watch over one stack. `told` and `redefined` are for the watches' threads, everything else is for the
    stack's own. `stir` is called whenever there is something to judge, and `noted`, by the watches' threads, with what
    others have added to an object. `ignored` are the paths that are left to others, of the units that have any."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self.stir: Callable[[], None] = lambda: None
        self.noted: Callable[[UnitId, tuple[Addition, ...]], None] = lambda _unit, _additions: None
        self.ignored: Mapping[UnitId, tuple[str, ...]] = {}
        self._lock = Lock()
        self._news: dict[UnitId, Imprint | None] = {}
        self._listed: set[UnitId] = set()  # those of the news that are of a list
        self._wholes: dict[Topic, frozenset[UnitId]] = {}
        self._rules: set[tuple[str, tuple[str, str] | None]] = set()
        self._expected: frozenset[Topic] = frozenset()
        self._blind: dict[Topic, str] = {}
        self._seen: dict[UnitId, Imprint] = {}  # as last seen, where that is not what is on record
        self._suspects: dict[UnitId, float] = {}
        self._ailing: dict[UnitId, float] = {}
        self._examined: dict[UnitId, float] = {}  # when the health of a unit was last looked at
        self._calm: dict[UnitId, Calm] = {}
        self._ruled_at = -NEVER

    # ------------------------------------------------------------ for the threads of watches

    def told(self, topic: Topic, event: WatchEvent) -> None:
        """Take in what a watch has seen."""
        match event:
            case Seen(live):
                ignored = self.ignored.get(live.id, ())
                seen = imprint_of(live, ignored)
                self.noted(live.id, foreign_additions(live, ignored))
                with self._lock:
                    self._news[live.id] = seen
                    (self._listed.add if event.listed else self._listed.discard)(live.id)
                if event.listed:
                    return  # its end is told
            case Removed(live):
                with self._lock:
                    self._news[live.id] = None
                    self._listed.discard(live.id)
            case Whole(units):
                with self._lock:
                    self._wholes[topic] = units
                self._see_again(topic)
            case Blind(fault):
                with self._lock:
                    known = self._blind.get(topic)
                    self._blind[topic] = str(fault)
                if known is None:
                    log.warning("not watched now", topic=str(topic), error=str(fault))
                if known == str(fault):
                    return
            case Sighted():
                if not self._see_again(topic):
                    return
        self.stir()

    def _see_again(self, topic: Topic) -> bool:
        """Whether it was not seen before."""
        with self._lock:
            known = self._blind.pop(topic, None) is not None
        if known:
            log.info("watched again", topic=str(topic))
        return known

    def expect(self, topics: Iterable[Topic]) -> None:
        """These watches tell of the stack from now on, and no others."""
        with self._lock:
            self._expected = frozenset(topics)
            self._blind = {topic: why for topic, why in self._blind.items() if topic in self._expected}

    def redefined(self, cluster: str, kind: tuple[str, str] | None) -> None:
        """A rule has changed that decides what becomes of the objects of a kind (None: of any)."""
        with self._lock:
            self._rules.add((cluster, kind))
        self.stir()

    # ------------------------------------------------------------ for the stack's own thread

    def covers(self, unit: UnitId) -> bool:
        """Whether a watch tells of it."""
        topic = Topic(unit.cluster, unit.group, unit.kind)
        with self._lock:
            return topic in self._expected and topic not in self._blind

    def unwatched(self) -> Mapping[str, str]:
        """The kinds that should be watched and cannot be now, with the reason."""
        with self._lock:
            return {str(topic): why for topic, why in self._blind.items() if topic in self._expected}

    def judge(self, baselines: Mapping[UnitId, Baseline]) -> None:
        """Decide about what was seen since the last call. `baselines` is what is on record now."""
        with self._lock:
            news, self._news = self._news, {}
            listed, self._listed = self._listed, set()
            wholes, self._wholes = self._wholes, {}
            rules, self._rules = self._rules, set()
        now = self._now()
        for unit, seen in news.items():
            base = baselines.get(unit)
            if base is None:
                continue
            if seen is not None and unit in listed and _went_back(base, seen):
                self._seen.pop(unit, None)
                self._suspect(unit, now)
            else:
                self._judge(unit, base, seen, now)
        for unit in _missing(baselines, wholes):
            if unit not in news:
                self._suspect(unit, now)
        for cluster, kind in rules:
            self._heed_rule(baselines, cluster, kind, now)

    def due_in(self) -> float:
        """Seconds until something deserves a look; at most 0 if it does now, infinite if nothing does."""
        dues = (min(each.values(), default=NEVER) for each in (self._suspects, self._ailing))
        return min(dues) - self._now()

    def take(self) -> Look:
        """What deserves a look now; it is not told again."""
        now = self._now()
        suspects, ailing = _due(self._suspects, now), _due(self._ailing, now)
        for unit in suspects:
            del self._suspects[unit]
        for unit in ailing:
            del self._ailing[unit]
            self._examined[unit] = now
        return Look(suspects, ailing)

    def defer(self, units: Iterable[UnitId], seconds: float) -> None:
        """These are to be looked at again, but not before so many seconds."""
        for unit in units:
            self._suspects[unit] = self._now() + seconds

    def defer_health(self, units: Iterable[UnitId], seconds: float) -> None:
        for unit in units:
            self._ailing.setdefault(unit, self._now() + seconds)

    def clean(self, units: Iterable[UnitId]) -> None:
        """A look has found these as they should be: the next change by the same writers is looked at later."""
        for unit in units:
            self._seen.pop(unit, None)
            if unit in self._calm:
                self._calm[unit] = calmer(self._calm[unit])

    def mended(self, units: Iterable[UnitId]) -> None:
        """A look has found these to differ: whoever wrote them is not trusted any more."""
        for unit in units:
            self._seen.pop(unit, None)
            self._calm.pop(unit, None)

    def forget(self, but: Collection[UnitId]) -> None:
        """What is not tracked any more."""
        kept = set(but)
        for known in (self._seen, self._suspects, self._ailing, self._examined, self._calm):
            for unit in known.keys() - kept:
                del known[unit]

    # ------------------------------------------------------------ one unit

    def _judge(self, unit: UnitId, base: Baseline, seen: Imprint | None, now: float) -> None:
        if seen is None:
            self._suspect(unit, now)
            return
        verified = base.imprint if base.digest else None
        found = appraise(verified, self._seen.get(unit), seen, group=unit.group, kind=unit.kind)
        if found.verdict is Verdict.STALE:
            return
        self._seen[unit] = seen
        if found.health:
            last = self._examined.get(unit, -NEVER)
            self._ailing.setdefault(unit, max(now + SOON, last + HEALTH_PAUSE))
        if found.verdict is Verdict.CHECK:
            self._suspect(unit, now)
        elif found.verdict is Verdict.UNEXPLAINED:
            self._suspect(unit, now + SOON)
        elif found.verdict is Verdict.EXPLAINED:
            calm = self._calm.get(unit)
            if calm is None or calm.managers != found.managers:
                calm = self._calm[unit] = Calm(found.managers)
            self._suspect(unit, now + calm.seconds)

    def _suspect(self, unit: UnitId, due: float) -> None:
        self._suspects[unit] = min(due, self._suspects.get(unit, NEVER))

    def _heed_rule(
        self, baselines: Mapping[UnitId, Baseline], cluster: str, kind: tuple[str, str] | None, now: float
    ) -> None:
        due = now + SOON
        if kind is None:
            due = max(due, self._ruled_at + RULES_PAUSE)
            self._ruled_at = due
        for unit in baselines:
            if unit.cluster == cluster and not unit.is_terraform and kind in {None, (unit.group, unit.kind)}:
                self._suspect(unit, due)


def _went_back(base: Baseline, seen: Imprint) -> bool:
    """Whether a list has an object in an older version than the recorded one: the cluster was put back to a backup.
    (Or the list is older than a write of ours, which a look will show.)"""
    known = base.imprint
    return known is not None and known.uid == seen.uid and 0 < seen.version < known.version


def _due(times: Mapping[UnitId, float], now: float) -> frozenset[UnitId]:
    return frozenset(unit for unit, due in times.items() if due <= now)


def _missing(baselines: Mapping[UnitId, Baseline], wholes: Mapping[Topic, frozenset[UnitId]]) -> list[UnitId]:
    """What is on record and not in the complete list of its kind."""
    if not wholes:
        return []
    found = []
    for unit in baselines:
        there = wholes.get(Topic(unit.cluster, unit.group, unit.kind))
        if there is not None and unit not in there:
            found.append(unit)
    return found
