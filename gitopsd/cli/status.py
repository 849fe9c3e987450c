"""`gitopsd status`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from gitopsd.cli.exits import DONE, PENDING
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.cli.standing import standing
from gitopsd.views.layout import Block
from gitopsd.views.status_text import converged, status_text

EXAMPLE = """\
  gitopsd status
  gitopsd status --drift
  gitopsd status --json | jq '.stacks[] | {name, phase}'
"""


def arguments(parser: ArgumentParser) -> None:
    text = "only drift: the fields of each unit, live and in git, who wrote them, and what others have added"
    parser.add_argument("--drift", action="store_true", help=text)
    json_option(parser)


def execute(given: Namespace) -> int:
    document = standing(paths_of(given))
    show(given, document, _drift_text if given.drift else status_text)
    return DONE if converged(document) else PENDING


def _drift_text(document: Mapping[str, Any], now: datetime) -> Iterable[Block]:
    from gitopsd.views.drift_text import drift_text  # not on the path of a plain `gitopsd status`

    return drift_text(document, now)
