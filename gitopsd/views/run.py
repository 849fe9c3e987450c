"""One run with everything that is kept of it: what `gitopsd show RUN` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gitopsd.model.codec import from_plain, to_plain
from gitopsd.model.modules import ResourceDone, ResourceEnd
from gitopsd.model.run import RunRecord
from gitopsd.planning.resources import did
from gitopsd.views.history import run_summary
from gitopsd.views.layout import BLANK, Block, Span, Table, bad, dim, line, strong
from gitopsd.views.plan import plan_blocks
from gitopsd.views.times import absolute, ago, took
from gitopsd.views.words import short, verdict, word

SCHEMA = "gitopsd.io/run/v1"


def run_document(run: RunRecord) -> dict[str, Any]:
    """What `gitopsd show RUN --json` prints. A planned unit that the run never came to has a null `result`."""
    return {
        "schema": SCHEMA,
        **run_summary(run),
        "plan": to_plain(run.plan),
        "outcomes": _outcomes(run),
        "observations": [to_plain(seen) for seen in run.observations],
        "suspects": list(run.suspects),
        "leftovers": [{"unit": str(left.unit), "reason": left.reason} for left in run.leftovers],
    }


def run_text(document: Mapping[str, Any], now: datetime, *, with_plan: bool) -> Iterator[Block]:
    """The same for a person; the field diff only if asked for."""
    yield line(
        "run ", strong(document["id"]), f": {document['kind']} of stack {document['stack']}: ", verdict(document)
    )
    yield from _facts(document, now)
    yield from _units(document)
    yield from _resources(document)
    yield from _gate(document["observations"], now)
    if document["leftovers"]:
        yield BLANK
        yield line("could not be taken back, look at these yourself:")
        for item in document["leftovers"]:
            yield line(bad(item["unit"]), f": {item['reason']}", indent=2)
    if document["plan"] and with_plan:
        yield BLANK
        yield line("plan")
        yield from plan_blocks(document["plan"])


def _outcomes(run: RunRecord) -> list[dict[str, Any]]:
    """In the order of the plan, what was never reached included; then what was done beyond it."""
    outcomes = [to_plain(outcome) for outcome in run.outcomes]
    reached = {outcome["unit"] for outcome in outcomes}
    planned = [(str(change.unit), change.action.value) for change in run.plan.changes()] if run.plan else []
    missed: list[dict[str, Any]] = [
        {"unit": unit, "action": action, "result": None, "at": None, "detail": "", "warnings": [], "resources": []}
        for unit, action in planned
        if unit not in reached
    ]
    place = {unit: i for i, (unit, _) in enumerate(planned)}
    return sorted(outcomes + missed, key=lambda o: place.get(o["unit"], len(place)))


def _facts(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    lasted = took(document["started"], document["finished"])
    started = f"{absolute(document['started'])} ({ago(document['started'], now)})"
    facts = [
        ("revision", " ".join(part for part in (short(document["revision"]), document["subject"]) if part)),
        ("author", document["author"]),
        ("started", f"{started}, took {lasted}" if lasted else started),
        ("undoes", f"run {document['undoes']}" if document["undoes"] else ""),
        ("failing", document["failing"] or ""),
        ("reason", document["reason"]),
        ("cause", document["cause"] or ""),
        ("suspects", ", ".join(document["suspects"])),
    ]
    for name, text in facts:
        if text:
            yield line(dim(f"{name:<9}"), text, indent=2)


def _units(document: Mapping[str, Any]) -> Iterator[Block]:
    outcomes: Sequence[Mapping[str, Any]] = document["outcomes"]
    yield BLANK
    if not outcomes:
        yield line("nothing was changed")
        return
    rows = [
        (
            word(outcome["action"]),
            Span(outcome["unit"]),
            word(outcome["result"]) if outcome["result"] else dim("not reached"),
            Span("; ".join(part for part in (outcome["detail"], *outcome["warnings"]) if part)),
        )
        for outcome in outcomes
    ]
    yield Table(("ACTION", "UNIT", "RESULT", "DETAIL"), rows)


def _resources(document: Mapping[str, Any]) -> Iterator[Block]:
    """What applies of Terraform did, resource by resource."""
    rows = []
    for outcome in document["outcomes"]:
        for found in outcome.get("resources", ()):
            resource = from_plain(ResourceDone, found)
            words = strong if resource.end is ResourceEnd.DONE else bad
            rows.append(
                (words(did(resource)), Span(resource.address), dim(f"{resource.seconds}s"), Span(outcome["unit"]))
            )
    if rows:
        yield BLANK
        yield Table(("TERRAFORM", "RESOURCE", "TOOK", "OF"), rows)


def _gate(observations: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Block]:
    if not observations:
        return
    rows = [
        (
            word(seen["health"]),
            Span(seen["unit"]),
            dim(ago(seen["at"], now)),
            Span(": ".join(part for part in (seen["reason"], seen["message"]) if part)),
        )
        for seen in observations
    ]
    yield BLANK
    yield Table(("GATE SAW", "OF", "AT", "REASON"), rows)
