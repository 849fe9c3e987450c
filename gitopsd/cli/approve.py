"""`gitopsd approve`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd approve website
  gitopsd approve website 3f2a91c4 --reason "the old database is empty"
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument(
        "digest",
        metavar="DIGEST",
        nargs="?",
        default="",
        help="the beginning of the one that is meant, as `status` shows it",
    )
    parser.add_argument("--all", action="store_true", help="everything that waits")


def execute(given: Namespace) -> int:
    return told(given, "approve", digest=given.digest, all=given.all)
