"""Worlds for the scenarios. A killed process loses nothing that it wrote, so nothing here waits for a disk."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from gitopsd.record import store
from gitopsd.record.database import open_for_writing
from tests.scenarios.harness import World


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What survives a power cut is for the record's own tests; here only a process ends."""

    def opened(path: Path) -> sqlite3.Connection:
        db = open_for_writing(path)
        db.execute("PRAGMA synchronous=OFF")
        return db

    monkeypatch.setattr(store, "open_for_writing", opened)
    monkeypatch.setattr(os, "fsync", lambda _fd: None)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of starts log; what they did is in the record."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[[], World]]:
    """Makes worlds and closes them."""
    made: list[World] = []

    def make() -> World:
        made.append(World(tmp_path / f"world-{len(made)}"))
        made[-1].directory.mkdir(parents=True, exist_ok=True)
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(worlds: Callable[[], World]) -> World:
    return worlds()
