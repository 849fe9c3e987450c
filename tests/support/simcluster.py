"""A Kubernetes cluster in memory behind the `Cluster` port, faithful in what plans, gates and rollbacks depend on.

Every call passes its `Gatekeeper` before and after, which may count it, fail it, or end the process that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any, Protocol

import orjson

from gitopsd.kinds.fields import MANAGER
from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.codec import from_plain, to_plain
from gitopsd.model.errors import EnvironmentFault, NeedsPerson
from gitopsd.model.ids import DEFAULT_CLUSTER, UnitId
from gitopsd.model.live import (
    Absence,
    Accepted,
    Catalog,
    Deletion,
    LiveObject,
    Rejection,
    RejectionKind,
    Workload,
)
from gitopsd.model.memory import Memory
from gitopsd.model.units import Manifest
from tests.support.simcontrollers import run_controllers
from tests.support.simstate import (
    ServerState,
    immutable_fault,
    schema_fault,
    stamp,
    unit_of,
    with_defaults,
)
from tests.support.simwatch import SimWatch, metadata_only
from tests.support.ssa import Body, applied, json_patched, updated

LEASE = 60.0
PATCHER = "gitopsd-patch"


class Gatekeeper(Protocol):
    """Sees every call. `before` may raise: then the call did nothing. `after` may raise: then it did, and its answer
    is lost."""

    def before(self, verb: str, unit: UnitId | None, *, write: bool) -> None: ...

    def after(self, verb: str, unit: UnitId | None, *, write: bool) -> None: ...


class SimCluster:
    """One cluster. `seconds` is the fake clock; `lock` is shared with everything else that a crash cuts off."""

    def __init__(
        self, state: ServerState, seconds: Callable[[], float], gatekeeper: Gatekeeper, lock: RLock | None = None
    ) -> None:
        self.state, self._seconds, self._gatekeeper = state, seconds, gatekeeper
        self._lock = lock or RLock()
        self.watches: list[SimWatch] = []

    @property
    def name(self) -> str:
        return DEFAULT_CLUSTER

    @contextmanager
    def _call(self, verb: str, unit: UnitId | None = None, *, write: bool = False) -> Iterator[ServerState]:
        with self._lock:
            self._gatekeeper.before(verb, unit, write=write)
            yield self.state
            self._gatekeeper.after(verb, unit, write=write)

    # ------------------------------------------------------------ what others do

    def tick(self) -> None:
        """Let the controllers act."""
        with self._lock:
            run_controllers(self.state, self._seconds())

    def make(self, manifest: Manifest, manager: str = "kubectl") -> LiveObject:
        """Somebody else creates an object."""
        with self._lock:
            body = applied(None, with_defaults(dict(manifest)), manager, stamp(self._seconds()))
            return LiveObject(unit_of(body), self.state.put(body, self._seconds()))

    def edit(self, unit: UnitId, change: Callable[[Body], Any], manager: str = "kubectl-edit") -> None:
        """Somebody else changes an object; `change` gets a copy to write into."""
        with self._lock:
            body: Body = orjson.loads(orjson.dumps(self.state.objects[unit]))
            change(body)
            self.state.edit(unit, body, manager, self._seconds())

    def drop(self, unit: UnitId) -> None:
        """Somebody else deletes an object."""
        with self._lock:
            self.state.delete(unit, self._seconds())

    # ------------------------------------------------------------ reading

    def uid(self) -> str:
        with self._call("uid") as state:
            return state.cluster_uid

    def version(self) -> str:
        return "v1.36.0"

    def catalog(self, *, refresh: bool = False) -> Catalog:
        with self._call("catalog") as state:
            return state.catalog()

    def get(self, unit: UnitId, api_version: str = "") -> LiveObject | Absence:
        with self._call("get", unit) as state:
            return _read(state, unit, api_version)

    def members(self, applyset: str, group_kinds: Iterable[str]) -> tuple[LiveObject, ...]:
        with self._call("members") as state:
            wanted = set(group_kinds)
            return tuple(
                metadata_only(unit, body)
                for unit, body in sorted(state.objects.items())
                if unit.group_kind in wanted
                and (body["metadata"].get("labels") or {}).get(PART_OF_LABEL) == applyset
                and state.served(unit.group, unit.kind)
            )

    def list(self, group: str, kind: str, namespace: str = "", *, limit: int = 0) -> tuple[LiveObject, ...]:
        with self._call("list") as state:
            if not state.served(group, kind):
                raise EnvironmentFault(f"{kind}.{group} is not served now")
            found = [
                metadata_only(u, b) for u, b in state.of_kind(group, kind) if not namespace or u.namespace == namespace
            ]
            return tuple(found[: limit or None])

    def watch(self, group: str, kind: str, applysets: Collection[str]) -> SimWatch:
        with self._call("watch") as state:
            if not state.served(group, kind):
                raise EnvironmentFault(f"{kind}.{group} is not served now")
            self.watches.append(SimWatch(state, self._lock, group, kind, applysets))
            return self.watches[-1]

    def workloads(self, units: Sequence[UnitId]) -> dict[UnitId, Workload | Absence]:
        with self._call("workloads") as state:
            return {unit: _workload(state, unit) for unit in units}

    # ------------------------------------------------------------ writing

    def apply(self, unit: UnitId, manifest: Manifest, *, dry_run: bool = False) -> Accepted | Rejection:
        with self._call("dry-run" if dry_run else "apply", unit, write=not dry_run) as state:
            assert unit == unit_of(manifest), f"the manifest of {unit} is that of {unit_of(manifest)}"
            live = state.objects.get(unit)
            refused = _refusal(state, unit, manifest, live)
            if refused is not None:
                return refused
            body = with_defaults(applied(live, manifest, MANAGER, stamp(self._seconds())))
            if live is not None:
                fixed = immutable_fault(live, body)
                if fixed is not None:
                    return fixed
            if dry_run:
                return Accepted(LiveObject(unit, body), live is None)
            state.writes.append(("apply", unit))
            return Accepted(LiveObject(unit, state.put(body, self._seconds())), live is None)

    def dry_run_pod(self, unit: UnitId, pod: Manifest) -> Rejection | None:
        with self._call("dry-run-pod", unit) as state:
            account = pod["spec"].get("serviceAccountName", "default")
            known = UnitId(unit.cluster, "", "ServiceAccount", unit.namespace, account) in state.objects
            text = f'error looking up service account: serviceaccount "{account}" not found'
            return None if known else Rejection(RejectionKind.ADMISSION, text, (), 403)

    def patch(self, unit: UnitId, operations: Sequence[Mapping[str, Any]]) -> LiveObject | Absence | Rejection:
        with self._call("patch", unit, write=True) as state:
            live = state.objects.get(unit)
            if live is None:
                return _read(state, unit, "")
            body = json_patched(live, operations)
            if body is None:
                return Rejection(RejectionKind.CONFLICT, "the server rejected our request", (), 422)
            state.writes.append(("patch", unit))
            owned = updated(live, body, PATCHER, stamp(self._seconds()))
            entries = [e for e in owned["metadata"]["managedFields"] if e["manager"] != PATCHER]
            owned["metadata"]["managedFields"] = entries
            return LiveObject(unit, state.put(owned, self._seconds()))

    def delete(self, unit: UnitId, *, uid: str, resource_version: str) -> Deletion:
        with self._call("delete", unit, write=True) as state:
            if not state.served(unit.group, unit.kind):
                raise EnvironmentFault(f"{unit.group_kind} is not served now")
            live = state.objects.get(unit)
            if live is None:
                return Deletion.GONE
            metadata = live["metadata"]
            if (metadata["uid"], metadata["resourceVersion"]) != (uid, resource_version):
                return Deletion.CHANGED
            state.writes.append(("delete", unit))
            return Deletion.GONE if state.delete(unit, self._seconds()) else Deletion.TERMINATING

    # ------------------------------------------------------------ parent and lease

    def load_memory(self, stack: str) -> Memory | None:
        with self._call("load-memory") as state:
            return _memory(state, stack)

    def save_memory(self, memory: Memory, *, over: str = "") -> None:
        with self._call("save-memory", write=True) as state:
            there = _memory(state, memory.stack)
            if there is not None and there.instance not in {memory.instance, over}:
                raise NeedsPerson(f"stack {memory.stack} belongs to the instance {there.instance!r}")
            if there is not None and there.generation > memory.generation:
                raise EnvironmentFault(f"the parent has generation {there.generation}, newer than {memory.generation}")
            state.memories[memory.stack] = orjson.dumps(to_plain(memory))

    def house(self, *, make: bool) -> bool:
        return True

    def hold_lease(self, stack: str, instance: str) -> None:
        with self._call("hold-lease", write=True) as state:
            holder, renewed = state.leases.get(stack, ("", 0.0))
            if holder not in {"", instance} and renewed + LEASE > self._seconds():
                raise NeedsPerson(f"the instance {holder!r} is at work on stack {stack}")
            state.leases[stack] = (instance, self._seconds())

    def release_lease(self, stack: str, instance: str) -> None:
        with self._call("release-lease", write=True) as state:
            if state.leases.get(stack, ("", 0.0))[0] == instance:
                state.leases[stack] = ("", 0.0)


def _read(state: ServerState, unit: UnitId, api_version: str) -> LiveObject | Absence:
    if not state.served(unit.group, unit.kind, api_version.rpartition("/")[2]):
        return Absence.KIND_UNSERVED
    body = state.objects.get(unit)
    return Absence.GONE if body is None else LiveObject(unit, body)


def _workload(state: ServerState, unit: UnitId) -> Workload | Absence:
    seen = _read(state, unit, "")
    if isinstance(seen, Absence):
        return seen
    sets = tuple(b for _, b in state.owned_by(seen.uid, "ReplicaSet"))
    owners = [seen.uid, *(s["metadata"]["uid"] for s in sets)]
    return Workload(seen, tuple(b for uid in owners for _, b in state.owned_by(uid, "Pod")), sets)


def _refusal(state: ServerState, unit: UnitId, manifest: Manifest, live: Body | None) -> Rejection | None:
    """Why the server takes nothing, whatever the rest of the manifest says."""
    version = str(manifest["apiVersion"]).rpartition("/")[2]
    if not state.served(unit.group, unit.kind, version):
        return Rejection(RejectionKind.KIND_UNSERVED, f"no matches for kind {unit.kind}", (), 404)
    if live is not None and "deletionTimestamp" in live["metadata"]:
        return Rejection(RejectionKind.TERMINATING, "is being deleted", (), 200)
    space = state.objects.get(UnitId(unit.cluster, "", "Namespace", "", unit.namespace)) if unit.namespace else None
    if unit.namespace and space is None:
        return Rejection(RejectionKind.NAMESPACE_MISSING, f'namespaces "{unit.namespace}" not found', (), 404)
    if live is None and space is not None and "deletionTimestamp" in space["metadata"]:
        return Rejection(RejectionKind.TERMINATING, f"namespace {unit.namespace} is being terminated", (), 403)
    return schema_fault(manifest)


def _memory(state: ServerState, stack: str) -> Memory | None:
    text = state.memories.get(stack)
    return None if text is None else from_plain(Memory, orjson.loads(text))
