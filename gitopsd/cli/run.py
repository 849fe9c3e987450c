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
    from gitopsd.daemon import App

    App(config_of(given)).run()
    return DONE
