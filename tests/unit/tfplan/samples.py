"""Pieces of plans, as `terraform show -json` has them."""

from __future__ import annotations

from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.modules import ModulePlan, StateId
from gitopsd.tfplan import Scrubber, Seal, read_plan

SEAL = Seal(lambda: b"k" * 32)


def entry(address: str, actions: list[str], **change: Any) -> dict[str, Any]:
    """A resource change; `reason`, `previous`, `deposed` go beside the change."""
    around = {"action_reason": change.pop("reason", None), "previous_address": change.pop("previous", None)}
    around["deposed"] = change.pop("deposed", None)
    full: dict[str, Any] = {
        "before": None,
        "after": None,
        "after_unknown": {},
        "before_sensitive": False,
        "after_sensitive": False,
    }
    return {"address": address, "change": {"actions": actions, **full, **change}} | {
        key: value for key, value in around.items() if value is not None
    }


def update(before: Any, after: Any, **more: Any) -> dict[str, Any]:
    return entry("x.a", ["update"], before=before, after=after, **more)


def plan_of(*resources: dict[str, Any], scrubber: Scrubber | None = None, **document: Any) -> ModulePlan:
    warnings = document.pop("warnings", ())
    return read_plan(
        {"format_version": "1.2", "resource_changes": list(resources), **document},
        UnitId.terraform("net"),
        state=StateId("l", 1),
        saved="s",
        warnings=warnings,
        seal=SEAL,
        scrubber=scrubber or Scrubber(),
    )
