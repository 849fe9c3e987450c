"""Who changed one unit last: what `gitopsd blame UNIT` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gitopsd.model.codec import to_plain
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline
from gitopsd.model.plan import Action
from gitopsd.model.run import RunKind, Touch
from gitopsd.planning.resources import done_text
from gitopsd.views.drift_text import added_line, drift_details
from gitopsd.views.layout import Block, bad, dim, line, strong, warn
from gitopsd.views.plan import field_lines
from gitopsd.views.times import absolute, ago
from gitopsd.views.why import entries_of
from gitopsd.views.words import short

SCHEMA = "gitopsd.io/blame/v1"

SHOWN = 12
"""Fields of the last change that are shown in text; the document has them all."""


@dataclass(frozen=True, slots=True)
class BlameFacts:
    """All that is known of who changed a unit.

    `touches` are its changes, newest first, with what was planned. Where the record keeps none any more, `audited` is
    what the audit log says of the newest. `record_since` and `audit_since` are when the oldest kept run and the oldest
    entry of the stack were made. `status` is the stack's part of the status document.
    """

    unit: UnitId
    stack: str
    daemon_running: bool
    status: Mapping[str, Any] | None = None
    baseline: Baseline | None = None
    touches: tuple[Touch, ...] = ()
    audited: Mapping[str, Any] | None = None
    record_since: str = ""
    audit_since: str = ""


def blame_document(facts: BlameFacts) -> dict[str, Any]:
    """What `gitopsd blame UNIT --json` prints. A null `last` means that it is not known any more; `message` says since
    when anything is."""
    last = _touched(facts.touches[0]) if facts.touches else _audited(facts.audited) if facts.audited else None
    drifted = entries_of(facts.unit, facts.status, "drift")
    return {
        "schema": SCHEMA,
        "unit": str(facts.unit),
        "stack": facts.stack,
        "tracked": facts.baseline is not None,
        "last": last,
        "wish": _wish(facts),
        "drift": drifted[0] if drifted else None,
        "additions": entries_of(facts.unit, facts.status, "additions"),
        "seen": "live" if facts.daemon_running else "last known",
        "message": "" if last else _not_known(facts),
    }


def blame_text(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    """The same for a person."""
    gone = "" if document["tracked"] else ", which does not track it now"
    yield line(strong(document["unit"]), f" of stack {document['stack']}{gone}")
    last, wish, drift = document["last"], document["wish"], document["drift"]
    if last:
        yield from _last(last, now)
    if document["message"]:
        yield line(warn("not known"), f": {document['message']}", indent=2)
    if wish:
        yield from _wished(wish, now)
    if (drift or document["additions"]) and document["seen"] != "live":
        yield line(dim("gitopsd is not running; what follows was last known"), indent=2)
    if drift:
        since = f" ({ago(drift['since'], now)})" if drift["since"] else ""
        yield line(warn("drifted since"), f"{since}: {drift['detail']}", indent=2)
        yield from drift_details(drift, now, indent=4)
    for added in document["additions"]:
        yield added_line(added, now)


# ---------------------------------------------------------------- the last change


def _touched(touch: Touch) -> dict[str, Any]:
    run, outcome, change = touch.run, touch.outcome, touch.change
    return {
        "run": run.id,
        "kind": run.kind.value,
        "action": outcome.action.value,
        "result": outcome.result.value,
        "at": outcome.at,
        "revision": run.revision,
        "subject": run.subject,
        "author": str(run.author),
        "verdict": run.verdict.value if run.verdict else None,
        "undoes": run.undoes or None,
        "why": change.reason if change else "",
        "detail": outcome.detail,
        "warnings": list(outcome.warnings),
        "fields": [to_plain(field) for field in change.diff] if change else [],
        "overrides": list(change.overrides) if change else [],
        "adoptedFrom": change.adopted_from if change else "",
        "resources": [to_plain(done) for done in outcome.resources],
        "did": done_text(outcome.resources),
        "from": "record",
    }


def _audited(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The audit log has no fields and no kind of run, but who, when, and by which commit."""
    actor = entry["actor"]
    return {
        "run": entry["run"],
        "kind": None,
        "action": entry["action"],
        "result": entry["result"],
        "at": entry["time"],
        "revision": entry["revision"],
        "subject": "",
        "author": f"{actor['name']} <{actor['email']}>" if actor.get("email") else actor["name"],
        "verdict": None,
        "undoes": None,
        "why": "",
        "detail": entry["detail"],
        "warnings": [],
        "fields": [],
        "overrides": [],
        "adoptedFrom": "",
        "resources": [],
        "did": "",
        "from": "audit",
    }


