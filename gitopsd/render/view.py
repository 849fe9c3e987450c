"""A commit's files as a program on a checkout would meet them: symlinks followed, but never out of the repository."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gitopsd.model.ports import SourceTree, TreeEntry

SYMLINK = "120000"
_MAX_LINKS = 40
"""As many symlinks as Linux follows for one path."""


class LeavesTree(Exception):
    """A path leads out of the repository, or in a circle. Says nothing of where to, on purpose."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a path leads: `path` has no symlink in it, `links` are those that were followed."""

    path: str
    links: tuple[str, ...] = ()


class TreeView:
    """Asks one commit; remembers what it was told, so it is meant for one render."""

    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self._entries: dict[str, TreeEntry | None] = {}
        self._targets: dict[str, str] = {}
        self._contents: dict[str, bytes] = {}

    def root_oid(self) -> str:
        return self.tree.oid("") or self.tree.commit

    def exists(self, path: str) -> bool:
        return self.tree.oid(path) is not None

    def file(self, path: str) -> TreeEntry | None:
        """The file or symlink of exactly this path; None for directories and what does not exist."""
        if path not in self._entries:
            exists = bool(path) and self.tree.oid(path) is not None
            below = self.tree.files(path) if exists else ()
            self._entries[path] = below[0] if len(below) == 1 and below[0].path == path else None
        return self._entries[path]

    def is_directory(self, path: str) -> bool:
        return self.exists(path) and self.file(path) is None

    def files(self, directory: str) -> tuple[TreeEntry, ...]:
        """Every file below a directory, sorted by path."""
        return self.tree.files(directory)

    def submodules(self, directory: str) -> tuple[str, ...]:
        """The paths of the submodules below a directory, sorted."""
        return self.tree.submodules(directory)

    def read(self, entry: TreeEntry) -> bytes:
        if entry.oid not in self._contents:
            self._contents[entry.oid] = self.tree.read([entry])[entry.path]
        return self._contents[entry.oid]

    def read_all(self, entries: Iterable[TreeEntry]) -> dict[str, bytes]:
        """Contents by object id, in one conversation."""
        distinct = {entry.oid: entry for entry in entries}
        by_path = self.tree.read(tuple(distinct.values())) if distinct else {}
        return {oid: by_path[entry.path] for oid, entry in distinct.items()}

    def follow(self, path: str) -> Arrival:
        """Where a path of the repository leads; it need not exist. Raises LeavesTree."""
        here: list[str] = []
        links: list[str] = []
        todo = _parts(path)
        while todo:
            part = todo.pop(0)
            if part == "..":
                if not here:
                    raise LeavesTree
                here.pop()
                continue
            entry = self.file("/".join([*here, part]))
            if entry is None or entry.mode != SYMLINK:
                here.append(part)
                continue
            links.append(entry.path)
            target = self._target(entry)
            if len(links) > _MAX_LINKS or target.startswith("/"):
                raise LeavesTree
            todo = _parts(target) + todo
        return Arrival("/".join(here), tuple(links))

    def _target(self, entry: TreeEntry) -> str:
        if entry.path not in self._targets:
            self._targets[entry.path] = os.fsdecode(self.read(entry))
        return self._targets[entry.path]


class TracedView(TreeView):
    """A view that remembers what it was asked, so that it can be told whether another commit would answer the same."""

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree)
        self._there: dict[str, bool] = {}
        self._below: dict[str, str | None] = {}

    def exists(self, path: str) -> bool:
        if path not in self._there:
            self._there[path] = super().exists(path)
        return self._there[path]

    def files(self, directory: str) -> tuple[TreeEntry, ...]:
        self._below[directory] = self.tree.oid(directory)
        return super().files(directory)

    def submodules(self, directory: str) -> tuple[str, ...]:
        self._below[directory] = self.tree.oid(directory)
        return super().submodules(directory)

    def trace(self) -> Trace:
        """What was asked so far, and answered."""
        return Trace(dict(self._there), dict(self._entries), dict(self._below))


@dataclass(frozen=True, slots=True)
class Trace:
    """Answers of one commit: which paths exist, which are files and with what bytes, and the ids of directories whose
    files were asked for. What was read is among the files: an id stands for bytes."""

    there: Mapping[str, bool]
    entries: Mapping[str, TreeEntry | None]
    below: Mapping[str, str | None]

    def holds(self, view: TreeView) -> bool:
        """Whether another commit answers the same to every question."""
        oid = view.tree.oid
        return (
            all(oid(path) == known for path, known in self.below.items())
            and all((oid(path) is not None) is known for path, known in self.there.items())
            and all(_same(view, path, known) for path, known in self.entries.items())
        )


def _same(view: TreeView, path: str, known: TreeEntry | None) -> bool:
    if known is not None and view.tree.oid(path) != known.oid:
        return False  # most of what changed is told by this alone
    found = view.file(path)
    return found is known or found == known


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]
