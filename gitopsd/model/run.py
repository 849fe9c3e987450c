"""A run: one attempt to bring a stack to a revision, and everything that was seen of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gitopsd.model.errors import Cause
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Health
from gitopsd.model.modules import ResourceDone
from gitopsd.model.plan import Action, Change, Leftover, Plan
from gitopsd.model.units import Person

__all__ = ["Leftover", "Observation", "Outcome", "Result", "RunKind", "RunRecord", "Touch", "Verdict"]


class RunKind(StrEnum):
    """What a run is for."""

    DEPLOY = "deploy"
    HEAL = "heal"
    ROLLBACK = "rollback"


class Verdict(StrEnum):
    """How a run ended."""

    GOOD = "good"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    HELD = "held"


class Result(StrEnum):
    """What became of one change: actuation, not health."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    TERMINATING = "terminating"  # the delete was taken; a finalizer is not done yet
    REFUSED = "refused"  # the API server will not have it
    KEPT = "kept"  # left alone on purpose; `detail` says why


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one change. `at` is ISO 8601 in UTC; `created` is true if this very change made the object.
    `resources` are those of a Terraform module that were worked on, in earlier tries of the same run, too."""

    unit: UnitId
    action: Action
    result: Result
    at: str
    detail: str = ""
    uid: str = ""
    created: bool = False
    warnings: tuple[str, ...] = ()
    resources: tuple[ResourceDone, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What a gate saw of one unit (or of a check, then `unit` is its text), last or at the moment of its verdict."""

    unit: str
    health: Health
    reason: str
    message: str
    final: bool
    at: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that is kept of a run; `verdict` is None while it goes on."""

    id: str
    stack: str
    kind: RunKind
    revision: str
    digest: str
    author: Person
    started: str
    finished: str | None = None
    verdict: Verdict | None = None
    reason: str = ""
    cause: Cause | None = None
    subject: str = ""  # the commit's subject line
    undoes: str = ""  # the failed run that a rollback takes back
    failing: UnitId | None = None
    plan: Plan | None = None
    outcomes: tuple[Outcome, ...] = ()
    observations: tuple[Observation, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    suspects: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """The reason with the unit that it is about, if it is about one."""
        return f"{self.failing}: {self.reason}" if self.failing is not None else self.reason


@dataclass(frozen=True, slots=True)
class Touch:
    """A change of one unit that had an effect: the run (without its details), what came of it, and what was planned
    (None where that is not kept or was not asked for)."""

    run: RunRecord
    outcome: Outcome
    change: Change | None = None
