"""`gitopsd run`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gitopsd.cli.exits import DONE
from gitopsd.cli.place import config_of

EXAMPLE = """\
  gitopsd run --config /etc/gitopsd/config.yaml
"""


def arguments(_parser: ArgumentParser) -> None:
    """It has none of its own: what the daemon does is the host configuration's to say."""


def execute(given: Namespace) -> int:
    config = config_of(given)  # before the rest is loaded: what is wrong with it is said at once
    from gitopsd.daemon import App
    from gitopsd.logs import set_up_logs

    set_up_logs()
    App(config).run()
    return DONE
