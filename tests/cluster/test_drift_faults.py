"""What the API server does to those who watch it: drift that came meanwhile is found, and nothing is taken for gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from sandbox import control
from tests.support.moments import GOOD
from tests.support.world import World, config_map, deployment, wait_until

SPACE = "web"
MAPS = 12


@pytest.fixture
def delivered(own_world: World) -> World:
    """A daemon at rest, which watches a stack of a dozen ConfigMaps and a Deployment."""
    own_world.kubectl("create", "namespace", SPACE)
    commit = own_world.push(
        {
            "gitopsd.yaml": own_world.stack_file({"name": "app", "path": "app", "namespace": SPACE}),
            "app/maps.yaml": [config_map(f"map-{n}", {"key": "git"}) for n in range(MAPS)],
            "app/web.yaml": deployment("web", GOOD),
        }
    )
    own_world.start()
    own_world.wait_good(commit)
    edit(own_world, "map-0")
    wait_until(lambda: healed(own_world), "it watches")
    return own_world


def edit(world: World, name: str) -> None:
    world.kubectl("patch", "configmap", name, "-n", SPACE, "--type=merge", "-p", '{"data":{"key":"edited"}}')


def healed(world: World) -> bool:
    return all(world.data(SPACE, f"map-{n}") == {"key": "git"} for n in range(MAPS))


def deletions(world: World, mark: int) -> list[Any]:
    return [write for write in world.writes(mark) if write[0] == "delete"]


def restarted(world: World) -> None:
    world.cluster.component("kube-apiserver").restart()


def stopped_for_a_while(world: World) -> None:
    server = world.cluster.component("kube-apiserver")
    server.stop()
    wait_until(lambda: "not watched now" in world.log.read_text(), "the daemon sees that it is blind")
    server.start()


def frozen(world: World) -> None:
    """Its connections stay open, and nothing comes."""
    server = world.cluster.component("kube-apiserver")
    server.pause()
    try:
        wait_until(lambda: world.cluster.healthy("kube-apiserver") is False, "it does not answer")
    finally:
        server.resume()


@pytest.mark.parametrize("what", [restarted, stopped_for_a_while, frozen])
def test_drift_after_a_fault_of_the_server_is_healed_and_nothing_is_pruned(
    delivered: World, what: Callable[[World], None]
) -> None:
    mark = delivered.mark()
    edit(delivered, "map-1")
    what(delivered)
    wait_until(lambda: healed(delivered), "what was edited just before is healed")
    edit(delivered, "map-2")
    delivered.kubectl("delete", "configmap", "map-3", "-n", SPACE)
    wait_until(lambda: healed(delivered), "what is edited afterwards is healed")
    assert deletions(delivered, mark) == []
    status = delivered.wait_phase("Synced")
    assert status["units"]["total"] == MAPS + 1


def test_what_was_edited_while_the_daemon_was_away_is_found_at_its_start(delivered: World) -> None:
    daemon = delivered._daemons[-1]
    daemon.terminate()
    daemon.wait(60)
    edit(delivered, "map-4")
    delivered.kubectl("delete", "configmap", "map-5", "-n", SPACE)
    mark = delivered.mark()
    delivered.start()
    wait_until(lambda: healed(delivered), "it is healed")
    assert {name for _, _, name in delivered.writes(mark)} == {f"{SPACE}/map-4", f"{SPACE}/map-5"}


def test_a_store_put_back_to_a_backup_is_noticed_and_brought_forward(delivered: World) -> None:
    """Its resourceVersions go back: the API server takes a watch from the future and never says anything again."""
    cluster = delivered.cluster
    etcd, server = cluster.component("etcd"), cluster.component("kube-apiserver")
    data, backup = cluster.layout.state / "etcd", cluster.directory / "backup"

    def halt() -> None:
        server.kill()
        etcd.stop()

    def start() -> None:
        control.request(cluster.layout, "start", "etcd")  # it is healthy when the API server is
        server.start()

    halt()
    shutil.copytree(data, backup)
    start()
    maps = [config_map(f"map-{n}", {"key": "newer"}) for n in range(MAPS)]
    newer = delivered.push({"app/maps.yaml": maps})
    delivered.wait_good(newer)
    for number in range(100):  # so that the restored server counts lower for long
        delivered.kubectl("annotate", "namespace", "default", f"count={number}", "--overwrite")
    mark = delivered.mark()
    halt()
    shutil.rmtree(data)
    backup.rename(data)
    start()

    def forward() -> bool:
        return all(delivered.data(SPACE, f"map-{n}") == {"key": "newer"} for n in range(MAPS))

    wait_until(forward, "what the backup has from before is brought forward again")
    assert deletions(delivered, mark) == []
    delivered.wait_phase("Synced")
