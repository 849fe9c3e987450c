"""`status.json`: what the daemon last knew, for `status` to read without asking anybody."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitopsd.model.errors import EnvironmentFault, Problem

_writing = threading.Lock()  # writers share one temporary name, so that a crash leaves at most one file behind


def write_status(path: Path, document: Mapping[str, Any], group: int | None = None) -> None:
    """Replace the file in one step: a reader sees the old document or the new one, never a part. Mode 0640, for the
    members of `group` (a gid; None for that of the process) to read. Raises EnvironmentFault when it cannot be
    written."""
    import orjson  # quick to write with, but slow to import for those who only read

    data = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    temporary = path.with_name(f".{path.name}.new")
    try:
        with _writing:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640), "wb") as file:
                if group is not None:
                    with contextlib.suppress(PermissionError):  # not a group of ours: its members may not read
                        os.fchown(file.fileno(), -1, group)
                os.fchmod(file.fileno(), 0o640)
                file.write(data)
            os.replace(temporary, path)
    except OSError as error:
        remedy = "check the space and the owner of its directory"
        raise EnvironmentFault(Problem(f"cannot be written: {error.strerror}", str(path), remedy=remedy)) from error


def read_status(path: Path) -> dict[str, Any] | None:
    """The last document; None if there is none. Raises EnvironmentFault when it cannot be read or is no document."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        remedy = "run this as root or as a member of gitopsd's group"
        raise EnvironmentFault(Problem(f"cannot be read: {error.strerror}", str(path), remedy=remedy)) from error
    except ValueError as error:
        raise EnvironmentFault(_no_document(path)) from error
    if not isinstance(document, dict):
        raise EnvironmentFault(_no_document(path))
    return document


def _no_document(path: Path) -> Problem:
    return Problem("is no status document", str(path), remedy="remove it: a running gitopsd writes it again")
