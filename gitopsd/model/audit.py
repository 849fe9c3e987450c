"""What the audit log says of one event, before the log gives it its number, time and hash."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ActorKind(StrEnum):
    """Who did it."""

    GIT = "git"
    USER = "user"
    DAEMON = "daemon"


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of an event: a git author, a local user, or the daemon itself."""

    kind: ActorKind
    name: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing worth proving later. `action` is a short word of a closed list (`apply`, `delete`, `hold`, ...);
    `before` and `after` are digests or names, never values; `detail` is a sentence."""

    actor: Actor
    action: str
    stack: str = ""
    run: str = ""
    revision: str = ""
    unit: str = ""
    before: str = ""
    after: str = ""
    result: str = ""
    detail: str = ""
