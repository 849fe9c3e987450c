"""What is different between two trees, found by reading only the directories that are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from gitopsd.git.listing import Listing
from gitopsd.model.ports import TreeEntry

MOST = 500
"""Different entries from which on listing everything costs less."""

_DIRECTORY = "40000"
_FILES = frozenset({"100644", "100755", "100664", "120000"})

ReadTree = Callable[[str], bytes]


class TooDifferent(Exception):
    """List everything: there is too much, or something that is not a plain file or directory."""


@dataclass(slots=True)
class Difference:
    """Paths that are gone (`gone`), and what there is instead or anew: files with (mode, id), directories with ids."""

    gone: set[str] = field(default_factory=set)
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    directories: dict[str, str] = field(default_factory=dict)


def difference(read: ReadTree, old: str, new: str) -> Difference:
    """Between the trees with these ids. `read` gives the bytes of a tree. Raises TooDifferent."""
    found = Difference()
    todo: list[tuple[str, str | None, str | None]] = [("", old, new)]
    while todo:
        path, before, after = todo.pop()
        was, now = _entries(read, before), _entries(read, after)
        names: dict[str, tuple[tuple[str, str] | None, tuple[str, str] | None]] = {}
        for raw in was - now:
            name, mode, oid = _parsed(raw)
            names[name] = ((mode, oid), None)
        for raw in now - was:
            name, mode, oid = _parsed(raw)
            names[name] = (names.get(name, (None, None))[0], (mode, oid))
        for name, (one, other) in names.items():
            todo += _note(found, f"{path}/{name}" if path else name, one, other)
        if len(found.gone) + len(found.files) + len(todo) > MOST:
            raise TooDifferent
    return found


def _note(
    found: Difference, path: str, one: tuple[str, str] | None, other: tuple[str, str] | None
) -> list[tuple[str, str | None, str | None]]:
    """Take in one name of a directory; which directories have to be compared for it."""
    was = one[1] if one and one[0] == _DIRECTORY else None
    now = other[1] if other and other[0] == _DIRECTORY else None
    if one and not (was and now):
        found.gone.add(path)
    if now:
        found.directories[path] = now
    elif other:
        found.files[path] = other
    return [(path, was, now)] if was or now else []


def _entries(read: ReadTree, tree: str | None) -> set[bytes]:
    """The entries of a tree as they stand in it: mode, name and id."""
    if tree is None:
        return set()
    data, width = read(tree), len(tree) // 2
    found, at = set(), 0
    while at < len(data):
        end = data.index(b"\0", at) + 1 + width
        found.add(data[at:end])
        at = end
    return found


def _parsed(raw: bytes) -> tuple[str, str, str]:
    head, _, oid = raw.partition(b"\0")
    mode, _, name = head.partition(b" ")
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise TooDifferent from None
    if text in {"", ".", ".."} or text.lower() == ".git" or mode.decode() not in {*_FILES, _DIRECTORY}:
        raise TooDifferent
    return text, mode.decode(), oid.hex()


def patched(old: Listing, root: str, found: Difference, sizes: Mapping[str, int]) -> Listing:
    """The listing after a difference; every entry that is still the same is the very same value. `sizes` are those of
    the new files, by id."""
    oids = dict(old.oids)
    oids[""] = root
    files = list(old.files)
    for path in found.gone:
        oids.pop(path, None)
    for path in sorted(found.gone, reverse=True):
        at = bisect_left(files, path, key=_path)
        if at < len(files) and files[at].path == path:
            del files[at]
    oids.update(found.directories)
    for path, (mode, oid) in sorted(found.files.items()):
        files.insert(bisect_left(files, path, key=_path), TreeEntry(path, mode, oid, sizes.get(oid, -1)))
        oids[path] = oid
    return replace(old, files=tuple(files), oids=oids)


def _path(entry: TreeEntry) -> str:
    return entry.path
