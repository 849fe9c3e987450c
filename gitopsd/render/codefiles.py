"""Every file of a commit that a Terraform root module may read, found by walking its code: nothing is run for it.

Terraform reads more than its own directory: local modules, templates, scripts, whole directories. What a text in the
code or in a variable file names relative to the module or to the root module, and what the commit has there, belongs to
the module. Where a path goes on with something computed, the whole directory before that belongs to it. Not found is
what no text leads to, such as a path out of an environment variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import orjson

from gitopsd.model.errors import Problem, raise_if
from gitopsd.model.ports import BlobCache, TreeEntry
from gitopsd.render.closure import join
from gitopsd.render.hcl import (
    MODULE,
    ROOT,
    SCANNER_VERSION,
    UNKNOWN,
    Role,
    Text,
    Unreadable,
    texts_of_code,
    texts_of_json,
)
from gitopsd.render.view import SYMLINK, Arrival, LeavesTree, TreeView
from gitopsd.yamltext import MAX_BYTES

LOCK_FILE: Final = ".terraform.lock.hcl"
OVERRIDE_FILE: Final = "gitopsd_override.tf.json"
"""The file that gitopsd itself writes beside a module's code, to tell Terraform where the state is."""

_CODE: Final = (".tf", ".tofu", ".tf.json", ".tofu.json")
_SETTINGS: Final = re.compile(r"terraform\.tfvars(\.json)?|.*\.auto\.tfvars(\.json)?")
_STATE: Final = re.compile(r".*\.tfstate(\..*)?")
_LOCAL: Final = re.compile(rf"\.\.?(/|$)|[{MODULE}{ROOT}]")
_OPEN: Final = re.compile(rf"[*?\[{{{UNKNOWN}{MODULE}{ROOT}]")
"""Where a path goes on with something that is not written there: a pattern, or a computed part."""
_BELOW: Final = re.compile(rf"(?=.*(/|\*\*))[\w.-]*[*?\[{{][^\s:{UNKNOWN}{MODULE}{ROOT}]*")
"""A pattern that leads into directories, as `fileset` takes it; no schedule and no name of a cloud's resource."""
_LEAVES: Final = "this path leaves the repository"


def files_of_module(
    view: TreeView, cache: BlobCache, root: Arrival, var_files: Sequence[Arrival] = ()
) -> tuple[TreeEntry, ...]:
    """The files (and symlinks) that the module in `root` and its `var_files` need, sorted by path.

    Raises CommitError, each with file and line, for local modules that are not there, for what leads out of the
    repository, for code that is no text, and for a file of the name that gitopsd uses itself.
    """
    walk = _Walk(view, cache, root.path)
    walk.arrive(root)
    walk.module(root.path, Problem("", file=root.path or "."))
    walk.settings(var_files)
    while walk.todo:
        directory, place = walk.todo.pop()
        walk.module(directory, place)
    walk.finish()
    raise_if(set(walk.problems))
    return tuple(entry for _, entry in sorted(walk.entries.items()))


