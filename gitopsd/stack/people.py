"""What people ordered, carried out in the stack's own thread: each order once, whatever crashes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from gitopsd.model.audit import Actor, ActorKind
from gitopsd.model.errors import EnvironmentFault, GitopsdError, NeedsPerson
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import HoldReason, Memory
from gitopsd.model.orders import Order, OrderKind
from gitopsd.model.ports import Cluster
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.orders import expired, obeyed

log = structlog.get_logger("gitopsd.stack")


NOT_BLINDLY = frozenset({OrderKind.UNLOCK, OrderKind.TAKEOVER, OrderKind.ACCEPT_CLUSTER})
"""Orders that are not carried out by a change of the memory alone."""

TOO_OLD = 300.0
"""Seconds after which an order to remove a lock counts no longer: whose it is may have changed since."""

OUTCOMES_KEPT = 100

Unlock = Callable[[str, str], str]
"""Removes the lock of a component's state, or only the named one; whose it was. Raises GitopsdError."""


class People:
    """The orders of one stack, and what ends by itself. `outcomes` has what came of those of this process that can go
    wrong when they are carried out, by number: whether it was done, and the sentence for the person."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.outcomes: dict[int, tuple[bool, str]] = {}
        self._behind = False  # after a crash between an order and its spreading, the next sweep finds the parent behind

    def obey(self, head: str, clusters: Mapping[str, Cluster], unlock: Unlock | None = None) -> None:
        """Carry out what was ordered since the last time, and end what has come to its end. `head` is the newest
        commit; `clusters` are told as soon as they can be. Without `unlock`, what needs more than the memory waits."""
        for order in self.ledger.record.orders(self.ledger.stack):
            if order.kind is OrderKind.UNLOCK and unlock is not None:
                self._unlock(order, unlock)
            elif order.kind not in NOT_BLINDLY or unlock is not None:
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

    def _unlock(self, order: Order, unlock: Unlock) -> None:
        """Tried once: whoever ordered it looks at what came of it, and says so again if it is still wanted."""
        age = self.ledger.clock.now() - datetime.fromisoformat(order.at)
        try:
            if age > timedelta(seconds=TOO_OLD):
                raise NeedsPerson(f"the order is of {order.at}, and who holds the lock may be another by now")
            done, text = True, f"the lock of {unlock(order.target, order.head)} was removed"
        except GitopsdError as error:
            done, text = False, str(error)
        unit = str(UnitId.terraform(order.target))
        event = self.ledger.event("unlock", actor=user(order.by), unit=unit, result="done" if done else "failed")
        self.ledger.record.obey(self.ledger.memory, (order,), [replace(event, detail=text)])
        self.outcomes[order.seq] = done, text
        while len(self.outcomes) > OUTCOMES_KEPT:
            self.outcomes.pop(next(iter(self.outcomes)))
        log.info("carried out", stack=self.ledger.stack, what=f"unlock by {order.by}", outcome=text)

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
