"""Who else of this host may be at work on a state: what has to be ruled out before a lock is called a dead one's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gitopsd.terraform.processes import programs

_NAMES = {
    "kubernetes": ("namespace", "secret_suffix"),
    "s3": ("bucket", "key"),
    "gcs": ("bucket", "prefix"),
    "azurerm": ("storage_account_name", "container_name", "key"),
    "consul": ("path",),
}
"""What tells one state of a backend from another, however it is reached; of others nothing is sure."""


def rivals(data: Path) -> tuple[int, ...]:
    """Running programs that may hold the lock of the state that the data directory `data` stands for. One whose
    backend is surely another is none."""
    ours = _backend(data)
    return tuple(pid for pid, theirs in programs() if theirs is None or may_be_same(ours, _backend(theirs)))


def may_be_same(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Whether two backends, as Terraform notes them in its data directory, may keep one state. `{}` is the one that is
    never noted: a file beside the code. None is one that could not be read."""
    if one is None or other is None:
        return True
    if one.get("type") != other.get("type"):
        return False
    names = _NAMES.get(str(one.get("type")), ())
    configs = [backend.get("config") or {} for backend in (one, other)]
    pairs = [[config.get(name) for config in configs] for name in names]
    return all(None in pair or pair[0] == pair[1] for pair in pairs)  # what is not said may come from elsewhere


def _backend(data: Path) -> dict[str, Any] | None:
    try:
        noted = json.loads((data / "terraform.tfstate").read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None
    backend = noted.get("backend") if isinstance(noted, dict) else None
    return backend if isinstance(backend, dict) else {}
