"""Everything that a kustomization reads, found by walking it: nothing is run for what would leave the commit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from gitopsd.model.errors import CommitError, Problem, raise_if
from gitopsd.model.ports import TreeEntry
from gitopsd.render.references import HELM_KEYS, Reference, Role, config_references, is_remote, references
from gitopsd.render.view import Arrival, LeavesTree, TreeView
from gitopsd.yamltext import LineIndex, parse_documents

KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_VENDOR: Final = "keep a copy in this repository and name its path: renders never go to the network"


@dataclass(frozen=True, slots=True)
class Closure:
    """The files (and symlinks) that a kustomization needs, sorted by path. `manifests` are those of them that have to
    be YAML; `file` is the kustomization itself. `digest` is equal if and only if the same files stand in the same
    places."""

    directory: str
    file: str
    entries: tuple[TreeEntry, ...]
    manifests: tuple[TreeEntry, ...]
    digest: str


def closure_of(view: TreeView, directory: str) -> Closure:
    """The closure of the kustomization in a directory. Raises CommitError with every name in it that cannot be used:
    remote, missing, outside the repository."""
    walk = _Walk(view)
    file = walk.root(directory)
    while walk.todo:
        walk.root(walk.todo.pop())
    raise_if(walk.problems)
    by_path = sorted(walk.entries.items())
    lines = (f"{entry.path}\0{entry.mode}\0{entry.oid}\n" for _, entry in by_path)
    return Closure(
        directory,
        file,
        tuple(entry for _, entry in by_path),
        tuple(entry for path, entry in by_path if path in walk.manifests),
        hashlib.sha256("".join([f"{directory}\n", *lines]).encode()).hexdigest(),
    )


def join(directory: str, name: str) -> str:
    """A name in a directory of the repository; "" is the root."""
    return f"{directory}/{name}" if directory else name


class _Walk:
    def __init__(self, view: TreeView) -> None:
        self.view = view
        self.entries: dict[str, TreeEntry] = {}
        self.manifests: set[str] = set()
        self.problems: list[Problem] = []
        self.todo: list[str] = []
        self._seen: set[str] = set()

    def root(self, directory: str) -> str:
        """Walk one kustomization; its file, or the directory if it has none."""
        self._seen.add(directory)
        names = [name for name in KUSTOMIZATIONS if self.view.exists(join(directory, name))]
        if len(names) != 1:
            text = (
                f"several kustomizations in one directory: {', '.join(names)}" if names else "there is no kustomization"
            )
            self.problems.append(Problem(text, file=directory or "."))
            return directory or "."
        file = join(directory, names[0])
        found = self._arrive(directory, names[0], Problem("", file=file))
        entry = self.view.file(found.path) if found else None
        if entry is None:
            return file
        try:
            self._kustomization(directory, file, self.view.read(entry))
        except CommitError as error:
            self.problems += error.problems
        return file

    def _kustomization(self, directory: str, file: str, data: bytes) -> None:
        documents = parse_documents(data, file)
        if len(documents) != 1 or not isinstance(documents[0].value, dict):
            self.problems.append(Problem("a kustomization has to be one mapping of keys", file=file, line=1))
            return
        index = LineIndex(data)
        value: dict[str, Any] = documents[0].value
        for key in HELM_KEYS:
            if key in value:
                line = index.line(documents[0].index, (key,))
                self.problems.append(Problem("Helm charts are not supported yet", file=file, line=line, field=key))
        for reference in references(value):
            line = index.line(documents[0].index, reference.field)
            self._follow(directory, reference, Problem("", file=file, line=line, field=_text(reference.field)))

    def _follow(self, directory: str, reference: Reference, place: Problem) -> None:
        if is_remote(reference.text):
            self._note(place, "this leads to the network", _VENDOR)
            return
        if reference.text.startswith("/"):
            self._note(place, "expected a path relative to the kustomization, not an absolute one")
            return
        arrival = self._arrive(directory, reference.text, place)
        if arrival is None:
            return
        entry = self.view.file(arrival.path)
        if entry is None:
            self._directory(arrival.path, reference.role, place)
        elif reference.role is Role.CONFIG:
            self._config(directory, entry)
        elif reference.role in {Role.ROOT, Role.YAML}:
            self.manifests.add(entry.path)

    def _arrive(self, directory: str, name: str, place: Problem) -> Arrival | None:
        """Where a name leads, noted as needed; None if it leads nowhere."""
        try:
            arrival = self.view.follow(join(directory, name))
        except LeavesTree:
            self._note(place, "this path leaves the repository")
            return None
        if not self.view.exists(arrival.path):
            self._note(place, f"the commit has no {arrival.path}")
            return None
        for path in (*arrival.links, arrival.path):
            entry = self.view.file(path)
            if entry is not None:
                self.entries[path] = entry
        return arrival

    def _directory(self, path: str, role: Role, place: Problem) -> None:
        if role not in {Role.ROOT, Role.CONFIG}:
            self._note(place, "this is a directory, not a file")
        elif path not in self._seen and path not in self.todo:
            self.todo.append(path)

    def _config(self, directory: str, entry: TreeEntry) -> None:
        self.manifests.add(entry.path)
        try:
            named = list(config_references(self.view.read(entry)))
        except CommitError:
            return  # reported with its line when the manifests are read
        for reference in named:
            self._follow(directory, reference, Problem("", file=entry.path, line=1, field=_text(reference.field)))

    def _note(self, place: Problem, message: str, remedy: str = "") -> None:
        self.problems.append(Problem(message, place.file, place.line, place.field, remedy=remedy))


def _text(field: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in field).removeprefix(".")
