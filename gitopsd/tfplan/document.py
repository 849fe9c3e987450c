"""A whole plan, as `terraform show -json FILE` tells it, and a state file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.modules import ModulePlan, Output, ResourceAction, StateId
from gitopsd.tfplan.changes import drift, resource_changes
from gitopsd.tfplan.outputs import Seal, output_changes, planned_outputs, state_outputs
from gitopsd.tfplan.scrub import Scrubber


def read_plan(
    document: Mapping[str, Any],
    unit: UnitId,
    *,
    state: StateId,
    saved: str,
    warnings: Iterable[str],
    seal: Seal,
    scrubber: Scrubber,
) -> ModulePlan:
    """The plan as data without any sensitive value. `scrubber` learns them first, from the plan itself.

    Whether there is something to do is told by the changes, never by an exit code, which for some providers says so
    without a change. Raises ValueError, KeyError or TypeError for a document of another shape.
    """
    scrubber.learn_plan(document)
    resources = resource_changes(document.get("resource_changes") or (), scrubber)
    outputs = output_changes(document, scrubber)
    told = tuple(dict.fromkeys(map(scrubber.text, warnings)))
    return ModulePlan(
        unit=unit,
        state=state,
        resources=resources,
        outputs=planned_outputs(document, seal, scrubber),
        output_changes=outputs,
        drift=drift(document.get("resource_drift") or (), scrubber),
        warnings=(*told, *_failed_checks(document, told, scrubber)),
        changes_state=bool(outputs) or any(change.action is not ResourceAction.READ for change in resources),
        tracked=_tracked((document.get("prior_state") or {}).get("values") or {}),
        saved=saved,
    )


def _failed_checks(document: Mapping[str, Any], told: tuple[str, ...], scrubber: Scrubber) -> tuple[str, ...]:
    """Check blocks that do not hold, as far as no warning told it already."""
    found = []
    for check in document.get("checks") or ():
        address = check.get("address") or {}
        if address.get("kind") != "check" or check.get("status") not in {"fail", "error"}:
            continue
        problems = [p for instance in check.get("instances") or () for p in instance.get("problems") or ()]
        for message in [scrubber.text(str(p.get("message") or "")) for p in problems] or ["it could not be evaluated"]:
            if not any(message in warning for warning in told):
                found.append(f"{address.get('to_display')} does not hold: {message}")
    return tuple(dict.fromkeys(found))


def _tracked(values: Mapping[str, Any]) -> int:
    count, modules = 0, [values.get("root_module") or {}]
    while modules:
        module = modules.pop()
        modules += module.get("child_modules") or ()
        count += sum(1 for resource in module.get("resources") or () if resource.get("mode") == "managed")
    return count


@dataclass(frozen=True, slots=True)
class State:
    """What a state file (format 4) says: which state it is, how many objects it tracks, and the outputs."""

    id: StateId = field(default_factory=StateId)
    tracked: int = 0
    outputs: Mapping[str, Output] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        return bool(self.id.lineage)

    @property
    def blank(self) -> bool:
        """Whether nothing was ever in it: there is none, or a backend has just made an empty one."""
        return not self.exists or (self.id.serial <= 1 and not self.tracked and not self.outputs)


def read_state(document: Mapping[str, Any], seal: Seal, scrubber: Scrubber) -> State:
    """A state file as data; `{}` is none. Values of sensitive outputs are wrapped."""
    if not document:
        return State()
    if document.get("version") != 4:
        raise ValueError(f"a state of format {document.get('version')}; gitopsd reads format 4")
    tracked = sum(len(r.get("instances") or ()) for r in document.get("resources") or () if r.get("mode") == "managed")
    outputs = state_outputs(document.get("outputs") or {}, seal, scrubber)
    return State(StateId(str(document.get("lineage") or ""), int(document.get("serial") or 0)), tracked, outputs)
