"""What a stack remembers, kept in step on the host and in its clusters, and its holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.memory import Hold, HoldReason, JobDone, Memory, StackState
from gitopsd.model.ports import Clock, Cluster, Record
from gitopsd.model.times import timestamp
from gitopsd.stack import remember

log = structlog.get_logger("gitopsd.stack")

DAEMON = Actor(ActorKind.DAEMON, "gitopsd")


class Ledger:
    """The memory of one stack. Every change of it goes through here."""

    def __init__(self, stack: str, source: str, instance: str, record: Record, clock: Clock) -> None:
        self.stack, self.source, self.instance = stack, source, instance
        self.record, self.clock = record, clock
        self._about: dict[HoldReason, str] = {}  # the commit that a hold was last audited for

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

    def hold(self, reason: HoldReason, detail: str, *, until: str = "", about: str = "") -> None:
        """Set a hold, unless it is set already with these words. Audited when it is new, and once more when it is
        `about` another commit by now."""
        old = self.memory.held(reason)
        if old is not None and (old.detail, old.until) == (detail, until):
            return
        holds = remember.with_hold(self.memory.holds, Hold(reason, self.now(), DAEMON.name, detail, until))
        new = old is None or self._about.get(reason) != about
        self._about[reason] = about
        events = [self.event("hold", result=reason.value, revision=about, detail=detail)] if new else []
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
