"""Where the host configuration is, and what a command needs of it."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gitopsd.config.host import HostConfig
    from gitopsd.config.paths import Paths


def paths_of(given: Namespace) -> Paths:
    """The directories alone, read without the machinery that checks the whole configuration. Raises
    ConfigurationError."""
    from gitopsd.config.paths import find_config, quick_paths
    from gitopsd.model.errors import ConfigurationError

    file = find_config(given.config, os.environ)
    try:
        return quick_paths(file)
    except ConfigurationError:
        config_of(given)  # which says everything that is wrong, and on which lines
        raise


def config_of(given: Namespace) -> HostConfig:
    """The whole configuration. Raises ConfigurationError with everything that is wrong with it."""
    from gitopsd.config.host import load_host_config
    from gitopsd.config.paths import find_config

    return load_host_config(find_config(given.config, os.environ))