class _Walk:
    def __init__(self, view: TreeView, cache: BlobCache, root: str) -> None:
        self.view, self.root = view, root
        self.entries: dict[str, TreeEntry] = {}
        self.problems: list[Problem] = []
        self.todo: list[tuple[str, Problem]] = []
        self._texts = _Texts(view, cache)
        self._modules: set[str] = set()
        self._whole: set[str] = set()

    def finish(self) -> None:
        self._texts.keep()

    def module(self, directory: str, place: Problem) -> None:
        """The files of one module's directory, and where they lead; `place` is who names it."""
        if directory in self._modules:
            return
        self._modules.add(directory)
        files = dict(self._own_files(directory))
        code = {path: entry for path, entry in files.items() if path.endswith(_CODE)}
        if not code:
            self._note(place, f"the directory {directory or '.'} has no Terraform code")
        if directory == self.root:
            if join(directory, OVERRIDE_FILE) in code:
                remedy = "give it another name ending in _override.tf.json"
                place = Problem("", file=join(directory, OVERRIDE_FILE), line=1)
                self._note(place, "gitopsd itself writes a file of this name", remedy)
            code |= {p: e for p, e in files.items() if _SETTINGS.fullmatch(p.rpartition("/")[2])}
        self._read(code, directory)

    def settings(self, files: Iterable[Arrival]) -> None:
        """Variable files that are named from outside."""
        found = {}
        for arrival in files:
            self.arrive(arrival)
            entry = self.view.file(arrival.path)
            if entry is not None:
                found[arrival.path] = entry
        self._read(found, self.root)

    def arrive(self, arrival: Arrival) -> None:
        """Note the links on the way, and the file at its end, unless it is one that Terraform itself writes."""
        for path in (*arrival.links, arrival.path):
            entry = self.view.file(path)
            parts = path.split("/")
            if entry is not None and ".terraform" not in parts and not _STATE.fullmatch(parts[-1]):
                self.entries[path] = entry

    # ------------------------------------------------------------ files

    def _own_files(self, directory: str) -> Iterator[tuple[str, TreeEntry]]:
        """(path, file whose bytes it has) of the files of a directory alone."""
        start = len(directory) + 1 if directory else 0
        for entry in self.view.tree.files(directory):
            name = entry.path[start:]
            if "/" in name or (name.startswith(".") and name != LOCK_FILE):
                continue
            arrival = self._follow(entry)
            real = self.view.file(arrival.path) if arrival else None
            if arrival is not None and not self.view.is_directory(arrival.path):
                self.arrive(arrival)
            if real is not None:
                yield entry.path, real

    def _follow(self, entry: TreeEntry) -> Arrival | None:
        if entry.mode != SYMLINK:
            return Arrival(entry.path)
        try:
            return self.view.follow(entry.path)
        except LeavesTree:
            text = "this link leaves the repository, or leads back to itself"
            self.problems.append(Problem(text, file=entry.path))
            return None

    def _everything(self, directory: str) -> None:
        """All that is below a directory."""
        todo = [directory]
        while todo:
            here = todo.pop()
            if here in self._whole:
                continue
            self._whole.add(here)
            for entry in self.view.tree.files(here):
                arrival = self._follow(entry)
                if arrival is not None:
                    self.arrive(arrival)
                    todo += [arrival.path] if self.view.is_directory(arrival.path) else []

    # ------------------------------------------------------------ where the code leads

    def _read(self, code: dict[str, TreeEntry], directory: str) -> None:
        for path, text in self._texts.of(code, self.problems):
            place = Problem("", file=path, line=text.line)
            if text.role is Role.SOURCE:
                self._source(text.text, directory, place)
            else:
                self._reference(text, directory, place)

    def _source(self, source: str, directory: str, place: Problem) -> None:
        """A module's code, if it is here: what is not local is fetched by Terraform."""
        if source.startswith("/"):
            self._note(place, "expected a path relative to this file, not an absolute one")
        if not _LOCAL.match(source):
            return
        below = _OPEN.search(source, 1)
        path = _at(directory, self.root, source[: source.rfind("/", 0, below.start()) + 1] if below else source)
        try:
            arrival = self.view.follow(path)
        except LeavesTree:
            self._note(place, _LEAVES)
            return
        self.arrive(arrival)
        if not self.view.is_directory(arrival.path):
            self._note(place, f"the commit has no directory {arrival.path}")
        elif below is None:
            self.todo.append((arrival.path, place))
        else:  # any module in there may be meant
            self._everything(arrival.path)
            found = {e.path.rpartition("/")[0] for e in self.view.tree.files(arrival.path) if e.path.endswith(_CODE)}
            self.todo += ((path, place) for path in sorted(found))

    def _reference(self, text: Text, directory: str, place: Problem) -> None:
        left = 0
        paths = list(dict.fromkeys(_named(text, directory, self.root)))
        for path in paths:
            try:
                arrival = self.view.follow(path)
            except LeavesTree:
                left += 1
                continue
            if not self.view.exists(arrival.path):
                continue  # it may be made by the run itself; Terraform says so if not
            self.arrive(arrival)
            if self.view.is_directory(arrival.path):
                self._everything(arrival.path)
        if paths and left == len(paths) and (_LOCAL.match(text.text) or ".." not in text.text):
            self._note(place, _LEAVES)

    def _note(self, place: Problem, message: str, remedy: str = "") -> None:
        self.problems.append(Problem(message, place.file, place.line, place.field, remedy=remedy))


