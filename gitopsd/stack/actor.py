"""The thread of one stack: takes triggers in, coalesces them, and lets the worker settle the stack."""

from __future__ import annotations

import random
import time
from threading import Condition, Thread

import structlog

from gitopsd.model.errors import GitopsdError
from gitopsd.stack.attention import StackAttention
from gitopsd.stack.worker import Rest, StackWorker

log = structlog.get_logger("gitopsd.stack")

FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds until a stack that the environment blocks is tried again; doubled each time."""

LONGEST_LOOK = 30.0
"""Seconds between two looks at the clock while something of the stack is to end by itself: that is said in wall time,
which may jump."""

NEVER = float("inf")


class Actor(Thread):
    """One stack's thread. All methods but `run` may be called from anywhere and return at once."""

    def __init__(self, worker: StackWorker, attention: StackAttention) -> None:
        super().__init__(name=f"stack-{worker.name}")
        self.worker, self.attention = worker, attention
        self._inbox = Condition()
        self._head: str | None = None
        self._news = False
        self._sweep = False
        self._owes_sweep = False  # a sweep that the environment spoiled, for the next try
        self._trouble = ""
        self._stopping = False
        self._retries = 0
        self._asked = False
        self._stirred = False
        self._begun = self._ended = 0  # looks at the stack
        self._due = NEVER  # in wall time
        self._again: float | None = None  # when it is tried again, in monotonic time
        worker.vigil.stir = self.stir

    def fetched(self, head: str | None, trouble: str) -> None:
        """What a look at the source gave: its head as far as known, and why it could not be read, if so.

        Ten such triggers in a second make one or two runs; none is lost.
        """
        with self._inbox:
            if head is not None and head != self._head:
                self._head, self._news = head, True
            if trouble != self._trouble:
                self._trouble, self._news = trouble, True
            self._inbox.notify()
        if head is not None:
            self.attention.offer(head)

    def sweep(self) -> None:
        """Look for drift when there is time."""
        with self._inbox:
            self._sweep = True
            self._inbox.notify()

    def stir(self) -> None:
        """A watch has seen something that may be about this stack."""
        with self._inbox:
            self._stirred = True
            self._inbox.notify()

    def nudge(self) -> int:
        """A person said something: look now, whatever the stack waits for; the number of that look."""
        with self._inbox:
            self._asked = True
            self._retries, self._again = 0, None
            number = self._begun + 1
            self._inbox.notify()
        self.attention.wake()
        return number

    def looked(self, number: int) -> bool:
        """Whether the look of this number is over."""
        with self._inbox:
            return self._ended >= number

    def began(self, number: int) -> bool:
        """Whether the look of this number goes on, or is over."""
        with self._inbox:
            return self._begun >= number

    def stop(self) -> None:
        """End at the next safe point."""
        with self._inbox:
            self._stopping = True
            self._inbox.notify()
        self.attention.stop()

    # ------------------------------------------------------------ the thread

    def run(self) -> None:
        while True:
            with self._inbox:
                while not (self._stirred or self._stopping or self._wanted()):
                    self._inbox.wait(self._patience())
                if self._stopping:
                    return
                stirred, self._stirred = self._stirred, False
            if stirred:
                self._judge()
            with self._inbox:
                if not self._wanted():
                    continue
                head, trouble, sweep = self._head, self._trouble, self._sweep or self._owes_sweep
                self._news = self._sweep = self._owes_sweep = self._asked = False
                self._begun += 1
            self._settle(head, sweep=sweep, trouble=trouble)
            with self._inbox:
                self._ended = self._begun

    def _wanted(self) -> bool:
        """Whether there is something to do, or it is time to try again, or something of the stack ends by itself, or a
        unit deserves its look by now."""
        return self._news or self._sweep or self._asked or self._left() <= 0

    def _left(self) -> float:
        """Seconds until it is time for something. Who waits for the environment is not hurried by what drifts."""
        if self._again is not None:
            return self._again - time.monotonic()
        return min(self._due - time.time(), self.worker.vigil.due_in())

    def _patience(self) -> float | None:
        left = self._left()
        return min(max(left, 0), LONGEST_LOOK) if left < NEVER else None

    def _judge(self) -> None:
        try:
            self.worker.judge()
        except GitopsdError as error:  # looked at again by the next sweep at the latest
            log.error("cannot be judged", stack=self.worker.name, error=str(error))

    def _settle(self, head: str | None, *, sweep: bool, trouble: str) -> None:
        try:
            self.worker.trouble(trouble)
            rest = self.worker.settle(head, sweep=sweep) if head is not None else Rest.SETTLED
        except GitopsdError as error:  # the host's own record fails: nothing may be done without it
            log.error("cannot go on", stack=self.worker.name, error=str(error))
            rest = Rest.RETRY
        except Exception:
            log.exception("a fault of gitopsd itself; the stack is tried again", stack=self.worker.name)
            rest = Rest.RETRY
        self._retries = self._retries + 1 if rest is Rest.RETRY else 0
        self._again = self._next_try()
        self._due = self._next_end()
        self._owes_sweep = sweep and rest is Rest.RETRY

    def _next_try(self) -> float | None:
        """When to try again what the environment blocks, in monotonic time."""
        return time.monotonic() + pause_before(self._retries) if self._retries else None

    def _next_end(self) -> float:
        """When something of the stack ends by itself, in wall time. What is overdue could not be ended just now."""
        try:
            due = self.worker.due_in()
        except GitopsdError as error:
            log.error("cannot be read", stack=self.worker.name, error=str(error))
            due = LONGEST_RETRY
        return NEVER if due is None else time.time() + max(due, FIRST_RETRY)


def pause_before(retry: int) -> float:
    """Seconds until the first, second ... try."""
    delay = min(FIRST_RETRY * 2.0 ** min(retry - 1, 16), LONGEST_RETRY)
    return delay * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
