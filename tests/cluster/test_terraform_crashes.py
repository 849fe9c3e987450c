"""gitopsd dies, or is told to end, while Terraform is at work: no lock stays, nothing is lost or made twice."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Cluster
from tests.support.modules import HeldProgram, Shop, impatient, network
from tests.support.moments import BROKEN, GOOD, processes_of, terminate
from tests.support.world import World, wait_until

AT_ONCE = 30.0
"""Seconds within which a process ends that was told to: Terraform has to give its lock back before."""

SLOW = """
resource "terraform_data" "counted" {
  input = "%(size)s"
  provisioner "local-exec" {
    command = "echo made >> %(count)s"
  }
}
resource "time_sleep" "slow" {
  depends_on      = [terraform_data.counted]
  triggers        = { size = "%(size)s" }
  create_duration = "%(hold)s"
}
resource "random_pet" "last" {
  depends_on = [time_sleep.slow]
}
"""
"""Makes one resource, writes that down, and is held by the next."""

HELD = """
resource "terraform_data" "held" {
  provisioner "local-exec" {
    command = "echo made >> %(count)s; while [ ! -e %(go)s ]; do sleep 0.05; done"
  }
}
"""

GOING = """
resource "random_pet" "stays_longest" {
}
resource "time_sleep" "slow" {
  depends_on       = [random_pet.stays_longest]
  destroy_duration = "%s"
}
resource "random_pet" "goes_first" {
  depends_on = [time_sleep.slow]
}
"""


@pytest.fixture
def shop(world: World, namespace: str, terraform_host: dict[str, str]) -> Iterator[Shop]:
    made = Shop(world, namespace, terraform_host)
    yield made
    world.close()
    made.kill_children()


@pytest.fixture
def count(tmp_path: Path) -> Path:
    return tmp_path / "count"


def slow(count: Path, size: str = "1", hold: str = "5s") -> str:
    return network(more=SLOW % {"size": size, "count": count, "hold": hold})


def wait_held(shop: Shop, count: Path) -> None:
    """Until an apply has made its first resource and holds the lock."""
    wait_until(lambda: count.exists() and shop.lock(), "the apply is at work")


def end(shop: Shop, daemon: subprocess.Popen[bytes], how: str) -> None:
    """End the daemon in one of the ways in which it ends."""
    if how == "SIGTERM":
        assert terminate(daemon, AT_ONCE) == 0
        assert shop.processes() == []
        assert processes_of(shop.world) == []
        assert shop.lock() == ""
    else:
        shop.world.kill(daemon)


def plans_left(world: World) -> list[str]:
    return [str(path) for path in (world.directory / "run").rglob("*") if path.is_file() and path.suffix != ".json"]


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
@pytest.mark.parametrize("command", ["init", "plan"])
def test_before_an_apply_nothing_is_left_of_it(shop: Shop, tmp_path: Path, command: str, how: str) -> None:
    world = shop.world
    real = shop.host["binary"]
    held = HeldProgram(tmp_path, real, command)
    shop.configure(binary=str(held.binary))
    commit = world.push(shop.files())
    mark = world.mark()
    daemon = world.start()
    held.wait()
    end(shop, daemon, how)
    assert world.writes(mark) == []
    assert not shop.resources()

    held.go.touch()
    world.once()
    world.wait_good(commit)
    assert shop.settings() == "db-1"
    assert len(shop.resources()) == 2
    assert shop.processes() == []
    assert plans_left(world) == []
    assert world.phase() == "Synced"


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
def test_in_an_apply_the_next_start_goes_on_and_makes_nothing_twice(shop: Shop, count: Path, how: str) -> None:
    world = shop.world
    commit = world.push(shop.files(code=slow(count)))
    daemon = world.start()
    wait_held(shop, count)
    end(shop, daemon, how)
    assert shop.settings() is None, "what stands on it was not begun"

    world.once()
    world.wait_good(commit)
    assert count.read_text() == "made\n"
    assert set(shop.resources()) == {
        "terraform_data.db",
        "random_pet.name",
        "terraform_data.counted",
        "time_sleep.slow",
        "random_pet.last",
    }
    assert shop.settings() == "db-1"
    assert shop.lock() == ""
    assert shop.processes() == []
    assert plans_left(world) == []
    assert world.phase() == "Synced"


def test_all_dies_at_once_and_a_local_state_loses_nothing(shop: Shop, count: Path) -> None:
    """As when the host loses its power. The backend `local` has every resource as soon as it is made."""
    world = shop.world
    shop.configure(backend="local")
    commit = world.push(shop.files(code=slow(count)))
    daemon = world.start()
    wait_until(lambda: count.exists() and "terraform_data.counted" in shop.resources(), "the apply is at work")
    world.kill(daemon)
    shop.kill_children()
    world.once()
    world.wait_good(commit)
    assert count.read_text() == "made\n"
    assert len(shop.resources()) == 5
    assert not list((world.state_dir / "terraform" / "states").glob(".*.lock.info"))


def test_all_dies_at_once_and_the_lock_of_the_dead_is_removed(shop: Shop, count: Path) -> None:
    world = shop.world
    first = shop.delivered()
    assert first
    commit = world.push(shop.files("2", code=slow(count, hold="3s")))
    daemon = world.start()
    wait_held(shop, count)
    world.kill(daemon)
    shop.kill_children()
    assert shop.lock()
    world.once()
    world.wait_good(commit)
    assert shop.lock() == ""
    assert (shop.size(), shop.settings()) == ("2", "db-2")
    assert len(shop.resources()) == 5


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
def test_in_the_apply_of_a_bad_commit_the_next_start_brings_both_worlds_back(shop: Shop, count: Path, how: str) -> None:
    world = shop.world
    good = shop.delivered()
    before = shop.resources()
    bad = world.push(shop.files("2", BROKEN, code=slow(count, hold="3s")))
    daemon = world.start()
    wait_held(shop, count)
    end(shop, daemon, how)
    world.once(code=1)
    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert shop.resources() == before
    assert (shop.settings(), shop.image()) == ("db-1", GOOD)
    status = world.status()
    assert (status["revision"]["good"], status["revision"]["quarantined"]) == (good, [bad])
    assert shop.lock() == ""


def test_a_push_that_takes_back_what_was_half_applied_asks_before_it_destroys(shop: Shop, count: Path) -> None:
    """The fix comes while the daemon is down. It is a deploy as any other."""
    world = shop.world
    shop.delivered()
    before = shop.resources()
    world.push(shop.files("2", code=slow(count)))
    daemon = world.start()
    wait_held(shop, count)
    end(shop, daemon, "kill -9")
    fix = world.push(shop.files())
    world.start()
    wait_until(lambda: "approval" in world.holds(), "a person is asked")
    assert "destroy terraform_data.counted" in world.status()["holds"][0]["detail"]
    assert "terraform_data.counted" in shop.resources()
    assert shop.lock() == ""
    world.gitopsd("approve", world.stack)
    wait_until(lambda: world.phase() == "Synced", "at rest")
    assert world.status()["revision"]["good"] == fix
    assert shop.resources() == before
    assert shop.settings() == "db-1"
    assert shop.lock() == ""


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
def test_in_a_destroy_the_next_start_goes_on(shop: Shop, how: str) -> None:
    world = shop.world
    daemon = world.start()
    extra = shop.module("extra", 5)
    code = {"infra/extra/main.tf": GOING % "5s"}
    world.wait_good(world.push(shop.files(components=[extra], more=code)))
    others = shop.resources()
    commit = world.push({**shop.files(), "infra/extra/main.tf": None})
    wait_until(lambda: "approval" in world.holds(), "a person is asked")
    world.gitopsd("approve", world.stack)
    wait_until(lambda: shop.lock("extra"), "it is being destroyed")
    end(shop, daemon, how)
    daemon = world.start()

    def over() -> bool:
        if "approval" in world.holds():  # what is left is another destruction: some of it is gone
            world.gitopsd("approve", world.stack, code=(0, 1))
        return any(r["revision"] == commit and r["verdict"] == "good" for r in world.history())

    wait_until(over, "it is destroyed")
    assert shop.resources("extra") == {}
    assert shop.lock("extra") == ""
    assert shop.resources() == others
    wait_until(lambda: world.phase() == "Synced", "at rest")


def test_another_hosts_lock_is_respected_and_its_owner_named(
    sandbox_cluster: Cluster, namespace: str, terraform_host: dict[str, str], tmp_path: Path, count: Path
) -> None:
    """Two hosts, two state directories, one state."""
    key = f"shared-{uuid.uuid4().hex[:8]}x"

    def host(name: str, **more: Any) -> Shop:
        world = World(tmp_path / name, sandbox_cluster, f"{name}{uuid.uuid4().hex[:8]}", instance=name)
        return Shop(world, namespace, {**terraform_host, **more})

    def commit(shop: Shop) -> str:
        component = shop.module("network", -10, varFiles=["live.tfvars"], stateKey=key)
        code = network(more=HELD % {"count": count, "go": tmp_path / "go"})
        parts = {"infra/network/main.tf": code, "infra/network/live.tfvars": 'size = "1"\n'}
        return shop.world.push({"gitopsd.yaml": shop.stack_file(component), **parts})

    one, two = host("one"), host("two", binary=impatient(tmp_path, terraform_host["binary"]))
    try:
        first, second = commit(one), commit(two)
        one.world.start()
        lease = f"lock-tfstate-default-{key}"
        wait_until(lambda: count.exists() and _holder(one, lease), "the first one is at work")
        holder = _holder(one, lease)
        two.world.start()
        detail = wait_until(
            lambda: next((h["detail"] for h in two.world.status()["holds"] if h["reason"] == "blocked"), ""),
            "the second one waits",
        )
        assert "terraform/network" in detail
        assert "root@" in detail
        assert "gitopsd unlock" in detail
        assert _holder(one, lease) == holder
        (tmp_path / "go").touch()
        one.world.wait_good(first)
        two.world.wait_good(second)
        assert count.read_text() == "made\n"
        assert _holder(one, lease) == ""
        assert two.world.status()["revision"]["quarantined"] == []
    finally:
        for shop in (one, two):
            shop.world.close()
            shop.kill_children()


def _holder(shop: Shop, lease: str) -> str:
    found = shop.world.get("lease", lease, "-n", "gitopsd-system")
    return str((found or {}).get("spec", {}).get("holderIdentity") or "")
