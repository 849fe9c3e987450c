"""The outside world as the rest of the program sees it. Adapters implement these; tests simulate them.

Unless a method says otherwise, whatever cannot be found out raises `EnvironmentFault`: no method answers "absent",
"empty" or "no" for a question that it could not ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from gitopsd.model.audit import AuditEvent
from gitopsd.model.errors import Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, Assessment, Catalog, Deletion, LiveObject, Rejection, Workload
from gitopsd.model.memory import AuditHead, Baseline, Dirty, Hold, Intent, Memory, StackState
from gitopsd.model.modules import ModuleApplied, ModuleFailure, ModulePlan, Output
from gitopsd.model.orders import Grant, Order, Question
from gitopsd.model.plan import Plan, Postponed
from gitopsd.model.run import Observation, Outcome, RunRecord
from gitopsd.model.sensitive import Sensitive
from gitopsd.model.spec import HttpCheck
from gitopsd.model.units import Manifest, Revision, Sealed, TerraformUnit
from gitopsd.model.watching import WatchEvent


class Clock(Protocol):
    """Time. `now` is for people (UTC), `monotonic` for durations, in seconds."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


# ---------------------------------------------------------------- git


@dataclass(frozen=True, slots=True, order=True)
class TreeEntry:
    """A file of a commit; `mode` is git's (`100644`, `120000` for a symlink), `oid` names its bytes."""

    path: str
    mode: str
    oid: str
    size: int = -1


class SourceTree(Protocol):
    """The files of one commit, read from the object database. Paths are relative to the repository's root, with `/`."""

    @property
    def commit(self) -> str: ...

    def oid(self, path: str) -> str | None:
        """The object id of a file or directory ("" and "." are the root); None if the commit has no such path."""

    def files(self, under: str = "") -> tuple[TreeEntry, ...]:
        """Every file below a directory, sorted by path."""

    def submodules(self, under: str = "") -> tuple[str, ...]:
        """The paths of every submodule below a directory, sorted. Their files are in another repository."""

    def read(self, entries: Sequence[TreeEntry]) -> dict[str, bytes]:
        """Contents by path, in one conversation with git."""

    def export(self, destination: Path, paths: Iterable[str]) -> None:
        """Write the files below `paths` under `destination`. A symlink that leaves the tree raises CommitError."""


