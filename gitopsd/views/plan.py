"""A plan: the document that `gitopsd plan --json` prints, and a field diff by wave for a person."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gitopsd.model.codec import to_plain
from gitopsd.model.errors import Problem
from gitopsd.model.plan import Plan
from gitopsd.views.layout import BLANK, Block, Line, Span, Style, bad, dim, line, strong, warn
from gitopsd.views.words import counted, short, word

SCHEMA = "gitopsd.io/plan/v1"

LONGEST_VALUE = 160
"""Characters of a value that are shown in text; the document has it whole."""

_SIGNS = {"create": "+", "update": "~", "adopt": "~", "recreate": "-/+", "delete": "-", "release": "."}
_EDITS = {"add": ("+", Style.GOOD), "remove": ("-", Style.BAD), "replace": ("~", Style.WARN)}
_RESOURCES = {
    "create": ("+", Style.GOOD),
    "update": ("~", Style.WARN),
    "replace": ("-/+", Style.BAD),
    "destroy": ("-", Style.BAD),
    "read": ("<=", Style.DIM),
    "move": (">", Style.DIM),
    "import": ("+", Style.DIM),
    "forget": (".", Style.DIM),
}
_LINES = {"+": Style.GOOD, "-": Style.BAD}


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What planning one stack came to: a plan, or the problems for which there is none."""

    stack: str
    source: str
    plan: Plan | None = None
    problems: tuple[Problem, ...] = ()


def plan_document(results: Iterable[StackPlan], sources: Iterable[StackPlan] = ()) -> dict[str, Any]:
    """What `gitopsd plan --json` prints: for each stack the plan exactly as a run would carry it out, and of `sources`
    what is wrong with them as a whole: then their stacks may be missing, or planned for an older commit."""
    stacks = [
        {"name": r.stack, "source": r.source, "plan": to_plain(r.plan), "problems": [to_plain(p) for p in r.problems]}
        for r in results
    ]
    troubled = [{"name": r.source, "problems": [to_plain(p) for p in r.problems]} for r in sources]
    return {"schema": SCHEMA, "sources": troubled, "stacks": stacks}


def pending(document: Mapping[str, Any]) -> bool:
    """Whether any stack of a plan document would be changed, now or after an approval."""
    plans = [stack["plan"] for stack in document["stacks"] if stack["plan"]]
    return any(plan["approvals"] or next(_changes(plan), None) for plan in plans)


def plan_text(document: Mapping[str, Any]) -> Iterator[Block]:
    """The plans of all stacks for a person."""
    stacks: Sequence[Mapping[str, Any]] = document["stacks"]
    if not stacks and not document.get("sources"):
        yield line("There is no stack to plan.")
    for i, stack in enumerate(stacks):
        if i:
            yield BLANK
        yield line("stack ", strong(stack["name"]), f" from source {stack['source']}")
        for problem in stack["problems"]:
            yield line(bad("refused: "), str(Problem(**problem)), indent=2)
        if stack["plan"]:
            yield from plan_blocks(stack["plan"])


def plan_blocks(plan: Mapping[str, Any]) -> Iterator[Block]:
    """One plan, as plain data, in the order in which its changes are made."""
    yield line(f"commit {short(plan['commit'])}, desired digest {short(plan['digest'])}", indent=2)
    for warning in plan["warnings"]:
        yield line(warn("warning: "), warning, indent=2)
    yield from _section("first, before the waves", plan["first"])
    for wave in plan["waves"]:
        changes = [change for layer in wave["layers"] for change in layer["changes"]]
        yield from _section(_wave(wave["order"]), changes)
    yield from _section("prune, after all waves are healthy", plan["prune"])
    yield from _waiting(plan)
    yield line(strong(_summary(plan)), indent=2)


def _changes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from plan["first"]
    for wave in plan["waves"]:
        for layer in wave["layers"]:
            yield from layer["changes"]
    yield from plan["prune"]


def _wave(order: Sequence[int]) -> str:
    component, inner = order
    return f"wave {component}, object wave {inner}" if inner else f"wave {component}"


