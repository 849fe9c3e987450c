"""A lost host, a lost cluster, both: everything comes back from git, the keys, and what the clusters remember."""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import Cluster, tool
from tests.support.kubeseal import Kubeseal, keypairs, secret
from tests.support.moments import BROKEN, GOOD
from tests.support.world import World, config_map, deployment, wait_until

KINDS = 3  # ConfigMap, Deployment, Service
MAPS = 12


def service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def files(world: World, space: str) -> dict[str, Any]:
    maps = [config_map(f"map-{n}", {"number": str(n)}) for n in range(MAPS)]
    return {
        "gitopsd.yaml": world.stack_file({"name": "app", "path": "app", "namespace": space}),
        "app/maps.yaml": maps,
        "app/web.yaml": [deployment("web", GOOD), service("web")],
    }


def tally(world: World, since: int) -> Counter[str]:
    """What gitopsd asked of the objects of a stack; its own parent and Lease left out."""
    found: Counter[str] = Counter()
    for event in world.requests(since):
        ref = event.get("objectRef", {})
        if ref.get("namespace") == "gitopsd-system" or ref.get("name") in {"gitopsd-system", "kube-system"}:
            continue
        found["dry run" if "dryRun=" in event["requestURI"] else event["verb"]] += 1
    return found


def test_a_lost_host_looks_once_at_each_object_and_writes_none(world: World, namespace: str) -> None:
    commit = world.push(files(world, namespace))
    world.once()
    world.lose_state()
    mark = world.mark()
    world.once()
    assert world.writes(mark) == []
    asked, objects = tally(world, mark), MAPS + 2
    # A list of each kind to find them, one to see who has drifted; a look and a dry run of each; what the Deployment is
    # made of for its health. Discovery (`get` without an object) comes once.
    assert asked["dry run"] == objects, asked
    assert objects <= asked["get"] <= objects + 4, asked
    assert asked["list"] <= 2 * KINDS + 4, asked
    assert set(asked) <= {"dry run", "get", "list"}, asked
    status = world.status()
    assert (status["phase"], status["revision"]["good"], status["units"]["total"]) == ("Synced", commit, objects)


def test_a_lost_cluster_is_made_anew_elsewhere_from_git_and_keys_by_a_new_host(
    own_cluster: Cluster, sandbox_cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Nothing but the repository and the key directory is left."""
    tool("kubeseal")
    stack = f"s{uuid.uuid4().hex[:8]}"
    old = World(tmp_path / "old", sandbox_cluster, stack)
    keypairs(old.directory / "keys")
    sealed = (
        Kubeseal(old.directory / "keys", "key0")
        .seal(secret("login", namespace, {"password": b"correct horse"}))
        .decode()
    )
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    commit = old.push({**files(old, namespace), "app/login.yaml": sealed, "app/space.yaml": space})
    old.once()
    new = World(tmp_path / "new", own_cluster, stack)
    try:
        new.url = old.url
        new.configure()
        (old.directory / "keys").rename(new.directory / "keys")
        new.once()
        assert new.verdicts() == [("deploy", "good")]
        assert new.status()["revision"]["good"] == commit
        assert new.data(namespace, "map-3") == {"number": "3"}
        assert new.image(namespace, "web") == GOOD
        found = new.get("secret", "login", "-n", namespace)
        assert found is not None
        assert base64.b64decode(found["data"]["password"]) == b"correct horse"
    finally:
        new.close()
        old.close()


class TwoClusters:
    """One stack in two clusters, `here` and `there`."""

    def __init__(self, directory: Path, here: Cluster, there: Cluster, stack: str) -> None:
        self.world = World(directory, here, stack)
        self.there = there
        self.configure()

    def configure(self) -> None:
        settings = yaml.safe_load(self.world.config.read_text())
        settings["clusters"] = [
            {"name": "here", "kubeconfig": str(self.world.kubeconfig)},
            {"name": "there", "kubeconfig": str(self.there.kubeconfig)},
        ]
        self.world.config.write_text(yaml.safe_dump(settings))

    def files(self, space: str, image: str) -> dict[str, Any]:
        spec = [
            {"name": name, "kubernetes": {"path": name, "cluster": name, "namespace": space}}
            for name in ("here", "there")
        ]
        document = {
            "apiVersion": "gitopsd.io/v1alpha1",
            "kind": "Stack",
            "metadata": {"name": self.world.stack},
            "spec": {"components": spec},
        }
        space_of = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
        return {
            "gitopsd.yaml": yaml.safe_dump(document),
            "here/map.yaml": config_map("here", {"a": "1"}),
            "there/all.yaml": [space_of, config_map("there", {"a": "1"}), deployment("web", image)],
        }


@pytest.fixture
def two(sandbox_cluster: Cluster, own_cluster: Cluster, tmp_path: Path) -> Iterator[TwoClusters]:
    made = TwoClusters(tmp_path / "world", sandbox_cluster, own_cluster, f"s{uuid.uuid4().hex[:8]}")
    yield made
    made.world.close()


def test_where_a_parent_survives_what_is_good_and_what_failed_stays_known(
    two: TwoClusters, namespace: str, tmp_path: Path
) -> None:
    """Host and one of two clusters are lost, and the head of the branch is a commit that failed."""
    world = two.world
    good = world.push(two.files(namespace, GOOD))
    world.once()
    bad = world.push(two.files(namespace, BROKEN))
    world.once(code=1)
    assert bad in world.status()["revision"]["quarantined"]
    world.lose_state()
    with Cluster.start(tmp_path / "elsewhere") as elsewhere:
        two.there = elsewhere
        two.configure()
        world.once(code=1)
        assert world.holds() >= {"cluster"}
        daemon = world.start()
        wait_until(lambda: world.json("status")["daemon"]["running"], "the daemon runs")
        wait_until(lambda: "cluster" in world.holds(), "it waits for a person")
        told = world.gitopsd("accept-cluster", "there", "--reason", "rebuilt on another provider")
        assert "deployed as new" in told
        world.wait_good(good)
        assert (world.data(namespace, "here"), two_data(elsewhere, namespace)) == ({"a": "1"}, "1")
        revision = world.status()["revision"]
        assert revision["good"] == good
        assert bad in revision["quarantined"]
        assert all(run["revision"] != bad for run in world.history()), "what failed was tried once more"
        daemon.terminate()
        daemon.wait(60)


def two_data(cluster: Cluster, space: str) -> str:
    return cluster.kubectl("get", "configmap", "there", "-n", space, "-o", "jsonpath={.data.a}")
