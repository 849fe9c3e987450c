"""`gitopsd abandon`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd abandon website network
  gitopsd abandon website Namespace/old --reason "the data team has it now"
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument("units", metavar="UNIT|COMPONENT", nargs="+", help="what git no longer asks for")


def execute(given: Namespace) -> int:
    return told(given, "abandon", units=given.units)
