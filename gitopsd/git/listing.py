"""The answers of `ls-tree` and `cat-file` as data, and whether a symlink stays inside its tree. All of it is pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from gitopsd.model.ports import TreeEntry

SYMLINK = "120000"
_MAX_LINKS = 40
"""As many symlinks as Linux follows for one path."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything that one commit holds: files sorted by path, the id of each file and directory, the paths that no file
    system should be asked for, and those of submodules, sorted."""

    files: tuple[TreeEntry, ...]
    oids: Mapping[str, str]
    unusable: tuple[str, ...] = ()
    submodules: tuple[str, ...] = ()

    def below(self, path: str) -> tuple[TreeEntry, ...]:
        """The file `path`, or every file below the directory `path`; "" is the root."""
        if not path:
            return self.files
        start = bisect_left(self.files, path, key=lambda entry: entry.path)
        if start < len(self.files) and self.files[start].path == path:
            return (self.files[start],)
        first = bisect_left(self.files, f"{path}/", key=lambda entry: entry.path)
        last = bisect_left(self.files, f"{path}0", key=lambda entry: entry.path)  # "0" follows "/"
        return self.files[first:last]


def parse_listing(root: str, output: bytes) -> Listing:
    """From `git ls-tree -r -t -z --long`; `root` is the id of the commit's tree. Submodules have an id but no
    files; a file that git cannot read has the size -1, and fails when it is read."""
    files, oids, unusable, submodules = [], {"": root}, [], []
    for record in output.split(b"\x00"):
        if not record:
            continue
        head, _, name = record.partition(b"\t")
        mode, kind, oid, size = head.decode().split()
        try:
            path = name.decode()
        except UnicodeDecodeError:
            unusable.append(name.decode(errors="backslashreplace"))
            continue
        if any(part in {"", ".", ".."} or part.lower() == ".git" for part in path.split("/")):
            unusable.append(path)
            continue
        oids[path] = oid
        if kind == "blob":
            files.append(TreeEntry(path, mode, oid, int(size) if size.isdecimal() else -1))
        elif kind == "commit":
            submodules.append(path)
    return Listing(tuple(sorted(files)), oids, tuple(unusable), tuple(sorted(submodules)))


def parse_blobs(output: bytes) -> dict[str, bytes]:
    """Contents by id from `git cat-file --batch`; ids that git did not find are left out. Raises ValueError for an
    output that ends early."""
    blobs: dict[str, bytes] = {}
    at = 0
    while at < len(output):
        end = output.index(b"\n", at)
        fields = output[at:end].decode().split(" ")
        at = end + 1
        if len(fields) != 3:
            continue
        size = int(fields[2])
        if at + size >= len(output):
            raise ValueError("cat-file ended inside an object")
        blobs[fields[0]] = output[at : at + size]
        at += size + 1
    return blobs


def normal_path(path: str) -> str | None:
    """`path` without `.` and empty parts, "" for the root; None if it leaves the tree."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return None if path.startswith("/") or ".." in parts else "/".join(parts)


def leaves_tree(path: str, links: Mapping[str, str]) -> bool:
    """Whether the symlink `path` leads out of the tree (or nowhere, in a circle), following every link on its way.

    `links` has the target of each symlink of the tree. Going by the text of the target alone is not enough: `a/../..`
    stays inside or not depending on what `a` is.
    """
    here: list[str] = []
    todo = list(PurePosixPath(path).parts)
    followed = 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            if not here:
                return True
            here.pop()
            continue
        target = links.get("/".join([*here, part]))
        if target is None:
            here.append(part)
            continue
        followed += 1
        if followed > _MAX_LINKS or target.startswith("/"):
            return True
        todo = [piece for piece in target.split("/") if piece not in {"", "."}] + todo
    return False
