"""The unit that a command is about: its argument, and which one a person means by what was typed."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from gitopsd.model.errors import Problem, UsageError
from gitopsd.model.ids import UnitId
from gitopsd.record.reader import Reader
from gitopsd.views.find import find_name, find_unit


def unit_arguments(parser: ArgumentParser) -> None:
    text = "KIND[.GROUP]/[NAMESPACE/]NAME, or terraform/COMPONENT; what is unambiguous may be left out"
    parser.add_argument("unit", metavar="UNIT", help=text)
    parser.add_argument("--stack", metavar="NAME", help="look in this stack alone")


def parsed_unit(given: Namespace) -> UnitId:
    """What was typed, read as a whole name. Raises UsageError for what is no name of a unit."""
    try:
        return UnitId.parse(given.unit)
    except ValueError as error:
        raise UsageError(Problem(str(error))) from error


def known_units(record: Reader, given: Namespace) -> dict[str, set[UnitId]]:
    """By stack, every unit that it has, had or is about to have. Raises UsageError for a stack that is not there."""
    stacks = record.stacks()
    if given.stack:
        stacks = (find_name(given.stack, stacks, "stack"),)
    return {stack: set(_units(record, stack)) for stack in stacks}


def meant(given: Namespace, known: dict[str, set[UnitId]]) -> tuple[str, UnitId]:
    """The stack and the unit. Raises UsageError with those of similar names."""
    unit = find_unit(given.unit, set().union(*known.values()))
    return next(name for name in known if unit in known[name]), unit


def _units(record: Reader, stack: str) -> Iterator[UnitId]:
    yield from record.baselines(stack)
    state = record.state(stack)
    if state:
        yield from (item.unit for item in state.dirty)
        yield from (item.unit for item in state.postponed)
    for newest in record.runs(stack, 1):
        plan = record.run(newest.id).plan
        yield from (change.unit for change in plan.changes()) if plan else ()
