"""Drift for a person: what `gitopsd status --drift` prints, and the lines about one unit that others print, too.

Works on documents alone and imports nothing of the model, as all that `gitopsd status` runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gitopsd.views.layout import BLANK, Block, Line, Span, Style, Table, dim, good, line, strong, warn
from gitopsd.views.status_text import daemon_line
from gitopsd.views.times import ago
from gitopsd.views.words import counted

_EDITS = {"add": ("+", Style.GOOD), "remove": ("-", Style.BAD), "replace": ("~", Style.WARN)}

NO_MARK = "who did it is not known: the change has left nobody's name in managedFields"
NOT_TOLD = "who did it is not known: Terraform does not say"


def drift_text(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    """Every stack with drift or with additions of others; what is live first, what git says second."""
    yield daemon_line(document, now)
    stacks: Sequence[Mapping[str, Any]] = document["stacks"]
    for stack in stacks:
        blocks = list(_stack(stack, now))
        if blocks:
            yield BLANK
            yield from blocks
    if not any(stack.get("drift") or stack.get("additions") for stack in stacks):
        yield line(good("No drift is known"), ", and nothing that others have added.")
    for stack in stacks:
        yield from _unwatched(stack)


def _stack(stack: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    drifted: Sequence[Mapping[str, Any]] = stack.get("drift", ())
    added: Sequence[Mapping[str, Any]] = stack.get("additions", ())
    if drifted:
        units = counted(len(drifted), "unit")
        verb = "has" if len(drifted) == 1 else "have"
        yield line(
            strong(stack["name"]), f": {units} {verb} drifted. ", dim("Each field: what is live -> what git says")
        )
        for entry in drifted:
            yield from unit_drift(entry, now)
        yield line(dim(remedy(stack)), indent=2)
    if drifted and added:
        yield BLANK
    if added:
        yield line(strong(stack["name"]), ": added by others. ", dim("Git does not say it, and it is left alone"))
        yield Table(("UNIT", "BY", "WRITTEN", "FIELDS"), [_added_row(entry, now) for entry in added], indent=2)
    if stack.get("moreAdditions"):
        yield line(dim(f"and something in {counted(stack['moreAdditions'], 'more unit')}"), indent=2)


def _unwatched(stack: Mapping[str, Any]) -> Iterator[Block]:
    blind: Sequence[Mapping[str, str]] = stack.get("unwatched", ())
    if blind:
        yield BLANK
        yield line(strong(stack["name"]), ": not watched now. ", dim("Drift is found by a look every few minutes"))
        yield from (line(warn(each["kind"]), f": {each['why']}", indent=2) for each in blind)


def unit_drift(entry: Mapping[str, Any], now: datetime, *, indent: int = 2) -> Iterator[Block]:
    """One drifted unit: since when, what of it, and who."""
    since = f" ({ago(entry['since'], now)})" if entry["since"] else ""
    detail = "" if entry["fields"] else f": {entry['detail']}"
    yield line(warn("drifted"), f" {entry['unit']}{since}{detail}", indent=indent)
    yield from drift_details(entry, now, indent=indent + 4)


def drift_details(entry: Mapping[str, Any], now: datetime, *, indent: int) -> Iterator[Line]:
    """The fields of a drifted unit, and who wrote them."""
    for field in entry["fields"]:
        yield _field(field, indent)
    if entry.get("moreFields"):
        yield line(dim(f"and {counted(entry['moreFields'], 'more field')}"), indent=indent)
    if entry["managers"]:
        yield line(dim("by: "), ", ".join(_writer(writer, now) for writer in entry["managers"]), indent=indent)
    elif entry["fields"]:
        terraform = entry["unit"].startswith("terraform/")
        yield line(dim(NOT_TOLD if terraform else NO_MARK), indent=indent)
    if entry["contested"]:
        yield line(warn("contested: "), entry["contested"].removeprefix("contested: "), indent=indent)


def added_line(entry: Mapping[str, Any], now: datetime) -> Line:
    """What one manager has added to a unit."""
    writer = _writer({"name": entry["manager"], "at": entry["at"]}, now)
    return line(dim("added by "), f"{writer}: {_paths(entry)}", indent=2)


def remedy(stack: Mapping[str, Any], entry: Mapping[str, Any] | None = None) -> str:
    """What ends the drift of a stack, or of one unit of it."""
    reported = _only_reported(stack)
    if reported:
        return f"only reported, {reported}"
    if entry is None:
        return "healed by itself, unless a unit says why not"
    if entry["contested"]:
        return "mended less and less often, until one of the two stops writing it"
    if entry["detail"].endswith("waits for approval"):
        return f"healed once a person allows it: `gitopsd approve {stack['name']}`; `gitopsd status` shows what it does"
    if entry["detail"].startswith("cannot be"):
        return "tried again by itself; change in git or in the cluster what is in the way"
    return "healed by itself"


def _only_reported(stack: Mapping[str, Any]) -> str:
    """Why nothing of a stack is healed now; "" if it is."""
    holds = {hold["reason"] for hold in stack["holds"]}
    if "suspended" in holds:
        return f"for the stack is suspended: `gitopsd resume {stack['name']}` has it healed"
    held = next((reason for reason in ("rollback-failed", "failed") if reason in holds), "")
    if held:
        return f"as long as the stack is held ({held})"
    if stack.get("onlyReported"):
        return "for the stack file says `drift: report`: the next deploy writes over it"
    return ""


def _writer(writer: Mapping[str, Any], now: datetime) -> str:
    return f"{writer['name']} ({ago(writer['at'], now)})" if writer["at"] else str(writer["name"])


def _added_row(entry: Mapping[str, Any], now: datetime) -> tuple[Span, ...]:
    return Span(entry["unit"]), Span(entry["manager"]), dim(ago(entry["at"], now)), Span(_paths(entry))


def _paths(entry: Mapping[str, Any]) -> str:
    more = f" and {entry['moreFields']} more" if entry["moreFields"] else ""
    return ", ".join(entry["fields"]) + more


def _field(field: Mapping[str, Any], indent: int) -> Line:
    sign, style = _EDITS[field["edit"]]
    title = Span(f"{sign} {field['path']}", style)
    if field["edit"] == "replace" and (field["masked"] or field["unknown"]):
        return line(title, ": differs (sensitive)" if field["masked"] else ": differs", indent=indent)
    before = "not there" if field["edit"] == "add" else _value(field, "before")
    after = "not there" if field["edit"] == "remove" else _value(field, "after")
    return line(title, f": {before} -> {after}", indent=indent)


def _value(field: Mapping[str, Any], side: str) -> str:
    if field["masked"] or field["unknown"]:
        return "(sensitive)" if field["masked"] else "there"
    return json.dumps(field[side], ensure_ascii=False, default=str)
