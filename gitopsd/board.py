"""Where `gitopsd status` finds what the daemon knows: a file that is written at each change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import structlog

from gitopsd.clock import SystemClock
from gitopsd.model.errors import EnvironmentFault, GitopsdError, Problem
from gitopsd.model.status import DaemonInfo, SourceFacts, StackFacts
from gitopsd.model.times import timestamp
from gitopsd.record.statusfile import write_status
from gitopsd.views.status import status_document

log = structlog.get_logger("gitopsd.daemon")


@dataclass
class StatusBoard:
    """Collects what is known of every source and stack and writes it where `gitopsd status` finds it. Raises
    EnvironmentFault if there is no place for it."""

    path: Path
    daemon: DaemonInfo
    group: int | None = None

    def __post_init__(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = "let the user that gitopsd runs as make it, or set `socket` to a path in another directory"
            problem = Problem(f"cannot be made: {error.strerror}", str(self.path.parent), remedy=remedy)
            raise EnvironmentFault(problem) from error
        self._stacks: dict[str, StackFacts] = {}
        self._sources: dict[str, SourceFacts] = {}
        self._lock = Lock()

    def publish(self, facts: StackFacts) -> None:
        with self._lock:
            self._stacks[facts.name] = facts
            self._write()

    def drop(self, stack: str) -> None:
        with self._lock:
            if self._stacks.pop(stack, None) is not None:
                self._write()

    def source(self, name: str, trouble: str) -> bool:
        """What a look at a source gave ("" if nothing is wrong). Whether that has changed."""
        with self._lock:
            known = self._sources.get(name, SourceFacts(name))
            if name in self._sources and known.trouble == trouble:
                return False
            since = timestamp(SystemClock().now()) if trouble else ""
            self._sources[name] = SourceFacts(name, trouble, since)
            self._write()
            return known.trouble != trouble

    def close(self) -> None:
        with self._lock:
            self.daemon = DaemonInfo(False, None, self.daemon.version, None)
            self._write()

    def _write(self) -> None:
        facts = [self._stacks[name] for name in sorted(self._stacks)]
        sources = [self._sources[name] for name in sorted(self._sources)]
        try:
            now = timestamp(SystemClock().now())
            write_status(self.path, status_document(self.daemon, facts, at=now, sources=sources), self.group)
        except GitopsdError as error:  # what is shown must never stop what is done
            log.error("status not written", path=str(self.path), error=str(error))
