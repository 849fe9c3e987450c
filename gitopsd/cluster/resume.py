"""How a watch goes on after it ended. Pure: what happened in, what to do next out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Ended(Enum):
    """How a watch came to its end, or that it could not begin."""

    ORDINARY = auto()  # the server ended the answer, as it was asked to after some time
    CUT = auto()  # the connection broke
    SILENT = auto()  # neither event nor bookmark for too long
    EXPIRED = auto()  # the server has forgotten our position, or counts lower than it
    FAULT = auto()  # a refusal, no connection, an answer that makes no sense


class Look(Enum):
    """What to do before the next watch."""

    GO_ON = auto()  # nothing: it begins where this one ended
    COMPARE = auto()  # see whether the server still counts above our position
    LIST = auto()  # look at everything again


@dataclass(frozen=True, slots=True)
class Course:
    """What the watches so far came to. `failures`: in a row, by which the pauses grow; `barren`: watches in a row that
    began and never told anything."""

    failures: int = 0
    barren: int = 0


@dataclass(frozen=True, slots=True)
class Lived:
    """One watch: whether it began at all, told something, and lasted longer than the longest pause between two.
    `listed`: the last list is not old."""

    began: bool = False
    told: bool = False
    long: bool = False
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """`tell`: nobody sees anything from now on, and people should know. `pause`: wait before the next try."""

    course: Course
    look: Look
    tell: bool = False
    pause: bool = False


BARREN = 2
"""So many watches that tell nothing, one after the other, prove that something does not come through, or that nothing
happens and the server sends no bookmarks: a list tells which."""


def after(ended: Ended, lived: Lived, course: Course) -> Step:
    """The next step. A watch that was of use is followed by the next one at once and without words. Whatever may repeat
    itself at once is followed by a pause that grows, and told: a fault now, a watch that broke young if it does again,
    for the next try finds out why."""
    barren = 0 if lived.told else course.barren + lived.began
    failures = 0 if lived.long else course.failures
    look = Look.LIST if barren >= BARREN and not lived.listed else Look.COMPARE
    if ended is Ended.EXPIRED:
        return Step(Course(failures + 1), Look.LIST, pause=failures > 0)
    if ended is Ended.SILENT:
        return Step(Course(failures, min(barren, BARREN)), look)
    if ended is Ended.FAULT or not (lived.told or lived.long):
        return Step(
            Course(failures + 1, min(barren, BARREN)), look, tell=ended is Ended.FAULT or failures > 0, pause=True
        )
    return Step(Course(0, min(barren, BARREN)), Look.GO_ON if ended is Ended.ORDINARY and lived.told else look)


def went_back(present: str, position: str) -> bool:
    """Whether a server that was at `position` counts lower now: its store was put back to a backup. resourceVersions
    are one counter for the whole cluster, and comparable (KEP-5504); a server that counts otherwise tells nothing."""
    return present.isdigit() and position.isdigit() and int(present) < int(position)
