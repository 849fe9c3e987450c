"""`gitopsd rollback`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import order_options, told

EXAMPLE = """\
  gitopsd rollback website
  gitopsd rollback website --to 3f2a91c4 --reason "orders are lost"
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument(
        "--to", metavar="REV", default="", help="the beginning of a good commit (default: the one before)"
    )
    parser.add_argument("--until-newer", action="store_true", help="go on by itself as soon as there is a newer commit")


def execute(given: Namespace) -> int:
    return told(given, "rollback", to=given.to, untilNewer=given.until_newer)
