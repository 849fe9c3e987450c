"""A broken pod that keeps a StatefulSet's update from going on is deleted by the gate, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gitopsd.execution.gate import Gate, GateFailure
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Deletion, LiveObject, Workload
from gitopsd.model.run import RunKind
from gitopsd.model.spec import GateSpec
from tests.unit.execution.fakes import Run, run_of
from tests.unit.planning.samples import component, desired, live_object, manifest, stack

DB, POD = UnitId.parse("StatefulSet.apps/web/db"), UnitId.parse("Pod/web/db-1")
CRASHES = {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}


def pod(*, crashes: bool) -> LiveObject:
    owner = {"uid": "uid-db", "controller": True, "kind": "StatefulSet", "name": "db"}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "db-1",
            "namespace": "web",
            "labels": {"controller-revision-hash": "bad"},
            "ownerReferences": [owner],
        },
        "status": {"containerStatuses": [CRASHES] if crashes else []},
    }
    return live_object(POD, body, uid="uid-pod", version="7")


def stateful_set(ready: int) -> LiveObject:
    body = manifest("StatefulSet", "db", spec={"replicas": 2}) | {
        "status": {
            "observedGeneration": 1,
            "replicas": 2,
            "readyReplicas": ready,
            "updatedReplicas": ready,
            "currentRevision": "good",
            "updateRevision": "good",
        }
    }
    made = live_object(DB, body, uid="uid-db", version="5")
    return LiveObject(DB, {**made.body, "metadata": {**made.metadata, "generation": 1}})


@contextmanager
def stuck(*, crashes: bool = True, kind: RunKind = RunKind.ROLLBACK, **gate: Any) -> Iterator[tuple[Run, Gate]]:
    """A StatefulSet of which one pod of a bad revision stays; it is whole as soon as that pod is gone."""
    whole = stack(component(gate=GateSpec(**{"timeout": 120, **gate})))
    made = desired(whole, manifest("StatefulSet", "db", spec={"replicas": 2}))
    with run_of(whole, made, kind=kind) as run:
        broken = pod(crashes=crashes)
        run.cluster.objects[POD] = broken
        run.cluster.owned[DB] = Workload(stateful_set(1), (broken.body,))

        def deleted(unit: UnitId) -> None:
            assert unit == POD
            run.cluster.owned[DB] = Workload(stateful_set(2))

        run.cluster.on_delete = deleted
        yield run, Gate(run.session, {})


@pytest.mark.parametrize("kind", [RunKind.ROLLBACK, RunKind.DEPLOY])
def test_a_broken_pod_of_an_older_revision_is_deleted_at_the_second_look(kind: RunKind) -> None:
    with stuck(kind=kind) as (run, gate):
        gate.watch([DB], components=())
        assert run.cluster.asked == [("delete", POD)]
        assert run.time.seconds < 5
        told = [(e.action, e.unit, e.result, e.before) for e in run.journal.events]
        assert told == [("delete", str(POD), "begun", "uid-pod"), ("delete", str(POD), "deleted", "uid-pod")]
        assert "CrashLoopBackOff" in run.journal.events[0].detail


@pytest.mark.parametrize(("timeout", "least", "most"), [(120, 30, 33), (20, 10, 13)])
def test_a_pod_that_is_only_not_ready_gets_time_to_become_so(timeout: float, least: float, most: float) -> None:
    with stuck(crashes=False, timeout=timeout) as (run, gate):
        gate.watch([DB], components=())
        assert run.cluster.asked == [("delete", POD)]
        assert least <= run.time.seconds <= most


def test_a_heal_deletes_no_pod() -> None:
    with stuck(kind=RunKind.HEAL) as (run, gate):
        with pytest.raises(GateFailure):
            gate.watch([DB], components=())
        assert run.cluster.asked == []


def test_no_pod_is_deleted_that_is_not_on_record_first() -> None:
    with stuck() as (run, gate):
        run.journal.faults["audit"] = [EnvironmentFault("disk full")] * 1000
        with pytest.raises(GateFailure):
            gate.watch([DB], components=())
        assert run.cluster.asked == []


def test_one_that_may_not_be_deleted_is_named_with_what_to_do() -> None:
    with stuck() as (run, gate):
        run.cluster.deletions = [EnvironmentFault("may not delete pods in web: grant it")] * 100
        with pytest.raises(GateFailure) as failed:
            gate.watch([DB], components=())
        assert failed.value.unit == DB
        assert "pod db-1: container app: CrashLoopBackOff" in failed.value.reason
        assert "`kubectl delete pod -n web db-1`: may not delete pods in web: grant it" in failed.value.reason
        assert len(run.cluster.asked) < 20, "it is not asked at each look"
        assert {e.result for e in run.journal.events} == {"begun", "refused"}


def test_a_pod_that_was_written_since_is_looked_at_again() -> None:
    with stuck() as (run, gate):
        run.cluster.deletions = [Deletion.CHANGED]
        run.cluster.on_delete = lambda _: setattr(
            run.cluster, "on_delete", lambda _: run.cluster.owned.update({DB: Workload(stateful_set(2))})
        )
        gate.watch([DB], components=())
        assert run.cluster.asked == [("delete", POD)] * 2
