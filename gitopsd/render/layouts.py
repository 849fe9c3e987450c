"""The layouts of all components as they were last, so that a commit is looked at only where it changed something."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from gitopsd.model.spec import KubernetesComponent, StackSpec
from gitopsd.render.layout import Layout, layout_of
from gitopsd.render.view import Trace, TracedView, TreeView

KEPT = 4096
"""Components whose layout is remembered; one that is not is only looked at again."""

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A layout, what it was made for, and every question to the commit that it depends on."""

    path: str
    strict: bool
    trace: Trace
    layout: Layout


class Layouts:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Key, _Seen] = OrderedDict()
        self._lock = Lock()

    def of(self, view: TreeView, spec: StackSpec, component: KubernetesComponent) -> Layout:
        """The layout of a component; the very same object if the commit changes nothing that it depends on, and inside
        a layout of plain manifests the very same files. Raises CommitError as `layout_of` does."""
        key = (spec.source, spec.name, component.name)
        with self._lock:
            seen = self._seen.get(key)
        if seen is not None and (seen.path, seen.strict) != (component.path, spec.declared):
            seen = None
        if seen is not None and seen.trace.holds(view):
            return seen.layout
        traced = TracedView(view.tree)
        layout = layout_of(traced, spec, component, seen.layout if seen else None)
        with self._lock:
            self._seen[key] = _Seen(component.path, spec.declared, traced.trace(), layout)
            self._seen.move_to_end(key)
            while len(self._seen) > KEPT:
                self._seen.popitem(last=False)
        return layout
