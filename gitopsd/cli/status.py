"""`gitopsd status`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.exits import DONE, PENDING
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.cli.standing import standing
from gitopsd.views.status_text import converged, status_text

EXAMPLE = """\
  gitopsd status
  gitopsd status --json | jq '.stacks[] | {name, phase}'
"""


def arguments(parser: ArgumentParser) -> None:
    json_option(parser)


def execute(given: Namespace) -> int:
    document = standing(paths_of(given))
    show(given, document, status_text)
    return DONE if converged(document) else PENDING
