"""Commits as people read them, from `git log`."""

from __future__ import annotations

from datetime import UTC, datetime

from gitopsd.model.units import Person, Revision

LOG_FORMAT = "--format=%H%x00%an%x00%ae%x00%cn%x00%ce%x00%ct%x00%s"
"""For `git log -z`: seven fields a commit, NUL after each."""

_FIELDS = 7


def parse_log(output: bytes) -> tuple[Revision, ...]:
    """From `git log -z` with LOG_FORMAT, in its order. The time is the committer's: when the commit got its id."""
    fields = [printable(part.decode(errors="replace")) for part in output.split(b"\x00")]
    records = (fields[at : at + _FIELDS] for at in range(0, len(fields) - _FIELDS + 1, _FIELDS))
    return tuple(
        Revision(commit, Person(author, author_mail), Person(committer, committer_mail), made_at(seconds), subject)
        for commit, author, author_mail, committer, committer_mail, seconds, subject in records
    )


def made_at(seconds: str) -> str:
    """ISO 8601 in UTC. A commit may claim any time, or none that is a number."""
    try:
        time = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        time = datetime.fromtimestamp(0, UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(text: str) -> str:
    """Names and subjects are written by anybody and end up on terminals: no control sequences."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