def _named(text: Text, directory: str, root: str) -> Iterator[str]:
    """The paths of the repository that a text may name: one, or two where it does not say relative to what."""
    path, bases = text.text, [directory, root]
    if path[0] in {MODULE, ROOT}:
        bases = [directory if path[0] == MODULE else root]
        path = "." + path[1:]
    elif path.startswith(f"{UNKNOWN}/"):
        path = path[2:]
    below = _OPEN.search(path)
    if below is not None:
        marked = text.text[0] in {MODULE, ROOT} and (UNKNOWN in path or _BELOW.fullmatch(path.removeprefix("./")))
        pattern = text.text[0] != UNKNOWN and _BELOW.fullmatch(path)
        path = path[: path.rfind("/", 0, below.start()) + 1]
        if not path.strip("./") and not (marked or pattern or path.startswith("..")):
            return
    elif path in {"", ".", "./"} and text.role is not Role.VALUE:
        return  # more often a separator than a directory
    for base in bases:
        yield f"{base}/{path}"


def _at(directory: str, root: str, path: str) -> str:
    if path[0] in {MODULE, ROOT}:
        return f"{directory if path[0] == MODULE else root}/{path[1:]}"
    return f"{directory}/{path}"


class _Texts:
    """What could be paths in files of code; what was scanned before is taken from the cache."""

    def __init__(self, view: TreeView, cache: BlobCache) -> None:
        self._view, self._cache = view, cache
        self._fresh: dict[str, bytes] = {}

    def of(self, files: dict[str, TreeEntry], problems: list[Problem]) -> Iterator[tuple[str, Text]]:
        """(path, text) of every text of these files; what cannot be read is added to `problems`."""
        keys = {path: f"terraform:{SCANNER_VERSION}:{_form(path)}:{entry.oid}" for path, entry in files.items()}
        cached = self._cache.get(sorted(set(keys.values()))) if keys else {}
        large = {path for path, entry in files.items() if keys[path] not in cached and entry.size > MAX_BYTES}
        wanted = [entry for path, entry in files.items() if keys[path] not in cached and path not in large]
        contents = self._view.read_all(wanted)
        for path in large:
            size = MAX_BYTES // 1024 // 1024
            problems.append(Problem(f"the file has more than the {size} MiB allowed for code", file=path))
        for path, key in keys.items():
            if path in large:
                continue
            if key in cached:
                found = [Text(text, line, Role(role)) for text, line, role in orjson.loads(cached[key])]
            else:
                try:
                    found = list(_scanned(contents[files[path].oid], path))
                except Unreadable as error:
                    problems.append(Problem(str(error), file=path, line=error.line))
                    continue
                self._fresh[key] = orjson.dumps([[t.text, t.line, int(t.role)] for t in found])
            yield from ((path, text) for text in found)

    def keep(self) -> None:
        if self._fresh:
            self._cache.put(self._fresh)


def _form(path: str) -> str:
    return "json" if path.endswith(".json") else "code"


def _scanned(data: bytes, path: str) -> tuple[Text, ...]:
    try:
        code = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("this is not UTF-8 text", data[: error.start].count(b"\n") + 1) from None
    return texts_of_json(code) if path.endswith(".json") else texts_of_code(code)
