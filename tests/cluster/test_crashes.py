"""gitopsd is killed, or told to end, at any moment: the next start goes on from what is live, and repeats nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Cluster
from sandbox.faults import FaultProxy
from tests.support.moments import (
    BROKEN,
    GOOD,
    NEWER,
    REAL,
    STUCK,
    Doorkeeper,
    lose,
    processes_of,
    real_patches,
    terminate,
    two_waves,
    wait_hit,
)
from tests.support.world import World, config_map, wait_until

AT_ONCE = 20.0
"""Seconds within which a process ends that was told to; far below the time that anything here would wait for."""


@pytest.fixture
def world(sandbox_cluster: Cluster, faults: FaultProxy, tmp_path: Path) -> Iterator[World]:
    """gitopsd reaches the shared cluster through the proxy, which holds requests."""
    made = World(tmp_path / "world", sandbox_cluster, f"s{uuid.uuid4().hex[:8]}", kubeconfig=faults.kubeconfig())
    yield made
    made.close()


@pytest.fixture
def keeper() -> Iterator[Doorkeeper]:
    with Doorkeeper() as made:
        yield made


@pytest.fixture
def foreign(world: World, namespace: str) -> Iterator[None]:
    """Somebody else's object beside ours; nobody may have written it at the end."""
    world.kubectl("create", "configmap", "theirs", "-n", namespace, "--from-literal=a=b")
    before = world.get("configmap", "theirs", "-n", namespace)
    yield
    assert world.get("configmap", "theirs", "-n", namespace) == before


def delivered(world: World, space: str, keeper: Doorkeeper | None = None) -> str:
    """A first commit, live and good."""
    commit = world.push(two_waves(world, space, "hello", GOOD, keeper=keeper))
    world.once()
    world.wait_good(commit)
    return commit


def wait_outcome(world: World, commit: str, unit: str) -> None:
    """Until the run of a commit has written down what became of a unit."""

    def written() -> bool:
        run = world.json("show", "last")
        return run["revision"] == commit and any(o["unit"] == unit and o["result"] for o in run["outcomes"])

    wait_until(written, f"the outcome of {unit} is recorded")


@pytest.mark.parametrize("fate", ["lost", "late"])
@pytest.mark.usefixtures("foreign")
def test_killed_in_the_middle_of_a_wave(world: World, namespace: str, faults: FaultProxy, fate: str) -> None:
    """One object of the wave is applied, the request for the other is under way: it never arrives, or too late."""
    delivered(world, namespace)
    path = REAL + ".*configmaps/beside"
    held = lose(faults, "PATCH", path) if fate == "lost" else faults.delay(2, times=1, method="PATCH", path=path)
    mark = world.mark()
    commit = world.push(two_waves(world, namespace, "good day", NEWER))
    daemon = world.start()
    wait_hit(held)
    wait_outcome(world, commit, f"ConfigMap/{namespace}/settings")
    world.kill(daemon)
    world.once()

    world.wait_good(commit)
    assert world.verdicts() == [("deploy", "good"), ("deploy", "superseded"), ("deploy", "good")]
    patches = real_patches(world, mark)
    assert patches.pop("configmaps/beside") <= (1 if fate == "lost" else 2)
    assert patches == {"configmaps/settings": 1, "deployments/web": 1}
    assert world.data(namespace, "settings") == world.data(namespace, "beside") == {"greeting": "good day"}
    assert world.image(namespace, "web") == NEWER
    assert world.phase() == "Synced"


@pytest.mark.usefixtures("foreign")
def test_killed_in_a_gate(world: World, namespace: str, keeper: Doorkeeper) -> None:
    """Everything is applied: what is left is the gate, and nothing is written again."""
    delivered(world, namespace, keeper)
    keeper.shut()
    commit = world.push(two_waves(world, namespace, "good day", NEWER, keeper=keeper))
    daemon = world.start()
    keeper.wait_asked()
    world.kill(daemon)
    assert world.status()["phase"] == "Running"  # as last known; the next line of the answer says who is down
    assert world.json("status")["daemon"]["running"] is False

    mark = world.mark()
    keeper.open()
    world.once()
    world.wait_good(commit)
    assert world.writes(mark) == []
    assert world.verdicts() == [("deploy", "good"), ("deploy", "superseded"), ("deploy", "good")]


@pytest.mark.usefixtures("foreign")
def test_killed_in_a_gate_that_was_about_to_fail(world: World, namespace: str) -> None:
    """The next start knows what it has to gate, and to undo: all of it, although it changed nothing of it itself."""
    good = delivered(world, namespace)
    added = {"app/added.yaml": config_map("added", {"a": "b"})}
    bad = world.push(two_waves(world, namespace, "bad day", STUCK, timeout="6s", more=added))
    daemon = world.start()
    wait_outcome(world, bad, f"Deployment.apps/{namespace}/web")
    world.kill(daemon)
    world.once(code=1)

    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]
    status = world.status()
    assert (status["revision"]["good"], status["revision"]["quarantined"]) == (good, [bad])
    assert world.data(namespace, "settings") == {"greeting": "hello"}
    assert world.data(namespace, "added") is None
    assert world.image(namespace, "web") == GOOD


