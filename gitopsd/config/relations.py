"""What the components of a stack file say of each other. It is read from the plain document, so that a wrong key in one
component does not hide a wrong reference in another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from gitopsd.config.repopath import repository_path
from gitopsd.config.schema import Place, duplicates, entries, suggestion
from gitopsd.model.errors import Problem
from gitopsd.model.ids import DEFAULT_CLUSTER

Target = tuple[str, str, str]
"""(path, cluster, namespace): two components with one target would want the same objects."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the file is judged by: its directory in the repository, the host's clusters, and the targets that were seen
    so far in it, with the line of their component."""

    base: str
    clusters: Collection[str]
    targets: dict[Target, int]


def relation_problems(value: Any, place: Place, context: Context) -> Iterator[Problem]:
    """Everything that is wrong between the components of one document, whatever its shape."""
    spec = value.get("spec") if isinstance(value, dict) else None
    components = entries(spec, "components")
    yield from _names(components, place)
    yield from _dependencies(components, place)
    for index, component in enumerate(components):
        kubernetes = component.get("kubernetes")
        if isinstance(kubernetes, dict):
            yield from _target(kubernetes, place, (*_at(index), "kubernetes"), context)


def _at(index: int) -> tuple[str | int, ...]:
    return ("spec", "components", index)


def _names(components: Sequence[dict[str, Any]], place: Place) -> Iterator[Problem]:
    names = [component.get("name") for component in components]
    for index, first in duplicates(names):
        line = place.lines.line(place.document, (*_at(first), "name"))
        yield place.problem(f"the name {names[index]!r} is already taken on line {line}", (*_at(index), "name"))


def _dependencies(components: Sequence[dict[str, Any]], place: Place) -> Iterator[Problem]:
    names = [name for component in components if isinstance(name := component.get("name"), str)]
    graph: dict[str, list[str]] = {}
    for index, component in enumerate(components):
        wanted = component.get("dependsOn")
        for number, other in enumerate(wanted if isinstance(wanted, list) else []):
            path = (*_at(index), "dependsOn", number)
            if not isinstance(other, str):
                continue  # the shape's check reports it
            if other == component.get("name"):
                yield place.problem("a component cannot depend on itself", path)
            elif other not in names:
                yield place.problem(f"this stack has no component {other!r}", path, suggestion(other, names))
            elif isinstance(name := component.get("name"), str):
                graph.setdefault(name, []).append(other)
    yield from _cycle(graph, names, place)


def _cycle(graph: dict[str, list[str]], names: Sequence[str], place: Place) -> Iterator[Problem]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1][::-1]  # each depends on the next one
        start = circle.index(min(circle[1:], key=names.index))
        turned = [*circle[start:-1], *circle[: start + 1]]
        path = (*_at(names.index(turned[0])), "dependsOn")
        yield place.problem(f"these components depend on each other in a circle: {' -> '.join(turned)}", path)


def _target(kubernetes: dict[str, Any], place: Place, at: tuple[str | int, ...], context: Context) -> Iterator[Problem]:
    path, cluster = kubernetes.get("path"), kubernetes.get("cluster", DEFAULT_CLUSTER)
    if isinstance(cluster, str) and cluster not in context.clusters:
        field = (*at, "cluster") if "cluster" in kubernetes else at
        remedy = suggestion(cluster, sorted(context.clusters))
        yield place.problem(f"this host knows no cluster {cluster!r}", field, remedy)
    if not isinstance(path, str) or not path:
        return
    try:
        normal = repository_path(path, context.base)
    except ValueError as error:
        yield place.problem(str(error), (*at, "path"))
        return
    line = place.lines.line(place.document, (*at, "path"))
    first = context.targets.setdefault((normal, str(cluster), str(kubernetes.get("namespace") or "")), line)
    if first != line:
        yield place.problem(
            f"the component on line {first} delivers the same directory to the same cluster", (*at, "path")
        )
