"""What the components of a stack file say of each other. It is read from the plain document, so that a wrong key in one
component does not hide a wrong reference in another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Final, TypeVar

from gitopsd.config.repopath import repository_path
from gitopsd.config.schema import Place, duplicates, entries, suggestion
from gitopsd.config.stackmodel import DEFAULT_WORKSPACE, output_ref
from gitopsd.model.errors import Problem
from gitopsd.model.ids import DEFAULT_CLUSTER
from gitopsd.model.modules import OutputRef

K = TypeVar("K")
Path = tuple[str | int, ...]

Target = tuple[str, str, str]
"""(path, cluster, namespace): two components with one target would want the same objects."""

_ONLY_KUBERNETES: Final = ("adopt", "values")
_ONLY_TERRAFORM: Final = ("approval",)


@dataclass(frozen=True, slots=True)
class Context:
    """What the file is judged by: its directory in the repository, the host's clusters, and what was seen so far in it,
    over all of its stacks, with the line: targets, Terraform states by name, and root modules whose components name no
    state key by (path, workspace)."""

    base: str
    clusters: Collection[str]
    targets: dict[Target, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    roots: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Edge:
    """A component that another one has to wait for, and the field that says so; `output` is what it waits for."""

    earlier: str
    at: Path
    output: OutputRef | None = None


def relation_problems(value: Any, place: Place, context: Context) -> Iterator[Problem]:
    """Everything that is wrong between the components of one document, whatever its shape."""
    spec = value.get("spec") if isinstance(value, dict) else None
    components = entries(spec, "components")
    yield from _names(components, place)
    yield from _Order(components, place).problems()
    for index, component in enumerate(components):
        yield from _kinds(component, place, _at(index))
        kubernetes, terraform = component.get("kubernetes"), component.get("terraform")
        if isinstance(kubernetes, dict):
            yield from _target(kubernetes, place, (*_at(index), "kubernetes"), context)
        if isinstance(terraform, dict):
            at = (*_at(index), "terraform")
            yield from _variables(terraform, place, at)
            yield from _module(terraform, component.get("name"), place, at, context)


def _at(index: int) -> Path:
    return ("spec", "components", index)


def _names(components: Sequence[dict[str, Any]], place: Place) -> Iterator[Problem]:
    names = [component.get("name") for component in components]
    for index, first in duplicates(names):
        line = place.lines.line(place.document, (*_at(first), "name"))
        yield place.problem(f"the name {names[index]!r} is already taken on line {line}", (*_at(index), "name"))


def _kinds(component: Mapping[str, Any], place: Place, at: Path) -> Iterator[Problem]:
    """Keys of one kind of component that stand in the other."""
    kubernetes, terraform = (component.get(key) is not None for key in ("kubernetes", "terraform"))
    if kubernetes and terraform:
        yield place.problem("a component has either kubernetes or terraform; make it two", (*at, "terraform"))
        return
    wrong = (*(_ONLY_KUBERNETES if terraform else ()), *(_ONLY_TERRAFORM if kubernetes else ()))
    for key in wrong:
        if key in component:
            other = "kubernetes" if terraform else "terraform"
            yield place.problem(f"this key is only for components with {other}", (*at, key))


# ---------------------------------------------------------------- which waits for which


class _Order:
    """The components of one stack as a graph: what they depend on, and whose outputs they use."""

    def __init__(self, components: Sequence[dict[str, Any]], place: Place) -> None:
        self.components, self.place = components, place
        self.by_name: dict[str, dict[str, Any]] = {}
        for component in components:
            name = component.get("name")
            if isinstance(name, str):
                self.by_name.setdefault(name, component)
        self.edges: dict[str, dict[str, _Edge]] = {}

    def problems(self) -> Iterator[Problem]:
        for index, component in enumerate(self.components):
            for edge in (*_depends_on(component, _at(index)), *_uses(component, _at(index))):
                wrong = self._wrong(component, edge)
                if wrong is not None:
                    yield wrong
                elif isinstance(name := component.get("name"), str):
                    self.edges.setdefault(name, {}).setdefault(edge.earlier, edge)
        yield from self._circle()

    def _wrong(self, component: Mapping[str, Any], edge: _Edge) -> Problem | None:
        """What is wrong with one reference, whatever the others say."""
        names = list(self.by_name)
        other = self.by_name.get(edge.earlier)
        if edge.earlier == component.get("name"):
            text = "a component cannot use its own outputs" if edge.output else "a component cannot depend on itself"
            return self.place.problem(text, edge.at)
        if other is None:
            text = f"this stack has no component {edge.earlier!r}"
            return self.place.problem(text, edge.at, suggestion(edge.earlier, names))
        if edge.output is None:
            return None
        if other.get("terraform") is None:
            modules = [name for name, found in self.by_name.items() if found.get("terraform") is not None]
            text = f"the component {edge.earlier!r} is no Terraform module: it has no outputs"
            return self.place.problem(text, edge.at, suggestion(edge.earlier, modules))
        ours, theirs = component.get("wave", 0), other.get("wave", 0)
        if isinstance(ours, int) and isinstance(theirs, int) and theirs > ours:
            text = f"the component {edge.earlier!r} comes later (wave {theirs}) than this one (wave {ours})"
            return self.place.problem(text, edge.at, "raise this wave, or lower the other's")
        return None

    def _circle(self) -> Iterator[Problem]:
        try:
            TopologicalSorter(self.edges).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]  # each waits for the next one
            start = circle.index(min(circle[1:], key=list(self.by_name).index))
            turned = [*circle[start:-1], *circle[: start + 1]]
            edges = [self.edges[later][earlier] for later, earlier in pairwise(turned)]
            shown = [edge.earlier if edge.output is None else f"{edge.earlier} (uses {edge.output})" for edge in edges]
            way = " -> ".join([turned[0], *shown])
            text = f"these components depend on each other in a circle: {way}"
            yield self.place.problem(text, edges[0].at if edges[0].output else edges[0].at[:-1])


def _depends_on(component: Mapping[str, Any], at: Path) -> Iterator[_Edge]:
    wanted = component.get("dependsOn")
    for number, other in enumerate(wanted if isinstance(wanted, list) else []):
        if isinstance(other, str):  # else the shape's check reports it
            yield _Edge(other, (*at, "dependsOn", number))


def _uses(component: Mapping[str, Any], at: Path) -> Iterator[_Edge]:
    values = component.get("values")
    for name, value in values.items() if isinstance(values, dict) else ():
        output = output_ref(value.get("terraform")) if isinstance(value, dict) else None
        if output is not None:
            yield _Edge(output.component, (*at, "values", name, "terraform"), output)
    for number, variable in enumerate(entries(component.get("terraform"), "varsFrom")):
        output = output_ref(variable.get("terraform"))
        if output is not None:
            yield _Edge(output.component, (*at, "terraform", "varsFrom", number, "terraform"), output)


# ---------------------------------------------------------------- what each one delivers


def _target(kubernetes: dict[str, Any], place: Place, at: Path, context: Context) -> Iterator[Problem]:
    path, cluster = kubernetes.get("path"), kubernetes.get("cluster", DEFAULT_CLUSTER)
    if isinstance(cluster, str) and cluster not in context.clusters:
        named = (*at, "cluster") if "cluster" in kubernetes else at
        remedy = suggestion(cluster, sorted(context.clusters))
        yield place.problem(f"this host knows no cluster {cluster!r}", named, remedy)
    try:
        normal = _inside(path, context.base)
    except ValueError as error:
        yield place.problem(str(error), (*at, "path"))
        return
    if normal is None:
        return
    line = place.lines.line(place.document, (*at, "path"))
    first = _earlier(context.targets, (normal, str(cluster), str(kubernetes.get("namespace") or "")), line)
    if first is not None:
        yield place.problem(
            f"the component on line {first} delivers the same directory to the same cluster", (*at, "path")
        )


def _variables(terraform: dict[str, Any], place: Place, at: Path) -> Iterator[Problem]:
    """Variables that several outputs would set."""
    names: list[str | None] = []
    for variable in entries(terraform, "varsFrom"):
        output = output_ref(variable.get("terraform"))
        names.append(variable.get("as", output.output) if output else None)
    for index, first in duplicates(names):
        line = place.lines.line(place.document, (*at, "varsFrom", first))
        text = f"the variable {names[index]!r} is already set on line {line}"
        yield place.problem(text, (*at, "varsFrom", index), "name the variable with as")


def _module(terraform: dict[str, Any], name: Any, place: Place, at: Path, context: Context) -> Iterator[Problem]:
    """A path or variable file outside the repository, and a state that is another component's already."""
    path: str | None = None
    try:
        path = _inside(terraform.get("path"), context.base)
    except ValueError as error:
        yield place.problem(str(error), (*at, "path"))
    files = terraform.get("varFiles")
    for number, file in enumerate(files if isinstance(files, list) and path is not None else []):
        try:
            _inside(file, path or "")
        except ValueError as error:
            yield place.problem(str(error), (*at, "varFiles", number))
    yield from _sealed(terraform, place, at, context)
    workspace, key = terraform.get("workspace", DEFAULT_WORKSPACE), terraform.get("stateKey") or name
    if not isinstance(workspace, str) or not isinstance(key, str):
        return
    line = place.lines.line(place.document, at)
    state = f"{workspace}-{key}"  # as Terraform joins the two: a + b-c is the same Secret as a-b + c
    first = _earlier(context.states, state, line)
    if first is not None:
        text = f"the component on line {first} already has the state {state} (workspace and stateKey)"
        yield place.problem(text, (*at, "stateKey"), "give one of the two another stateKey")
    elif path is not None and not terraform.get("stateKey"):
        first = _earlier(context.roots, (path, workspace), line)
        if first is not None:
            text = f"the component on line {first} has the same directory and workspace"
            yield place.problem(text, (*at, "path"), "give each a workspace, or a stateKey, of its own")


def _sealed(terraform: dict[str, Any], place: Place, at: Path, context: Context) -> Iterator[Problem]:
    """Files with sealed variables outside the repository, or named twice."""
    files: dict[str, int] = {}
    for number, variable in enumerate(entries(terraform, "varsFrom")):
        here = (*at, "varsFrom", number, "sealedSecret")
        try:
            file = _inside(variable.get("sealedSecret"), context.base)
        except ValueError as error:
            yield place.problem(str(error), here)
            continue
        if file is not None:
            first = _earlier(files, file, place.lines.line(place.document, here))
            if first is not None:
                yield place.problem(f"the same file is on line {first}", here)


def _earlier(seen: dict[K, int], key: K, line: int) -> int | None:
    """The line where this was seen before; None the first time, which is noted."""
    if key in seen:
        return seen[key]
    seen[key] = line
    return None


def _inside(path: Any, base: str) -> str | None:
    """A path of the file as the repository's root sees it; None for what the shape's check reports. Raises ValueError
    for one that leaves the repository."""
    return repository_path(path, base) if isinstance(path, str) and path else None
