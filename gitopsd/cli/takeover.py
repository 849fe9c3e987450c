"""`gitopsd takeover`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd takeover website --reason "the old host is gone"
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)


def execute(given: Namespace) -> int:
    return told(given, "takeover")
