"""`gitopsd once`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.exits import DONE, FAILED
from gitopsd.cli.output import json_option, show
from gitopsd.cli.place import config_of, paths_of
from gitopsd.cli.standing import standing
from gitopsd.views.status_text import converged, status_text

EXAMPLE = """\
  gitopsd once && echo "everything is as git asks"
"""


def arguments(parser: ArgumentParser) -> None:
    json_option(parser)


def execute(given: Namespace) -> int:
    config = config_of(given)  # before the rest is loaded: what is wrong with it is said at once
    from gitopsd.daemon import App
    from gitopsd.logs import set_up_logs

    set_up_logs()
    settled = App(config).once()
    document = standing(paths_of(given))
    show(given, document, status_text)
    return DONE if settled and converged(document) else FAILED
