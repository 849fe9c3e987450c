"""`gitopsd retry`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd retry website --reason "the registry is back"
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)


def execute(given: Namespace) -> int:
    return told(given, "retry")
