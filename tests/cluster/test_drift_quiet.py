"""A cluster in which everybody works as they should: nothing is written, and few looks are all that it costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from tests.support.moments import GOOD
from tests.support.world import World, config_map, deployment, wait_until

SPACE = "web"
ROUNDS, PACE = 20, 1.1
"""Writes of each writer, and seconds between two: of two by one manager within a second the second leaves no trace,
which costs a look each time."""

Write = Callable[[World, int], None]


def _of(version: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}


def _scaled() -> list[dict[str, Any]]:
    """A Deployment whose replicas git does not set, and the autoscaler that does."""
    web = deployment("scaled", GOOD)
    del web["spec"]["replicas"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"}
    return [
        web,
        _of("autoscaling/v2", "HorizontalPodAutoscaler", "scaled", spec={"scaleTargetRef": target, "maxReplicas": 9}),
    ]


STACK = [
    *_scaled(),
    deployment("restarted", GOOD),
    deployment("injected", GOOD),
    _of("v1", "ResourceQuota", "some", spec={"hard": {"count/secrets": "100"}}),
    _of("v1", "Service", "injected", spec={"selector": {"app": "injected"}, "ports": [{"port": 80}]}),
    _of("policy/v1", "PodDisruptionBudget", "web", spec={"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}),
    config_map("leader", {"v": "git"}),
    config_map("other", {"v": "git"}),
    _of("coordination.k8s.io/v1", "Lease", "leader", spec={"leaseDurationSeconds": 15}),
]


def _patch(world: World, what: str, change: Any, manager: str, *more: str) -> None:
    body = json.dumps(change)
    world.kubectl(
        "patch", *what.split("/"), "-n", SPACE, "--type=merge", "-p", body, f"--field-manager={manager}", *more
    )


def autoscaler(world: World, number: int) -> None:
    change = {"spec": {"replicas": 1 + number % 3}}
    _patch(world, "deployment/scaled", change, "kube-controller-manager", "--subresource=scale")


def autoscaler_status(world: World, number: int) -> None:
    status = {"status": {"currentReplicas": number, "desiredReplicas": number}}
    _patch(world, "hpa/scaled", status, "kube-controller-manager", "--subresource=status")


def quota(world: World, number: int) -> None:
    """Its controller counts anew after each."""
    if number % 2:
        world.kubectl("delete", "secret", "counted", "-n", SPACE)
    else:
        world.kubectl("create", "secret", "generic", "counted", "-n", SPACE)


def elector(world: World, number: int) -> None:
    """An election as old clients do it, in an annotation, and as new ones do."""
    note = {"metadata": {"annotations": {"control-plane.alpha.kubernetes.io/leader": f"round {number}"}}}
    _patch(world, "configmap/leader", note, "elector")
    _patch(world, "lease/leader", {"spec": {"holderIdentity": f"pod-{number}"}}, "elector")


def person(world: World, number: int) -> None:
    if number % 10 == 0:
        world.kubectl("rollout", "restart", "deployment/restarted", "-n", SPACE)


def injector(world: World, number: int) -> None:
    if number == 5:
        sidecar = {"name": "sidecar", "image": GOOD}
        change = {"spec": {"template": {"spec": {"containers": [sidecar]}}}}
        body = json.dumps(change)
        world.kubectl(
            "patch", "deployment", "injected", "-n", SPACE, "--type=strategic", "-p", body, "--field-manager=injector"
        )
    note = {"metadata": {"annotations": {"injector.example.org/seen": str(number // 10)}}}
    _patch(world, "service/injected", note, "injector")


@contextmanager
def _at_work(world: World, *writers: Write) -> Iterator[list[Thread]]:
    over = Event()

    def work(writer: Write) -> None:
        for number in range(ROUNDS):
            if over.wait(PACE):
                return
            writer(world, number)

    threads = [Thread(target=work, args=(writer,), name=writer.__name__) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _rested(world: World) -> bool:
    """No request for three seconds."""
    mark = world.mark()
    Event().wait(3)
    return world.requests(mark) == []


@pytest.fixture
def at_rest(own_world: World) -> World:
    own_world.kubectl("create", "namespace", SPACE)
    stack = own_world.stack_file({"name": "app", "path": "app", "namespace": SPACE})
    own_world.push({"gitopsd.yaml": stack, "app/all.yaml": STACK})
    own_world.start()
    own_world.wait_phase("Synced")
    wait_until(lambda: _rested(own_world), "at rest")
    return own_world


def test_whoever_works_beside_us_costs_few_looks_and_is_never_overwritten(at_rest: World) -> None:
    world = at_rest
    mark = world.mark()
    with _at_work(world, autoscaler, autoscaler_status, quota, elector, person, injector) as threads:
        wait_until(lambda: not any(thread.is_alive() for thread in threads), "all have written what they had to", 200)
    wait_until(lambda: _rested(world), "the looks are over")
    assert world.writes(mark) == []
    assert world.status()["units"]["drifted"] == 0
    assert len(world.history()) == 1
    looks: dict[str, int] = {}
    for event in world.requests(mark):
        if "dryRun=" in event["requestURI"]:
            name = f"{event['objectRef']['resource']}/{event['objectRef'].get('name', '')}"
            looks[name] = looks.get(name, 0) + 1
    # The price of a write through /scale: metadata cannot show that nothing else came with it.
    assert looks.pop("deployments/scaled", 0) <= ROUNDS
    for elected in ("configmaps/leader", "leases/leader"):
        assert looks.pop(elected) <= 8, "a writer that is harmless each time is looked at less and less"
    assert sum(looks.values()) <= ROUNDS / 2, looks
    assert "configmaps/other" not in looks


def test_a_minute_of_rest_asks_nothing(at_rest: World) -> None:
    """Twenty seconds, to be precise, with a poll of git in each."""
    world = at_rest
    mark = world.mark()
    Event().wait(20)
    assert world.requests(mark) == []
