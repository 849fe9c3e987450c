"""`gitopsd why UNIT`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from gitopsd.cli.exits import DONE
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.cli.standing import standing
from gitopsd.model.errors import Problem, UsageError
from gitopsd.model.ids import UnitId
from gitopsd.record.reader import Reader, open_reader
from gitopsd.views.find import find_name, find_unit
from gitopsd.views.why import WhyFacts, why_document, why_text

EXAMPLE = """\
  gitopsd why Deployment.apps/web/api
  gitopsd why deployment/api --json
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "unit", metavar="UNIT", help="KIND[.GROUP]/[NAMESPACE/]NAME; what is unambiguous may be left out"
    )
    parser.add_argument("--stack", metavar="NAME", help="look in this stack alone")
    json_option(parser)


def execute(given: Namespace) -> int:
    _check(given.unit)
    paths = paths_of(given)
    status = standing(paths)
    with open_reader(paths.state_dir) as record:
        stacks = record.stacks()
        if given.stack:
            stacks = (find_name(given.stack, stacks, "stack"),)
        known = {stack: set(_units(record, stack)) for stack in stacks}
        unit = find_unit(given.unit, set().union(*known.values()))
        stack = next(name for name in stacks if unit in known[name])
        facts = _facts(record, status, stack, unit)
    show(given, why_document(facts), why_text)
    return DONE


def _check(text: str) -> None:
    try:
        UnitId.parse(text)
    except ValueError as error:
        raise UsageError(Problem(str(error))) from error


def _units(record: Reader, stack: str) -> Iterator[UnitId]:
    """Every unit that the stack has, had or is about to have."""
    yield from record.baselines(stack)
    state = record.state(stack)
    if state:
        yield from (item.unit for item in state.dirty)
        yield from (item.unit for item in state.postponed)
    for newest in record.runs(stack, 1):
        plan = record.run(newest.id).plan
        yield from (change.unit for change in plan.changes()) if plan else ()


def _facts(record: Reader, status: Mapping[str, Any], stack: str, unit: UnitId) -> WhyFacts:
    newest = record.runs(stack, 1)
    return WhyFacts(
        unit=unit,
        stack=stack,
        daemon_running=status["daemon"]["running"],
        status=next((known for known in status["stacks"] if known["name"] == stack), None),
        state=record.state(stack),
        run=record.run(newest[0].id) if newest else None,
        baseline=record.baselines(stack).get(unit),
    )
