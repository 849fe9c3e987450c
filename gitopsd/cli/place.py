"""Where the host configuration is, and what a command needs of it."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gitopsd.config.host import HostConfig
    from gitopsd.config.paths import Paths

DEFAULT_CONFIG = "/etc/gitopsd/config.yaml"


def config_file(given: Namespace) -> Path:
    """`--config`, else `$GITOPSD_CONFIG`, else the place where packages put it."""
    return Path(given.config or os.environ.get("GITOPSD_CONFIG") or DEFAULT_CONFIG)


def paths_of(given: Namespace) -> Paths:
    """The directories alone, read without the machinery that checks the whole configuration. Raises
    ConfigurationError."""
    from gitopsd.config.paths import quick_paths

    return quick_paths(config_file(given))


def config_of(given: Namespace) -> HostConfig:
    """The whole configuration. Raises ConfigurationError with everything that is wrong with it."""
    from gitopsd.config.host import load_host_config

    return load_host_config(config_file(given))
