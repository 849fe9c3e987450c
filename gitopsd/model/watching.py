"""What a watch of one kind in one cluster tells, object by object, with metadata alone."""

from __future__ import annotations

from dataclasses import dataclass

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it is: one of a list that is under way (`listed`), or written just now."""

    live: LiveObject
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """An object is not among those watched any more: it was deleted, or somebody took our label off. `live` is its last
    metadata; only a GET tells which of the two."""

    live: LiveObject


@dataclass(frozen=True, slots=True)
class Whole:
    """A list has come to its end: exactly these objects were there."""

    units: frozenset[UnitId]


@dataclass(frozen=True, slots=True)
class Blind:
    """Nothing is seen from now on; the watch tries again by itself, until `Sighted`."""

    fault: EnvironmentFault


@dataclass(frozen=True, slots=True)
class Sighted:
    """The watch goes on after `Blind`. Whatever happened meanwhile is told: by a list before it or by what follows."""


WatchEvent = Seen | Removed | Whole | Blind | Sighted
