"""Values of options, as argparse's `type` wants them: each raises ArgumentTypeError with what is right instead."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

from gitopsd.views.times import moment

_SPAN = re.compile(r"(\d+)\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def at_least_one(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def length(text: str) -> float:
    """Seconds of a length of time: `90s`, `30m`, `2h`, `7d`."""
    found = _SPAN.fullmatch(text.strip())
    if found is None or int(found[1]) < 1:
        raise ArgumentTypeError(f"{text!r} is no length of time; write 30m, 2h or 1d")
    return float(int(found[1]) * _SECONDS[found[2]])


def since(text: str) -> datetime:
    """A time, written as one (ISO 8601, UTC unless it says otherwise) or as how long ago: `90s`, `30m`, `2h`, `7d`."""
    length = _SPAN.fullmatch(text.strip())
    try:
        found = datetime.now(UTC) - timedelta(seconds=int(length[1]) * _SECONDS[length[2]]) if length else moment(text)
    except OverflowError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no time; write 2h, 7d or 2026-11-22T18:00")
    return found