def _last(last: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    what = "adopted" if last["action"] == Action.ADOPT else _DONE.get(last["action"], last["action"])
    run = f"{last['kind']} {last['run']}" if last["kind"] else f"run {last['run']}"
    subject = f" {last['subject']}" if last["subject"] else ""
    yield line(strong(what), f" {ago(last['at'], now)} by {last['author']}", dim(f"  {absolute(last['at'])}"), indent=2)
    undoes = f", which takes back run {last['undoes']}" if last["undoes"] else ""
    yield line(f"{run} of commit {short(last['revision'])}{subject}{undoes}", indent=4)
    if last["verdict"] == "failed":
        yield line(bad("that run failed"), f": gitopsd show {last['run']}", indent=4)
    for title, text in (
        ("why", last["why"]),
        ("taken over from", last["adoptedFrom"]),
        ("overrode fields of", ", ".join(last["overrides"])),
        ("detail", last["detail"]),
        ("did", last["did"]),
    ):
        if text:
            yield line(dim(f"{title}: "), text, indent=4)
    for warning in last["warnings"]:
        yield line(warn("warning: "), warning, indent=4)
    for field in last["fields"][:SHOWN]:
        yield from field_lines(field, 4)
    if len(last["fields"]) > SHOWN:
        yield line(dim(f"and {len(last['fields']) - SHOWN} more fields; all with --json"), indent=4)


_DONE = {
    "create": "created",
    "update": "updated",
    "recreate": "deleted and made anew",
    "delete": "deleted",
    "release": "let go",
}


# ---------------------------------------------------------------- the commit that wants it so


def _wish(facts: BlameFacts) -> dict[str, Any] | None:
    """The deploy that brought what is asked of the unit now. Heals ask nothing new, and rollbacks something old."""
    if facts.baseline is None or not facts.baseline.digest:
        return None
    found: Touch | None = None
    whole = False
    for touch in facts.touches:
        if touch.change is None or touch.run.kind is RunKind.HEAL:
            continue
        if touch.change.digest == facts.baseline.digest:
            found = touch if touch.run.kind is RunKind.DEPLOY else found
            whole = touch.outcome.created
        elif found is not None:
            whole = True
            break
    if found is None or found.change is None:
        return None
    origin = found.change.origin
    return {
        "run": found.run.id,
        "revision": found.run.revision,
        "subject": found.run.subject,
        "author": str(found.run.author),
        "at": found.outcome.at,
        "digest": facts.baseline.digest,
        "file": origin.file if origin else None,
        "line": origin.line if origin else None,
        "orEarlier": not whole,
    }


def _wished(wish: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    place = f", {wish['file']}:{wish['line']}" if wish["file"] else ""
    since = "at the latest since" if wish["orEarlier"] else "since"
    head = f"as git asks {since} commit {short(wish['revision'])}"
    subject = f" {wish['subject']}" if wish["subject"] else ""
    yield line(dim(f"{head}{subject} by {wish['author']}, {ago(wish['at'], now)}{place}"), indent=2)


def _not_known(facts: BlameFacts) -> str:
    """How far back this host knows anything; and the last that is known of the unit."""
    kept = [
        f"runs since {absolute(facts.record_since)}" if facts.record_since else "",
        f"the audit log since {absolute(facts.audit_since)}" if facts.audit_since else "",
    ]
    text = "no change of it is on record here"
    if any(kept):
        text += f", which goes back to: {', '.join(filter(None, kept))}"
    if facts.baseline is not None:
        text += f"; it was found or made as git asked {absolute(facts.baseline.at)}"
    return text
