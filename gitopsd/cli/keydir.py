"""Which key directory a command means."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from gitopsd.cli.place import config_of

if TYPE_CHECKING:
    from gitopsd.sealing.keyring import Keys


def key_dir_option(parser: ArgumentParser) -> None:
    text = "the directory of the keypairs (default: keyDir of the host configuration)"
    parser.add_argument("--key-dir", metavar="DIR", type=Path, help=text)


def key_dir(given: Namespace) -> Path:
    """Raises ConfigurationError if only the configuration could say it and does not."""
    return Path(given.key_dir).absolute() if given.key_dir is not None else config_of(given).key_dir


def keys_of(given: Namespace) -> Keys:
    """The keys that are there now, with what is wrong with others."""
    from gitopsd.sealing.keyring import Keyring

    return Keyring(key_dir(given)).snapshot()
