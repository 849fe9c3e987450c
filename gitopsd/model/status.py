"""What is known of one stack at one moment: the input of everything that shows its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Assessment
from gitopsd.model.memory import StackState
from gitopsd.model.modules import FieldChange
from gitopsd.model.plan import Postponed
from gitopsd.model.run import RunRecord


class Phase(StrEnum):
    """Where a stack stands, in one word. When several are true, the first of this list is shown."""

    RUNNING = "Running"
    ROLLING_BACK = "RollingBack"
    FAILED = "Failed"  # live is neither good nor desired, or a rollback failed
    HELD = "Held"  # desired is not live, and a hold is the reason
    SYNCED = "Synced"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The newest commit that the source asks for. `digest` is "" as long as it could not be computed."""

    commit: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class UnitHealth:
    """The health of a unit, and since when (ISO 8601, UTC) it has been this, for the same reason."""

    assessment: Assessment
    since: str = ""


@dataclass(frozen=True, slots=True)
class Writer:
    """A field manager, as an object's managedFields name it, and when it last wrote (ISO 8601, UTC; "" where the API
    server does not say)."""

    name: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class Addition:
    """What a manager has added to an object of ours, beside what git asks for: paths without values. `more` counts
    those that are not in `fields`."""

    manager: str
    fields: tuple[str, ...]
    more: int = 0
    at: str = ""


@dataclass(frozen=True, slots=True)
class UnitDrift:
    """A unit whose live state is not what was applied, and since when that is known.

    `detail` says it in a few words. `fields` go from what is live (`before`) to what git says (`after`), with long
    values cut; `more` counts those that are left out. `managers` wrote what is ours; none where managedFields do not
    tell. `contested` is a sentence about who writes it again after each repair, or "".
    """

    since: str = ""
    detail: str = ""
    fields: tuple[FieldChange, ...] = ()
    more: int = 0
    managers: tuple[Writer, ...] = ()
    contested: str = ""


@dataclass(frozen=True, slots=True)
class StackFacts:
    """Everything that the host knows of a stack now.

    `state` is None for a stack that never had a run here. `current` is the run that goes on, `last` the newest one
    that ended. `health` has the units of which more is to be told than that a gate once found them good, which is so of
    `presumed` others (a number); what is left of the `tracked` ones is of unknown health.
    `orphans` are deletions that the API server took but whose finalizers are not done. `progress` is a short sentence
    about what the current run does ("wave 10: waiting for Deployment.apps/web/api"). `locked` are sealed values whose
    key is gone; `keys` counts sealed Secrets by the fingerprint of the key that opens them. `additions` are what others
    have added to units, drifted or not, as last seen; `more_additions` counts units beyond those. `only_reported`: the
    stack file wants drift told and not healed. `unwatched` are the kinds ("ConfigMap in cluster default") of which no
    watch tells now, with the reason: their drift is found by the next sweep.
    """

    name: str
    source: str
    state: StackState | None = None
    desired: Wanted | None = None
    current: RunRecord | None = None
    last: RunRecord | None = None
    health: Mapping[UnitId, UnitHealth] = field(default_factory=dict)
    drifted: Mapping[UnitId, UnitDrift] = field(default_factory=dict)
    tracked: int = 0
    presumed: int = 0
    orphans: tuple[Postponed, ...] = ()
    progress: str = ""
    locked: Mapping[UnitId, UnitDrift] = field(default_factory=dict)
    keys: Mapping[str, int] = field(default_factory=dict)
    additions: Mapping[UnitId, tuple[Addition, ...]] = field(default_factory=dict)
    more_additions: int = 0
    only_reported: bool = False
    unwatched: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is wrong with a source, if anything is: with itself, its branch, or its stack file. `since` is when that was
    first seen (ISO 8601, UTC)."""

    name: str
    trouble: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """The process that looks after the stacks. `since` is when it started (ISO 8601, UTC); None while none runs."""

    running: bool
    pid: int | None = None
    version: str = ""
    since: str | None = None
