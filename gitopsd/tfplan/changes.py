"""What a plan does to resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gitopsd.model.modules import FieldChange, ResourceAction, ResourceChange
from gitopsd.tfplan.fields import field_changes
from gitopsd.tfplan.scrub import Scrubber
from gitopsd.tfplan.values import join

_ACTIONS: Mapping[tuple[str, ...], ResourceAction] = {
    ("create",): ResourceAction.CREATE,
    ("update",): ResourceAction.UPDATE,
    ("delete",): ResourceAction.DESTROY,
    ("read",): ResourceAction.READ,
    ("forget",): ResourceAction.FORGET,
    ("delete", "create"): ResourceAction.REPLACE,
    ("create", "delete"): ResourceAction.REPLACE,
    ("create", "forget"): ResourceAction.CREATE,  # the object that was there is left alone
    ("forget", "create"): ResourceAction.CREATE,
}

_REASONS: Mapping[str, str] = {
    "replace_because_tainted": "its creation did not end well (tainted)",
    "replace_because_cannot_update": "it cannot be updated in place",
    "replace_by_request": "asked for by name",
    "replace_by_triggers": "what it is to follow changes (replace_triggered_by)",
    "delete_because_no_resource_config": "no longer in the code",
    "delete_because_no_module": "its module is no longer in the code",
    "delete_because_wrong_repetition": "the code counts it in another way",
    "delete_because_count_index": "beyond `count`",
    "delete_because_each_key": "its key is no longer in `for_each`",
    "delete_because_no_move_target": "moved to where the code has no resource",
    "read_because_config_unknown": "read with values that are known after apply",
    "read_because_dependency_pending": "read after changes that it depends on",
}

_ALWAYS_READ = "read_because_check_nested"
"""Data sources of check blocks are read again in every apply: that is no change."""


def resource_changes(entries: Iterable[Mapping[str, Any]], scrubber: Scrubber) -> tuple[ResourceChange, ...]:
    """`resource_changes` of a plan, without what does not change; in the plan's order.

    Raises ValueError for an action that is not known here: to take it for nothing could hide a destroy.
    """
    found = (_resource(entry, scrubber) for entry in entries)
    return tuple(change for change in found if change is not None)


def drift(entries: Iterable[Mapping[str, Any]], scrubber: Scrubber) -> tuple[ResourceChange, ...]:
    """`resource_drift` of a plan: what others changed since the last apply, without noise."""
    found = []
    for entry in entries:
        change = entry.get("change") or {}
        if change.get("actions") == ["delete"]:
            found.append(ResourceChange(_address(entry), ResourceAction.DESTROY, reason="it is gone"))
        elif diff := field_changes(change, scrubber):
            found.append(ResourceChange(_address(entry), ResourceAction.UPDATE, diff))
    return tuple(found)


def _resource(entry: Mapping[str, Any], scrubber: Scrubber) -> ResourceChange | None:
    change = entry.get("change") or {}
    address, actions = _address(entry), tuple(change.get("actions") or ())
    previous = str(entry.get("previous_address") or "")
    importing = change.get("importing")
    if entry.get("action_reason") == _ALWAYS_READ:
        return None
    if actions in {("no-op",), ("update",)}:
        diff = field_changes(change, scrubber)
        reason = _import_reason(importing, scrubber)
        action = ResourceAction.IMPORT if importing else ResourceAction.UPDATE if diff else ResourceAction.MOVE
        return ResourceChange(address, action, diff, reason, previous) if diff or importing or previous else None
    action = _known(actions, address)
    gone = action in {ResourceAction.DESTROY, ResourceAction.FORGET}
    diff = () if gone else field_changes(change, scrubber)
    return ResourceChange(address, action, diff, _reason(entry, diff), previous)


def _known(actions: tuple[str, ...], address: str) -> ResourceAction:
    if actions not in _ACTIONS:
        raise ValueError(
            f"{address}: the plan has an action that gitopsd does not know: {', '.join(actions) or 'none'}"
        )
    return _ACTIONS[actions]


def _address(entry: Mapping[str, Any]) -> str:
    deposed = entry.get("deposed")
    return f"{entry['address']} (deposed {deposed})" if deposed else str(entry["address"])


def _import_reason(importing: Any, scrubber: Scrubber) -> str:
    name = importing.get("id") if isinstance(importing, Mapping) else None
    return scrubber.text(f"imported as {name}") if name else ""


def _reason(entry: Mapping[str, Any], diff: tuple[FieldChange, ...]) -> str:
    code = str(entry.get("action_reason") or "")
    words = _REASONS.get(code, code.replace("_", " "))
    if code != "replace_because_cannot_update":
        return words
    paths = dict.fromkeys(map(_path, (entry.get("change") or {}).get("replace_paths") or ()))
    named = ", ".join(path for path in paths if path) or ", ".join(field.path for field in diff[:3])
    return f"{words}: {named}" if named else words


def _path(steps: Iterable[Any]) -> str:
    path = ""
    for step in steps:
        path = join(path, step if isinstance(step, int) else str(step))
    return path
