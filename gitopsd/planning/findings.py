"""What was found out about a candidate before the first effect: input of the decision what to do with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, LiveObject, Rejection, RejectionKind
from gitopsd.model.units import Manifest

SHAPE = frozenset({RejectionKind.SCHEMA, RejectionKind.INVALID})
"""Refusals of the manifest as such, whatever is live."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The live object (or why there is none), what would be sent, and what the API server says to that.

    `deferred` says why `dry_run` cannot count yet: another unit of the same plan has to be there first. A refusal of
    a workload's pods is in `pod`; why they could not be tried out is in `pod_untried`.
    """

    unit: UnitId
    live: LiveObject | None
    absence: Absence | None
    dry_run: Accepted | Rejection
    deferred: str = ""
    pod: Rejection | None = None
    pod_untried: str = ""
    sent: Manifest = field(default_factory=dict)
