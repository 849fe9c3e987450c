"""`gitopsd why UNIT`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from gitopsd.cli.exits import DONE
from gitopsd.cli.naming import known_units, meant, parsed_unit, unit_arguments
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.cli.standing import standing
from gitopsd.model.ids import UnitId
from gitopsd.record.reader import Reader, open_reader
from gitopsd.views.why import WhyFacts, why_document, why_text

EXAMPLE = """\
  gitopsd why Deployment.apps/web/api
  gitopsd why deployment/api --json
"""


def arguments(parser: ArgumentParser) -> None:
    unit_arguments(parser)
    json_option(parser)


def execute(given: Namespace) -> int:
    parsed_unit(given)
    paths = paths_of(given)
    status = standing(paths)
    with open_reader(paths.state_dir) as record:
        stack, unit = meant(given, known_units(record, given))
        facts = _facts(record, status, stack, unit)
    show(given, why_document(facts), why_text)
    return DONE


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
