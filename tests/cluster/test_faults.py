"""The environment fails and comes back: nobody is blamed for it, nothing is undone, and the run ends good."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Cluster
from sandbox.faults import FaultProxy
from tests.support.moments import BROKEN, GOOD, REAL, Doorkeeper, two_waves, wait_hit
from tests.support.world import World, config_map, wait_until

SHORT_GATE = "6s"
"""Shorter than every outage here: a gate that counts the time in which it is blind fails."""


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose API server these tests stop, one after the other."""
    with Cluster.start(tmp_path_factory.mktemp("fragile")) as started:
        yield started


@pytest.fixture
def weak_world(fragile: Cluster, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "world", fragile, f"s{uuid.uuid4().hex[:8]}")
    fragile.kubectl("create", "namespace", made.stack)
    yield made
    fragile.component("kube-apiserver").start()
    made.close()


@pytest.fixture
def keeper() -> Iterator[Doorkeeper]:
    with Doorkeeper() as made:
        yield made


def bring_back(world: World) -> None:
    """The API server, and at once the controllers, which otherwise take up to a minute to see that it is back."""
    controllers = ("kube-controller-manager", "kube-scheduler", "kwok")
    world.cluster.component("kube-apiserver").start()
    for name in controllers:
        world.cluster.component(name).kill()
    # A new kwok plays no pod before the leases of the one that was killed are over, 40 s later.
    world.kubectl("delete", "leases", "--all", "-n", "kube-node-lease")
    for name in controllers:
        world.cluster.component(name).start()


def wait_noticed(world: World) -> None:
    """Until the daemon itself says that it waits for its cluster."""
    wait_until(lambda: "blocked" in world.holds(), "the stack is held for its environment")


def available(world: World) -> bool:
    found = world.get("deployment", "web", "-n", world.stack)
    return found is not None and found.get("status", {}).get("availableReplicas") == 1


def assert_nobody_blamed(world: World, *verdicts: tuple[str, str]) -> None:
    status = world.wait_phase("Synced")  # a run's verdict is on record a moment before the stack's status
    assert world.verdicts() == list(verdicts)
    assert status["revision"]["quarantined"] == []
    assert status["holds"] == []


def test_api_server_down_before_the_run(weak_world: World) -> None:
    world = weak_world
    world.cluster.component("kube-apiserver").stop()
    commit = world.push(two_waves(world, world.stack, "hello", GOOD))
    world.start()
    wait_noticed(world)
    assert world.phase() == "Held"
    assert world.history() == []
    bring_back(world)
    world.wait_good(commit)
    assert_nobody_blamed(world, ("deploy", "good"))


def test_api_server_lost_in_the_middle_of_a_wave(weak_world: World) -> None:
    world = weak_world
    with FaultProxy(world.cluster) as proxy:
        world.kubeconfig = proxy.kubeconfig()
        world.configure()
        caught = proxy.delay(1, times=1, method="PATCH", path=REAL + ".*configmaps/beside")
        commit = world.push(two_waves(world, world.stack, "hello", GOOD))
        world.start()
        wait_hit(caught)
        wait_until(lambda: world.data(world.stack, "settings"), "the other object of the wave is applied")
        world.cluster.component("kube-apiserver").kill()
        wait_noticed(world)
        assert world.phase() == "Running"
        bring_back(world)
        world.wait_good(commit)
    assert world.data(world.stack, "beside") == {"greeting": "hello"}
    assert_nobody_blamed(world, ("deploy", "good"))


def test_api_server_lost_during_a_gate_whose_time_stands_still(weak_world: World, keeper: Doorkeeper) -> None:
    world = weak_world
    keeper.shut(first=True)
    commit = world.push(two_waves(world, world.stack, "hello", GOOD, keeper=keeper, timeout=SHORT_GATE))
    world.start()
    wait_until(lambda: available(world), "nothing but the check is waited for")
    world.cluster.component("kube-apiserver").kill()
    wait_noticed(world)
    bring_back(world)
    keeper.open()
    world.wait_good(commit)
    assert_nobody_blamed(world, ("deploy", "good"))


def test_a_frozen_api_server_costs_a_gate_no_time(weak_world: World, keeper: Doorkeeper) -> None:
    """SIGSTOP: connections are made and never answered, so that nothing fails; a look just takes very long."""
    world = weak_world
    keeper.shut(first=True)
    commit = world.push(two_waves(world, world.stack, "hello", GOOD, keeper=keeper, timeout=SHORT_GATE))
    world.start()
    wait_until(lambda: available(world), "nothing but the check is waited for")
    server = world.cluster.component("kube-apiserver")
    server.pause()
    wait_until(keeper.quiet, "the gate stands still")
    # No condition can be waited for while everything is frozen: the time itself is what is tested.
    keeper.asked.clear()
    assert not keeper.asked.wait(8), "the gate went on although nobody answered it"
    server.resume()
    keeper.wait_asked()
    keeper.open()
    world.wait_good(commit)
    assert_nobody_blamed(world, ("deploy", "good"))


