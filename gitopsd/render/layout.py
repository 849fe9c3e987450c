"""What a component's directory is: a kustomization, or plain manifests; and which of its files count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from gitopsd.model.errors import CommitError, Problem, raise_if
from gitopsd.model.ports import TreeEntry
from gitopsd.model.spec import Component, KubernetesComponent, StackSpec
from gitopsd.render.closure import KUSTOMIZATIONS, Closure, closure_of, join
from gitopsd.render.view import SYMLINK, Arrival, LeavesTree, TreeView
from gitopsd.yamltext import MAX_BYTES

CHART = "Chart.yaml"
STACK_FILE = "gitopsd.yaml"
_SUFFIXES = (".yaml", ".yml", ".json")
_NO_HELM = "Helm charts are not supported yet"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file of plain manifests: the path that people know it by, and the file whose bytes it has. `strict`: all of its
    documents have to be objects; else those that are none are left out."""

    path: str
    entry: TreeEntry
    strict: bool = False


@dataclass(frozen=True, slots=True)
class PlainLayout:
    """A directory of plain manifests."""

    directory: str
    files: tuple[ManifestFile, ...]

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        return self.files


@dataclass(frozen=True, slots=True)
class KustomizeLayout:
    """A kustomization with everything that it refers to."""

    closure: Closure

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        return (self.closure,)


Sheet = ManifestFile | Closure
"""What objects are read from as one: a file of plain manifests, or a kustomization."""

Layout = PlainLayout | KustomizeLayout


def path_of(sheet: Sheet) -> str:
    """The file that people know a sheet by."""
    return sheet.path if isinstance(sheet, ManifestFile) else sheet.file


def layout_of(view: TreeView, spec: StackSpec, component: KubernetesComponent, known: Layout | None = None) -> Layout:
    """Raises CommitError with everything that keeps a component from being rendered, as far as names show it.

    `known` is the layout of the same component at another commit: manifest files that are still the same are taken over
    as they are, so that nobody need look at them again.
    """
    where = directory_of(view, spec, component).path
    names = {name for name in (*KUSTOMIZATIONS, CHART) if view.exists(join(where, name))}
    if CHART in names:
        raise CommitError(Problem(_NO_HELM, file=join(where, CHART), line=1))
    if names:
        return KustomizeLayout(closure_of(view, where))
    before = known.files if isinstance(known, PlainLayout) and known.directory == where else ()
    return _plain(view, where, {file.path: file for file in before}, strict=spec.declared)


def directory_of(view: TreeView, spec: StackSpec, component: Component) -> Arrival:
    """Where a component's path leads. Raises CommitError for a path that is no directory with files."""
    shown = component.path or "."
    field = f"component {component.name}"
    try:
        where = view.follow(component.path)
    except LeavesTree:
        raise CommitError(
            Problem(f"the path {shown} leaves the repository", spec.file, component.line, field)
        ) from None
    if not view.exists(where.path):
        raise CommitError(Problem(f"the commit has no directory {shown}", spec.file, component.line, field))
    if not view.is_directory(where.path):
        raise CommitError(Problem(f"{shown} is a file, not a directory", spec.file, component.line, field))
    if not view.files(where.path):
        text = f"the directory {shown} holds no files; submodules are not followed"
        raise CommitError(Problem(text, spec.file, component.line, field))
    return where


def _plain(view: TreeView, where: str, known: Mapping[str, ManifestFile], *, strict: bool) -> PlainLayout:
    """A directory that a stack file names holds manifests alone (`strict`): what becomes unreadable in it must not look
    as if it had been removed."""
    files: list[ManifestFile] = []
    problems: list[Problem] = []
    for entry in view.files(where):
        before = known.get(entry.path)
        if before is not None and before.strict is strict and (before.entry is entry or before.entry == entry):
            files.append(before)
            continue
        name = entry.path.rpartition("/")[2]
        if _hidden(entry.path, where):
            continue
        problems += _nested(entry.path, name)
        if not name.lower().endswith(_SUFFIXES) or name == STACK_FILE:
            continue
        try:
            found = [replace(file, strict=strict) for file in _real_file(view, entry)]
        except LeavesTree:
            problems.append(Problem("this link leaves the repository, or leads back to itself", file=entry.path))
        except FileNotFoundError:
            problems.append(Problem("this link leads to nothing", file=entry.path))
        else:
            files += found
            problems += [_too_large(file) for file in found if file.entry.size > MAX_BYTES]
    if strict:
        problems += [_submodule(path) for path in view.submodules(where) if not _hidden(path, where)]
    raise_if(problems)
    return PlainLayout(where, tuple(files))


def _hidden(path: str, where: str) -> bool:
    """Whether a file is in a hidden directory below `where`."""
    directories = path[len(where) :].lstrip("/").split("/")[:-1]
    return any(directory.startswith(".") for directory in directories)


def _submodule(path: str) -> Problem:
    remedy = "copy its files into this repository, or move it out of the component's directory"
    return Problem("this is a submodule; gitopsd does not fetch other repositories", file=path, remedy=remedy)


def _too_large(file: ManifestFile) -> Problem:
    """Said before such a file is read into memory."""
    return Problem(f"the file has more than the {MAX_BYTES // 1024 // 1024} MiB allowed for manifests", file=file.path)


def _nested(path: str, name: str) -> Iterator[Problem]:
    if name in KUSTOMIZATIONS:
        remedy = "make its directory a component of its own, or move it out of this one"
        yield Problem("this kustomization is inside a directory of plain manifests", file=path, line=1, remedy=remedy)
    elif name == CHART:
        yield Problem(_NO_HELM, file=path, line=1, remedy="move the chart out of this directory of plain manifests")


def _real_file(view: TreeView, entry: TreeEntry) -> list[ManifestFile]:
    """The file that an entry is or leads to; none if it is a link to a directory, which (as kubectl does) is not
    entered."""
    if entry.mode != SYMLINK:
        return [ManifestFile(entry.path, entry)]
    target = view.follow(entry.path).path
    real = view.file(target)
    if real is not None:
        return [ManifestFile(entry.path, real)]
    if not view.exists(target):
        raise FileNotFoundError
    return []
