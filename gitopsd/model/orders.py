"""What people say to a stack: orders, answers to questions, and the talk over the control socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.plan import Approval


class OrderKind(StrEnum):
    """What a person may order. Each changes what the stack remembers, and is therefore carried out by its thread."""

    SUSPEND = "suspend"
    RESUME = "resume"
    RETRY = "retry"
    ROLLBACK = "rollback"
    UNLOCK = "unlock"
    DESTROY = "destroy"
    TAKEOVER = "takeover"
    ACCEPT_CLUSTER = "accept-cluster"


@dataclass(frozen=True, slots=True)
class Order:
    """A person's wish, on record before it is answered.

    `by` is a local user, `at` and `until` are ISO 8601 in UTC. `target` is what the kind needs beside the stack: the
    commit to go back to, a digest, a unit, a cluster; `head` is the branch's head when it was given. `now` does not
    wait for the end of a run; `until_newer` goes back only until the branch has a newer commit; `with_data` also
    deletes what may hold data. `seq` is the record's number.
    """

    kind: OrderKind
    by: str
    at: str
    why: str = ""
    target: str = ""
    head: str = ""
    until: str = ""
    now: bool = False
    until_newer: bool = False
    with_data: bool = False
    seq: int = 0

    @property
    def interrupts(self) -> bool:
        """Whether a run ends at its next safe point for it, as it would for a newer commit."""
        return self.now or self.kind in {OrderKind.ROLLBACK, OrderKind.DESTROY, OrderKind.UNLOCK}


@dataclass(frozen=True, slots=True)
class Question:
    """An approval that a stack waits for: asked since then for this commit and its desired digest. Nobody answering
    until `until` is a no; "" waits for ever."""

    approval: Approval
    commit: str
    desired: str
    since: str
    until: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A person's answer to a question, bound to the digest of what it gates. `units` and `desired` are those of the
    question: what is left of deletions of which a crash let only some happen was allowed, too."""

    digest: str
    allowed: bool
    by: str
    at: str
    why: str = ""
    units: tuple[UnitId, ...] = ()
    desired: str = ""


PRUNE_GRANT = "prune:"
"""Begins the digest of a grant that answers no question but allows a deletion that waits: `prune:CLUSTER:UNIT:UID`."""

ABANDON_GRANT = "abandon:"
"""Begins the digest of a grant that takes a unit out of the inventory instead of deleting it: as above."""

UNASKED = (PRUNE_GRANT, ABANDON_GRANT)
"""How grants begin that answer no question."""


# ---------------------------------------------------------------- over the socket


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the control socket, as the kernel says. `permitted` users may order."""

    uid: int
    name: str
    permitted: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that a client asks for."""

    command: str
    stack: str = ""
    why: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """An argument that has to be a text; "" if it is not there or is none."""
        value = self.arguments.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.arguments.get(name)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()

    def flag(self, name: str) -> bool:
        return self.arguments.get(name) is True


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of it, as a sentence for the person; `data` is for programs."""

    ok: bool
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
