"""Small model values that the tests of views and command line show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gitopsd.model.errors import Cause
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Health
from gitopsd.model.memory import Attempt, Good, Hold, HoldReason, Memory, Quarantined, StackState
from gitopsd.model.plan import Action, Approval, Change, Edit, FieldChange, Layer, Leftover, Plan, Postponed, Wave
from gitopsd.model.run import Observation, Outcome, Result, RunKind, RunRecord, Verdict
from gitopsd.model.units import Origin, Person

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
GOOD, BAD = "a" * 40, "b" * 40
CONFIG = UnitId.parse("ConfigMap/web/settings")
API = UnitId.parse("Deployment.apps/web/api")
NEW = UnitId.parse("Deployment.apps/web/worker")
OLD = UnitId.parse("ConfigMap/web/old")


def at(minutes: float) -> str:
    """The time so many minutes before NOW."""
    return datetime.fromtimestamp(NOW.timestamp() - minutes * 60, UTC).isoformat().replace("+00:00", "Z")


def memory(**more: Any) -> Memory:
    return replace(Memory("website", "prod", "main", good=(Good(GOOD, "digest-a", at(60)),)), **more)


def state(known: Memory | None = None, **more: Any) -> StackState:
    return replace(StackState(known or memory()), **more)


def attempt(kind: RunKind) -> Attempt:
    return Attempt("website-2", kind, BAD, "digest-b", at(1))


def hold(reason: HoldReason) -> Hold:
    return Hold(reason, at(5), "gitopsd", f"detail of {reason.value}")


def quarantined() -> Quarantined:
    return Quarantined("digest-b", BAD, "website-2", "ImagePullBackOff: no such image", at(2), str(API))


def change(unit: UnitId, action: Action, order: tuple[int, int] = (0, 0), **more: Any) -> Change:
    return replace(Change(unit, action, "web", order, digest="d"), **more)


def plan() -> Plan:
    """A plan with something of everything that a plan can say."""
    settings = change(
        CONFIG,
        Action.UPDATE,
        diff=(
            FieldChange("data.nginx\\.conf", Edit.REPLACE, "listen 80;\nroot /a;\n", "listen 80;\nroot /b;\n"),
            FieldChange("data.password", Edit.REPLACE, masked=True),
            FieldChange("data.gone", Edit.REMOVE, "x"),
        ),
        overrides=("kubectl-edit",),
        origin=Origin("k8s/web/settings.yaml", 3),
    )
    api = change(API, Action.UPDATE, (10, 0), diff=(FieldChange("spec.replicas", Edit.REPLACE, 2, 3),))
    warnings = ("v1beta1 is deprecated",)
    new = change(NEW, Action.CREATE, (10, 0), deferred="its namespace is created in wave 0", warnings=warnings)
    return Plan(
        stack="website",
        commit=BAD,
        digest="digest-b",
        waves=(
            Wave((0, 0), (Layer((settings,)),)),
            Wave((10, 0), (Layer((api, new)),)),
        ),
        prune=(change(OLD, Action.DELETE, reason="not in git any more"),),
    )


def gated_plan() -> Plan:
    return replace(
        plan(),
        postponed=(Postponed(OLD, "the API server was away", at(9)),),
        forget=(Leftover(UnitId.parse("Secret/web/gone"), "it is gone already"),),
        leftovers=(Leftover(UnitId.parse("Job.batch/web/migrate"), "a Job that ran cannot be taken back"),),
        approvals=(Approval("digest", "component web renders nothing, and had 12 units", (OLD,)),),
        warnings=("component web is empty",),
    )


def run(**more: Any) -> RunRecord:
    return replace(
        RunRecord(
            id="website-2",
            stack="website",
            kind=RunKind.DEPLOY,
            revision=BAD,
            digest="digest-b",
            author=Person("Ann", "ann@example.org"),
            started=at(4),
            finished=at(3),
            verdict=Verdict.GOOD,
            subject="Raise the replicas",
        ),
        **more,
    )


def failed_run() -> RunRecord:
    return run(
        verdict=Verdict.FAILED,
        reason="Deployment.apps/web/api: ImagePullBackOff: no such image",
        cause=Cause.COMMIT,
        failing=API,
        plan=plan(),
        outcomes=(
            Outcome(CONFIG, Action.UPDATE, Result.APPLIED, at(4)),
            Outcome(API, Action.UPDATE, Result.APPLIED, at(4), warnings=("deprecated",)),
        ),
        observations=(Observation(str(API), Health.DEGRADED, "ImagePullBackOff", "no such image", True, at(3)),),
        leftovers=(Leftover(OLD, "its finalizer example.org/hold is not done"),),
        suspects=(f"{BAD[:12]} Raise the replicas",),
    )
