"""A host for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.terraform.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    if shutil.which("terraform") is None:
        pytest.skip("needs terraform on PATH")
    made = Bench(tmp_path)
    yield made
    made.terraform.close()
