"""For all tests: properties are judged by what they find, not by how busy the machine is."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("gitopsd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gitopsd")


def pytest_configure(config: pytest.Config) -> None:
    """No test interrupts a worker of xdist: if one is interrupted, what every thread was at is told."""
    if hasattr(config, "workerinput") and sys.__stderr__ is not None:
        faulthandler.register(signal.SIGINT, file=os.dup(sys.__stderr__.fileno()), all_threads=True, chain=True)
