"""One source: fetches it, learns which stacks it has, and hands its head to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

import structlog

from gitopsd.model.errors import CommitError, EnvironmentFault, GitopsdError, NeedsPerson
from gitopsd.stack.pipeline import Pipeline

log = structlog.get_logger("gitopsd.source")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a look at the source gave: its head as far as known, the stacks there, and what went wrong. `gone` are those
    of the stacks that the head has not any more."""

    head: str | None
    stacks: tuple[str, ...]
    trouble: str = ""
    gone: tuple[str, ...] = ()


class Desk:
    """Reads one source. `known` are stacks that were delivered from it before: they stay if a commit drops them.

    `owners` is shared by all desks: which source a stack name belongs to.
    """

    def __init__(self, name: str, pipeline: Pipeline, known: Iterable[str], owners: dict[str, str]) -> None:
        self.name, self.pipeline, self._owners = name, pipeline, owners
        self.stacks: list[str] = list(known)
        self._one_by_one = Lock()
        self._read: str | None = None  # the head whose stack file was read, and what was wrong with it
        self._unread = ""
        self._told = ""  # what was last said to be wrong
        self._there: frozenset[str] | None = None  # the stacks of the last stack file that could be read

    def look(self) -> Fetched:
        """Fetch, and read which stacks the head has. Never raises what a stack can be held for. Safe from several
        threads: who comes meanwhile looks afterwards."""
        with self._one_by_one:
            return self._look()

    def _look(self) -> Fetched:
        source = self.pipeline.source(self.name)
        trouble = ""
        try:
            head: str | None = source.fetch()
        except GitopsdError as error:
            head, trouble = source.head(), str(error)
        if head is not None and head != self._read:
            log.info("head", source=self.name, commit=head[:12])
            try:
                self._unread = self._read_stacks(head)
                self._read = head
            except EnvironmentFault as fault:  # the mirror does not answer now; the next look asks again
                self._unread = str(fault)
        trouble = self._unread or trouble
        self._tell(trouble)
        gone = () if self._unread or self._there is None else tuple(s for s in self.stacks if s not in self._there)
        return Fetched(head, tuple(self.stacks), trouble, gone)

    def forget(self, stack: str) -> None:
        """A stack that is gone and has left nothing behind: another source may have its name."""
        with self._one_by_one:
            if stack in self.stacks and stack not in (self._there or ()):
                self.stacks.remove(stack)
                self._owners.pop(stack, None)

    def _tell(self, trouble: str) -> None:
        """Say what is wrong, once for each change of it: also where there is no stack yet that could be held for it."""
        if trouble and trouble != self._told:
            log.error("source cannot be delivered", source=self.name, error=trouble)
        elif self._told and not trouble:
            log.info("source can be delivered again", source=self.name)
        self._told = trouble

    def _read_stacks(self, head: str) -> str:
        try:
            names = [spec.name for spec in self.pipeline.specs(self.name, head)]
        except CommitError as error:
            return f"commit {head[:12]}: {error}"
        except NeedsPerson as error:
            return str(error)
        self._there = frozenset(names)
        taken = [name for name in names if self._owners.setdefault(name, self.name) != self.name]
        self.stacks += [name for name in names if name not in self.stacks and name not in taken]
        if taken:
            return f"stack {taken[0]!r} is also in source {self._owners[taken[0]]!r}: rename one of them"
        return ""
