"""What went wrong, for people, and whose fault it is."""

from __future__ import annotations

from collections.abc import Sequence

from gitopsd.model.errors import Cause, CommitError, EnvironmentFault, GitopsdError, Problem
from gitopsd.model.units import TerraformUnit
from gitopsd.terraform.child import Ended
from gitopsd.tfplan import Diagnostic, Scrubber, Trouble, cause, errors, problem, read_lock, remedy, trouble

_REINIT = "look at the module's `required_providers`, its lock file and its backend"


def ended_badly(ended: Ended, doing: str, unit: str) -> EnvironmentFault | None:
    """Why a program that did not end by itself did not; None if it did."""
    text, help_ = "", ""
    if ended.interrupted:
        text = f"{doing} was interrupted: gitopsd is stopping"
    elif ended.timed_out is not None:
        text = f"{doing} did not end within {ended.timed_out:g} s and was interrupted"
        help_ = "look at what it waits for, or raise `terraform.timeout`"
    elif ended.flooded:
        text = f"{doing} wrote more than gitopsd reads, and was interrupted"
    elif ended.status < 0:
        text, help_ = f"{doing} was ended by signal {-ended.status}", "check the host's memory"
    if ended.killed:
        text += "; it did not stop by itself and was killed, so that its state and its lock may need care"
    return EnvironmentFault(Problem(text, unit=unit, remedy=help_)) if text else None


def failure(
    diagnostics: Sequence[Diagnostic],
    stack: str,
    unit: TerraformUnit,
    scrubber: Scrubber,
    *,
    applying: bool = False,
) -> GitopsdError:
    """The error that these diagnostics are, of a module of this stack."""
    found = errors(diagnostics) or (Diagnostic("it failed without a word"),)
    problems = [_problem(diagnostic, stack, unit, scrubber) for diagnostic in found]
    commit = cause(found, applying=applying) is Cause.COMMIT
    return CommitError(*problems) if commit else EnvironmentFault(*problems)


def _problem(diagnostic: Diagnostic, stack: str, unit: TerraformUnit, scrubber: Scrubber) -> Problem:
    name = str(unit.id)
    what = trouble(diagnostic)
    lock = read_lock(diagnostic.detail) if what is Trouble.LOCKED else None
    if lock is not None:
        help_ = f"wait for it; if it is gone for good: `gitopsd unlock {stack} {unit.component}`"
        return Problem(scrubber.text(f"the state is locked by {lock}"), unit=name, remedy=help_)
    if what is Trouble.UNPREPARED:
        return problem(diagnostic, unit.path, scrubber, unit=name, remedy=_REINIT)
    return problem(diagnostic, unit.path, scrubber, unit=name, remedy=remedy(diagnostic))
