"""Which rules judge which kind."""

from __future__ import annotations

from datetime import datetime

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Assessment, Workload


def assess(unit: UnitId, seen: Workload | Absence, now: datetime) -> Assessment:
    """The health of one unit as it was seen at `now` (UTC)."""
    raise NotImplementedError