@pytest.mark.parametrize("fate", ["lost", "late"])
@pytest.mark.usefixtures("foreign")
def test_killed_in_a_prune(world: World, namespace: str, faults: FaultProxy, fate: str) -> None:
    extra = {f"base/{name}.yaml": config_map(name, {"a": "b"}) for name in ("extra-1", "extra-2")}
    world.push(two_waves(world, namespace, "hello", GOOD, more=extra))
    world.once()
    path = "configmaps/extra-2"
    held = lose(faults, "DELETE", path) if fate == "lost" else faults.delay(2, times=1, method="DELETE", path=path)
    mark = world.mark()
    commit = world.push(dict.fromkeys(extra))
    daemon = world.start()
    wait_hit(held)
    world.kill(daemon)
    world.once()

    world.wait_good(commit)
    assert world.data(namespace, "extra-1") is None
    assert world.data(namespace, "extra-2") is None
    assert {place for _, _, place in world.writes(mark)} == {f"{namespace}/extra-1", f"{namespace}/extra-2"}
    assert world.phase() == "Synced"


@pytest.mark.usefixtures("foreign")
def test_killed_while_a_rollback_applies(world: World, namespace: str, faults: FaultProxy) -> None:
    delivered(world, namespace)
    bad = world.push(two_waves(world, namespace, "bad day", STUCK, timeout="6s"))
    daemon = world.start()
    wait_outcome(world, bad, f"Deployment.apps/{namespace}/web")
    held = lose(faults, "PATCH", REAL + ".*configmaps/settings")
    mark = world.mark()
    wait_hit(held)
    world.kill(daemon)
    world.once(code=1)

    assert world.verdicts()[-2:] == [("rollback", "superseded"), ("rollback", "good")]
    patches = real_patches(world, mark)
    assert patches.pop("configmaps/beside") <= 2
    assert patches == {"configmaps/settings": 1, "deployments/web": 1}
    assert world.data(namespace, "settings") == world.data(namespace, "beside") == {"greeting": "hello"}
    assert world.image(namespace, "web") == GOOD
    assert world.holds() == {"quarantined"}


@pytest.mark.usefixtures("foreign")
def test_killed_while_a_rollback_deletes(world: World, namespace: str, faults: FaultProxy) -> None:
    delivered(world, namespace)
    held = lose(faults, "DELETE", "configmaps/added")
    added = {"app/added.yaml": config_map("added", {"a": "b"})}
    world.push(two_waves(world, namespace, "bad day", BROKEN, more=added))
    daemon = world.start()
    wait_hit(held)
    world.kill(daemon)
    mark = world.mark()
    world.once(code=1)

    assert world.verdicts()[-2:] == [("rollback", "superseded"), ("rollback", "good")]
    assert world.writes(mark) == [("delete", "configmaps", f"{namespace}/added")]
    assert world.data(namespace, "added") is None
    assert world.image(namespace, "web") == GOOD
    assert world.holds() == {"quarantined"}


def test_told_to_end_in_a_gate(world: World, namespace: str, keeper: Doorkeeper) -> None:
    delivered(world, namespace, keeper)
    keeper.shut()
    commit = world.push(two_waves(world, namespace, "good day", NEWER, keeper=keeper))
    daemon = world.start()
    keeper.wait_asked()
    assert terminate(daemon, AT_ONCE) == 0
    assert processes_of(world) == []
    stopped = world.history()[0]
    assert (stopped["revision"], stopped["verdict"]) == (commit, "superseded")
    assert "stopped" in stopped["reason"]
    assert world.json("status")["daemon"]["running"] is False

    mark = world.mark()
    keeper.open()
    world.once()
    world.wait_good(commit)
    assert world.writes(mark) == []
    assert world.phase() == "Synced"


def test_told_to_end_in_the_middle_of_a_wave(world: World, namespace: str, faults: FaultProxy) -> None:
    """What is under way is waited for and written down; the next wave is left to the next start."""
    mark = world.mark()
    held = faults.delay(2, times=1, method="PATCH", path=REAL + ".*configmaps/beside")
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    daemon = world.start()
    wait_hit(held)
    assert terminate(daemon, AT_ONCE) == 0
    assert processes_of(world) == []
    results = {o["unit"].rpartition("/")[2]: o["result"] for o in world.json("show", "last")["outcomes"]}
    assert results == {"settings": "applied", "beside": "applied", "web": None}

    world.once()
    world.wait_good(commit)
    assert real_patches(world, mark) == {"configmaps/settings": 1, "configmaps/beside": 1, "deployments/web": 1}


def test_told_to_end_while_the_cluster_is_away(world: World, namespace: str, faults: FaultProxy) -> None:
    """A run that waits for its environment does not keep the process."""
    faults.answer(503, times=None, method="PATCH", path=REAL + ".*configmaps/beside")
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    daemon = world.start()
    wait_until(lambda: "blocked" in world.holds(), "the run waits")
    assert terminate(daemon, AT_ONCE) == 0
    assert processes_of(world) == []
    assert world.verdicts() == [("deploy", "superseded")]

    faults.clear()
    world.once()
    world.wait_good(commit)
    assert world.phase() == "Synced"


def test_told_to_end_at_rest(world: World, namespace: str) -> None:
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    daemon = world.start()
    world.wait_good(commit)
    assert terminate(daemon, AT_ONCE) == 0
    assert processes_of(world) == []
    document = world.json("status")
    assert document["daemon"]["running"] is False
    assert world.phase() == "Synced"
