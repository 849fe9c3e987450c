"""A host for each test: with Terraform if it is on PATH, else with the sandbox's OpenTofu."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import tool
from tests.unit.terraform.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, {} if shutil.which("terraform") else {"binary": str(tool("tofu"))})
    yield made
    made.terraform.close()
