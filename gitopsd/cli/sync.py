"""`gitopsd sync`."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from gitopsd.cli.exits import DONE, FAILED
from gitopsd.cli.ordering import ask, order_options, shown
from gitopsd.model.orders import Answer

EXAMPLE = """\
  gitopsd sync website --wait
"""

LOOK_EVERY = 0.5
"""Seconds between two questions whether it is done."""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument("--wait", action="store_true", help="return when it is done: 0 in sync, 1 held or failed")


def execute(given: Namespace) -> int:
    answer = ask(given, "sync")
    if not answer.ok or not given.wait:
        return shown(given, "sync", answer)
    done = _done(given, answer)
    synced = done.data.get("synced") is True
    text = f"{given.stack} is as git asks" if synced else done.text
    shown(given, "sync", Answer(synced, text, {"synced": synced}))
    return DONE if synced else FAILED


def _done(given: Namespace, answer: Answer) -> Answer:
    """The answer once the look that the order caused is over. Raises EnvironmentFault if the daemon ends before."""
    while True:
        found = ask(given, "looked", look=answer.data.get("look"))
        if not found.ok or found.data.get("done") is True:
            return found
        time.sleep(LOOK_EVERY)
