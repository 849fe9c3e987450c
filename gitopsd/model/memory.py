"""What a stack remembers: in the cluster, to rebuild a lost host, and on the host, to mend a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gitopsd.model.ids import UnitId
from gitopsd.model.imprint import Imprint
from gitopsd.model.modules import Output
from gitopsd.model.orders import Grant, Question
from gitopsd.model.plan import Action, Postponed
from gitopsd.model.run import RunKind
from gitopsd.model.units import Manifest, Order


@dataclass(frozen=True, slots=True)
class Good:
    """A commit whose run passed every gate. `outputs` are those outputs of Terraform that its components use and that
    are not sensitive, by `COMPONENT.OUTPUT`: who goes back to it need not wait for Terraform."""

    commit: str
    digest: str
    at: str
    outputs: Mapping[str, Output] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The run that has effects now, or had when the host was lost. Written before its first effect.

    `since` is when the first run began whose effects no gate has found good yet: this one, or one before it that was
    superseded or is taken back by this one.
    """

    run: str
    kind: RunKind
    commit: str
    digest: str
    at: str
    since: str = ""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A desired digest whose run failed for a cause in the commit.

    `definition` is the digest of what the commit asked of the failing unit itself, until a deploy is good; "" where it
    is not known, or no unit is at fault.
    """

    digest: str
    commit: str
    run: str
    reason: str
    at: str
    unit: str = ""
    definition: str = ""


class HoldReason(StrEnum):
    """Why a stack waits."""

    SOURCE = "source"  # branch, path or stack file missing, repository empty
    BLOCKED = "blocked"  # the environment
    QUARANTINED = "quarantined"
    APPROVAL = "approval"
    ROLLBACK_FAILED = "rollback-failed"
    FAILED = "failed"  # onFailure: hold
    INSTANCE = "instance"  # another instance owns the stack
    FLAPPING = "flapping"
    SUSPENDED = "suspended"  # by a person
    PINNED = "pinned"  # a person went back to an older revision
    DESTROYED = "destroyed"  # a person had everything of it deleted
    CLUSTER = "cluster"  # another cluster answers under a known name


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason to wait; `by` is who set it: `gitopsd` or a person. `detail` says what lifts it.

    `until` is when it ends by itself (ISO 8601, UTC; "" if it does not). `now`: what was under way waits, too.
    """

    reason: HoldReason
    since: str
    by: str
    detail: str
    until: str = ""
    now: bool = False


@dataclass(frozen=True, slots=True)
class Pin:
    """A revision that a person went back to. `head` is what the branch had then; with `until_newer` another one lifts
    the pin. `live`: its run was good, so that it is what drift is healed to."""

    commit: str
    digest: str
    by: str
    why: str
    at: str
    until_newer: bool = False
    head: str = ""
    live: bool = False


@dataclass(frozen=True, slots=True)
class Destruction:
    """A person wants everything of the stack deleted; `with_data` includes what may hold data. `done`: it is."""

    by: str
    why: str
    at: str
    with_data: bool = False
    done: bool = False


@dataclass(frozen=True, slots=True)
class JobDone:
    """A Job that finished: it is never run again for the same digest of its spec."""

    unit: UnitId
    digest: str
    at: str


@dataclass(frozen=True, slots=True)
class ModuleMemory:
    """A Terraform root module that the stack tracks, so that a rebuilt host finds its state again. `commit` is the one
    whose code was applied last."""

    component: str
    path: str
    workspace: str
    state_key: str
    commit: str


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest entry of the audit chain; seq 0 with an empty hash is a chain without entries."""

    seq: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the parent in each cluster carries. The copy with the highest generation is the true one.

    `good` is newest first and never empty once a run was good. `runs` counts them, so that their names go on after a
    lost state directory.
    """

    stack: str
    instance: str
    source: str
    generation: int = 0
    runs: int = 0
    good: tuple[Good, ...] = ()
    attempting: Attempt | None = None
    quarantine: tuple[Quarantined, ...] = ()
    holds: tuple[Hold, ...] = ()
    jobs: tuple[JobDone, ...] = ()
    audit: AuditHead = AuditHead()
    kinds: tuple[str, ...] = ()  # Kind.group of every member: where a rebuild has to look
    namespaces: tuple[str, ...] = ()
    modules: tuple[ModuleMemory, ...] = ()
    pin: Pin | None = None
    destruction: Destruction | None = None
    clusters: Mapping[str, str] = field(default_factory=dict)  # the uid of kube-system, by the cluster's name

    @property
    def live(self) -> Good | None:
        """The revision that was good last: what drift is healed to."""
        if self.pin is not None and self.pin.live:
            same = next((g for g in self.good if g.digest == self.pin.digest), None)
            return same or Good(self.pin.commit, self.pin.digest, self.pin.at)
        return self.good[0] if self.good else None

    def held(self, reason: HoldReason) -> Hold | None:
        return next((h for h in self.holds if h.reason is reason), None)

    def quarantined(self, digest: str) -> Quarantined | None:
        return next((q for q in self.quarantine if q.digest == digest), None)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the API server answered when a unit was last applied or found equal: the inventory's entry for it.

    `imprint` is what drift is judged against, None if that is not known; of `metadata` only what a deletion asks for.
    `certain` is false between the intent and the outcome: nothing is known then.

    Of a Terraform module: `uid` and `resource_version` are lineage and serial of its state, `digest` covers its inputs
    with the outputs that it takes, and `metadata` is what `planning/modules.py` keeps of it (its outputs among it).
    """

    unit: UnitId
    component: str
    order: Order
    digest: str
    uid: str
    resource_version: str
    api_version: str
    at: str
    metadata: Manifest = field(default_factory=dict)
    certain: bool = True
    imprint: Imprint | None = None


@dataclass(frozen=True, slots=True)
class Dirty:
    """A unit that was touched and not yet found good by a gate.

    `created` and `uid` say whether (and as what) a run since the last good one made it: only that may be removed
    by a rollback. `before` holds the former values of an adopted object's fields that we changed, if they may be kept,
    and `owner` what its adoption takes it away from for good ("" for nothing): a rollback does not put that back.
    `resources` are the addresses that such runs created in a Terraform module, `revision` the commit whose code did.
    """

    unit: UnitId
    run: str
    action: Action
    order: Order
    component: str
    created: bool = False
    uid: str = ""
    before: Manifest | None = None
    resources: tuple[str, ...] = ()
    revision: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """An effect that is about to be tried; without its outcome nobody knows whether it happened."""

    run: str
    unit: UnitId
    action: Action
    order: Order
    component: str
    digest: str
    live_uid: str
    at: str


@dataclass(frozen=True, slots=True)
class StackState:
    """All that the host knows of a stack. `questions` are what it asks people now, `grants` what they answered."""

    memory: Memory
    dirty: tuple[Dirty, ...] = ()
    intents: tuple[Intent, ...] = ()
    postponed: tuple[Postponed, ...] = ()
    questions: tuple[Question, ...] = ()
    grants: tuple[Grant, ...] = ()

    @property
    def granted(self) -> frozenset[str]:
        """The digests of everything that a person allowed."""
        return frozenset(g.digest for g in self.grants if g.allowed)
