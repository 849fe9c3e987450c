"""`gitopsd show RUN`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial

from gitopsd.cli.exits import DONE
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import paths_of
from gitopsd.record.reader import open_reader
from gitopsd.views.find import find_name
from gitopsd.views.run import run_document, run_text

EXAMPLE = """\
  gitopsd show last
  gitopsd show website-12 --plan
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's id, the beginning of one, or `last`")
    parser.add_argument("--stack", metavar="NAME", help="look among the runs of this stack alone")
    parser.add_argument("--plan", action="store_true", help="also the field diff of its plan (JSON has it anyway)")
    json_option(parser)


def execute(given: Namespace) -> int:
    with open_reader(paths_of(given).state_dir) as record:
        stack = find_name(given.stack, record.stacks(), "stack") if given.stack else ""
        run = record.run(given.run, stack)
    show(given, run_document(run), partial(run_text, with_plan=given.plan))
    return DONE
