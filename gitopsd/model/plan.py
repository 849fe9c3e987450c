"""A plan: everything that a run will do, as data. It is printed, stored and applied as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from gitopsd.model.ids import UnitId
from gitopsd.model.modules import Edit, FieldChange, ResourceChange
from gitopsd.model.units import Order, Origin

__all__ = [
    "Action",
    "Approval",
    "Change",
    "Edit",
    "FieldChange",
    "Layer",
    "Leftover",
    "Plan",
    "Postponed",
    "ResourceChange",
    "Wave",
]


class Action(StrEnum):
    """What is done to a unit."""

    CREATE = "create"
    UPDATE = "update"
    ADOPT = "adopt"
    RECREATE = "recreate"
    DELETE = "delete"
    RELEASE = "release"  # forget it: our marks come off, the object stays


@dataclass(frozen=True, slots=True)
class Change:
    """One unit's change.

    `digest` is the wish it fulfils ("" for a deletion); `live_uid` is what was live when it was planned ("" for
    nothing). `deferred` says why the details are known only at its wave. `reason` is why the unit is in the plan.

    Of a Terraform module, `resources` are what its own plan does and `diff` its outputs; `live_uid` is the lineage and
    serial of the state it was planned on; `revision` is the commit whose code is run ("" for the plan's own);
    DELETE destroys all of it, RELEASE forgets it and leaves everything as it is.
    """

    unit: UnitId
    action: Action
    component: str
    order: Order
    digest: str = ""
    live_uid: str = ""
    reason: str = ""
    deferred: str = ""
    diff: tuple[FieldChange, ...] = ()
    overrides: tuple[str, ...] = ()
    adopted_from: str = ""
    warnings: tuple[str, ...] = ()
    origin: Origin | None = None
    resources: tuple[ResourceChange, ...] = ()
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """Changes that may be made at the same time.

    `gated`: everything dirty so far has to be healthy before the next layer; otherwise it is enough that what the
    next layer needs is usable (a CRD established, a namespace active).
    """

    changes: tuple[Change, ...]
    gated: bool = True


@dataclass(frozen=True, slots=True)
class Wave:
    """All changes of one (component wave, object wave), in layers by dependency."""

    order: Order
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Postponed:
    """A deletion that is wanted but waits: for approval, for its owner, for the API server."""

    unit: UnitId
    reason: str
    since: str = ""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that a run leaves as it is: a rollback could not take it back, or it is no longer ours to touch.
    `environment`: what keeps it ends without another commit."""

    unit: UnitId
    reason: str
    environment: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """Something that a person has to allow before its first effect; bound to the digest of what it gates. `details`
    are lines for that person: the resources, or the objects. With `removal`, the units are no longer in git."""

    digest: str
    summary: str
    units: tuple[UnitId, ...] = ()
    details: tuple[str, ...] = ()
    removal: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one run will do. `first` is deleted before the waves, `prune` after them, both in their order.

    Nothing is written for the rest. `equal`: found as the commit asks, so that the record may follow without a write.
    `forget`: no longer wanted and gone or not ours, so that the inventory drops them. `leftovers`: what a rollback
    cannot take back.
    """

    stack: str
    commit: str
    digest: str
    waves: tuple[Wave, ...] = ()
    first: tuple[Change, ...] = ()
    prune: tuple[Change, ...] = ()
    postponed: tuple[Postponed, ...] = ()
    approvals: tuple[Approval, ...] = ()
    warnings: tuple[str, ...] = ()
    equal: tuple[UnitId, ...] = ()
    forget: tuple[Leftover, ...] = ()
    leftovers: tuple[Leftover, ...] = ()

    def applies(self) -> Iterator[Change]:
        """Every change of the waves, in order."""
        for wave in self.waves:
            for layer in wave.layers:
                yield from layer.changes

    def changes(self) -> Iterator[Change]:
        """Every change, in the order in which they are made."""
        yield from self.first
        yield from self.applies()
        yield from self.prune

    @property
    def empty(self) -> bool:
        return next(self.changes(), None) is None
