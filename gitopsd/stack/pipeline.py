"""The stages in order, from a commit to a plan. The only place that knows this order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Protocol

import structlog

from gitopsd.config.stackfile import load_stacks
from gitopsd.execution.bench import Bench
from gitopsd.execution.preflight import preflight
from gitopsd.kinds.marks import applyset_id, parent_name
from gitopsd.model.errors import CommitError, EnvironmentFault, NeedsPerson, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Catalog, LiveObject
from gitopsd.model.memory import Baseline, Good, StackState
from gitopsd.model.plan import Plan
from gitopsd.model.ports import Cluster, Source, Terraform, Vault
from gitopsd.model.spec import StackSpec
from gitopsd.model.units import Desired, KubernetesUnit, Person, Revision, TerraformUnit
from gitopsd.planning.assemble import assemble, assemble_rollback
from gitopsd.planning.findings import Finding
from gitopsd.planning.inventory import baseline_of
from gitopsd.planning.seals import left_locked, raise_locked, still_sealed, with_opened
from gitopsd.planning.select import select
from gitopsd.planning.send import autoscaled_targets, ignored_paths
from gitopsd.render import ModuleFacts, Renderer
from gitopsd.stack.claims import Claims, Reader
from gitopsd.stack.differences import NOTHING, Foreign, foreign
from gitopsd.stack.handover import Handover
from gitopsd.stack.locks import LockLook, unlock
from gitopsd.stack.modules import Look, deploy_part, rollback_part
from gitopsd.stack.places import placed
from gitopsd.stack.remembered import Remembered
from gitopsd.stack.shelf import Shelf

log = structlog.get_logger("gitopsd.stack")

NO_REVISION = Revision("", Person(""), Person(""), "", "before the first deploy")
"""What a failed first deploy goes back to."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a source's stacks come from: the repository and the directory in it. `force_push` is `hold` or `allow`."""

    source: Source
    path: str
    stack_file: str
    force_push: str = "allow"


@dataclass(frozen=True, slots=True)
class Ask:
    """What one commit asks of one stack, before it is rendered."""

    commit: str
    spec: StackSpec
    digest: str


COMMITS_KEPT = 16
"""Commits whose stack file is not read again: every stack of the host asks for those of its source."""

ASKS_KEPT = 1024
"""What stacks ask at a commit: each of them looks at what all others ask for."""


MANY = 500
"""Manifests that one look had in memory from which on it is worth to return what they took."""


class Inventories(Protocol):
    """What plans need of the record: they only read."""

    def stacks(self) -> tuple[str, ...]: ...

    def state(self, _stack: str, /) -> StackState | None: ...

    def baselines(self, stack: str) -> Mapping[UnitId, Baseline]: ...


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what it is made for. `equal` are baselines of units that were found as wanted: nothing is written
    for them, but from now on it is known. `bench` has Terraform's saved plans, and `templates` the units whose values
    are outputs of it, as the commit has them. `locked` are sealed Secrets that no key opens now, and why: a heal or a
    rollback leaves them as they are. Of a heal, `foreign` is what others have written to the objects looked at."""

    desired: Desired
    plan: Plan
    bench: Bench
    equal: tuple[Baseline, ...] = ()
    templates: Mapping[UnitId, KubernetesUnit] = field(default_factory=dict)
    locked: Mapping[UnitId, str] = field(default_factory=dict)
    foreign: Foreign = NOTHING


@dataclass(frozen=True, slots=True)
class TerraformSetup:
    """The program that runs root modules, and `settings`: a text that changes with what the host puts into them all. A
    drift check of a module is due `drift_interval` seconds after it was last found equal. `cluster` holds the states
    of modules without a backend of their own; "" if no cluster does."""

    program: Terraform
    settings: Callable[[], str]
    drift_interval: float = 1800.0
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan that is only looked at. Terraform runs the code of the commit, which has to be wanted (`terraform`) for
    one that nobody delivers."""

    terraform: bool = True


