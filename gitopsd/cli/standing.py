"""Where every stack stands: what the daemon wrote last, corrected by whether it lives; without that, the record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gitopsd.config.paths import Paths
    from gitopsd.model.status import StackFacts


def standing(paths: Paths) -> dict[str, Any]:
    """The status document of now. Raises EnvironmentFault if what is there cannot be read."""
    from gitopsd.record.statusfile import read_status

    document = read_status(paths.runtime_dir / "status.json")
    if document is None:
        document = _from_record(paths.state_dir)
    document["daemon"] |= _daemon(paths.state_dir, document["daemon"])
    return document


def _daemon(state_dir: Path, written: dict[str, Any]) -> dict[str, Any]:
    """What is true of the process, whatever a file says that it may have left when it was killed."""
    from gitopsd.model.errors import EnvironmentFault
    from gitopsd.record.dirlock import owner

    try:
        found = owner(state_dir)
    except EnvironmentFault:  # not ours to open: the directory is private to the daemon's user
        alive = bool(written["running"] and written["pid"] and _alive(written["pid"]))
        return {} if alive else {"running": False, "pid": None, "since": None}
    if found is None:
        return {"running": False, "pid": None, "since": None}
    return {"running": True, "pid": found.pid or written["pid"], "since": found.started or written["since"]}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _from_record(state_dir: Path) -> dict[str, Any]:
    """After a restart of the host nobody has written a status yet; the record still knows what was good and held."""
    from gitopsd.model.status import DaemonInfo
    from gitopsd.views.status import status_document

    known = list(_recorded(state_dir)) if _has_record(state_dir) else []
    return status_document(DaemonInfo(False), known)


def _has_record(state_dir: Path) -> bool:
    from gitopsd.model.errors import EnvironmentFault, Problem

    try:
        return (state_dir / "state.db").exists()
    except OSError as error:
        remedy = "run this as root or as the user of gitopsd"
        raise EnvironmentFault(Problem(f"cannot be read: {error.strerror}", str(state_dir), remedy=remedy)) from error


def _recorded(state_dir: Path) -> Iterator[StackFacts]:
    from gitopsd.model.status import StackFacts
    from gitopsd.record.reader import open_reader

    with open_reader(state_dir) as record:
        for name in record.stacks():
            state = record.state(name)
            ended = [run for run in record.runs(name, 2) if run.verdict is not None]
            yield StackFacts(
                name=name,
                source=state.memory.source if state else "",
                state=state,
                last=ended[0] if ended else None,
                tracked=len(record.baselines(name)),
            )
