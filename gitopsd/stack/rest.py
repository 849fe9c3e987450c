"""How a step of a stack ends, and how the stack comes to rest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rest(StrEnum):
    """How a stack came to rest."""

    SETTLED = "settled"  # in sync, or held by something that only a new input changes
    RETRY = "retry"  # the environment is at fault: try again after a while
    STOPPED = "stopped"  # the process ends


@dataclass(frozen=True, slots=True)
class Next:
    """What follows one step: come to rest, or (None) decide again."""

    rest: Rest | None = None


AGAIN, SETTLED, STOPPED, RETRY = Next(), Next(Rest.SETTLED), Next(Rest.STOPPED), Next(Rest.RETRY)
