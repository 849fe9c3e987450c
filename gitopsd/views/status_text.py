"""The status document for a person, and the exit code that it means.

Works on the document alone and imports nothing of the model: this is the path of `gitopsd status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gitopsd.views.layout import BLANK, Block, Line, Span, Style, Table, bad, dim, line, strong, warn
from gitopsd.views.times import ago
from gitopsd.views.words import counted, short, verdict, word

SHOWN = 12
"""Units in need of attention that are listed for each stack; the document has them all."""

HEAD = ("STACK", "PHASE", "DESIRED", "GOOD", "HEALTHY", "LAST RUN", "ATTENTION")

_ILLS = ("degraded", "missing", "drifted")


def converged(document: Mapping[str, Any]) -> bool:
    """Whether every stack is Synced, without drift and without a unit that is broken or gone, and every source could be
    read: exit code 0.

    A document without stacks says of nothing that it is in sync.
    """
    readable = not any(source["trouble"] for source in document.get("sources", ()))
    return (
        readable
        and bool(document["stacks"])
        and all(
            stack["phase"] == "Synced" and not any(stack["units"].get(ill) for ill in _ILLS)
            for stack in document["stacks"]
        )
    )


def status_text(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    """The overview as a table, then for each stack what is not as it should be."""
    yield daemon_line(document, now)
    stacks: Sequence[Mapping[str, Any]] = document["stacks"]
    yield from _sources(document, now)
    if not stacks:
        yield line("No stack is known yet.")
        return
    yield BLANK
    yield Table(HEAD, [_row(stack, now) for stack in stacks])
    for stack in stacks:
        details = list(_details(stack, now))
        if details:
            yield BLANK
            yield line(strong(stack["name"]))
            yield from details


def daemon_line(document: Mapping[str, Any], now: datetime) -> Line:
    """Whether somebody is at work, and otherwise how old what follows is."""
    daemon = document["daemon"]
    if daemon["running"]:
        since = f", started {ago(daemon['since'], now)}" if daemon.get("since") else ""
        return line(f"gitopsd {daemon.get('version') or ''} is running (pid {daemon.get('pid')}{since}).")
    known = f" What follows was last known {ago(document['at'], now)}." if document.get("at") else ""
    return line(bad("gitopsd is not running."), known)


def _sources(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    """What is wrong with sources, unless a stack of theirs says it below."""
    told = {(stack["source"], hold["detail"]) for stack in document["stacks"] for hold in stack["holds"]}
    for source in document.get("sources", ()):
        if source["trouble"] and (source["name"], source["trouble"]) not in told:
            yield line(bad(f"source {source['name']}"), f" ({ago(source['since'], now)}): {source['trouble']}")


def _row(stack: Mapping[str, Any], now: datetime) -> tuple[Span, ...]:
    revision, last = stack["revision"], stack["lastRun"]
    when = ago(last["finished"] or last["started"], now) if last else ""
    ended = Span(f"{last['kind']} {verdict(last).text} {when}", verdict(last).style) if last else dim("none")
    return (
        Span(stack["name"]),
        word(stack["phase"]),
        Span(short(revision["desired"])),
        Span(short(revision["good"])),
        Span(f"{stack['units']['healthy']}/{stack['units']['total']}"),
        ended,
        _ailing(stack["units"]),
    )


def _ailing(units: Mapping[str, int]) -> Span:
    """ "1 degraded, 1 drifted"; what is zero is not said."""
    counts = [f"{units[name]} {name}" for name in units if name not in {"total", "healthy"} and units[name]]
    return Span(", ".join(counts), Style.BAD if any(units.get(ill) for ill in _ILLS) else Style.NONE)


def _details(stack: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    run = stack["run"]
    if run:
        yield line(f"run {run['id']}: {run['kind']} of {short(run['revision'])}, {ago(run['started'], now)}", indent=2)
    holds = stack["holds"]
    if stack.get("message") and stack["message"] not in {hold["detail"] for hold in holds}:
        yield line(stack["message"], indent=2)
    for hold in holds:
        yield line(warn(f"hold {hold['reason']}"), f" ({ago(hold['since'], now)}): {hold['detail']}", indent=2)
    for asked in stack.get("asks", ()):
        yield line(f"{asked['approve']}, or reject:", indent=4)
        shown = asked["details"][:SHOWN]
        yield from (line(dim(detail), indent=6) for detail in shown)
        if len(asked["details"]) > SHOWN:
            yield line(dim(f"and {len(asked['details']) - SHOWN} more; all with --json"), indent=6)
    yield from _attention(stack["attention"], now)
    if stack.get("drift"):
        yield line(dim("what has drifted, field by field: gitopsd status --drift"), indent=2)
    blind = stack.get("unwatched", ())
    if blind:
        more = f" (and {counted(len(blind) - 1, 'more kind')}: gitopsd status --drift)" if len(blind) > 1 else ""
        yield line(warn("not watched now"), f" {blind[0]['kind']}: {blind[0]['why']}{more}", indent=2)
    for item in stack.get("pendingPrune", ()):
        since = f" ({ago(item['since'], now)})" if item["since"] else ""
        yield line(warn("not pruned yet"), f" {item['unit']}{since}: {item['reason']}", indent=2)
    if stack.get("next"):
        yield line(dim(f"more: {stack['next']}"), indent=2)


def _attention(entries: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Block]:
    rows = [
        (
            word(entry["health"]) if entry["reason"] != "drifted" else warn("drifted"),
            Span(entry["unit"]),
            dim(ago(entry["since"], now)),
            Span(": ".join(part for part in (_reason(entry), entry.get("message", "")) if part)),
        )
        for entry in entries[:SHOWN]
    ]
    if rows:
        yield Table(("HEALTH", "UNIT", "SINCE", "WHY"), rows, indent=2)
    if len(entries) > SHOWN:
        yield line(dim(f"and {counted(len(entries) - SHOWN, 'more unit')}; all with --json"), indent=2)


def _reason(entry: Mapping[str, Any]) -> str:
    return "" if entry["reason"] == "drifted" else str(entry["reason"])
