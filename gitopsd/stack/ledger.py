"""What a stack remembers, kept in step on the host and in its clusters, and its holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import structlog

from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.errors import NeedsPerson, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import AuditHead, Baseline, Hold, HoldReason, JobDone, Memory, StackState
from gitopsd.model.ports import Clock, Cluster, Record
from gitopsd.model.times import timestamp
from gitopsd.model.units import KubernetesUnit
from gitopsd.planning.modules import remembered_baseline
from gitopsd.stack import remember
from gitopsd.stack.rebuild import members, ungated

log = structlog.get_logger("gitopsd.stack")

Wanted = Callable[[Memory], Mapping[UnitId, KubernetesUnit]]
"""The units that the good revision of a memory asks for; none if there is no such revision."""

DAEMON = Actor(ActorKind.DAEMON, "gitopsd")


def _witness(memory: Memory) -> Memory:
    """The part of a memory that its parents have for certain: holds and the audit's head change in between."""
    return replace(memory, holds=(), audit=AuditHead())


def _what_became_of(found: Memory | None, memory: Memory) -> str:
    if found is None:
        return "was deleted"
    behind = found.generation < memory.generation  # ours could not be written then, or an old copy was put back
    return f"was behind, at generation {found.generation}" if behind else "was changed by somebody"


