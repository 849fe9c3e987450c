"""The units of one stack at its last commits: made once, shared by all commits that have them, light at rest.

A commit is rendered sheet by sheet (a manifest file, a kustomization). A sheet that was there before has its units
already, and they stay the very same values: what is new of a commit are its changed sheets, and no other is read,
parsed or looked into. Manifests are in memory only while somebody works with them; after that each is a promise to
read it again, out of the cache or, if that was lost, out of the repository.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from gitopsd.model.errors import EnvironmentFault, Problem, raise_if
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Catalog
from gitopsd.model.ports import SourceTree
from gitopsd.model.spec import GateSpec, KubernetesComponent, StackSpec
from gitopsd.model.units import Desired, Document, KubernetesUnit, Manifest, Revision, TerraformUnit
from gitopsd.planning.graph import check_order
from gitopsd.planning.resolve import Brought, Kinds, Use, brought_by, duplicates, units_of
from gitopsd.render import Found, ManifestFile, Outline, Renderer, Sheet, documents, path_of

KEPT = 2
"""Commits of a stack whose units are kept: the desired and the good one."""

AT_ONCE = 250
"""Sheets that are read together. Of more than these, as at the start, no manifest is kept: a run needs few of them."""

Catalogs = Callable[[bool], Mapping[str, Catalog]]
"""What the clusters serve, by their names; with True they are asked anew."""

NOTHING_BROUGHT: Brought = {}


@dataclass(slots=True, eq=False)
class _Leaf:
    """The units of one sheet, and everything that they are made of. With the same they would be the same."""

    component: KubernetesComponent  # without what its units do not depend on
    sheet: Sheet
    key: str
    commit: str  # the newest one that is known to have the sheet
    units: tuple[KubernetesUnit, ...] = ()
    scopes: Mapping[Use, bool] | None = None  # None: made without knowing all kinds
    brought: Brought = field(default_factory=lambda: NOTHING_BROUGHT)


@dataclass(frozen=True, slots=True)
class _Kept:
    spec: StackSpec
    desired: Desired
    leaves: tuple[_Leaf, ...]


class Stored(Mapping[str, Any]):
    """The manifest of a unit, read when somebody asks for it, and forgotten when its shelf comes to rest."""

    __slots__ = ("_leaf", "_number", "_shelf", "_value")

    def __init__(self, shelf: Shelf, leaf: _Leaf, number: int, value: Manifest | None = None) -> None:
        self._shelf, self._leaf, self._number, self._value = shelf, leaf, number, value

    @property
    def held(self) -> bool:
        """Whether it is in memory now."""
        return self._value is not None

    @property
    def place(self) -> tuple[_Leaf, int]:
        """Its sheet, and which of the sheet's it is."""
        return self._leaf, self._number

    def hold(self, value: Manifest | None) -> None:
        self._value = value

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"<manifest {self._number} of {path_of(self._leaf.sheet)}>"  # it may be a Secret

    def _read(self) -> Manifest:
        value = self._value
        return value if value is not None else self._shelf.read([self])[0]


