"""What somebody else writes again and again: mended less and less often, and called a conflict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from gitopsd.kinds.drift import Contest, repaired
from gitopsd.model.ids import UnitId
from gitopsd.model.plan import Change


class Contests:
    """The repairs of one stack's units in the life of this process. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._known: dict[UnitId, Contest] = {}

    def too_early(self, units: Collection[UnitId], now: float) -> Mapping[UnitId, float]:
        """Those of the units that wait before they are mended once more, and for how many seconds."""
        waits = {unit: self._known[unit].until - now for unit in units if unit in self._known}
        return {unit: left for unit, left in waits.items() if left > 0}

    def note(self, changes: Iterable[Change], now: float) -> None:
        """These were mended just now of what their managers had written."""
        for change in changes:
            if not change.unit.is_terraform:
                self._known[change.unit] = repaired(self._known.get(change.unit), change.overrides, now)

    def words(self, unit: UnitId) -> str:
        """What to tell people of a unit that is fought over; "" if it is not."""
        known = self._known.get(unit)
        if known is None or not known.contested:
            return ""
        who = ", ".join(known.managers) or "somebody (who removes leaves no name)"
        return (
            f"{who} has written it again after each of {known.repairs} repairs; let one of the two go, or leave the "
            "field to it with gitopsd.io/ignore"
        )

    def forget(self, but: Collection[UnitId]) -> None:
        """What is not tracked any more."""
        for unit in self._known.keys() - set(but):
            del self._known[unit]
