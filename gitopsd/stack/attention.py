"""How a stack at work learns of newer commits and of the end of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Condition

from gitopsd.model.errors import GitopsdError
from gitopsd.model.orders import Order, OrderKind
from gitopsd.model.ports import Interrupt


class StackAttention:
    """The `Attention` port of one stack. `offer`, `wake` and `stop` are called from other threads. `orders` are what
    people ordered and the stack has not done yet.

    A commit that asks the same as the one at work is no interrupt, nor is one that cannot be read: it is refused when
    the work is done.
    """

    def __init__(self, digest_of: Callable[[str], str], orders: Callable[[], Iterable[Order]] = lambda: ()) -> None:
        self._digest_of, self._orders = digest_of, orders
        self._changed = Condition()
        self._news = False
        self._stopping = False
        self._heeds = True
        self._head: str | None = None
        self._commit: str | None = None
        self._digest: str | None = None

    def offer(self, commit: str) -> None:
        """The branch's head is this commit now."""
        with self._changed:
            if commit != self._head:
                self._head = commit
                self._wake()

    def stop(self) -> None:
        """The process ends: at the next safe point the stack rests."""
        with self._changed:
            self._stopping = True
            self._wake()

    def wake(self) -> None:
        """A person ordered or answered something: whoever waits looks at it now."""
        with self._changed:
            self._wake()

    def heed(self, *, commits: bool) -> None:
        """Whether newer commits are a reason to end what goes on."""
        with self._changed:
            self._heeds = commits

    @property
    def head(self) -> str | None:
        """The newest commit that was offered."""
        with self._changed:
            return self._head

    def work_on(self, commit: str, digest: str) -> None:
        """This is what the stack works on now; only what asks for something else interrupts it."""
        with self._changed:
            self._commit, self._digest = commit, digest
            self._head = self._head or commit

    def interrupt(self) -> Interrupt | None:
        with self._changed:
            self._news = False
            if self._stopping:
                return Interrupt()
            head = self._head if self._heeds and self._head != self._commit else None
        orders = tuple(self._orders())
        ordered = next((order for order in orders if order.interrupts), None)
        if ordered is not None:
            return _interrupt(ordered)
        if head is None or any(order.kind is OrderKind.SUSPEND for order in orders):
            return None
        if self._digest_at(head) in {None, self._digest}:
            with self._changed:
                self._commit = head
            return None
        return Interrupt(superseded_by=head)

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._news, timeout=seconds)
            self._news = False  # once it has woken somebody: who cannot act on it now has to be able to wait on

    def _digest_at(self, commit: str) -> str | None:
        try:
            return self._digest_of(commit)
        except GitopsdError:
            return None

    def _wake(self) -> None:
        self._news = True
        self._changed.notify_all()


def _interrupt(order: Order) -> Interrupt:
    """What is stopped at once waits, or goes on once the lock in its way is gone; everything else is replaced by what
    the person wants instead."""
    if order.kind is OrderKind.SUSPEND:
        return Interrupt(order=f"suspended by {order.by}")
    if order.kind is OrderKind.UNLOCK:
        return Interrupt(order=f"{order.by} lets the lock of terraform/{order.target} be removed")
    return Interrupt(order.target or order.kind.value, order=f"{order.kind.value} by {order.by}")
