"""The audit log for people: its entries, and what checking it found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gitopsd.views.layout import Block, Line, Span, bad, dim, good, line, warn
from gitopsd.views.times import absolute
from gitopsd.views.words import counted, short, word

SCHEMA = "gitopsd.io/audit/v1"
VERIFICATION_SCHEMA = "gitopsd.io/audit-verification/v1"


def audit_document(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `gitopsd audit --json` prints; the entries as they stand in the log, oldest first."""
    return {"schema": SCHEMA, "entries": list(entries)}


def audit_text(document: Mapping[str, Any], _now: datetime) -> Iterator[Block]:
    """The same for a person, one line an entry."""
    if not document["entries"]:
        yield line("No audit entry fits.")
    for entry in document["entries"]:
        yield entry_line(entry)


def entry_line(entry: Mapping[str, Any]) -> Line:
    """One entry: number, time, actor, action, subject, result, sentence."""
    if "damaged" in entry:
        return line(bad("damaged: "), str(entry["damaged"]))
    actor, parts = entry["actor"], list[str | Span]()
    parts += [dim(f"{entry['seq']:>6}  {absolute(entry['time'])}  "), f"{actor['name']} ", word(entry["action"])]
    subject = " ".join(part for part in (_of(entry), entry["unit"]) if part)
    parts.append(f" {subject}" if subject else "")
    if entry["result"]:
        parts += [": ", word(entry["result"])]
    if entry["detail"]:
        parts.append(f" ({entry['detail']})")
    return line(*parts)


def verification_document(
    *,
    entries: int,
    head: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    checked: Sequence[str],
    unchecked: Sequence[str],
) -> dict[str, Any]:
    """What `gitopsd audit verify --json` prints. `checked` and `unchecked` name the witnesses of the log's end."""
    return {
        "schema": VERIFICATION_SCHEMA,
        "ok": not findings,
        "entries": entries,
        "head": head,
        "findings": list(findings),
        "notes": list(notes),
        "checked": list(checked),
        "unchecked": list(unchecked),
    }


def verification_text(document: Mapping[str, Any], _now: datetime) -> Iterator[Block]:
    """The same for a person."""
    head = document["head"]
    for finding in document["findings"]:
        place = ":".join(str(part) for part in (finding["file"], finding["line"]) if part)
        yield line(bad("wrong: "), f"{place}: {finding['message']}" if place else finding["message"])
    for note in document["notes"]:
        yield line(warn("note: "), note)
    for witness in document["checked"]:
        yield line(dim(f"checked against {witness}"))
    for witness in document["unchecked"]:
        yield line(warn("not checked against "), witness)
    entries = counted(document["entries"], "entry").replace("entrys", "entries")
    if not document["ok"]:
        yield line(bad("The audit log cannot be trusted."), f" {entries} were read.")
        return
    doubt = " As far as could be checked." if document["unchecked"] else ""
    yield line(good("The audit log is whole"), f" ({entries}, head {short(head['hash'])}).{doubt}")


def _of(entry: Mapping[str, Any]) -> str:
    revision = f"@{short(entry['revision'])}" if entry["revision"] else ""
    return f"{entry['run'] or entry['stack']}{revision}"
