"""The order of everything in a stack: one graph of waves, dependencies between components, and implicit needs.

A unit's place is first its order (wave of its component, its own wave). Inside one order, a component comes after
those that it depends on or whose outputs it uses, an object after the namespace it lives in and the definition of its
kind, and for the rest kinds come in the order in which they use each other (rank). What contradicts this is an error of
the commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import chain, pairwise

from gitopsd.kinds.builtin import rank
from gitopsd.model.errors import Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.plan import Change, Layer, Wave
from gitopsd.model.spec import Component, StackSpec
from gitopsd.model.units import KubernetesUnit, Order, Unit
from gitopsd.planning.creators import Creators

Node = UnitId | tuple[str, str]
"""A unit, or ("begin" | "end", component): between these two are all units of the component."""

Predecessors = Mapping[Node, Mapping[Node, int]]
"""For each node what comes before it; 1 if a gate has to lie between the two, 0 if their ranks keep them apart."""


def waves(changes: Sequence[Change], spec: StackSpec, units: Mapping[UnitId, Unit]) -> tuple[Wave, ...]:
    """`changes` (no deletions) as waves of layers. `units` is everything that the stack wants: an unchanged unit
    carries dependencies on. The order has to be free of contradictions (`check_order`)."""
    by_order: dict[Order, list[Change]] = defaultdict(list)
    for change in changes:
        by_order[change.order].append(change)
    return tuple(Wave(order, _layers(by_order[order], spec, units)) for order in sorted(by_order))


def _layers(changes: Sequence[Change], spec: StackSpec, units: Mapping[UnitId, Unit]) -> tuple[Layer, ...]:
    levels = _levels(_predecessors(changes[0].order, spec, units, {change.unit for change in changes}))
    steps: dict[tuple[int, int], list[Change]] = defaultdict(list)
    for change in changes:
        place = levels[change.unit], rank(change.unit.group, change.unit.kind)
        steps[place].append(change)
    places = sorted(steps)
    nexts: list[tuple[int, int] | None] = [*places[1:], None]
    return tuple(
        Layer(tuple(sorted(steps[place], key=lambda c: c.unit)), gated=after is None or after[0] != place[0])
        for place, after in zip(places, nexts, strict=True)
    )


def _predecessors(
    order: Order, spec: StackSpec, units: Mapping[UnitId, Unit], changing: Collection[UnitId] = ()
) -> Predecessors:
    """The graph of one order: of all units that are `changing`, that need another or are needed. The others stand
    between the begin and the end of their components and move nothing."""
    before: dict[Node, dict[Node, int]] = defaultdict(dict)
    for component in spec.components:
        if component.wave == order[0]:
            before["end", component.name]["begin", component.name] = 0
            for name in component.after:
                before["begin", component.name]["end", name] = 1
    needs = [(a, b) for a, b, _ in _needs(units) if a.order == b.order == order]
    for unit in (*(units[u] for u in changing), *chain.from_iterable(needs)):
        before[unit.id]["begin", unit.component] = 0
        before["end", unit.component][unit.id] = 0
    for earlier, later in needs:
        before[later.id][earlier.id] = 0
    return before


def _levels(before: Predecessors) -> dict[Node, int]:
    """How many gates lie before each node. Raises graphlib.CycleError."""
    levels: dict[Node, int] = {}
    for node in TopologicalSorter(before).static_order():
        levels[node] = max((levels[p] + gates for p, gates in before.get(node, {}).items()), default=0)
    return levels


def _needs(units: Mapping[UnitId, Unit]) -> Iterator[tuple[Unit, Unit, str]]:
    """Implicit dependencies: (earlier, later, what the later has to do with the earlier)."""
    creators = Creators.among(u for u in units.values() if isinstance(u, KubernetesUnit))
    if not creators.namespaces and not creators.kinds:
        return
    places = {(u.cluster, u.namespace, u.group, u.kind) for u in units}
    needing = {place for place in places if creators.anything_for(*place)}
    for unit in units:
        if (unit.cluster, unit.namespace, unit.group, unit.kind) in needing:
            for earlier, why in creators.needed_by(unit):
                yield units[earlier], units[unit], why


# ---------------------------------------------------------------- contradictions


def check_order(spec: StackSpec, units: Mapping[UnitId, Unit]) -> list[Problem]:
    """Everything that makes the order of a stack impossible, over all of its units, changed or not."""
    problems = _component_problems(spec)
    if problems:
        return problems
    ordered = dict(sorted(units.items()))
    problems += [_too_late(*need) for need in _needs(ordered) if need[0].order > need[1].order]
    problems += _dependency_problems(spec, ordered)
    tied = {c.wave for c in spec.components if c.after}  # needs alone make no circle: what is needed needs nothing
    for order in sorted({unit.order for unit in ordered.values() if unit.order[0] in tied}):
        problems += _cycle_problems(order, spec, ordered)
    return problems


def _component_problems(spec: StackSpec) -> list[Problem]:
    components = {c.name: c for c in spec.components}
    problems = []
    for component in spec.components:
        for name in component.after:
            other = components.get(name)
            if other is None:
                text = f"{component.name} {_tie(component, name)}, but the stack has no component {name!r}"
                problems.append(_about(spec, component, text))
            elif other.wave > component.wave:
                text = (
                    f"{component.name} (wave {component.wave}) {_tie(component, name)} (wave {other.wave}, "
                    f"{_place(spec.file, other.line)}), which comes later"
                )
                problems.append(_about(spec, component, text, "raise its wave, or lower the other's"))
    try:
        TopologicalSorter({c.name: c.after for c in spec.components}).prepare()
    except CycleError as cycle:
        names: list[str] = cycle.args[1]
        text = "; ".join(
            f"{later} ({_place(spec.file, components[later].line)}) {_tie(components[later], earlier)}"
            for earlier, later in pairwise(names)
        )
        problems.append(_about(spec, components[names[0]], f"components wait for each other in a circle: {text}"))
    return problems


def _too_late(earlier: Unit, later: Unit, why: str) -> Problem:
    return Problem(
        f"{later.id} is in wave {wave_text(later.order)} but {why}: {_named(earlier)} is in the later wave "
        f"{wave_text(earlier.order)}",
        file=later.origin.file,
        line=later.origin.line,
        unit=str(later.id),
        remedy=f"give {earlier.id} a wave no higher than {wave_text(later.order)}",
    )


def _dependency_problems(spec: StackSpec, units: Mapping[UnitId, Unit]) -> list[Problem]:
    """Components of one wave whose objects' own waves contradict a dependency between the two."""
    members: dict[str, list[Unit]] = defaultdict(list)
    for unit in units.values():
        members[unit.component].append(unit)
    problems = []
    for component in spec.components:
        for name in component.after:
            if not members[component.name] or not members[name]:
                continue
            first = min(members[component.name], key=lambda u: (u.order, u.id))
            last = max(members[name], key=lambda u: (u.order, u.id))
            if last.order > first.order:
                text = (
                    f"{component.name} {_tie(component, name)}, but {_named(first)} is in wave "
                    f"{wave_text(first.order)} and {_named(last)} in the later wave {wave_text(last.order)}"
                )
                problems.append(_about(spec, component, text, f"raise the wave of component {component.name}"))
    return problems


