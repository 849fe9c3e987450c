"""The runs of a stack, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from gitopsd.model.run import RunRecord
from gitopsd.views.layout import Block, Span, Table, line
from gitopsd.views.times import ago, took
from gitopsd.views.words import short, verdict

SCHEMA = "gitopsd.io/history/v1"


def run_summary(run: RunRecord) -> dict[str, Any]:
    """What every document says of a run; `show` says more."""
    return {
        "id": run.id,
        "stack": run.stack,
        "kind": run.kind.value,
        "revision": run.revision,
        "digest": run.digest,
        "subject": run.subject,
        "author": str(run.author),
        "started": run.started,
        "finished": run.finished,
        "verdict": run.verdict.value if run.verdict else None,
        "reason": run.reason,
        "cause": run.cause.value if run.cause else None,
        "failing": str(run.failing) if run.failing else None,
        "undoes": run.undoes or None,
    }


def history_document(runs: Iterable[RunRecord]) -> dict[str, Any]:
    """What `gitopsd history --json` prints; `runs` newest first."""
    return {"schema": SCHEMA, "runs": [run_summary(run) for run in runs]}


def history_text(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    """The same for a person."""
    runs = document["runs"]
    if not runs:
        yield line("No runs yet.")
        return
    rows = [_row(run, now) for run in runs]
    yield Table(("RUN", "STACK", "KIND", "REVISION", "VERDICT", "STARTED", "TOOK", "AUTHOR", "WHAT"), rows)


def _row(run: Mapping[str, Any], now: datetime) -> tuple[Span, ...]:
    plain = (run["id"], run["stack"], run["kind"], short(run["revision"]))
    what = run["reason"] if run["verdict"] not in {"good", None} else run["subject"] or run["reason"]
    return (
        *(Span(text) for text in plain),
        verdict(run),
        Span(ago(run["started"], now)),
        Span(took(run["started"], run["finished"])),
        Span(run["author"].partition(" <")[0]),
        Span(what),
    )
