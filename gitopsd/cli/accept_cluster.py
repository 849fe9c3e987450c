"""`gitopsd accept-cluster`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import answer_options, told

EXAMPLE = """\
  gitopsd accept-cluster default --reason "rebuilt at another provider"
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cluster", metavar="CLUSTER", help="its name in the host configuration")
    parser.add_argument("--stack", metavar="STACK", default="", help="for this stack alone (default: all that wait)")
    answer_options(parser)


def execute(given: Namespace) -> int:
    return told(given, "accept-cluster", cluster=given.cluster)
