"""A run without a world: time that passes when somebody waits, a cluster told what to say, a journal that listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, cast

from gitopsd.execution.bench import Bench
from gitopsd.execution.clocks import GateClocks
from gitopsd.execution.session import Session
from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import (
    Absence,
    Accepted,
    Assessment,
    Catalog,
    Deletion,
    Health,
    LiveObject,
    Rejection,
    RejectionKind,
    Resource,
    Workload,
)
from gitopsd.model.memory import Baseline, Dirty, Intent, JobDone
from gitopsd.model.plan import Action, Change
from gitopsd.model.ports import Cluster, Effect, Interrupt, Record
from gitopsd.model.run import Observation, RunKind
from gitopsd.model.spec import HttpCheck, StackSpec
from gitopsd.model.units import Desired, Manifest
from gitopsd.planning.send import autoscaled_targets
from gitopsd.sealing.vault import KeyVault
from tests.support.memory_cache import MemoryCache
from tests.support.memory_source import MemorySource
from tests.support.simterraform import NoTerraform
from tests.support.ssa import json_patched
from tests.unit.planning.samples import APPLYSETS, live_object, merged

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class FakeTime:
    """The clock and the attention of a run. `interrupts` tells by the second what is asked at a safe point."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    interrupts: Callable[[float], Interrupt | None] = lambda _: None
    meanwhile: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def interrupt(self) -> Interrupt | None:
        return self.interrupts(self.seconds)

    def wait(self, seconds: float) -> None:
        assert seconds > 0, "a wait of no time is a busy loop"
        assert len(self.waits) < 20_000, "waits for ever"
        self.waits.append(seconds)
        self.seconds += seconds
        self.meanwhile()


@dataclass
class Journal:
    """The part of the record that a run writes. `faults` are raised, one a call, by the method that they name."""

    calls: list[str] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    events: list[AuditEvent] = field(default_factory=list)
    dirty: list[Dirty] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    known: dict[UnitId, Baseline] = field(default_factory=dict)

    def baselines(self, stack: str) -> dict[UnitId, Baseline]:
        return self.known

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if self.faults.get(name):
            raise self.faults[name].pop(0)

    def intend(self, stack: str, intents: Sequence[Intent]) -> None:
        self._note("intend")
        self.intents += intents

    def soil(self, stack: str, dirty: Sequence[Dirty]) -> None:
        self._note("soil")
        self.dirty += dirty

    def conclude(self, stack: str, run: str, effects: Sequence[Effect], events: Sequence[AuditEvent] = ()) -> None:
        self._note("conclude")
        self.effects += effects
        self.events += events

    def audit(self, events: Sequence[AuditEvent]) -> None:
        self._note("audit")
        self.events += events

    def observed(self, run: str, observations: Sequence[Observation]) -> None:
        self._note("observed")
        self.seen += observations

    def concluded(self) -> dict[str, str]:
        """Results by unit."""
        return {str(e.outcome.unit): e.outcome.result.value for e in self.effects}


Reply = Accepted | Rejection | Exception | None