class Pipeline:
    """From commits to plans for all stacks of the host. Holds no state of a stack but renders it may make again."""

    def __init__(
        self,
        origins: Mapping[str, Origin],
        renderer: Renderer,
        cluster: Callable[[str], Cluster],
        namespaces: Mapping[str, str],
        record: Inventories,
        *,
        terraform: TerraformSetup,
        vault: Vault,
        give_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.origins, self.renderer, self.record, self.terraform = origins, renderer, record, terraform
        self.vault, self._give_back = vault, give_back
        self.cluster, self._namespaces = cluster, namespaces
        self._with_room: set[str] = set()
        self._rested: set[str] = set()  # the stacks that were read once: a start parses everything
        self._specs: Remembered[tuple[str, str], tuple[StackSpec, ...]] = Remembered(COMMITS_KEPT)
        self._asks: Remembered[tuple[str, str, str], Ask] = Remembered(ASKS_KEPT)
        self._shelves: dict[tuple[str, str], Shelf] = {}  # by stack and source
        self._rendering: defaultdict[str, Lock] = defaultdict(Lock)  # by stack: others may ask what it asks for
        reader = Reader(self.specs, self.ask, self.desired)
        self.claims, self._handover = Claims(reader, record), Handover(reader, record)

    # ------------------------------------------------------------ from git

    def rewind(self, source: str, deployed: str, commit: str) -> str:
        """Why going from `deployed` to `commit` is no step forward; "" if it is one, or if nobody can tell."""
        repository = self.source(source)
        if deployed == commit or not repository.has(deployed) or repository.is_ancestor(deployed, commit):
            return ""
        if repository.is_ancestor(commit, deployed):
            return f"commit {commit[:12]} is older than the deployed {deployed[:12]}"
        if not repository.related(deployed, commit):
            return f"commit {commit[:12]} has no common history with the deployed {deployed[:12]}"
        return ""

    def source(self, name: str) -> Source:
        return self.origins[name].source

    def specs(self, source: str, commit: str) -> tuple[StackSpec, ...]:
        """The stacks of a source at a commit. Raises CommitError with every mistake of the stack file."""
        return self._specs.get((source, commit), lambda: self._read_specs(source, commit))

    def _read_specs(self, source: str, commit: str) -> tuple[StackSpec, ...]:
        origin = self.origins[source]
        tree = origin.source.tree(commit)
        if tree.oid(origin.path) is None:
            raise NeedsPerson(
                Problem(
                    f"commit {commit[:12]} has no directory {origin.path!r}",
                    f"source {source}",
                    remedy="put it back, or change `path` of the source",
                )
            )
        entry = next((f for f in tree.files(origin.path) if f.path == origin.stack_file), None)
        text = tree.read([entry])[entry.path] if entry else None
        return load_stacks(
            text,
            file=origin.stack_file,
            source=source,
            source_path=origin.path,
            clusters=tuple(self._namespaces),
        )

    def ask(self, source: str, stack: str, commit: str) -> Ask:
        """What a commit asks of a stack. Raises NeedsPerson if its stack file has no such stack any more."""
        spec = next((s for s in self.specs(source, commit) if s.name == stack), None)
        if spec is None:
            raise NeedsPerson(
                Problem(
                    f"commit {commit[:12]} has no stack {stack!r} any more; nothing of it is pruned by that",
                    file=self.origins[source].stack_file,
                    remedy="put the stack back",
                )
            )
        if spec.terraform:  # what the host puts into modules may have changed since
            return self._ask(spec, commit)
        return self._asks.get((source, stack, commit), lambda: self._ask(spec, commit))

    def _ask(self, spec: StackSpec, commit: str) -> Ask:
        return Ask(commit, spec, self.renderer.digest(self.source(spec.source).tree(commit), spec, self._facts))

    def _facts(self) -> ModuleFacts:
        return ModuleFacts(self.terraform.program.version(), self.terraform.settings())

    def desired(self, ask: Ask) -> Desired:
        """The units that a commit asks for. Raises CommitError with every mistake of every component."""
        with self._rendering[ask.spec.name]:
            return self._desired(ask)

    def _desired(self, ask: Ask) -> Desired:
        shelf, spec = self._shelf(ask.spec), ask.spec
        known = shelf.known(ask.commit)
        if known is not None:
            return known
        source = self.source(spec.source)
        modules = self.renderer.modules(source.tree(ask.commit), spec, self._facts) if spec.terraform else ()
        catalogs = partial(self._catalogs, spec)
        return shelf.desired(spec, source.revision(ask.commit), ask.digest, modules=modules, catalogs=catalogs)

    def _shelf(self, spec: StackSpec) -> Shelf:
        key = (spec.name, spec.source)
        if key not in self._shelves:
            self._shelves[key] = Shelf(self.renderer, self.source(spec.source).tree)
        return self._shelves[key]

    def rest(self, stack: str) -> None:
        """The stack has come to rest: nothing of what it asks for is kept in memory but what tells it apart."""
        released = sum(shelf.rest() for (name, _), shelf in tuple(self._shelves.items()) if name == stack)
        if released >= MANY or stack not in self._rested:
            self._rested.add(stack)
            self._give_back()

    def desired_now(self, ask: Ask) -> Desired:
        """The same with the outputs that are on record: what is live, as far as it was applied."""
        desired = self.desired(ask)
        bench = self._bench(ask.spec)
        baselines = self.record.baselines(ask.spec.name)
        bench.recall(baselines, desired.modules.values(), ask.commit)
        templates = _templates(desired)
        filled = {u: unit for u, t in templates.items() if (unit := bench.filled(t, baselines.get(u))) is not None}
        return replace(desired, units={**desired.units, **filled}) if filled else desired

    def _catalogs(self, spec: StackSpec, refresh: bool) -> dict[str, Catalog]:
        return {name: cluster.catalog(refresh=refresh) for name, cluster in self.clusters(spec.clusters).items()}

    # ------------------------------------------------------------ against the clusters

    def clusters(self, names: Collection[str]) -> dict[str, Cluster]:
        """Raises EnvironmentFault for a cluster that cannot be connected to."""
        return {name: self.cluster(name) for name in names}

    def applyset(self, stack: str, cluster: str) -> str:
        """The ApplySet of a stack in a cluster: the label of everything tracked there."""
        return applyset_id(parent_name(stack), self._namespaces[cluster])

    def applysets(self, stack: str, names: Collection[str]) -> dict[str, str]:
        return {name: self.applyset(stack, name) for name in names}

    def plan(
        self,
        ask: Ask,
        state: StackState,
        *,
        at: str,
        scope: Collection[UnitId] | None = None,
        drifted: Collection[UnitId] = (),
        granted: Collection[str] = (),
        preview: Preview | None = None,
        nothing: bool = False,
        best_effort: bool = False,
    ) -> Planned:
        """What a deploy (or, with `scope`, a heal of these units) of a commit would change now. `granted` are digests
        that a person allowed. A preview writes nothing; with `nothing`, everything that is tracked is to go; with
        `best_effort`, what no key opens stays as it is. Raises CommitError with every mistake."""
        look = Look(
            ask.spec,
            self._no_units(ask) if nothing else self.desired(ask),
            self.record.baselines(ask.spec.name),
            scope,
            drifted,
            [d.unit for d in state.dirty],
            self._others(ask.spec.name) if ask.spec.terraform else {},
            at,
            self._why_not_run(ask.spec, preview),
            granted,
            best_effort,
        )
        bench = self._bench(ask.spec)
        try:
            return self._plan(ask, state, look, bench, granted, ahead=preview is not None)
        except BaseException as error:
            bench.discard()
            if isinstance(error, CommitError):
                raise placed(error, self.source(ask.spec.source).tree(ask.commit)) from error
            raise

    def _plan(
        self, ask: Ask, state: StackState, look: Look, bench: Bench, granted: Collection[str], *, ahead: bool
    ) -> Planned:
        """`ahead`: as if the other stacks had carried out the same commit by then."""
        baselines = look.baselines
        part = deploy_part(bench, look, partial(self.modules_at, ask.spec))
        desired = part.filled
        selection = select(desired, baselines, state, scope=look.scope, drifted=look.drifted)
        known = {*ask.spec.clusters, *(b.unit.cluster for b in selection.remove)}
        applysets = self.applysets(ask.spec.name, known)
        self._shelf(ask.spec).load(c.unit for c in selection.apply)
        opened, locked = bench.opened(still_sealed(selection.apply))
        if look.scope is None and not look.best_effort:
            raise_locked(locked.values())
        rest = [c for c in selection.apply if c.unit.id not in locked]
        desired, candidates = with_opened(desired, rest, opened)
        selection = replace(selection, apply=candidates)
        findings = preflight(
            self.clusters(ask.spec.clusters), ask.spec, desired, candidates, applysets, waiting=part.waiting
        )
        held = self._handover.held(ask.spec.name)
        wanted = {u: stack for u, stack in held.items() if u in desired.units}
        handed = self._handover.let_go(ask, wanted) if ahead else frozenset()
        plan = assemble(
            ask.spec,
            desired,
            selection,
            findings,
            baselines,
            state,
            removals_live=self._live([b.unit for b in selection.remove]),
            claims=self._handover.heirs(ask, selection.remove) | {u: s for u, s in held.items() if u not in handed},
            applysets=applysets,
            modules=part.changes,
            granted=granted,
            handed=handed,
        )
        if look.best_effort:
            plan = replace(plan, leftovers=(*left_locked(locked), *part.changes.leftovers))
        equal = (*_equal(plan, desired, findings, look.at), *part.equal)
        seen = foreign(plan, findings, desired) if look.scope is not None else NOTHING
        return Planned(desired, plan, bench, equal, _templates(look.desired), _reasons(locked), seen)

    def plan_rollback(self, ask: Ask | None, spec: StackSpec, state: StackState, *, at: str) -> Planned:
        """How to undo what is dirty: back to `ask`, or to nothing if there never was a good revision."""
        bench = self._bench(spec)
        try:
            return self._plan_rollback(ask, spec, state, at, bench)
        except BaseException:
            bench.discard()
            raise

    def _plan_rollback(
        self,
        ask: Ask | None,
        spec: StackSpec,
        state: StackState,
        at: str,
        bench: Bench,
    ) -> Planned:
        baselines = self.record.baselines(spec.name)
        target = self.desired(ask) if ask else Desired(spec.name, NO_REVISION, "", {})
        look = Look(spec, target, baselines, None, (), [d.unit for d in state.dirty], {}, at)
        part = rollback_part(bench, look, state, partial(self.modules_at, spec))
        desired = part.filled if ask else None
        dirty = [d.unit for d in state.dirty if not d.unit.is_terraform]
        clusters = {*spec.clusters, *(u.cluster for u in dirty)}
        applysets = self.applysets(spec.name, clusters)
        findings: dict[UnitId, Finding] = {}
        locked: dict[UnitId, str] = {}
        if desired is not None:
            candidates = select(desired, baselines, state, scope=dirty).apply
            self._shelf(spec).load(c.unit for c in candidates)
            opened, faults = bench.opened(still_sealed(candidates))
            locked = _reasons(faults)
            desired, candidates = with_opened(desired, [c for c in candidates if c.unit.id not in locked], opened)
            findings = preflight(self.clusters(clusters), spec, desired, candidates, applysets, waiting=part.waiting)
        plan = assemble_rollback(
            spec,
            desired,
            state,
            baselines,
            findings,
            self._live([u for u in dirty if u not in target.units]),
            applysets,
            part.changes,
            locked,
        )
        filled = desired or part.filled
        equal = (*_equal(plan, filled, findings, at), *part.equal)
        return Planned(filled, plan, bench, equal, _templates(target), locked)

    def _no_units(self, ask: Ask) -> Desired:
        return Desired(ask.spec.name, self.source(ask.spec.source).revision(ask.commit), "", {})

    def _bench(self, spec: StackSpec) -> Bench:
        return Bench(self.terraform.program, self.vault, spec.name, self.source(spec.source).tree)

    def _why_not_run(self, spec: StackSpec, preview: Preview | None) -> str:
        """Why Terraform is not started for a preview; "" if it is. Its `kubernetes` backend does not make the namespace
        that it keeps states in, so that whoever is no preview makes it here."""
        name = self.terraform.cluster
        if preview is not None and not preview.terraform:
            return "Terraform is not run for another branch; `--terraform` runs it"
        if not spec.terraform or not name or name in self._with_room:
            return ""
        if not self.cluster(name).house(make=preview is None):
            return f"Terraform's states have no place in cluster {name} yet; the first deploy makes it"
        self._with_room.add(name)
        return ""

    def modules_at(self, spec: StackSpec, commit: str) -> Mapping[UnitId, TerraformUnit]:
        """The modules of a stack at another commit. Raises CommitError or NeedsPerson."""
        then = self.ask(spec.source, spec.name, commit).spec
        modules = self.renderer.modules(self.source(spec.source).tree(commit), then, self._facts)
        return {module.id: module for module in modules}

    def unlock(self, ask: Ask, component: str, lock: str) -> str:
        """Remove the lock of a component's state, or only the named one; whose it was. Raises GitopsdError."""
        stack = ask.spec.name
        tree = self.source(ask.spec.source).tree
        look = LockLook(stack, ask.commit, self.record.baselines(stack), partial(self.modules_at, ask.spec), tree)
        self._why_not_run(ask.spec, None)
        return unlock(self.terraform.program, look, component, lock)

    def _others(self, stack: str) -> dict[str, Mapping[UnitId, Baseline]]:
        return {name: self.record.baselines(name) for name in self.record.stacks() if name != stack}

    def _live(self, units: Sequence[UnitId]) -> dict[UnitId, LiveObject | Absence]:
        return {u: self.cluster(u.cluster).get(u) for u in units}


def _equal(plan: Plan, desired: Desired, findings: Mapping[UnitId, Finding], at: str) -> tuple[Baseline, ...]:
    found = []
    autoscaled = autoscaled_targets(desired)
    for unit in plan.equal:
        if unit.is_terraform:
            continue
        live, wanted = findings[unit].live, desired.units[unit]
        if live is not None:
            ignore = ignored_paths(wanted, autoscaled)
            base = baseline_of(
                live, component=wanted.component, order=wanted.order, digest=wanted.digest, at=at, ignore=ignore
            )
            found.append(base)
    return tuple(found)


def _reasons(faults: Mapping[UnitId, EnvironmentFault]) -> dict[UnitId, str]:
    return {unit: str(fault) for unit, fault in faults.items()}


def _templates(desired: Desired) -> dict[UnitId, KubernetesUnit]:
    return {unit: wanted for unit, wanted in desired.units.items() if wanted.values}


def good_ask(pipeline: Pipeline, source: str, stack: str, good: Good) -> Ask:
    """The good revision as something to ask for; its digest is the recorded one."""
    ask = pipeline.ask(source, stack, good.commit)
    return Ask(ask.commit, ask.spec, good.digest)
