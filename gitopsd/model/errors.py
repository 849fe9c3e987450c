"""Failures as a person has to read them: what happened, to what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Cause(StrEnum):
    """Who can end a failure: it decides between quarantine, waiting and asking."""

    COMMIT = "commit"
    ENVIRONMENT = "environment"
    PERSON = "person"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, with its place; `file` is relative to the source or a path of the host."""

    message: str
    file: str = ""
    line: int | None = None
    field: str = ""
    unit: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        field = "" if self.message.startswith(f"{self.field}:") else self.field  # the API server names it by itself
        head = ": ".join(part for part in (place, self.unit, field, self.message) if part)
        return f"{head} ({self.remedy})" if self.remedy else head


SHOWN = 10
"""Problems that the text of an error names: it stands in a hold, in the log and in the audit log."""


class GitopsdError(Exception):
    """Base of all failures that the program expects; carries every problem found, not the first alone."""

    cause: Cause = Cause.ENVIRONMENT

    def __init__(self, *problems: Problem | str) -> None:
        self.problems: tuple[Problem, ...] = tuple(p if isinstance(p, Problem) else Problem(p) for p in problems)
        super().__init__("; ".join(_in_short(self.problems)))


def _in_short(problems: Sequence[Problem]) -> Iterator[str]:
    """The first problems, what to do said once, and how many there are beside them."""
    advised: set[str] = set()
    for problem in problems[:SHOWN]:
        yield str(replace(problem, remedy="") if problem.remedy in advised else problem)
        advised.add(problem.remedy)
    if len(problems) > SHOWN:
        yield f"and {len(problems) - SHOWN} more: `gitopsd plan` shows them all"


class CommitError(GitopsdError):
    """What the commit asks for cannot be done, whoever runs it and whenever: only another commit helps."""

    cause = Cause.COMMIT


class EnvironmentFault(GitopsdError):
    """Something around us does not answer, refuses us or is missing; the same commit may work later.

    `retry_after` is the wait in seconds that the other side asked for, if it did.
    """

    cause = Cause.ENVIRONMENT

    def __init__(self, *problems: Problem | str, retry_after: float | None = None) -> None:
        super().__init__(*problems)
        self.retry_after = retry_after


class NeedsPerson(GitopsdError):
    """Nothing is broken, but the next step is one that only a person may take."""

    cause = Cause.PERSON


class ConfigurationError(GitopsdError):
    """The host's own configuration is wrong (exit code 78)."""

    cause = Cause.PERSON


class UsageError(GitopsdError):
    """The command line is wrong (exit code 64)."""

    cause = Cause.PERSON


def raise_if(problems: Iterable[Problem], error: type[GitopsdError] = CommitError) -> None:
    """Raise `error` with all `problems` at once, in a stable order, if there is any."""
    found = sorted(problems, key=lambda p: (p.file, p.line or 0, p.unit, p.field, p.message))
    if found:
        raise error(*found)
