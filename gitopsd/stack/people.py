"""What people ordered, carried out in the stack's own thread: each order once, whatever crashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import structlog

from gitopsd.model.audit import Actor, ActorKind
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.memory import HoldReason, Memory
from gitopsd.model.orders import Order
from gitopsd.model.ports import Cluster
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.orders import expired, obeyed

log = structlog.get_logger("gitopsd.stack")


class People:
    """The orders of one stack, and what ends by itself."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._behind = False  # after a crash between an order and its spreading, the next sweep finds the parent behind

    def obey(self, head: str, clusters: Mapping[str, Cluster]) -> None:
        """Carry out what was ordered since the last time, and end what has come to its end. `head` is the newest
        commit; `clusters` are told as soon as they can be."""
        for order in self.ledger.record.orders(self.ledger.stack):
            self._carry_out(order)
        memory, what = expired(self.ledger.memory, self.ledger.now(), head)
        if what:
            self._store(memory, (), what)
        if self._behind and self.ledger.memory.generation:
            self._spread(clusters)

    def due_in(self) -> float | None:
        """Seconds until something of the stack ends by itself; None if nothing will."""
        state = self.ledger.state
        suspended = state.memory.held(HoldReason.SUSPENDED)
        ends = [q.until for q in state.questions if q.until]
        ends += [suspended.until] if suspended is not None and suspended.until else []
        if not ends:
            return None
        return (datetime.fromisoformat(min(ends)) - self.ledger.clock.now()).total_seconds()

    def _carry_out(self, order: Order) -> None:
        self._store(obeyed(self.ledger.memory, order), (order,), f"{order.kind.value} by {order.by}")

    def _store(self, memory: Memory, orders: Iterable[Order], what: str) -> None:
        before = {h.reason for h in self.ledger.memory.holds}
        after = {h.reason for h in memory.holds}
        events = [self.ledger.event("hold", result=r.value, detail=what) for r in sorted(after - before)]
        events += [self.ledger.event("release", result=r.value, detail=what) for r in sorted(before - after)]
        self.ledger.record.obey(memory, tuple(orders), events)
        self._behind = True
        log.info("carried out", stack=self.ledger.stack, what=what)

    def _spread(self, clusters: Mapping[str, Cluster]) -> None:
        """An order counts also while a cluster is away; it is told at the next decision."""
        try:
            self.ledger.spread(clusters)
        except EnvironmentFault as fault:
            log.warning("the cluster does not know of it yet", stack=self.ledger.stack, fault=str(fault))
        else:
            self._behind = False


def user(name: str) -> Actor:
    """A local user as the audit log names one."""
    return Actor(ActorKind.USER, name)