class Source(Protocol):
    """One branch of one repository, mirrored on this host. Safe to use from several threads."""

    @property
    def name(self) -> str: ...

    def fetch(self) -> str:
        """Ask the remote and return the branch's head. Raises EnvironmentFault when the server cannot be asked and
        NeedsPerson when it answered but the branch is missing or the repository empty."""

    def head(self) -> str | None:
        """The head as of the last fetch; None before the first one."""

    def revision(self, commit: str) -> Revision: ...

    def resolve(self, name: str) -> str:
        """The full id of a commit, branch or tag of the mirror. Raises UsageError if there is none."""

    def tree(self, commit: str) -> SourceTree: ...

    def between(self, old: str, new: str, limit: int = 200) -> tuple[Revision, ...]:
        """The commits that `new` has and `old` has not, oldest first; all of `new`'s if `old` is unknown here."""

    def has(self, commit: str) -> bool: ...

    def keep(self, stack: str, commits: Sequence[str]) -> None:
        """Hold these commits (newest first) against gc as `refs/gitopsd/good/STACK/N`, and no others."""

    def fetch_ref(self, name: str) -> str:
        """Ask the remote for another branch or a tag, to look at once (`plan --ref`); `head` stays. Raises UsageError
        if the remote has neither."""

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`: a head for which it is false was rewound or rewritten."""

    def related(self, one: str, other: str) -> bool:
        """Whether two commits have an ancestor in common."""

    def close(self) -> None:
        """End what still runs. The source cannot be used afterwards."""


class BlobCache(Protocol):
    """Parsed contents by a key that covers everything they depend on. Losing it costs time only."""

    def get(self, keys: Sequence[str]) -> dict[str, bytes]: ...

    def put(self, items: Mapping[str, bytes]) -> None: ...


# ---------------------------------------------------------------- Kubernetes


class Watch(Protocol):
    """One kind of one cluster, watched. One thread reads it."""

    def events(self) -> Iterator[WatchEvent]:
        """First `Seen` for every object and `Whole`, then what happens; again `Seen` and `Whole` whenever something may
        have been missed. An object may be told again as it was (same uid and resourceVersion). Blocks between events,
        never raises for the environment's sake, ends after `close`."""

    def close(self) -> None:
        """Let `events` end; returns at once, from any thread. It ends at once if it waits for an event or for its next
        try, else when the request under way is answered."""


class Cluster(Protocol):
    """One Kubernetes cluster. Safe to use from several threads; every request has a timeout and transient failures
    were already retried when EnvironmentFault is raised. Its text names the cluster, and for a 403 the RBAC rule."""

    @property
    def name(self) -> str: ...

    def uid(self) -> str:
        """The uid of kube-system: which cluster this is, whatever it is called."""

    def version(self) -> str:
        """Of the API server's program, as in `v1.36.3`: another one may have other defaults."""

    def catalog(self, *, refresh: bool = False) -> Catalog: ...

    def get(self, unit: UnitId, api_version: str = "") -> LiveObject | Absence:
        """One object; in the given version, or in the one the server prefers."""

    def apply(self, unit: UnitId, manifest: Manifest, *, dry_run: bool = False) -> Accepted | Rejection:
        """Server-side apply with force and strict validation. A dry run also sorts a 422 by two more dry runs."""

    def dry_run_pod(self, unit: UnitId, pod: Manifest) -> Rejection | None:
        """Whether a pod of this workload would be admitted now; None if so."""

    def patch(self, unit: UnitId, operations: Sequence[Mapping[str, Any]]) -> LiveObject | Absence | Rejection:
        """A JSON patch (RFC 6902), not retried: put a `test` operation first where it must not hit another object."""

    def delete(self, unit: UnitId, *, uid: str, resource_version: str) -> Deletion:
        """Delete in the background, only if uid and resourceVersion are still these."""

    def members(self, applyset: str, group_kinds: Iterable[str]) -> tuple[LiveObject, ...]:
        """Metadata of every object of these kinds (`Kind.group`) that carries the label of this ApplySet."""

    def list(self, group: str, kind: str, namespace: str = "", *, limit: int = 0) -> tuple[LiveObject, ...]:
        """Metadata of every object of a kind."""

    def watch(self, group: str, kind: str, applysets: Collection[str]) -> Watch:
        """Whatever happens to the objects of a kind that carry the label of one of these ApplySets, from a complete
        list on; without any, to every object of the kind. Objects have nothing but their metadata. Raises
        EnvironmentFault if the kind is not served now, cannot be watched, or if its events do not arrive."""

    def workloads(self, units: Sequence[UnitId]) -> dict[UnitId, Workload | Absence]:
        """Objects with what they control, for the gate."""

    def load_memory(self, stack: str) -> Memory | None:
        """The parent of a stack; None if this cluster has none."""

    def save_memory(self, memory: Memory, *, over: str = "") -> None:
        """Write the parent, making it and its namespace if needed; never touches an object of somebody else. `over` is
        an instance that the stack is taken over from: its parent may be replaced."""

    def house(self, *, make: bool) -> bool:
        """Whether the namespace of our own objects is there; with `make`, it is made if it is missing."""

    def hold_lease(self, stack: str, instance: str) -> None:
        """Take or renew the lease of a stack. Raises NeedsPerson if another instance holds it."""

    def release_lease(self, stack: str, instance: str) -> None: ...


# ---------------------------------------------------------------- Terraform


@dataclass(frozen=True, slots=True)
class Module:
    """One root module as it is to be run: its code at one commit, and values for the variables that other components
    set (plain JSON, or `Sensitive`). `sealed` are opened items; those that it declares no variable for are not meant
    for it."""

    stack: str
    unit: TerraformUnit
    tree: SourceTree
    variables: Mapping[str, Any] = field(default_factory=dict)
    sealed: Mapping[str, Sensitive] = field(default_factory=dict)


class Terraform(Protocol):
    """Terraform or OpenTofu. Safe to use from several threads; one module is at work in one of them at a time.

    Raises CommitError for what only another commit mends (syntax, a wrong variable, a refused argument), with file and
    line; NeedsPerson where the state that was there is gone, or somebody's lock does not end; else EnvironmentFault.
    """

    def version(self) -> str:
        """The program and its version, as in `terraform 1.11.4`: an input of every module."""

    def plan(self, module: Module, *, destroy: bool = False, known: bool = False) -> ModulePlan:
        """Initialise, validate and plan; `destroy` plans to destroy all of it. `known`: a state has been there, and an
        empty one now is a fault and no reason to create everything again."""

    def apply(
        self, module: Module, plan: ModulePlan, *, progress: Callable[[str], None], stop: Callable[[], bool]
    ) -> ModuleApplied | ModuleFailure:
        """Apply exactly the saved plan. `progress` is told what goes on, a resource at a time; as soon as `stop`
        answers true the program is interrupted, finishes the resource at hand and gives its lock back."""

    def outputs(self, module: Module) -> Mapping[str, Output]:
        """Every output in the state; values of sensitive ones as `Sensitive`."""

    def discard(self, plans: Iterable[ModulePlan]) -> None:
        """Remove saved plans; those that are gone already are no fault."""

    def settle(self, stack: str, component: str) -> None:
        """After a crash of this process: end what it left running (interrupt, then wait), bring a state home that could
        not be written, and remove the lock of a dead child of ours. Does nothing if there was no crash."""

    def clear_out(self, stack: str, keep: Collection[str]) -> None:
        """Remove what is left on this host of a stack's components that are not in `keep`; never a state. Called while
        nothing of the stack is at work."""

    def unlock(self, module: Module, lock: str = "") -> str:
        """Remove the lock of a module's state for a person who knows that its owner is gone; whose it was, in words.
        Raises NeedsPerson if there is none, if it is not the named one, or if a program of this host holds it."""

    def stop(self) -> None:
        """This process ends: interrupt what is being planned, and plan no more; both raise EnvironmentFault. Whoever
        applies hears of it by the `stop` of its `apply`. Safe in a signal handler."""


# ---------------------------------------------------------------- sealing keys


@dataclass(frozen=True, slots=True)
class OpenedItems:
    """The items of a Secret in clear, as `Sensitive` bytes, and the fingerprint of the key that opened each."""

    items: Mapping[str, Sensitive]
    fingerprints: Mapping[str, str]


class Vault(Protocol):
    """The sealing keys of this host. Safe to use from several threads; what it opens it keeps nowhere."""

    def open(self, sealed: Sealed) -> OpenedItems:
        """Raises EnvironmentFault with every item that no key opens: a key may come, so that no commit is to blame."""

    def digest(self) -> str:
        """Changes whenever the keys do."""

    def fingerprints(self) -> frozenset[str]:
        """Of the keys that are here now."""

    def unusable(self) -> tuple[Problem, ...]:
        """Why keys that are here are not used, with the commands that mend it."""

    def opened_by(self, sealed: Sealed) -> frozenset[str]:
        """The keys that opened it when it was last opened on this host; none if nobody remembers. Costs no operation
        on a key."""


class Probe(Protocol):
    """Asks one URL. Never raises: what it cannot reach is not healthy yet."""

    def __call__(self, check: HttpCheck) -> Assessment: ...


# ---------------------------------------------------------------- the host's own record


@dataclass(frozen=True, slots=True)
class Effect:
    """Everything that one outcome changes in the record, in one transaction.

    `baseline` replaces the unit's; `forget` removes it (the unit is gone or no longer ours); `dirty` marks it touched.
    `freed` is the uid of the owner that the object was taken away from, if it was.
    """

    outcome: Outcome
    baseline: Baseline | None = None
    forget: bool = False
    dirty: Dirty | None = None
    freed: str = ""


class Record(Protocol):
    """The host's durable memory. Every method is one transaction, on disk when it returns; safe from several threads.
    Audit events given to a method are part of its transaction and reach the audit file at once or at the next start."""

    def state(self, stack: str) -> StackState | None:
        """None for a stack that this host has never seen."""

    def stacks(self) -> tuple[str, ...]:
        """Every stack that this host has ever seen."""

    def baselines(self, stack: str) -> dict[UnitId, Baseline]: ...

    def save_memory(self, memory: Memory, events: Sequence[AuditEvent] = ()) -> Memory:
        """Store the memory with its generation raised by one and the audit head of now, and return it."""

    def adopt_memory(self, memory: Memory) -> None:
        """Store a memory found in a cluster exactly as it is."""

    def set_holds(self, stack: str, holds: Sequence[Hold], events: Sequence[AuditEvent] = ()) -> None:
        """Replace the stack's holds in the stored memory, without raising its generation."""

    def set_postponed(self, stack: str, postponed: Sequence[Postponed]) -> None: ...

    def order(self, stack: str, order: Order, events: Sequence[AuditEvent] = ()) -> Order:
        """Put a person's order on record; with its number."""

    def orders(self, stack: str) -> tuple[Order, ...]:
        """Those that were not carried out yet, oldest first."""

    def obey(self, memory: Memory, orders: Sequence[Order], events: Sequence[AuditEvent] = ()) -> Memory:
        """`save_memory`, and the end of these orders: a crash neither loses nor repeats one."""

    def grant(self, stack: str, grant: Grant, events: Sequence[AuditEvent] = ()) -> None:
        """Write down a person's answer; it replaces an earlier one."""

    def grants(self, stack: str) -> tuple[Grant, ...]:
        """What people answered, as far as it still counts."""

    def ask_people(self, stack: str, questions: Sequence[Question], drop: Sequence[str] = ()) -> None:
        """From now on these questions are open, and no others; the grants of the digests in `drop` end."""

    def begin(self, run: RunRecord, events: Sequence[AuditEvent] = ()) -> None: ...

    def save_plan(self, run: str, plan: Plan) -> None: ...

    def intend(self, stack: str, intents: Sequence[Intent]) -> None:
        """Before any effect: the units' baselines become uncertain until their outcome."""

    def conclude(self, stack: str, run: str, effects: Sequence[Effect], events: Sequence[AuditEvent] = ()) -> None:
        """After effects: outcomes, baselines, dirty marks; the units' intents end."""

    def rebase(self, stack: str, baselines: Sequence[Baseline], forget: Sequence[UnitId] = ()) -> None:
        """Correct baselines by what was observed, outside any run's effects; ends the units' intents."""

    def observed(self, run: str, observations: Sequence[Observation]) -> None:
        """Replace what the gate saw last of these subjects."""

    def finish(self, run: RunRecord, events: Sequence[AuditEvent] = ()) -> None:
        """Store verdict, reason, leftovers and times of a run."""

    def clean(self, stack: str, units: Sequence[UnitId]) -> None:
        """These units are good: no longer dirty."""

    def soil(self, stack: str, dirty: Sequence[Dirty]) -> None:
        """Mark units dirty without an outcome (a crash left an intent)."""

    def audit(self, events: Sequence[AuditEvent]) -> AuditHead: ...

    def run(self, run: str) -> RunRecord | None: ...

    def runs(self, stack: str = "", limit: int = 50) -> tuple[RunRecord, ...]:
        """Newest first, without plan, outcomes and observations."""


# ---------------------------------------------------------------- while a run goes on


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Why a run should end at its next safe point: `superseded_by` a newer commit, or the process stops (None).

    `order` is the sentence of a person's order that is the reason; without `superseded_by` the stack then waits.
    """

    superseded_by: str | None = None
    order: str = ""

    @property
    def stops(self) -> bool:
        """Whether the process ends."""
        return self.superseded_by is None and not self.order


class Attention(Protocol):
    """How a long wait learns that it is no longer wanted."""

    def interrupt(self) -> Interrupt | None:
        """Asked at safe points only."""

    def wait(self, seconds: float) -> None:
        """Sleep, but wake early when there may be an interrupt."""
