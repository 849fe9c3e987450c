"""What has drifted, in words: of the plan that mends it, what a person sees. Of a Secret no values."""

from __future__ import annotations

from gitopsd.model.ids import UnitId
from gitopsd.model.modules import ResourceAction, ResourceChange
from gitopsd.model.plan import Change, Plan


def drift_of(plan: Plan) -> dict[UnitId, str]:
    """For each drifted unit, what differs, in a few words."""
    return {c.unit: _difference(c) for c in plan.applies()}


def _difference(change: Change) -> str:
    if change.unit.is_terraform:
        fields = [text for resource in change.resources for text in _resource(resource)]
        return ", ".join(fields) or change.deferred or ", ".join(f"output {f.path}" for f in change.diff)
    if not change.live_uid:
        return "it is gone"
    return ", ".join(f.path for f in change.diff) or "its fields are owned by others"


def _resource(resource: ResourceChange) -> list[str]:
    """What of a resource is not as it should be, by attribute."""
    if resource.action is ResourceAction.CREATE:
        return [f"{resource.address} is gone"]
    known = [f.path for f in resource.diff if not f.unknown]  # the others only follow
    return [f"{resource.address}.{path}" for path in known] or [resource.address]
