"""A commit's files in memory: the `SourceTree` port without git."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitopsd.model.errors import CommitError, Problem
from gitopsd.model.ports import TreeEntry


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link with this target."""

    target: str


@dataclass(frozen=True, slots=True)
class Submodule:
    """Another repository at this path; nothing of it is in the tree."""


class MemoryTree:
    """Files by path; ids are those that git would give. `reads` lists every path whose contents were asked for."""

    def __init__(self, files: Mapping[str, str | bytes | Link | Submodule], commit: str = "") -> None:
        self._submodules = sorted(path for path, content in files.items() if isinstance(content, Submodule))
        self._entries: dict[str, TreeEntry] = {}
        self._data: dict[str, bytes] = {}
        for path, content in files.items():
            if isinstance(content, Submodule):
                continue
            mode = "120000" if isinstance(content, Link) else "100644"
            text = content.target if isinstance(content, Link) else content
            data = text.encode() if isinstance(text, str) else text
            self._entries[path] = TreeEntry(path, mode, _git_id("blob", data), len(data))
            self._data[path] = data
        self._commit = commit or _git_id("commit", repr(sorted(self._entries.items())).encode())
        self.reads: list[str] = []

    @property
    def commit(self) -> str:
        return self._commit

    def oid(self, path: str) -> str | None:
        normal = _normal(path)
        entry = self._entries.get(normal)
        if entry is not None:
            return entry.oid
        return self._tree_id(normal) if self._below(normal) or not normal else None

    def files(self, under: str = "") -> tuple[TreeEntry, ...]:
        return tuple(sorted(self._below(_normal(under))))

    def submodules(self, under: str = "") -> tuple[str, ...]:
        below = _normal(under)
        return tuple(path for path in self._submodules if not below or path.startswith(f"{below}/"))

    def read(self, entries: Sequence[TreeEntry]) -> dict[str, bytes]:
        self.reads.extend(entry.path for entry in entries)
        return {entry.path: self._data[entry.path] for entry in entries}

    def export(self, destination: Path, paths: Iterable[str]) -> None:
        wanted = [_normal(path) for path in paths]
        for path, entry in self._entries.items():
            if not any(not w or path == w or path.startswith(w + "/") for w in wanted):
                continue
            target = destination / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.mode == "120000":
                link = self._data[path].decode()
                if (
                    link.startswith("/")
                    or posixpath.normpath(posixpath.join(posixpath.dirname(path), link))[:2] == ".."
                ):
                    raise CommitError(Problem("the link leaves the repository", file=path))
                target.symlink_to(link)
            else:
                target.write_bytes(self._data[path])

    def _below(self, directory: str) -> list[TreeEntry]:
        return [e for p, e in self._entries.items() if not directory or f"{p}/".startswith(f"{directory}/")]

    def _tree_id(self, directory: str) -> str:
        prefix = f"{directory}/" if directory else ""
        names = {entry.path[len(prefix) :].split("/", 1)[0] for entry in self._below(directory)}
        rows: list[tuple[str, bytes]] = []
        for name in names:
            entry = self._entries.get(prefix + name)
            mode, oid = (entry.mode, entry.oid) if entry else ("40000", self._tree_id(prefix + name))
            key = name if entry else f"{name}/"  # git sorts a directory as if its name ended in a slash
            rows.append((key, f"{mode} {name}\0".encode() + bytes.fromhex(oid)))
        return _git_id("tree", b"".join(row for _, row in sorted(rows)))


def _git_id(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


def _normal(path: str) -> str:
    normal = posixpath.normpath(path or ".")
    return "" if normal == "." else normal
