"""Two stacks that ask for one object: both are told, and neither is delivered while it lasts.

What each stack asks for is known by its desired digest, so that one that did not change is not rendered again; of one
that is good at that digest the record tells it. A stack that cannot be read asks for nothing: it is held itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import structlog

from gitopsd.model.errors import CommitError, GitopsdError, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import StackState
from gitopsd.model.spec import StackSpec
from gitopsd.model.units import Desired

log = structlog.get_logger("gitopsd.stack")


class Asked(Protocol):
    """What a commit asks of one stack, before it is rendered."""

    @property
    def commit(self) -> str: ...
    @property
    def spec(self) -> StackSpec: ...
    @property
    def digest(self) -> str: ...


class Recorded(Protocol):
    """What is on record of stacks."""

    def state(self, _stack: str, /) -> StackState | None: ...

    def baselines(self, _stack: str, /) -> Mapping[UnitId, Any]: ...


@dataclass(frozen=True, slots=True)
class Reader:
    """How to learn the stacks of (source, commit), what (source, stack, commit) asks for, and the units of that."""

    specs: Callable[[str, str], Iterable[StackSpec]]
    ask: Callable[[str, str, str], Any]
    desired: Callable[[Any], Desired]


class Claims:
    """What the stacks of this host ask for now. Safe to use from the threads of all stacks."""

    def __init__(self, read: Reader, record: Recorded) -> None:
        self._read, self._record = read, record
        self._lock = Lock()
        self._current: dict[str, Asked] = {}
        self._units: dict[str, tuple[str, frozenset[UnitId]]] = {}  # by stack: the desired digest, and what it asks for

    def check(self, ask: Asked) -> None:
        """Raises CommitError if another stack of the commit, or one of another source as it was last read, asks for the
        same objects."""
        with self._lock:
            self._current[ask.spec.name] = ask
        wanted = self._wanted(ask)
        problems: list[Problem] = []
        for other in self._others(ask) if wanted else ():
            shared = wanted & self._wanted(other)
            if shared:
                problems += self._told(ask, other)
        if problems:
            raise CommitError(*problems)

    def _others(self, ask: Asked) -> Iterator[Asked]:
        source, name = ask.spec.source, ask.spec.name
        for spec in self._read.specs(source, ask.commit):
            if spec.name != name:
                try:
                    yield self._same(spec.name, ask.commit) or self._read.ask(source, spec.name, ask.commit)
                except GitopsdError as error:
                    log.debug("asks for nothing that can be read", stack=spec.name, error=str(error))
        with self._lock:
            elsewhere = [a for a in self._current.values() if a.spec.source != source and a.spec.name != name]
        yield from elsewhere

    def _same(self, stack: str, commit: str) -> Asked | None:
        with self._lock:
            known = self._current.get(stack)
        return known if known is not None and known.commit == commit else None

    def _wanted(self, ask: Asked) -> frozenset[UnitId]:
        stack = ask.spec.name
        with self._lock:
            digest, units = self._units.get(stack, ("", frozenset()))
        if digest != ask.digest:
            live = self._live(ask)
            if live is None:
                try:
                    live = frozenset(self._read.desired(ask).units)
                except GitopsdError as error:
                    log.debug("asks for nothing that can be read", stack=stack, error=str(error))
                    return frozenset()
            units = live
            with self._lock:
                self._units[stack] = (ask.digest, units)
        return units

    def _live(self, ask: Asked) -> frozenset[UnitId] | None:
        """What is on record, if that is what is asked for; None if it may not be."""
        state = self._record.state(ask.spec.name)
        if state is None or state.dirty or not state.memory.good or state.memory.good[0].digest != ask.digest:
            return None
        gone = {postponed.unit for postponed in state.postponed}
        return frozenset(self._record.baselines(ask.spec.name)) - gone

    def _told(self, ask: Asked, other: Asked) -> Iterator[Problem]:
        """The objects of both, with their places. The record may know of more than is asked for, so that it is read."""
        ours, theirs = self._read.desired(ask).units, self._read.desired(other).units
        for unit in sorted(ours.keys() & theirs.keys()):
            there, here = theirs[unit].origin, ours[unit].origin
            where = "" if other.spec.source == ask.spec.source else f" of source {other.spec.source}"
            yield Problem(
                f"stack {other.spec.name}{where} asks for it, too, at {there.file}:{there.line}",
                file=here.file,
                line=here.line,
                unit=str(unit),
                remedy=f"take it out of {ask.spec.name} or out of {other.spec.name}; neither is delivered before",
            )