class Ledger:
    """The memory of one stack. Every change of it goes through here."""

    def __init__(self, stack: str, source: str, instance: str, record: Record, clock: Clock) -> None:
        self.stack, self.source, self.instance = stack, source, instance
        self.record, self.clock = record, clock
        self._parents_read = False

    @property
    def state(self) -> StackState:
        return self.record.state(self.stack) or StackState(Memory(self.stack, self.instance, self.source))

    @property
    def memory(self) -> Memory:
        return self.state.memory

    def now(self) -> str:
        return timestamp(self.clock.now())

    def event(self, action: str, *, actor: Actor = DAEMON, **more: str) -> AuditEvent:
        return AuditEvent(actor=actor, action=action, stack=self.stack, **more)

    # ------------------------------------------------------------ memory

    def remember(self, memory: Memory, clusters: Mapping[str, Cluster], events: Iterable[AuditEvent] = ()) -> Memory:
        """Store a memory on the host, then in every cluster. Raises EnvironmentFault if one cannot be written to:
        then the host is ahead, and the next call brings the cluster up to date."""
        stored = self.record.save_memory(memory, tuple(events))
        self.spread(clusters)
        return stored

    def spread(self, clusters: Mapping[str, Cluster]) -> None:
        """Write the memory as it is to the parents."""
        memory = self.memory
        for cluster in clusters.values():
            cluster.save_memory(memory)

    def note_jobs(self, done: Iterable[JobDone], clusters: Mapping[str, Cluster]) -> None:
        """Jobs that finished must never run again, so they are remembered at once."""
        known = {(j.unit, j.digest) for j in self.memory.jobs}
        new = [j for j in done if (j.unit, j.digest) not in known]
        if new:
            events = [self.event("job-done", unit=str(j.unit), after=j.digest) for j in new]
            self.remember(remember.with_jobs(self.memory, new), clusters, events)

    # ------------------------------------------------------------ holds

    def hold(self, reason: HoldReason, detail: str, *, until: str = "") -> None:
        """Set a hold, unless it is set already with these words. Audited when it is new."""
        old = self.memory.held(reason)
        if old is not None and (old.detail, old.until) == (detail, until):
            return
        holds = remember.with_hold(self.memory.holds, Hold(reason, self.now(), DAEMON.name, detail, until))
        events = [self.event("hold", result=reason.value, detail=detail)] if old is None else []
        self.ensure_known()
        self.record.set_holds(self.stack, holds, events)
        log.warning("held", stack=self.stack, reason=reason.value, detail=detail)

    def lift(self, *reasons: HoldReason) -> None:
        """Take holds away, if they are set. Audited."""
        gone = [h for h in self.memory.holds if h.reason in reasons]
        if gone:
            events = [self.event("release", result=h.reason.value) for h in gone]
            left = remember.without_holds(self.memory.holds, frozenset(reasons))
            self.record.set_holds(self.stack, left, events)
            log.info("goes on", stack=self.stack, was=[h.reason.value for h in gone])

    def ensure_known(self) -> None:
        """Make a place on record for a stack that has none yet."""
        if self.record.state(self.stack) is None:
            self.record.adopt_memory(self.memory)

    # ------------------------------------------------------------ the parents

    def read_parents(self, clusters: Mapping[str, Cluster], applysets: Mapping[str, str], wanted: Wanted) -> None:
        """Once a process: learn what the clusters remember. The highest generation wins.

        If that is a cluster's (the state directory was lost, or an old copy of it was put back), everything tracked is
        uncertain until it has been looked at, and if a run was under way also dirty; `wanted` tells what the good
        revision of that memory asks for. Raises NeedsPerson if the stack is another instance's.
        """
        if self._parents_read:
            return
        found = {name: cluster.load_memory(self.stack) for name, cluster in clusters.items()}
        parents = [p for p in found.values() if p is not None]
        other = next((p for p in parents if p.instance != self.instance), None)
        if other is not None:
            raise NeedsPerson(
                Problem(
                    f"the stack belongs to the instance {other.instance!r}",
                    unit=self.stack,
                    remedy=f"stop that one, then run `gitopsd takeover {self.stack}` here",
                )
            )
        newest = max(parents, key=lambda p: p.generation, default=None)
        if newest is not None and newest.generation > self.memory.generation:
            log.info("memory taken from the cluster", stack=self.stack, generation=newest.generation)
            self._rebuild(clusters, applysets, newest, wanted)
        self._parents_read = True
        behind = {n for n, p in found.items() if p is not None and p.generation < self.memory.generation}
        self.spread({name: clusters[name] for name in behind})  # a crash came between host and cluster

    def tend_parents(self, clusters: Mapping[str, Cluster]) -> None:
        """Write the parents anew that somebody deleted or changed: without them a lost host forgets what is good and
        what failed. Raises EnvironmentFault or NeedsPerson if one has become another process's."""
        memory = self.memory
        if not memory.runs:
            return  # nothing of it was written yet
        for name, cluster in clusters.items():
            found = cluster.load_memory(self.stack)
            if found is not None and _witness(found) == _witness(memory):
                continue
            cluster.save_memory(memory)
            what = _what_became_of(found, memory)
            detail = f"the parent in cluster {name} {what}; written anew as of generation {memory.generation}"
            self.record.audit([self.event("parent", detail=detail)])
            log.warning("parent written anew", stack=self.stack, cluster=name, why=what)

    def _rebuild(
        self, clusters: Mapping[str, Cluster], applysets: Mapping[str, str], memory: Memory, wanted: Wanted
    ) -> None:
        """Make the inventory from what is live and carries our marks. The memory comes last: until it is stored, the
        next try begins anew."""
        found = members(clusters, applysets, memory)
        known = self.record.baselines(self.stack)
        lost = [live for live in found if live.id not in known]
        made = (Baseline.of(live, component="", order=(0, 0), digest="", at=self.now()) for live in lost)
        modules = (remembered_baseline(m, self.now()) for m in memory.modules)
        roots = (base for base in modules if base.unit not in known)
        self.record.rebase(self.stack, [replace(b, certain=False) for b in (*known.values(), *made, *roots)])
        if memory.attempting is not None:
            marked = {d.unit for d in self.state.dirty}
            marks = ungated(memory.attempting, found, wanted(memory), memory.modules)
            self.record.soil(self.stack, [mark for mark in marks if mark.unit not in marked])
        self.record.adopt_memory(memory)
        self.record.audit([self.event("rebuild", detail=f"memory of generation {memory.generation} was read back")])