class Shelf:
    """For one stack. One thread at a time makes units (`desired`); any may read their manifests."""

    def __init__(self, renderer: Renderer, tree: Callable[[str], SourceTree]) -> None:
        self._renderer, self._tree = renderer, tree
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # by commit, the one used last at the end
        self._leaves: dict[tuple[str, str], tuple[_Leaf, ...]] = {}  # by component and path
        self._components: dict[str, KubernetesComponent] = {}
        self._scopes: dict[tuple[tuple[Use, bool], ...], Mapping[Use, bool]] = {}  # few are distinct
        self._held: list[Stored] = []
        self._lock = Lock()

    def known(self, commit: str) -> Desired | None:
        """The units of a commit, if they are here."""
        kept = self._kept.get(commit)
        if kept is None:
            return None
        self._kept.move_to_end(commit)
        return kept.desired

    def desired(
        self,
        spec: StackSpec,
        revision: Revision,
        digest: str,
        *,
        modules: Sequence[TerraformUnit] = (),
        catalogs: Catalogs = lambda _: {},
    ) -> Desired:
        """The units that a commit asks for. Raises CommitError with every mistake of every component, or else
        EnvironmentFault with every kind that a cluster does not serve and nothing in the stack brings."""
        commit = revision.commit
        outline = self._renderer.outline(self._tree(commit), spec)
        leaves, fresh = self._leaves_of(outline, commit)
        made = self._make(fresh, Kinds({}, catalogs(False)))
        raise_if({*outline.problems, *made.unreadable})
        brought = {kind: scope for leaf in leaves for kind, scope in leaf.brought.items()}
        rest = self._remake(leaves, Kinds(brought, catalogs(False)))
        if rest.unserved:  # a kind may have come since the clusters were last asked for theirs
            rest = self._remake(leaves, Kinds(brought, catalogs(True)))
        mistakes = dict.fromkeys((*made.mistakes, *rest.mistakes))
        desired = self._joined(Desired(spec.name, revision, digest, {}), spec, leaves, modules, list(mistakes))
        raise_if(rest.unserved, EnvironmentFault)
        self._keep(_Kept(spec, desired, tuple(leaves)))
        return desired

    def load(self, units: Iterable[KubernetesUnit]) -> None:
        """Read the manifests of these units together. Raises EnvironmentFault if one cannot be read any more."""
        self.read([u.manifest for u in units if isinstance(u.manifest, Stored) and not u.manifest.held])

    def rest(self) -> int:
        """Nobody works with manifests any more: forget them all. How many there were."""
        with self._lock:
            held, self._held = self._held, []
        for manifest in held:
            manifest.hold(None)
        return len(held)

    # ------------------------------------------------------------ sheets and their leaves

    def _leaves_of(self, outline: Outline, commit: str) -> tuple[list[_Leaf], list[_Leaf]]:
        """The leaves of a commit in the order of components and files, and those of them that are new."""
        leaves: list[_Leaf] = []
        fresh: list[_Leaf] = []
        for component, layout in outline.parts:
            bare = self._bare(component)
            for sheet in layout.sheets:
                leaf = self._same(bare, sheet)
                if leaf is None:
                    leaf = _Leaf(bare, sheet, self._renderer.key(sheet), commit)
                    fresh.append(leaf)
                leaf.commit = commit
                leaves.append(leaf)
        return leaves, fresh

    def _bare(self, component: KubernetesComponent) -> KubernetesComponent:
        """What of a component its units depend on: the very same value as before, if it is equal."""
        bare = replace(component, path="", depends_on=(), gate=GateSpec(), line=None)
        if self._components.get(component.name) != bare:
            self._components[component.name] = bare
        return self._components[component.name]

    def _same(self, component: KubernetesComponent, sheet: Sheet) -> _Leaf | None:
        for leaf in self._leaves.get((component.name, path_of(sheet)), ()):
            if leaf.component is not component:
                continue
            if (leaf.sheet is sheet and isinstance(sheet, ManifestFile)) or leaf.key == self._renderer.key(sheet):
                leaf.sheet = sheet
                return leaf
        return None

    def _make(self, leaves: Sequence[_Leaf], kinds: Kinds) -> _Made:
        """Read the sheets of these leaves and make their units, as far as `kinds` are known."""
        made = _Made()
        for start in range(0, len(leaves), AT_ONCE):
            some = leaves[start : start + AT_ONCE]
            contents = self._renderer.contents(self._tree(some[0].commit), [leaf.sheet for leaf in some])
            made.unreadable += contents.problems
            for leaf in some:
                if leaf.key in contents.found:
                    self._fill(leaf, contents.found[leaf.key], kinds, made, hold=len(leaves) <= AT_ONCE)
        return made

    def _fill(self, leaf: _Leaf, found: Sequence[Found], kinds: Kinds, made: _Made, *, hold: bool) -> None:
        read = list(documents(leaf.component, leaf.sheet, found))
        leaf.brought = brought_by(leaf.component, read) or NOTHING_BROUGHT
        part = units_of(leaf.component, read, kinds)
        made.mistakes += part.problems
        made.unserved += part.unserved
        if part.unserved:
            return
        leaf.scopes = self._scopes.setdefault(tuple(sorted(part.scopes.items())), part.scopes)
        stored = [Stored(self, leaf, n, u.manifest if hold else None) for n, u in enumerate(part.found)]
        leaf.units = tuple(replace(u, manifest=m) for u, m in zip(part.found, stored, strict=True))
        if hold:
            with self._lock:
                self._held += stored

    def _remake(self, leaves: list[_Leaf], kinds: Kinds) -> _Made:
        """Make those leaves anew whose kinds were not known yet or are not what they were: the definition of one came,
        went, or changed its scope. Others may still use the old ones."""
        distinct = {id(leaf.scopes): leaf.scopes for leaf in leaves}
        sound = {
            number
            for number, scopes in distinct.items()
            if scopes is not None and all(kinds.scope(use) == flag for use, flag in scopes.items())
        }
        stale = [place for place, leaf in enumerate(leaves) if id(leaf.scopes) not in sound]
        for place in stale:
            old = leaves[place]
            leaves[place] = _Leaf(old.component, old.sheet, old.key, old.commit)
        return self._make([leaves[place] for place in stale], kinds)

    # ------------------------------------------------------------ the whole of a commit

    def _joined(
        self,
        empty: Desired,
        spec: StackSpec,
        leaves: Sequence[_Leaf],
        modules: Sequence[TerraformUnit],
        mistakes: list[Problem],
    ) -> Desired:
        """All units, in order. Raises CommitError with the mistakes so far and those of the whole."""
        units = {unit.id: unit for leaf in leaves for unit in leaf.units}
        if len(units) < sum(len(leaf.units) for leaf in leaves):
            mistakes += duplicates(unit for leaf in leaves for unit in leaf.units)
        roots = {module.id: module for module in sorted(modules, key=lambda m: m.id)}
        before = next(reversed(self._kept.values()), None)
        if before is not None and before.desired.units.keys() == units.keys():
            units = {unit: units[unit] for unit in before.desired.units}
            same_order = before.spec == spec and _ordered_alike(before.desired, units, roots)
        else:
            units, same_order = dict(sorted(units.items())), False
        if not same_order:
            mistakes += check_order(spec, {**units, **roots})
        raise_if(mistakes)
        return replace(empty, units=units, modules=roots)

    def _keep(self, kept: _Kept) -> None:
        self._kept[kept.desired.revision.commit] = kept
        for leaf in kept.leaves:
            place = (leaf.component.name, path_of(leaf.sheet))
            known = self._leaves.get(place, ())
            if leaf not in known:
                self._leaves[place] = (*known, leaf)
        while len(self._kept) > KEPT:
            _, old = self._kept.popitem(last=False)
            self._drop(set(old.leaves).difference(*(k.leaves for k in self._kept.values())))

    def _drop(self, leaves: Iterable[_Leaf]) -> None:
        for leaf in leaves:
            place = (leaf.component.name, path_of(leaf.sheet))
            left = tuple(other for other in self._leaves.get(place, ()) if other is not leaf)
            if left:
                self._leaves[place] = left
            else:
                self._leaves.pop(place, None)

    # ------------------------------------------------------------ manifests

    def read(self, wanted: Sequence[Stored]) -> list[Manifest]:
        """The manifests, in one conversation with the cache; from now on they are held. Raises EnvironmentFault if one
        cannot be read any more, or not as it was."""
        sheets: dict[str, dict[_Leaf, None]] = defaultdict(dict)
        for stored in wanted:
            leaf, _ = stored.place
            sheets[leaf.commit][leaf] = None
        found: dict[_Leaf, Sequence[Document]] = {}
        for commit, leaves in sheets.items():
            contents = self._renderer.contents(self._tree(commit), [leaf.sheet for leaf in leaves])
            raise_if(set(contents.problems), EnvironmentFault)
            for leaf in leaves:
                again = contents.found[self._renderer.key(leaf.sheet)]
                found[leaf] = list(documents(leaf.component, leaf.sheet, again))
        read = [self._manifest(found[stored.place[0]], *stored.place) for stored in wanted]
        for stored, manifest in zip(wanted, read, strict=True):
            stored.hold(manifest)
        with self._lock:
            self._held += wanted
        return read

    def _manifest(self, read: Sequence[Document], leaf: _Leaf, number: int) -> Manifest:
        units = units_of(leaf.component, read[number : number + 1], Kinds.given(leaf.scopes or {})).found
        if not units or units[0].digest != leaf.units[number].digest:
            self._kept.clear()
            text = f"{path_of(leaf.sheet)} is rendered otherwise than before: a tool of this host has changed"
            raise EnvironmentFault(Problem(text, unit=str(leaf.units[number].id), remedy="it is tried again"))
        return units[0].manifest


@dataclass(slots=True)
class _Made:
    """What came of making leaves beside the leaves themselves."""

    unreadable: list[Problem] = field(default_factory=list)
    mistakes: list[Problem] = field(default_factory=list)
    unserved: list[Problem] = field(default_factory=list)


def _ordered_alike(
    before: Desired, units: Mapping[UnitId, KubernetesUnit], modules: Mapping[UnitId, TerraformUnit]
) -> bool:
    """Whether the order of the same units, which was free of contradictions, still stands."""
    changed = [(old, new) for old, new in zip(before.units.values(), units.values(), strict=True) if old is not new]
    return all(_standing(old) == _standing(new) for old, new in changed) and [
        (m.id, m.order) for m in before.modules.values()
    ] == [(m.id, m.order) for m in modules.values()]


def _standing(unit: KubernetesUnit) -> tuple[object, ...]:
    return unit.order, unit.component, unit.traits.defines
