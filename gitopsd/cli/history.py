"""`gitopsd history`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.exits import DONE
from gitopsd.cli.options import at_least_one
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.record.reader import open_reader
from gitopsd.views.find import find_name
from gitopsd.views.history import history_document, history_text

EXAMPLE = """\
  gitopsd history --stack website -n 50
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--stack", metavar="NAME", help="the runs of this stack alone")
    parser.add_argument("-n", "--limit", type=at_least_one, default=20, help="how many runs (default: %(default)s)")
    json_option(parser)


def execute(given: Namespace) -> int:
    with open_reader(paths_of(given).state_dir) as record:
        stack = find_name(given.stack, record.stacks(), "stack") if given.stack else ""
        runs = record.runs(stack, given.limit)
    show(given, history_document(runs), history_text)
    return DONE
