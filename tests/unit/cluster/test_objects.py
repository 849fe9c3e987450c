"""What is decided about single objects without a server: who made them, what a probe of them is, whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.cluster import Limits, connect
from gitopsd.cluster.classify import renamed
from gitopsd.cluster.connection import Reply
from gitopsd.cluster.objects import apply_transient, created_by, without_patch
from gitopsd.cluster.workers import Workers
from gitopsd.cluster.workloads import assemble, by_owner
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted, LiveObject, Rejection, RejectionKind
from tests.unit.cluster.server import Answer, Asked, FakeServer, kubeconfig, settings
from tests.unit.cluster.test_discovery import aggregated, group, resource

UNIT = UnitId("default", "", "ConfigMap", "web", "a")
DATE = {"Date": "Thu, 01 Jan 2026 12:00:10 GMT"}


def entry(manager: str = "gitopsd", time: str | None = "2026-01-01T12:00:08Z", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": "Apply", **({"time": time} if time else {}), **more}


@pytest.mark.parametrize(
    ("born", "entries", "elapsed", "expected"),
    [
        ("2026-01-01T12:00:08Z", [entry()], 3.0, True),
        ("2026-01-01T12:00:08Z", [entry(), entry("kubelet", subresource="status")], 3.0, True),
        ("2026-01-01T12:00:08Z", [entry(), entry("hpa", "2026-01-01T12:00:09Z")], 3.0, True),
        ("2026-01-01T12:00:08Z", [entry(), entry("kubectl")], 3.0, False),  # made by somebody else in that second
        ("2026-01-01T12:00:08Z", [entry(operation="Update")], 3.0, False),
        ("2026-01-01T12:00:08Z", [entry("kubectl"), entry(time="2026-01-01T12:00:09Z")], 3.0, False),
        ("2026-01-01T12:00:08Z", [entry(time=None)], 3.0, False),  # adopted with equal contents
        ("2026-01-01T12:00:00Z", [entry(time="2026-01-01T12:00:00Z")], 3.0, False),  # ours, of an earlier run
        ("2026-01-01T12:00:08Z", [], 3.0, False),
    ],
)
def test_an_object_is_ours_by_birth_only_if_nothing_else_is_possible(
    born: str, entries: list[dict[str, Any]], elapsed: float, expected: bool
) -> None:
    live = LiveObject(UNIT, {"metadata": {"creationTimestamp": born, "managedFields": entries}})
    assert created_by(live, Reply(200, DATE, b"", elapsed=elapsed)) is expected
    assert not created_by(live, Reply(200, {}, b"", elapsed=elapsed))


def test_a_patch_leaves_no_owner_behind() -> None:
    ours, patch, foreign = entry(), entry("gitopsd-patch", operation="Update"), entry("hpa")
    assert without_patch([ours, foreign]) is None
    assert without_patch([ours, patch, foreign]) == [ours, foreign]
    assert without_patch([patch]) == [{**patch, "manager": "gitopsd", "operation": "Apply"}]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b'{"kind":"Status","message":"failed to create typed patch object"}', False),
        (500, b'{"kind":"Status","reason":"InternalError"}', True),
        (503, b"", True),
        (429, b"", True),
        (422, b"", False),
        (409, b"", False),
    ],
)
def test_a_schema_error_is_not_repeated(status: int, body: bytes, expected: bool) -> None:
    assert apply_transient(Reply(status, {}, body)) is expected


def test_a_probe_of_a_service_keeps_what_others_hold() -> None:
    unit = UnitId("default", "", "Service", "web", "db")
    live = {"spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 1, "nodePort": 30001}]}}
    ports = [{"port": 1, "nodePort": 30001}, {"port": 2, "nodePort": 30002}]
    manifest = {"metadata": {"name": "db"}, "spec": {"clusterIP": "10.0.0.9", "ports": ports}}
    probe = renamed(unit, manifest, live, "probe")
    assert probe["metadata"]["name"] == "probe"
    assert probe["spec"] == {"ports": [{"port": 1}, {"port": 2, "nodePort": 30002}]}
    headless = {"metadata": {"name": "db"}, "spec": {"clusterIP": "None"}}
    assert renamed(unit, headless, {"spec": {"clusterIP": "None"}}, "probe")["spec"] == {"clusterIP": "None"}


def test_a_probe_of_a_definition_gets_a_name_that_fits() -> None:
    unit = UnitId("default", "apiextensions.k8s.io", "CustomResourceDefinition", "", "widgets.example.com")
    manifest = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": {"plural": "widgets"}},
    }
    probe = renamed(unit, manifest, {}, "probe")
    assert probe["spec"]["group"] == "probe.example.com"
    assert probe["metadata"]["name"] == "widgets.probe.example.com"
    assert manifest["spec"]["group"] == "example.com"  # type: ignore[index]


# ---------------------------------------------------------------- what belongs together


def owned(uid: str, owner: str, *, controller: bool = True) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "ownerReferences": [{"uid": owner, "controller": controller}]}}


def test_pods_are_matched_by_the_uid_of_their_controller() -> None:
    bodies = [
        owned("rs-old", "d"),
        owned("rs-new", "d"),
        owned("rs-other", "d2"),
        owned("p1", "rs-old"),
        owned("p2", "rs-new"),
        owned("p3", "rs-other"),
        owned("p4", "rs-new", controller=False),
        {"metadata": {"uid": "p5"}},
        owned("p6", "sts"),
    ]
    deployment = LiveObject(UnitId("default", "apps", "Deployment", "web", "api"), {"metadata": {"uid": "d"}})
    found = assemble(deployment, by_owner(bodies))
    assert [each["metadata"]["uid"] for each in found.replica_sets] == ["rs-old", "rs-new"]
    assert [each["metadata"]["uid"] for each in found.pods] == ["p1", "p2"]
    stateful = LiveObject(UnitId("default", "apps", "StatefulSet", "web", "db"), {"metadata": {"uid": "sts"}})
    assert [each["metadata"]["uid"] for each in assemble(stateful, by_owner(bodies)).pods] == ["p6"]
    # A new object of the same name has none of them.
    again = LiveObject(deployment.id, {"metadata": {"uid": "d-2"}})
    assert assemble(again, by_owner(bodies)).pods == ()


@given(st.lists(st.integers(), max_size=30))
def test_results_come_in_the_order_of_the_tasks(values: list[int]) -> None:
    workers = Workers(3, "test")
    assert workers.run([lambda v=v: v for v in values]) == values  # type: ignore[misc]
    workers.close()


def test_the_first_error_in_order_is_raised_when_nothing_runs_any_more() -> None:
    workers = Workers(2, "test")
    ran: list[int] = []

    def task(number: int) -> int:
        ran.append(number)
        if number in {1, 2}:
            raise ValueError(str(number))
        return number

    with pytest.raises(ValueError, match="1"):
        workers.run([lambda n=n: task(n) for n in range(4)])  # type: ignore[misc]
    assert {0, 1} <= set(ran)
    workers.close()


# ---------------------------------------------------------------- the 500 without a reason

CONFIG_MAPS = aggregated(group("", v1=[resource("configmaps", "ConfigMap")]))
MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "web"}}


def applied_against(directory: Path, *, patches: list[Answer], get: Answer) -> tuple[Accepted | Rejection, list[str]]:
    """The outcome of an apply, and the methods of its requests for the object."""

    def script(asked: Asked) -> Answer:
        if asked.path in {"/api", "/apis"}:
            return Answer(200, CONFIG_MAPS if asked.path == "/api" else aggregated())
        return get if asked.method == "GET" else patches.pop(0)

    limits = Limits(budget=1, first=0.01, most=0.02)
    with FakeServer(script) as server:
        with connect(settings(kubeconfig(directory / "k", server.url)), limits=limits) as api:
            answer = api.apply(UNIT, MANIFEST)
        return answer, [asked.method for asked in server.asked if "configmaps" in asked.path]


NO_REASON = Answer(
    500, {"kind": "Status", "message": "failed to create typed patch object: .x: no such field", "code": 500}
)
GONE = Answer(
    404, {"kind": "Status", "reason": "NotFound", "code": 404, "details": {"name": "a", "kind": "configmaps"}}
)


def test_a_500_without_a_reason_of_a_server_that_is_well_is_the_schema(tmp_path: Path) -> None:
    answer, methods = applied_against(tmp_path, patches=[NO_REASON, NO_REASON], get=GONE)
    assert isinstance(answer, Rejection)
    assert answer.kind is RejectionKind.SCHEMA
    assert methods == ["PATCH", "GET", "PATCH", "GET"]  # the last one: is there an object that is in the way?


def test_a_500_without_a_reason_that_passes_is_none(tmp_path: Path) -> None:
    taken = Answer(201, {**MANIFEST, "metadata": {**MANIFEST["metadata"], "uid": "u"}})  # type: ignore[dict-item]
    answer, _ = applied_against(tmp_path, patches=[NO_REASON, taken], get=GONE)
    assert isinstance(answer, Accepted)
    assert answer.created


def test_a_500_without_a_reason_of_a_server_that_is_ill_is_not_the_manifests_fault(tmp_path: Path) -> None:
    ill = Answer(500, {"kind": "Status", "message": "etcdserver: leader changed", "code": 500})
    with pytest.raises(EnvironmentFault, match="leader changed"):
        applied_against(tmp_path, patches=[ill, ill], get=ill)
