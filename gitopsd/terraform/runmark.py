"""The note that a running program leaves beside its work, for whoever comes after our own death."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitopsd.terraform.processes import boot_id, host_name, is_alive, started_at
from gitopsd.tfplan import LockInfo

_SLACK = timedelta(seconds=1)
"""Clocks of the program and of ours are the same; their rounding is not."""


@dataclass(frozen=True, slots=True)
class RunMark:
    """A program at work. `ticks` is its start in clock ticks since the boot, `started` in UTC (ISO 8601), from before
    it was there. `pid` is 0 while it is being started."""

    operation: str
    started: str
    host: str
    boot: str
    pid: int = 0
    ticks: int = 0

    @property
    def alive(self) -> bool:
        return self.boot == boot_id() and is_alive(self.pid, self.ticks)

    def left(self, lock: LockInfo, host: str, now: datetime) -> bool:
        """Whether this program, being dead, is the one that left this lock: it has to be of this host, and not older
        than the program. Nor younger than the question (`now`), for a backend may answer with the question's own lock.
        The rest of the proof is that nobody else of this host is at work. (Operations tell nothing: with some backends
        even a plan makes an empty state, under a lock.)"""
        begun = datetime.fromisoformat(self.started) - _SLACK
        return self.host == host == lock.host and lock.created is not None and begun <= lock.created < now


def new_mark(operation: str) -> RunMark:
    """The mark of a program that is about to be started."""
    return RunMark(operation, datetime.now(UTC).isoformat(), host_name(), boot_id())


def with_pid(mark: RunMark, pid: int) -> RunMark:
    """The mark of a program that runs."""
    return RunMark(mark.operation, mark.started, mark.host, mark.boot, pid, started_at(pid) or 0)


def write_mark(file: Path, mark: RunMark, *, lasts: bool) -> None:
    """Whole or not at all. `lasts`: also if the power fails, for without it a lock that is left cannot be told ours."""
    fresh = file.with_suffix(".new")
    with fresh.open("w") as out:
        json.dump(asdict(mark), out)
        out.flush()
        if lasts:
            os.fsync(out.fileno())
    os.replace(fresh, file)


def read_mark(file: Path) -> RunMark | None:
    """None if nothing was at work. One that cannot be read was never whole, and tells as much as none with a name."""
    try:
        raw = json.loads(file.read_text())
        return RunMark(**raw) if isinstance(raw, Mapping) else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return RunMark("", datetime.now(UTC).isoformat(), "", "")
