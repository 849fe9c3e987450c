"""Renders all components of a stack; what was rendered before is taken from the cache."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from gitopsd.model.errors import CommitError, EnvironmentFault, Problem, raise_if
from gitopsd.model.ports import BlobCache, SourceTree
from gitopsd.model.spec import KubernetesComponent, StackSpec
from gitopsd.model.units import Document, Origin, TerraformUnit
from gitopsd.render.closure import Closure
from gitopsd.render.digest import RENDER_VERSION, desired_digest
from gitopsd.render.layout import Layout, ManifestFile, Sheet, path_of
from gitopsd.render.layouts import Layouts
from gitopsd.render.modules import Facts, modules_of, no_terraform
from gitopsd.render.objects import Collector, Found
from gitopsd.render.tools import BuildFailed, Tools
from gitopsd.render.view import TreeView
from gitopsd.yamltext import MAX_BYTES, PARSER_VERSION, parse_documents

_MAX_OUTPUT: Final = 64 * 1024 * 1024
"""Bytes of one rendered kustomization."""
_PREFIX: Final = f"{RENDER_VERSION}.{PARSER_VERSION}"


@dataclass(frozen=True, slots=True)
class Outline:
    """What the components of a stack are made of at a commit, and what keeps the others from being rendered."""

    parts: tuple[tuple[KubernetesComponent, Layout], ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """The objects of sheets, by their keys, and what is wrong with those that are missing."""

    found: Mapping[str, Sequence[Found]]
    problems: tuple[Problem, ...] = ()


class Renderer:
    """From commits to documents. Safe to use from several threads if the cache is."""

    def __init__(self, cache: BlobCache, tools: Tools | None = None) -> None:
        self._cache = cache
        self._tools = tools or Tools()
        self._layouts = Layouts()

    def digest(self, tree: SourceTree, spec: StackSpec, facts: Facts = no_terraform) -> str:
        """The desired digest of a stack at a commit; `facts` are asked for if it has Terraform modules."""
        return desired_digest(TreeView(tree), spec, self._tools, self._cache, layouts=self._layouts, facts=facts)

    def modules(self, tree: SourceTree, spec: StackSpec, facts: Facts) -> tuple[TerraformUnit, ...]:
        """Every Terraform root module of the stack. Raises CommitError with every problem of every one of them, as far
        as their code shows without being run; `facts` are asked for if there is one."""
        return modules_of(TreeView(tree), self._cache, spec, facts)

    def outline(self, tree: SourceTree, spec: StackSpec) -> Outline:
        """The sheets of a stack, of which nothing is read yet. One that is as it was in the commit before is the very
        same value."""
        view = TreeView(tree)
        parts: list[tuple[KubernetesComponent, Layout]] = []
        problems: list[Problem] = []
        for component in spec.kubernetes:
            try:
                parts.append((component, self._layouts.of(view, spec, component)))
            except CommitError as error:
                problems += error.problems
        return Outline(tuple(parts), tuple(problems))

    def key(self, sheet: Sheet) -> str:
        """Equal keys have equal objects. Raises EnvironmentFault if a tool is needed that the host has not."""
        if isinstance(sheet, Closure):
            return f"kustomize:{_PREFIX}:{self._tools.kustomize().version}:{sheet.digest}"
        return f"{'manifests' if sheet.strict else 'plain'}:{_PREFIX}:{sheet.entry.oid}"

    def contents(self, tree: SourceTree, sheets: Iterable[Sheet]) -> Contents:
        """The objects of these sheets, out of the cache or rendered now. Raises EnvironmentFault if a tool is missing
        or the scratch directory cannot be written."""
        keyed = [(self.key(sheet), sheet) for sheet in sheets]
        render = _Render(TreeView(tree), self._cache, self._tools)
        render.load(keyed)
        return Contents(render.found, tuple(render.problems))

    def render(self, tree: SourceTree, spec: StackSpec) -> tuple[Document, ...]:
        """Every object of the stack, in the order of components and files. Raises CommitError with every problem of
        every component, EnvironmentFault if a tool is missing or the scratch directory cannot be written."""
        outline = self.outline(tree, spec)
        contents = self.contents(tree, (sheet for _, layout in outline.parts for sheet in layout.sheets))
        raise_if({*outline.problems, *contents.problems})
        return tuple(
            document
            for component, layout in outline.parts
            for sheet in layout.sheets
            for document in documents(component, sheet, contents.found[self.key(sheet)])
        )


def documents(component: KubernetesComponent, sheet: Sheet, found: Iterable[Found]) -> Iterator[Document]:
    """The objects of a sheet as documents of a component."""
    return (Document(component.name, each.manifest, Origin(path_of(sheet), each.line)) for each in found)


class _Render:
    """One render: knows what the cache has, and makes the rest."""

    def __init__(self, view: TreeView, cache: BlobCache, tools: Tools) -> None:
        self.problems: list[Problem] = []
        self.found: dict[str, list[Found]] = {}
        self._view, self._cache, self._tools = view, cache, tools
        self._fresh: dict[str, bytes] = {}

    def load(self, sheets: Iterable[tuple[str, Sheet]]) -> None:
        """Get the objects of every sheet, and note the problems of those that cannot be rendered."""
        files: dict[str, list[ManifestFile]] = {}
        closures: dict[str, Closure] = {}
        for key, sheet in sheets:
            if isinstance(sheet, Closure):
                closures[key] = sheet
            else:
                files.setdefault(key, []).append(sheet)
        cached = self._cache.get([*files, *closures])
        self.found = {key: [Found(*row) for row in orjson.loads(value)] for key, value in cached.items()}
        self._parse({key: same for key, same in files.items() if key not in cached})
        for key, closure in closures.items():
            if key not in cached:
                self._build(key, closure)
        if self._fresh:
            self._cache.put(self._fresh)

    def _keep(self, key: str, found: list[Found]) -> None:
        self.found[key] = found
        self._fresh[key] = orjson.dumps([[f.line, f.manifest] for f in found])

    # ------------------------------------------------------------ plain

    def _parse(self, files: dict[str, list[ManifestFile]]) -> None:
        contents = self._view.read_all(same[0].entry for same in files.values())
        for key, same in files.items():
            found, problems = _read(contents[same[0].entry.oid], same[0].path, strict=same[0].strict)
            if not problems:
                self._keep(key, found)
            for file in same:
                self.problems += (replace(problem, file=file.path) for problem in problems)

    # ------------------------------------------------------------ kustomize

    def _build(self, key: str, closure: Closure) -> None:
        problems = self._broken_manifests(closure)
        if not problems:
            try:
                output = self._output(closure)
            except CommitError as error:
                problems = list(error.problems)
            else:
                found, problems = _read(output, closure.file, max_bytes=_MAX_OUTPUT)
                problems = [replace(problem, line=1) for problem in problems]  # the output's lines are nobody's
                if not problems:
                    self._keep(key, [Found(1, f.manifest) for f in found])
        self.problems += problems

    def _broken_manifests(self, closure: Closure) -> list[Problem]:
        """Faults of syntax in the files themselves: kustomize would name their lines only sometimes."""
        contents = self._view.read_all(closure.manifests)
        problems: list[Problem] = []
        for entry in closure.manifests:
            try:
                parse_documents(contents[entry.oid], entry.path)
            except CommitError as error:
                problems += error.problems
        return problems

    def _output(self, closure: Closure) -> bytes:
        try:
            with tempfile.TemporaryDirectory(prefix="gitopsd-render-") as scratch:
                files, home = Path(scratch, "files"), Path(scratch, "home")
                home.mkdir()
                self._view.tree.export(files, [entry.path for entry in closure.entries])
                try:
                    return self._tools.build(self._tools.kustomize(), files / closure.directory, home)
                except BuildFailed as error:
                    raise CommitError(Problem(_ours(str(error), files), file=closure.file, line=1)) from None
        except OSError as error:
            remedy = "check space and permissions there"
            where = tempfile.gettempdir()
            raise EnvironmentFault(Problem(f"cannot be written: {error.strerror}", where, remedy=remedy)) from None


def _read(
    data: bytes, file: str, *, strict: bool = False, max_bytes: int = MAX_BYTES
) -> tuple[list[Found], list[Problem]]:
    collector = Collector(file, data, strict=strict)
    try:
        for document in parse_documents(data, file, max_bytes):
            collector.add(document)
    except CommitError as error:
        return [], list(error.problems)
    return collector.found, collector.problems


def _ours(text: str, files: Path) -> str:
    """The program's words, with paths as the repository has them."""
    for root in {str(files), str(files.resolve())}:
        text = text.replace(f"{root}/", "").replace(root, "the repository")
    return text
