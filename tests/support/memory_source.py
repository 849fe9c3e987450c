"""The `Source` port in memory: one branch, a straight line of commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gitopsd.model.errors import EnvironmentFault, UsageError
from gitopsd.model.units import Person, Revision
from tests.support.trees import MemoryTree


class MemorySource:
    """Commits are made with `commit`; `kept` are those that each stack holds against gc."""

    def __init__(self, name: str = "main") -> None:
        self._name = name
        self._trees: dict[str, MemoryTree] = {}
        self._revisions: dict[str, Revision] = {}
        self._order: list[str] = []
        self.kept: dict[str, tuple[str, ...]] = {}

    def commit(self, files: Mapping[str, str], subject: str = "change") -> str:
        number = len(self._order) + 1
        commit = f"{number:040x}"
        who = Person("Dana", "dana@example.org")
        self._trees[commit] = MemoryTree(files, commit)
        self._revisions[commit] = Revision(commit, who, who, f"2030-01-01T00:00:{number % 60:02}Z", subject)
        self._order.append(commit)
        return commit

    def empty(self, commit: str) -> None:
        """From now on this commit has no files: nothing of what it asked for can be read any more."""
        self._trees[commit] = MemoryTree({}, commit)

    def copy(self) -> MemorySource:
        """The same history, to go on with apart."""
        made = MemorySource(self._name)
        made._trees, made._revisions, made._order = dict(self._trees), dict(self._revisions), list(self._order)
        made.kept = dict(self.kept)
        return made

    @property
    def name(self) -> str:
        return self._name

    def fetch(self) -> str:
        if not self._order:
            raise EnvironmentFault("nothing was pushed yet")
        return self._order[-1]

    def head(self) -> str | None:
        return self._order[-1] if self._order else None

    def revision(self, commit: str) -> Revision:
        return self._revisions[commit]

    def resolve(self, name: str) -> str:
        if name not in self._trees:
            raise UsageError(f"there is no commit {name}")
        return name

    def tree(self, commit: str) -> MemoryTree:
        return self._trees[commit]

    def between(self, old: str, new: str, limit: int = 200) -> tuple[Revision, ...]:
        start = self._order.index(old) + 1 if old in self._order else 0
        return tuple(self._revisions[c] for c in self._order[start : self._order.index(new) + 1])[-limit:]

    def has(self, commit: str) -> bool:
        return commit in self._trees

    def keep(self, stack: str, commits: Sequence[str]) -> None:
        self.kept[stack] = tuple(commits)

    def fetch_ref(self, name: str) -> str:
        return self.resolve(name)

    def is_ancestor(self, old: str, new: str) -> bool:
        return self._order.index(old) <= self._order.index(new)

    def related(self, one: str, other: str) -> bool:
        return one in self._trees and other in self._trees

    def close(self) -> None:
        self._trees.clear()