def _cycle_problems(order: Order, spec: StackSpec, units: Mapping[UnitId, Unit]) -> list[Problem]:
    try:
        _levels(_predecessors(order, spec, units))
    except CycleError as cycle:
        nodes: list[Node] = cycle.args[1]
        return [_circle(order, nodes, spec, units)]
    return []


def _circle(order: Order, nodes: Sequence[Node], spec: StackSpec, units: Mapping[UnitId, Unit]) -> Problem:
    """A circle in words; each node of graphlib's answer comes before the next one."""
    creators = Creators.among(u for u in units.values() if isinstance(u, KubernetesUnit))
    steps: list[str] = []
    for earlier, later in pairwise(nodes):
        if isinstance(earlier, UnitId) and isinstance(later, UnitId):
            why = next(text for need, text in creators.needed_by(later) if need == earlier)
            steps.append(f"{_named(units[later])} needs {_named(units[earlier])}: it {why}")
        elif not isinstance(earlier, UnitId) and not isinstance(later, UnitId) and earlier[1] != later[1]:
            waiting = spec.component(later[1])
            place = _place(spec.file, waiting.line)
            steps.append(f"component {waiting.name} ({place}) {_tie(waiting, earlier[1])}")
    first = units[min(n for n in nodes if isinstance(n, UnitId))]  # components alone were found free of circles
    return Problem(
        f"wave {wave_text(order)} runs in a circle: {'; '.join(steps)}",
        file=first.origin.file,
        line=first.origin.line,
        unit=str(first.id),
        remedy="move one of them to another component or wave",
    )


def wave_text(order: Order) -> str:
    """A wave as people write it: `10`, or `10/5` for objects with a wave of their own."""
    return f"{order[0]}/{order[1]}" if order[1] else str(order[0])


def _tie(component: Component, earlier: str) -> str:
    """Why a component comes after another one, as in `uses network.db_host`."""
    used = [str(ref) for ref in component.uses if ref.component == earlier]
    return f"depends on {earlier}" if earlier in component.depends_on else f"uses {', '.join(used)}"


def _about(spec: StackSpec, component: Component, text: str, remedy: str = "") -> Problem:
    return Problem(text, file=spec.file, line=component.line, remedy=remedy)


def _named(unit: Unit) -> str:
    return f"{unit.id} ({_place(unit.origin.file, unit.origin.line)})"


def _place(file: str, line: int | None) -> str:
    return f"{file}:{line}" if line else file
