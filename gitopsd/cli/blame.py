"""`gitopsd blame UNIT`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gitopsd.cli.exits import DONE
from gitopsd.cli.naming import known_units, meant, parsed_unit, unit_arguments
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.cli.standing import standing
from gitopsd.model.errors import UsageError
from gitopsd.model.ids import UnitId
from gitopsd.model.run import Touch
from gitopsd.record.audit_reader import AuditFilter, read_audit
from gitopsd.record.reader import Reader, open_reader
from gitopsd.views.blame import BlameFacts, blame_document, blame_text

EXAMPLE = """\
  gitopsd blame Deployment.apps/web/api
  gitopsd blame terraform/network --json
"""

LOOKED_AT = 25
"""Changes of a unit that are looked at for the commit that brought what it is now."""

ALL = 1_000_000
"""Runs: more than are ever kept."""

CHANGED = frozenset({"applied", "deleted", "terminating"})
"""Results of an effect, as the audit log has them."""


def arguments(parser: ArgumentParser) -> None:
    unit_arguments(parser)
    json_option(parser)


def execute(given: Namespace) -> int:
    typed = parsed_unit(given)
    paths = paths_of(given)
    status = standing(paths)
    with open_reader(paths.state_dir) as record:
        known = known_units(record, given)
        try:
            stack, unit = meant(given, known)
        except UsageError:
            former = next((name for name in known if record.touches(name, typed, 1)), None)
            if former is None:
                raise
            stack, unit = former, typed  # it is gone, but who did that is what people ask
        facts = _facts(record, status, stack, unit)
    if not facts.touches:
        facts = _with_audit(facts, paths.state_dir)
    show(given, blame_document(facts), blame_text)
    return DONE


def _facts(record: Reader, status: Mapping[str, Any], stack: str, unit: UnitId) -> BlameFacts:
    touches = tuple(_planned(record, record.touches(stack, unit, LOOKED_AT)))
    runs = () if touches else record.runs(stack, ALL)
    return BlameFacts(
        unit=unit,
        stack=stack,
        daemon_running=status["daemon"]["running"],
        status=next((known for known in status["stacks"] if known["name"] == stack), None),
        baseline=record.baselines(stack).get(unit),
        touches=touches,
        record_since=runs[-1].started if runs else "",
    )


def _planned(record: Reader, touches: tuple[Touch, ...]) -> Iterator[Touch]:
    for touch in touches:
        yield replace(touch, change=record.change(touch.run.id, touch.outcome.unit))


def _with_audit(facts: BlameFacts, state_dir: Path) -> BlameFacts:
    """What the audit log still knows of a unit whose runs are not kept any more."""
    first: Mapping[str, Any] = {}
    last: Mapping[str, Any] | None = None
    for entry in read_audit(state_dir, AuditFilter(stack=facts.stack)):
        first = first or entry
        if entry.get("unit") == str(facts.unit) and entry.get("run") and entry.get("result") in CHANGED:
            last = entry
    return replace(facts, audited=last, audit_since=str(first.get("time", "")))
