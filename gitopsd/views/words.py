"""How the words of the documents look: the colour of a phase, a health, a verdict; the short form of a commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitopsd.views.layout import Span, Style

_STYLES = {
    "Running": Style.STRONG,
    "RollingBack": Style.WARN,
    "Failed": Style.BAD,
    "Held": Style.WARN,
    "Synced": Style.GOOD,
    "good": Style.GOOD,
    "failed": Style.BAD,
    "held": Style.WARN,
    "superseded": Style.DIM,
    "healthy": Style.GOOD,
    "degraded": Style.BAD,
    "missing": Style.BAD,
    "terminating": Style.WARN,
    "progressing": Style.WARN,
    "create": Style.GOOD,
    "update": Style.WARN,
    "adopt": Style.WARN,
    "recreate": Style.BAD,
    "delete": Style.BAD,
    "applied": Style.GOOD,
    "deleted": Style.GOOD,
    "refused": Style.BAD,
    "kept": Style.WARN,
}


def word(text: str) -> Span:
    """A word of the model in its colour."""
    return Span(text, _STYLES.get(text, Style.NONE))


def verdict(run: Mapping[str, Any]) -> Span:
    """The verdict of a run's document; "running" while there is none."""
    return word(run["verdict"]) if run["verdict"] else Span("running", Style.STRONG)


def short(commit: str | None) -> str:
    """A commit as people write it; "-" for none."""
    return commit[:12] if commit else "-"


def counted(number: int, noun: str) -> str:
    """ "1 unit", "2 units"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