@dataclass
class FakeCluster:
    """Objects that merge what is applied. `replies` come first: the next answers to applying the unit of that name."""

    objects: dict[UnitId, LiveObject] = field(default_factory=dict)
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    deletions: list[Deletion | Exception] = field(default_factory=list)
    unserved: frozenset[str] = frozenset()
    kinds: tuple[Resource, ...] = ()
    leases: list[Exception | None] = field(default_factory=list)
    asked: list[tuple[str, UnitId]] = field(default_factory=list)
    sent: dict[UnitId, Manifest] = field(default_factory=dict)
    patches: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)
    on_delete: Callable[[UnitId], None] = lambda _: None
    on_patch: Callable[[UnitId], None] = lambda _: None
    lock: Lock = field(default_factory=Lock)
    made: int = 0
    owned: dict[UnitId, Workload | Absence] = field(default_factory=dict)

    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.asked]

    def _note(self, verb: str, unit: UnitId) -> None:
        with self.lock:
            self.asked.append((verb, unit))

    def get(self, unit: UnitId, api_version: str = "") -> LiveObject | Absence:
        self._note("get", unit)
        if unit.kind in self.unserved:
            return Absence.KIND_UNSERVED
        return self.objects.get(unit, Absence.GONE)

    def apply(self, unit: UnitId, manifest: Manifest, *, dry_run: bool = False) -> Accepted | Rejection:
        assert not dry_run
        self._note("apply", unit)
        with self.lock:
            self.sent[unit] = manifest
            reply = self.replies[unit.name].pop(0) if self.replies.get(unit.name) else None
            if isinstance(reply, Exception):
                raise reply
            if reply is not None:
                return reply
            there = self.objects.get(unit)
            self.made += 1
            uid = there.uid if there else f"made-{self.made}"
            body = merged(there.body, manifest) if there else manifest
            self.objects[unit] = live_object(unit, body, uid=uid, version=str(100 + self.made))
            return Accepted(self.objects[unit], created=there is None)

    def patch(self, unit: UnitId, operations: Sequence[Mapping[str, Any]]) -> LiveObject | Absence | Rejection:
        self._note("patch", unit)
        self.patches.append(operations)
        self.on_patch(unit)
        there = self.objects.get(unit)
        if there is None:
            return Absence.GONE
        body = json_patched(dict(there.body), operations)
        if body is None:
            return Rejection(RejectionKind.CONFLICT, "the server rejected our request", (), 422)
        self.objects[unit] = LiveObject(unit, body)
        return self.objects[unit]

    def delete(self, unit: UnitId, *, uid: str, resource_version: str) -> Deletion:
        self._note("delete", unit)
        there = self.objects[unit]
        assert there.uid == uid, "only the object that was looked at may be deleted"
        answer = self.deletions.pop(0) if self.deletions else Deletion.GONE
        if isinstance(answer, Exception):
            raise answer
        if answer is Deletion.GONE:
            del self.objects[unit]
        self.on_delete(unit)
        return answer

    def workloads(self, units: Sequence[UnitId]) -> dict[UnitId, Workload | Absence]:
        return {unit: self.owned[unit] for unit in units}

    def catalog(self, *, refresh: bool = False) -> Catalog:
        return Catalog({(r.group, r.kind): r for r in self.kinds})

    def list(self, group: str, kind: str, namespace: str = "", *, limit: int = 0) -> tuple[LiveObject, ...]:
        return tuple(
            o for u, o in self.objects.items() if (u.group, u.kind) == (group, kind) and namespace in {"", u.namespace}
        )

    def members(self, applyset: str, group_kinds: Iterable[str]) -> tuple[LiveObject, ...]:
        wanted = set(group_kinds)
        return tuple(o for u, o in self.objects.items() if u.group_kind in wanted)

    def hold_lease(self, stack: str, instance: str) -> None:
        fault = self.leases.pop(0) if self.leases else None
        if fault is not None:
            raise fault


@dataclass
class Run:
    """A session with its fakes at hand."""

    session: Session
    time: FakeTime
    cluster: FakeCluster
    journal: Journal
    pauses: list[EnvironmentFault | None]
    jobs: list[JobDone]
    probes: dict[str, Health]


@contextmanager
def run_of(
    spec: StackSpec,
    wanted: Desired,
    cluster: FakeCluster | None = None,
    *,
    kind: RunKind = RunKind.DEPLOY,
    dirty: Sequence[Dirty] = (),
    clocks: GateClocks | None = None,
    width: int = 4,
) -> Iterator[Run]:
    time, journal, there = FakeTime(), Journal(), cluster or FakeCluster()
    pauses: list[EnvironmentFault | None] = []
    jobs: list[JobDone] = []
    probes: dict[str, Health] = {}

    def probe(check: HttpCheck) -> Assessment:
        return Assessment(probes.get(check.url, Health.HEALTHY), "asked")

    with ThreadPoolExecutor(width) as pool:
        session = Session(
            spec=spec,
            run="web-1",
            kind=kind,
            commit="c" * 40,
            actor=Actor(ActorKind.DAEMON, "gitopsd"),
            instance="test",
            desired=wanted,
            bench=Bench(NoTerraform(), KeyVault(Path("no-keys-here"), MemoryCache()), spec.name, MemorySource().tree),
            clusters={"default": cast(Cluster, there)},
            record=cast(Record, journal),
            clock=time,
            attention=time,
            pool=pool,
            probe=probe,
            clocks=clocks or GateClocks(),
            applysets=APPLYSETS,
            dirty_before=dirty,
            autoscaled=autoscaled_targets(wanted),
            paused=pauses.append,
            job_done=jobs.append,
        )
        yield Run(session, time, there, journal, pauses, jobs, probes)


def change(wanted: Desired, unit: UnitId, action: Action = Action.CREATE, **more: Any) -> Change:
    known = wanted.units[unit]
    return Change(unit, action, known.component, known.order, digest=known.digest, **more)


def removal(unit: UnitId, live_uid: str = "uid-1", action: Action = Action.DELETE) -> Change:
    return Change(unit, action, "app", (0, 0), live_uid=live_uid)
