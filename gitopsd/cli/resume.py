"""`gitopsd resume`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd resume website
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)


def execute(given: Namespace) -> int:
    return told(given, "resume")
