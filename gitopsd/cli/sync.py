"""`gitopsd sync`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.exits import DONE, FAILED
from gitopsd.cli.ordering import ask, looked, order_options, shown
from gitopsd.model.orders import Answer

EXAMPLE = """\
  gitopsd sync website --wait
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument("--wait", action="store_true", help="return when it is done: 0 in sync, 1 held or failed")


def execute(given: Namespace) -> int:
    answer = ask(given, "sync")
    if not answer.ok or not given.wait:
        return shown(given, "sync", answer)
    done = looked(given, answer)
    synced = done.data.get("synced") is True
    text = f"{given.stack} is as git asks" if synced else done.text
    shown(given, "sync", Answer(synced, text, {"synced": synced}))
    return DONE if synced else FAILED
