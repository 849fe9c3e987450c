"""Saved plans: files with sensitive values in them, kept where only we look, and no longer than they are needed."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.terraform.processes import boot_id, is_alive, started_at

_NAME = re.compile(r"(\d+)-(\d+)-([0-9a-f-]+)-[0-9a-f]{16}\.tfplan")
"""Process id, its start, the boot: the owner, as long as it lives."""


class SavedPlans:
    """A private directory below the runtime directory. Safe to use from several threads and processes."""

    def __init__(self, runtime_dir: Path) -> None:
        self.directory = runtime_dir / "terraform-plans"
        self._owner = f"{os.getpid()}-{started_at(os.getpid())}-{boot_id()}"

    def open(self) -> None:
        """Make the directory, and remove what processes that are gone have left there."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.directory.chmod(0o700)
            for file in self.directory.iterdir():
                if not _owned(file.name):
                    file.unlink(missing_ok=True)
        except OSError as error:
            remedy = "check the runtime directory (that of `socket`)"
            text = f"saved plans cannot be kept: {error.strerror}"
            raise EnvironmentFault(Problem(text, str(error.filename or self.directory), remedy=remedy)) from None

    def fresh(self) -> Path:
        """A file that is ours alone, still empty."""
        file = self.directory / f"{self._owner}-{secrets.token_hex(8)}.tfplan"
        file.touch(0o600)
        return file

    def find(self, name: str) -> Path | None:
        """A saved plan by its name; None if it is gone."""
        file = self.directory / name
        return file if _NAME.fullmatch(name) and file.is_file() else None

    def remove(self, name: str) -> None:
        if _NAME.fullmatch(name):
            (self.directory / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what is ours."""
        for file in self.directory.glob(f"{self._owner}-*.tfplan"):
            file.unlink(missing_ok=True)


def state_in(plan: Path) -> Mapping[str, Any] | None:
    """The state that a saved plan was made on; None if the file does not tell (an encrypted one)."""
    try:
        with zipfile.ZipFile(io.BytesIO(plan.read_bytes())) as archive:
            before, after = (json.loads(archive.read(name)) for name in ("tfstate-prev", "tfstate"))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return None
    # The one tells what is in the state, but not which it is; the other has its outputs as they will be.
    return {**before, "lineage": after.get("lineage"), "serial": after.get("serial")}


def whole(plan: Path) -> bool:
    """Whether a saved plan can be opened, as far as it is not encrypted."""
    return zipfile.is_zipfile(plan)


def _owned(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and match[3] == boot_id() and is_alive(int(match[1]), int(match[2]))
