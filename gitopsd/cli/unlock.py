"""`gitopsd unlock`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.ordering import ask, looked, order_options, shown
from gitopsd.model.orders import Answer

EXAMPLE = """\
  gitopsd unlock website network --reason "its host is gone"
"""


def arguments(parser: ArgumentParser) -> None:
    order_options(parser)
    parser.add_argument("component", metavar="COMPONENT", help="the Terraform component whose state is locked")
    parser.add_argument(
        "--lock", metavar="ID", default="", help="only this lock: by now another one may hold the state"
    )


def execute(given: Namespace) -> int:
    answer = ask(given, "unlock", component=given.component, lock=given.lock)
    if not answer.ok:
        return shown(given, "unlock", answer)
    found = looked(given, answer)
    came = found.data.get("outcome")
    if isinstance(came, dict):
        return shown(given, "unlock", Answer(came.get("ok") is True, str(came.get("text", ""))))
    text = f"on record, but not carried out yet: {found.text or 'the stack waits'}; see `gitopsd audit`"
    return shown(given, "unlock", Answer(False, text))
