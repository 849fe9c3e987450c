"""Drift and the additions of others, as the status document has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gitopsd.model.codec import to_plain
from gitopsd.model.ids import UnitId
from gitopsd.model.status import StackFacts, UnitDrift


def drift_entries(facts: StackFacts) -> list[dict[str, Any]]:
    """Every drifted unit of a stack, by name. Of a field `before` is what is live, and `after` what git says."""
    return [_entry(unit, drift) for unit, drift in sorted(facts.drifted.items())]


def addition_entries(facts: StackFacts) -> list[dict[str, Any]]:
    """What others have added, an entry for each unit and manager; the unit may have drifted or not."""
    return list(_additions(facts))


def told(drift: UnitDrift) -> str:
    """Drift in a sentence, with who is known to have written it."""
    if drift.contested:
        return drift.contested
    who = ", ".join(writer.name for writer in drift.managers)
    return f"{drift.detail} (written by {who})" if who else drift.detail


def _entry(unit: UnitId, drift: UnitDrift) -> dict[str, Any]:
    return {
        "unit": str(unit),
        "since": drift.since,
        "detail": drift.detail,
        "fields": [to_plain(change) for change in drift.fields],
        "moreFields": drift.more,
        "managers": [to_plain(writer) for writer in drift.managers],
        "contested": drift.contested,
    }


def _additions(facts: StackFacts) -> Iterator[dict[str, Any]]:
    for unit, additions in sorted(facts.additions.items()):
        for added in additions:
            yield {
                "unit": str(unit),
                "manager": added.manager,
                "at": added.at,
                "fields": list(added.fields),
                "moreFields": added.more,
            }