def _section(title: str, changes: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if changes:
        yield line(title, indent=2)
    for change in changes:
        yield from _change(change)


def _change(change: Mapping[str, Any]) -> Iterator[Block]:
    action = change["action"]
    head = word(action)._replace(text=f"{_SIGNS[action]:<3} {action:<8}")
    yield line(head, f" {change['unit']}", dim(_place(change["origin"])), indent=4)
    notes = [
        (change["reason"], "why"),
        _deferred(change["deferred"]),
        (change["adopted_from"], "taken over from"),
        (", ".join(change["overrides"]), "overrides fields of"),
        *((warning, "warning") for warning in change["warnings"]),
    ]
    for text, title in notes:
        if text:
            yield line(warn(f"{title}: ") if title == "warning" else dim(f"{title}: "), text, indent=8)
    for field in change["diff"]:
        yield from field_lines(field)
    for resource in change["resources"]:
        yield from _resource(resource)


def _deferred(reason: str) -> tuple[str, str]:
    """(why, title) of what is not known yet."""
    title = "known after apply of"
    return (reason.removeprefix(f"{title} "), title) if reason.startswith(title) else (reason, "known after apply")


def _resource(resource: Mapping[str, Any]) -> Iterator[Block]:
    """A resource of a Terraform module, a step further in than the module's own outputs."""
    action = resource["action"]
    sign, style = _RESOURCES[action]
    moved = f" (was {resource['previous']})" if resource["previous"] else ""
    reason = f": {resource['reason']}" if resource["reason"] else ""
    yield line(Span(f"{sign:<3} {action:<8}", style), f" {resource['address']}{moved}", dim(reason), indent=8)
    for field in resource["diff"]:
        yield from field_lines(field, indent=12)


def _place(origin: Mapping[str, Any] | None) -> str:
    return f"  {origin['file']}:{origin['line']}" if origin else ""


def field_lines(field: Mapping[str, Any], indent: int = 8) -> Iterator[Line]:
    """One field's change: what it was, what it becomes."""
    sign, style = _EDITS[field["edit"]]
    before, after = field["before"], field["after"]
    title = Span(f"{sign} {field['path']}", style)
    if field["masked"]:
        yield line(title, ": (sensitive)", indent=indent)
    elif field["unknown"]:
        was = f"{_value(before)} -> " if field["edit"] == "replace" else ""
        yield line(title, f": {was}(known after apply)", indent=indent)
    elif field["edit"] == "replace" and _has_lines(before, after):
        yield line(title, ":", indent=indent)
        yield from _line_diff(before, after)
    elif field["edit"] == "replace":
        yield line(title, f": {_value(before)} -> {_value(after)}", indent=indent)
    else:
        yield line(title, f": {_value(after if field['edit'] == 'add' else before)}", indent=indent)


def _has_lines(before: Any, after: Any) -> bool:
    return isinstance(before, str) and isinstance(after, str) and "\n" in before.strip() + after.strip()


def _line_diff(before: str, after: str) -> Iterator[Line]:
    """Two texts of several lines, as `git diff` shows them with two lines around each change."""
    diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm=""))[2:]
    for text in diff or ["(only the line ends differ)"]:
        yield line(Span(text, _LINES.get(text[:1], Style.DIM)), indent=12)


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}... ({len(text)} characters)"


def _waiting(plan: Mapping[str, Any]) -> Iterator[Block]:
    for item in plan["forget"]:
        yield line(dim("no longer tracked: "), f"{item['unit']}: {item['reason']}", indent=2)
    for item in plan["leftovers"]:
        yield line(warn("stays as it is: "), f"{item['unit']}: {item['reason']}", indent=2)
    for item in plan["postponed"]:
        yield line(warn("not pruned yet: "), f"{item['unit']}: {item['reason']}", indent=2)
    for approval in plan["approvals"]:
        yield line(bad("needs approval: "), approval["summary"], indent=2)
        for detail in approval["details"] or approval["units"]:
            yield line(detail, indent=4)
        allow = f"`gitopsd approve {plan['stack']} {approval['digest'][:12]}` allows it"
        yield line(dim(f"Nothing of this plan is done before; {allow}, a commit without it withdraws it."), indent=4)


def _summary(plan: Mapping[str, Any]) -> str:
    found = Counter(change["action"] for change in _changes(plan))
    if not found:
        return "No changes."
    total = counted(sum(found.values()), "change")
    return f"{total}: {', '.join(f'{found[action]} to {action}' for action in _SIGNS if found[action])}."
