"""What interrupts a stack at work, and what does not."""

from __future__ import annotations

import threading

from gitopsd.model.errors import CommitError
from gitopsd.model.ports import Interrupt
from gitopsd.stack.attention import StackAttention

DIGESTS = {"c1": "d1", "c1-readme": "d1", "c2": "d2"}


def digest_of(commit: str) -> str:
    if commit not in DIGESTS:
        raise CommitError("the stack file is broken")
    return DIGESTS[commit]


def working() -> StackAttention:
    attention = StackAttention(digest_of)
    attention.offer("c1")
    attention.work_on("c1", "d1")
    return attention


def test_a_commit_that_asks_something_else_interrupts() -> None:
    attention = working()
    assert attention.interrupt() is None
    attention.offer("c2")
    assert attention.interrupt() == Interrupt("c2")


def test_a_commit_that_asks_the_same_does_not() -> None:
    attention = working()
    attention.offer("c1-readme")
    assert attention.interrupt() is None


def test_a_commit_that_cannot_be_read_waits_until_the_work_is_done() -> None:
    attention = working()
    attention.offer("broken")
    assert attention.interrupt() is None


def test_a_commit_taken_back_in_time_does_not_interrupt() -> None:
    attention = working()
    attention.offer("c2")
    attention.offer("c1")
    assert attention.interrupt() is None


def test_the_end_of_the_process_weighs_more_than_a_commit() -> None:
    attention = working()
    attention.offer("c2")
    attention.stop()
    assert attention.interrupt() == Interrupt(None)


def test_a_wait_ends_when_there_is_news() -> None:
    attention = working()
    woken = threading.Event()

    def wait() -> None:
        attention.wait(60)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    attention.offer("c2")
    assert woken.wait(10)
    thread.join()
