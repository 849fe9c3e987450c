"""The files of one commit, out of the object database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gitopsd.git.listing import SYMLINK, Listing, leaves_tree, normal_path
from gitopsd.model.errors import CommitError, EnvironmentFault, Problem, raise_if
from gitopsd.model.ports import TreeEntry


class GitTree:
    """A `SourceTree`: immutable, and safe to use from several threads."""

    def __init__(self, commit: str, listing: Listing, contents: Callable[[Iterable[str]], dict[str, bytes]]) -> None:
        self._commit = commit
        self._listing = listing
        self._contents = contents

    @property
    def commit(self) -> str:
        return self._commit

    def oid(self, path: str) -> str | None:
        """The object id of a file or directory ("" and "." are the root); None if the commit has no such path."""
        normal = normal_path(path)
        return None if normal is None else self._listing.oids.get(normal)

    def files(self, under: str = "") -> tuple[TreeEntry, ...]:
        """Every file below a directory, sorted by path; a file is below itself. Submodules are not followed.

        Raises CommitError for a path outside the tree and for file names that no file system should be asked for.
        """
        return self._below(self._inside(under))

    def submodules(self, under: str = "") -> tuple[str, ...]:
        """The paths of every submodule below a directory, sorted. Raises CommitError for a path outside the tree."""
        below = self._inside(under)
        return tuple(path for path in self._listing.submodules if not below or path.startswith(f"{below}/"))

    def read(self, entries: Sequence[TreeEntry]) -> dict[str, bytes]:
        """Contents by path, in one conversation with git; for a symlink, the path that it points to."""
        blobs = self._contents(entry.oid for entry in entries)
        return {entry.path: blobs[entry.oid] for entry in entries}

    def export(self, destination: Path, paths: Iterable[str]) -> None:
        """Write the files below `paths` under `destination`, a directory of its own, with their executable bits and
        symlinks. Raises CommitError, and writes nothing, for a path that the commit does not have, for unusable file
        names and for symlinks that leave the tree."""
        entries: dict[str, TreeEntry] = {}
        problems = []
        for path in paths:
            normal = self._inside(path)
            if normal not in self._listing.oids:
                problems.append(Problem("the commit has no such file or directory", file=path))
            entries.update((entry.path, entry) for entry in self._below(normal))
        raise_if(problems)
        self._refuse_escapes(entries.values())
        contents = self.read(tuple(entries.values()))
        try:
            destination.mkdir(parents=True, exist_ok=True)
            for path in sorted(entries):
                _write(destination / path, entries[path].mode, contents[path])
        except OSError as error:
            raise EnvironmentFault(
                Problem(
                    f"the files of commit {self._commit[:12]} cannot be written: {error.strerror}",
                    file=str(error.filename or destination),
                    remedy="check space and permissions there",
                )
            ) from None

    def _inside(self, path: str) -> str:
        normal = normal_path(path)
        if normal is None:
            raise CommitError(Problem("the path leaves the repository", file=path))
        return normal

    def _below(self, path: str) -> tuple[TreeEntry, ...]:
        bad = [name for name in self._listing.unusable if not path or name == path or name.startswith(f"{path}/")]
        remedy = "rename it: names must be UTF-8, without `..` and `.git`"
        raise_if(Problem("a file of this name cannot be used", file=_shown(name), remedy=remedy) for name in bad)
        return self._listing.below(path)

    def _refuse_escapes(self, entries: Iterable[TreeEntry]) -> None:
        wanted = [entry.path for entry in entries if entry.mode == SYMLINK]
        if not wanted:
            return
        every = [entry for entry in self._listing.files if entry.mode == SYMLINK]
        links = {path: os.fsdecode(target) for path, target in self.read(every).items()}
        # The target is not shown: what a commit can make an error print, it could use to read this host.
        raise_if(
            Problem("the symlink leaves the repository, or leads back to itself", file=_shown(path))
            for path in wanted
            if leaves_tree(path, links)
        )


def _write(path: Path, mode: str, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == SYMLINK:
        path.symlink_to(os.fsdecode(content))
        return
    with path.open("xb") as file:
        file.write(content)
    path.chmod(0o755 if mode == "100755" else 0o644)


def _shown(path: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in path)
