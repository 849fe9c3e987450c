"""`gitopsd destroy`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd destroy website --yes website
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument("--yes", metavar="STACK", default="", help="the stack's name once more: this cannot be undone")
    parser.add_argument("--with-data", action="store_true", help="also what may hold data: volumes, namespaces, CRDs")


def execute(given: Namespace) -> int:
    return told(given, "destroy", confirm=given.yes, withData=given.with_data)
