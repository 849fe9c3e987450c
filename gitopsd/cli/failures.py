"""What a person reads when a command fails, and the exit code of it."""

from __future__ import annotations

import sys

from gitopsd.cli.exits import CONFIGURATION, FAILED, USAGE
from gitopsd.model.errors import ConfigurationError, GitopsdError, Problem, UsageError


def explain(error: Exception, *, debug: bool) -> int:
    """Print every problem of an expected failure, or one line about an unexpected one. With `debug`, an unexpected
    one is raised again, so that its traceback shows."""
    if isinstance(error, GitopsdError):
        for problem in error.problems or (Problem(str(error) or type(error).__name__),):
            say(str(problem))
        return _code(error)
    if debug:
        raise error
    say(f"unexpected {type(error).__name__}: {error}")
    say("this is a fault of gitopsd; the same command with --debug shows where")
    return FAILED


def _code(error: GitopsdError) -> int:
    if isinstance(error, UsageError):
        return USAGE
    return CONFIGURATION if isinstance(error, ConfigurationError) else FAILED


def say(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"gitopsd: {text}\n")