def test_api_server_lost_during_a_rollback(weak_world: World, keeper: Doorkeeper) -> None:
    world = weak_world
    with FaultProxy(world.cluster) as proxy:
        world.kubeconfig = proxy.kubeconfig()
        world.configure()
        good = world.push(two_waves(world, world.stack, "hello", GOOD, keeper=keeper))
        world.start()
        world.wait_good(good)
        removal = proxy.delay(1, times=1, method="DELETE", path="configmaps/added")
        added = {"app/added.yaml": config_map("added", {"a": "b"})}
        bad = world.push(two_waves(world, world.stack, "bad day", BROKEN, keeper=keeper, more=added))
        wait_hit(removal)
        world.cluster.component("kube-apiserver").kill()
        wait_noticed(world)
        assert world.phase() == "RollingBack"
        bring_back(world)
        wait_until(lambda: ("rollback", "good") in world.verdicts(), "the rollback ends good")
    assert world.verdicts() == [("deploy", "good"), ("deploy", "failed"), ("rollback", "good")]
    assert world.data(world.stack, "added") is None
    assert world.data(world.stack, "settings") == {"greeting": "hello"}
    assert world.image(world.stack, "web") == GOOD
    status = world.wait_phase("Held")
    assert status["revision"]["good"] == good
    assert status["revision"]["quarantined"] == [bad]
    assert world.holds() == {"quarantined"}


@pytest.fixture
def proxied(sandbox_cluster: Cluster, faults: FaultProxy, tmp_path: Path) -> Iterator[World]:
    """A world whose gitopsd reaches the shared cluster through the proxy."""
    made = World(tmp_path / "world", sandbox_cluster, f"s{uuid.uuid4().hex[:8]}", kubeconfig=faults.kubeconfig())
    yield made
    made.close()


@pytest.mark.parametrize(("status", "retry_after"), [(429, 1), (500, None), (503, None)])
def test_an_overloaded_api_server_blames_nobody(
    proxied: World, namespace: str, faults: FaultProxy, status: int, retry_after: int | None
) -> None:
    """It refuses in the middle of a wave, and for longer than one request is repeated."""
    world = proxied
    refused = faults.answer(
        status, times=None, method="PATCH", path=REAL + ".*configmaps/beside", retry_after=retry_after
    )
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    world.start()
    wait_noticed(world)
    assert refused.hits > 2
    assert world.data(namespace, "settings") == {"greeting": "hello"}
    faults.clear()
    world.wait_good(commit)
    assert_nobody_blamed(world, ("deploy", "good"))


def test_connections_that_break_at_random_are_not_noticed(proxied: World, namespace: str, faults: FaultProxy) -> None:
    """Some answers are lost after their effect, some requests before it; each is repeated to the same end."""
    world = proxied
    for path in ("configmaps/settings", "deployments/web"):
        faults.cut(times=2, method="PATCH", path=REAL + ".*" + path, after=True)
        faults.cut(times=1, method="GET", path=path)
        faults.answer(503, times=2, method="PATCH", path=path)
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    world.wait_good(commit)
    assert_nobody_blamed(world, ("deploy", "good"))


RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME}
rules:
- {apiGroups: [""], resources: [configmaps, namespaces, pods, events], verbs: ["*"]}
- {apiGroups: [apps], resources: [replicasets], verbs: [get, list]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: ["*"]}
DEPLOYMENTS
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: USER}]
"""


def test_a_missing_right_is_named_and_its_grant_noticed(
    sandbox_cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = sandbox_cluster.add_user()
    user, name = sandbox_cluster.user_of(kubeconfig), f"gitopsd-test-{uuid.uuid4().hex[:8]}"

    def grant(verbs: str) -> None:
        rule = f"- {{apiGroups: [apps], resources: [deployments], verbs: [{verbs}]}}"
        text = RIGHTS.replace("NAME", name).replace("USER", user).replace("DEPLOYMENTS", rule)
        sandbox_cluster.kubectl("apply", "-f", "-", input=text)

    world = World(tmp_path / "world", sandbox_cluster, f"s{uuid.uuid4().hex[:8]}", kubeconfig=kubeconfig)
    try:
        grant("get, list")
        mark = world.mark()
        commit = world.push(two_waves(world, namespace, "hello", GOOD))
        world.start()
        wait_noticed(world)
        detail = next(hold["detail"] for hold in world.status()["holds"] if hold["reason"] == "blocked")
        assert user in detail
        assert 'apiGroups ["apps"], resources ["deployments"], verbs ["' in detail
        assert "patch" in detail
        assert namespace in detail
        assert world.writes(mark) == [], "a plan with a unit that nobody may apply was begun"
        assert world.history() == []
        grant("get, list, create, patch, delete")
        world.wait_good(commit)
        assert_nobody_blamed(world, ("deploy", "good"))
    finally:
        world.close()
        sandbox_cluster.kubectl("delete", "clusterrole,clusterrolebinding", name)


def test_a_lost_request_of_the_prune_is_repeated(proxied: World, namespace: str, faults: FaultProxy) -> None:
    world = proxied
    extra = {"base/extra.yaml": config_map("extra", {"a": "b"})}
    world.push(two_waves(world, namespace, "hello", GOOD, more=extra))
    world.once()
    faults.answer(503, times=3, method="DELETE", path="configmaps/extra")
    faults.cut(times=1, method="DELETE", path="configmaps/extra", after=True)
    commit = world.push({"base/extra.yaml": None})
    world.once()
    world.wait_good(commit)
    assert world.data(namespace, "extra") is None
    assert_nobody_blamed(world, ("deploy", "good"), ("deploy", "good"))
