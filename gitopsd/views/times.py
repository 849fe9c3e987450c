"""Times for people. Documents carry ISO 8601 in UTC; only text says "3 min ago"."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def moment(text: str) -> datetime | None:
    """The time that an ISO 8601 text names (UTC if it names no zone); None if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ago(text: str | None, now: datetime) -> str:
    """ "3 min ago"; the text itself if it is no time, "" if there is none."""
    then = moment(text) if text else None
    if then is None:
        return text or ""
    seconds = (now - then).total_seconds()
    return "just now" if abs(seconds) < 1 else f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def took(started: str, finished: str | None) -> str:
    """How long something lasted; "" while it goes on."""
    start, end = moment(started), moment(finished) if finished else None
    return span((end - start).total_seconds()) if start and end else ""


def span(seconds: float) -> str:
    """A length of time in its largest fitting unit, rounded down: "45 s", "3 min", "2 h", "9 d"."""
    for size, name in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} s"


def absolute(text: str | None) -> str:
    """A time in UTC to the second, as a person copies it into a report."""
    then = moment(text) if text else None
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if then else text or ""
