"""SEMANTICS 13 with daemons: a stack of another instance, and another cluster under a known name."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Cluster
from tests.support.moments import GOOD, two_waves
from tests.support.world import World, wait_until


@pytest.fixture
def hosts(sandbox_cluster: Cluster, tmp_path: Path) -> Iterator[tuple[World, World]]:
    """Two hosts that deliver one stack of one repository."""
    stack = f"s{uuid.uuid4().hex[:8]}"
    old = World(tmp_path / "old", sandbox_cluster, stack, instance="old")
    new = World(tmp_path / "new", sandbox_cluster, stack, instance="new")
    new.url = old.url
    new.configure()
    yield old, new
    for world in (old, new):
        world.close()


def test_a_stack_is_taken_over_from_a_lost_host_and_the_old_one_has_no_effect_any_more(
    hosts: tuple[World, World], namespace: str
) -> None:
    old, new = hosts
    daemon = old.start()
    old.wait_good(old.push(two_waves(old, namespace, "one", GOOD)))
    old.kill(daemon)
    mark = new.mark()
    new.start()
    wait_until(lambda: new.holds() == {"instance"}, "the new host waits")
    (hold,) = new.status()["holds"]
    assert "belongs to the instance 'old'" in hold["detail"]
    assert f"gitopsd takeover {new.stack}" in hold["detail"]
    assert new.writes(mark) == []
    second = old.push(two_waves(old, namespace, "two", GOOD))
    assert "is taken over" in new.gitopsd("takeover", new.stack, "--reason", "the old host burnt down")
    new.wait_good(second)
    assert new.data(namespace, "settings") == {"greeting": "two"}
    wait_until(lambda: new.holds() == set(), "nothing is held")
    (entry,) = [e for e in new.json("audit", "-n", "500")["entries"] if e["action"] == "takeover" and e["after"]]
    assert (entry["before"], entry["after"]) == ("old", "new")
    old.start()
    wait_until(lambda: "instance" in old.holds(), "the old one sees that it was taken over")
    third = old.push(two_waves(old, namespace, "three", GOOD))
    new.wait_good(third)
    assert old.status()["revision"]["good"] != third
    assert "instance" in old.holds()


def test_another_cluster_under_a_known_name_waits_until_it_is_accepted(
    own_cluster: Cluster, sandbox_cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    shutil.copy(sandbox_cluster.kubeconfig, kubeconfig)
    world = World(tmp_path / "world", sandbox_cluster, f"s{uuid.uuid4().hex[:8]}", kubeconfig=kubeconfig)
    try:
        world.start()
        commit = world.push(two_waves(world, namespace, "one", GOOD))
        world.wait_good(commit)
        own_cluster.kubectl("create", "namespace", namespace)
        world.cluster = own_cluster
        mark = world.mark()
        shutil.copy(own_cluster.kubeconfig, kubeconfig.with_suffix(".new"))
        os.replace(kubeconfig.with_suffix(".new"), kubeconfig)  # under the running daemon
        world.gitopsd("sync", world.stack)
        wait_until(lambda: world.holds() == {"cluster"}, "it waits")
        (hold,) = world.status()["holds"]
        assert "gitopsd accept-cluster default" in hold["detail"]
        assert world.writes(mark, own=True) == []
        told = world.gitopsd("accept-cluster", "default", "--reason", "rebuilt elsewhere")
        assert "is deployed as new to the cluster that is called default now" in told
        wait_until(lambda: world.data(namespace, "settings") == {"greeting": "one"}, "it is there")
        wait_until(lambda: world.phase() == "Synced", "at rest")
        assert world.image(namespace, "web") == GOOD
        assert world.verdicts() == [("deploy", "good"), ("deploy", "good")]
        assert "no stack waits" in world.run("accept-cluster", "default").stderr
    finally:
        world.close()
