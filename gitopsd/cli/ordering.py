"""What every command has in common that tells the running daemon something."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from gitopsd.cli.exits import DONE, FAILED
from gitopsd.cli.output import print_json
from gitopsd.cli.place import paths_of
from gitopsd.control.client import talk
from gitopsd.model.orders import Answer, Request
from gitopsd.views.layout import visible

LOOK_EVERY = 0.5
"""Seconds between two questions whether it is done."""

SCHEMA = "gitopsd.io/answer/v1"


def order_options(parser: ArgumentParser) -> None:
    """The stack, why, and how the answer is printed."""
    parser.add_argument("stack", metavar="STACK", help="the stack's name")
    answer_options(parser)


def answer_options(parser: ArgumentParser) -> None:
    """Why, and how the answer is printed."""
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; it stands in the audit log")
    parser.add_argument("--json", action="store_true", help="print the answer as a stable JSON document")


def ask(given: Namespace, command: str, **arguments: Any) -> Answer:
    """Tell the daemon; its answer. Raises EnvironmentFault if it does not run."""
    return talk(paths_of(given).socket, Request(command, given.stack, given.reason, arguments))


def told(given: Namespace, command: str, **arguments: Any) -> int:
    """Tell the daemon, print its answer; the exit code."""
    return shown(given, command, ask(given, command, **arguments))


def looked(given: Namespace, answer: Answer) -> Answer:
    """The answer once the look that an order caused is over. Raises EnvironmentFault if the daemon ends before."""
    while True:
        found = ask(given, "looked", look=answer.data.get("look"), order=answer.data.get("order"))
        if not found.ok or found.data.get("done") is True or "outcome" in found.data:
            return found
        time.sleep(LOOK_EVERY)


def shown(given: Namespace, command: str, answer: Answer, more: Mapping[str, Any] | None = None) -> int:
    """Print an answer: what was taken to standard output, what was refused to standard error."""
    if given.json:
        print_json(
            {
                "schema": SCHEMA,
                "command": command,
                "stack": given.stack,
                "ok": answer.ok,
                "text": answer.text,
                **answer.data,
                **(more or {}),
            }
        )
    else:
        stream = sys.stdout if answer.ok else sys.stderr
        stream.write(f"{visible(answer.text) if answer.ok else f'gitopsd: {visible(answer.text)}'}\n")
    return DONE if answer.ok else FAILED
