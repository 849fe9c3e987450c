"""`gitopsd prune`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd prune website
  gitopsd prune website Namespace/old
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument("units", metavar="UNIT", nargs="*", help="these alone (default: all that wait)")


def execute(given: Namespace) -> int:
    return told(given, "prune", units=given.units)
