"""`gitopsd suspend`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.options import length
from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd suspend website --for 2h --reason "migration by hand"
  gitopsd suspend website --now
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument(
        "--for", dest="seconds", metavar="TIME", type=length, help="end by itself after this: 30m, 2h, 1d"
    )
    parser.add_argument("--now", action="store_true", help="also stop the run that goes on, at its next safe point")


def execute(given: Namespace) -> int:
    return told(given, "suspend", seconds=given.seconds, now=given.now)
