"""Durations and percentages as people write them."""

from __future__ import annotations

import re
from typing import Final

_DURATION: Final = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)%")


def parse_duration(text: object) -> float:
    """Seconds of `60s`, `5m`, `1h30m`. Raises ValueError for anything else, a bare number included."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        raise ValueError("expected a duration with its unit, as in 60s, 5m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_percent(text: str) -> float | None:
    """The number of `20%`, at most 100; None for a text that is no percentage."""
    match = _PERCENT.fullmatch(text)
    return float(match.group(1)) if match and float(match.group(1)) <= 100 else None
