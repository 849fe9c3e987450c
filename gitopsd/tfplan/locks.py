"""Who holds the lock of a state, as Terraform tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_FIELD = re.compile(r"^\s*(ID|Path|Operation|Who|Version|Created|Info):[ \t]*(.*?)\s*$", re.MULTILINE)
_TOLD = re.compile(r"already locked: ID=(\S+)")
"""The `http` backend prints the lock that was asked for, and of the one that is there its id alone."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s*(?:Z|\+0000)")


@dataclass(frozen=True, slots=True)
class LockInfo:
    """A lock: `who` is user@host, `created` in UTC (None if it was not told), `operation` Terraform's own word."""

    id: str
    who: str = ""
    operation: str = ""
    created: datetime | None = None
    path: str = ""

    @property
    def host(self) -> str:
        return self.who.rpartition("@")[2]

    def __str__(self) -> str:
        """In words, for people."""
        since = f" since {self.created:%Y-%m-%d %H:%M:%S} UTC" if self.created else ""
        doing = self.operation.removeprefix("OperationType").lower()
        return f"{self.who or 'somebody'}{since}{f' for {doing}' if doing else ''} (lock {self.id})"


def read_lock(text: str) -> LockInfo | None:
    """The lock that a `state lock` error tells of; None if it tells of none."""
    fields = dict(reversed(_FIELD.findall(text)))  # the first of each name: a text may go on with a table of its own
    told = _TOLD.search(text)
    if told is not None and told[1] != fields.get("ID"):
        return LockInfo(told[1])
    if not fields.get("ID"):
        return None
    return LockInfo(
        id=fields["ID"],
        who=fields.get("Who", ""),
        operation=fields.get("Operation", ""),
        created=_time(fields.get("Created", "")),
        path=fields.get("Path", ""),
    )


def _time(text: str) -> datetime | None:
    match = _TIME.match(text)
    if match is None:
        return None
    moment = datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=UTC)
    return moment.replace(microsecond=int((match[3] or "0").ljust(6, "0")[:6]))
