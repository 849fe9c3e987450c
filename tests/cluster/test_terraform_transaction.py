"""Terraform and Kubernetes in one run with one verdict, with the real programs: one world never stays behind alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import tool
from tests.support.modules import SYSTEM, LoggedProgram, Shop, network
from tests.support.moments import BROKEN, GOOD, NEWER
from tests.support.world import World, config_map
from tests.support.world import namespace as a_namespace


@pytest.fixture
def shop(world: World, namespace: str, terraform_host: dict[str, str]) -> Shop:
    return Shop(world, namespace, terraform_host)


def changed(world: World, space: str, since: int) -> list[str]:
    """What gitopsd wrote, in order, by name."""
    return [f"{verb} {place.removeprefix(f'{space}/')}" for verb, _, place in world.writes(since)]


@pytest.mark.parametrize(
    ("program", "backend"), [("terraform", "kubernetes"), ("terraform", "local"), ("tofu", "kubernetes")]
)
def test_an_output_lands_in_a_manifest_of_the_same_run(
    world: World, namespace: str, terraform_host: dict[str, str], program: str, backend: str
) -> None:
    shop = Shop(world, namespace, {**terraform_host, "binary": str(tool(program)), "backend": backend})
    mark = world.mark()
    shop.delivered("1")
    assert shop.settings() == "db-1"
    assert world.data(namespace, "settings") == {"host": "db-1", "other": "${kept}"}
    assert changed(world, namespace, mark) == ["patch settings", "patch web"]

    mark = world.mark()
    shop.delivered("2")
    assert (shop.size(), shop.settings()) == ("2", "db-2")
    assert changed(world, namespace, mark) == ["patch settings"]
    assert world.verdicts() == [("deploy", "good")] * 2
    assert world.phase() == "Synced"
    assert shop.lock() == ""
    assert (world.state_dir / "terraform" / "states").exists() is (backend == "local")


def test_terraform_is_done_before_the_first_object_is_written(shop: Shop) -> None:
    """By the API server's own clock: the state is in the cluster before what stands on it."""
    world = shop.world
    mark = world.mark()
    shop.delivered()
    writes = [
        event["objectRef"]["name"]
        for event in world.cluster.audit_events(mark)
        if event["verb"] in {"create", "update", "patch"} and "dryRun=" not in event["requestURI"]
    ]
    last_state = max(i for i, name in enumerate(writes) if name == f"tfstate-default-{shop.key}")
    assert last_state < writes.index("settings") < writes.index("web")


def test_a_broken_image_brings_both_worlds_back(shop: Shop) -> None:
    world = shop.world
    good = shop.delivered("1")
    before = shop.resources()
    mark = world.mark()
    added = network(more='resource "random_pet" "added" {\n}\n')
    bad = world.push(shop.files("2", BROKEN, code=added, more={"app/added.yaml": config_map("added", {"a": "b"})}))
    world.once(code=1)

    assert world.verdicts() == [("deploy", "good"), ("deploy", "failed"), ("rollback", "good")]
    assert shop.resources() == before, "the one is as it was, what was added is gone, nothing was made anew"
    assert (shop.settings(), shop.image()) == ("db-1", GOOD)
    assert world.data(shop.space, "added") is None
    status = world.status()
    assert (status["revision"]["good"], status["revision"]["quarantined"]) == (good, [bad])
    assert shop.lock() == ""
    writes = changed(world, shop.space, mark)
    assert sorted(writes) == [
        "delete added",
        "patch added",
        "patch settings",
        "patch settings",
        "patch web",
        "patch web",
    ]

    mark = world.mark()
    world.once(code=1)  # it stays that way, and costs nothing
    assert changed(world, shop.space, mark) == []
    assert shop.resources() == before


def test_a_failed_first_deploy_leaves_nothing(shop: Shop) -> None:
    world = shop.world
    world.push(shop.files("1", BROKEN))
    world.once(code=1)
    assert world.verdicts() == [("deploy", "failed"), ("rollback", "good")]
    assert shop.resources() == {}
    assert (shop.settings(), shop.image()) == (None, None)


LATE = """\
resource "terraform_data" "one" {
  input = "%(size)s"
}
%(more)s
"""
REFUSED = """\
resource "local_file" "refused" {
  content    = "x"
  filename   = "/proc/gitopsd-test/refused"
  depends_on = [terraform_data.one]
}
"""


def test_a_resource_that_fails_to_apply_brings_the_objects_of_earlier_waves_back(shop: Shop) -> None:
    world = shop.world
    late = shop.module("late", 30)

    def commit(size: str, image: str, more: str = "") -> dict[str, Any]:
        code = {"infra/late/main.tf": LATE % {"size": size, "more": more}}
        return shop.files(size, image, components=[late], more=code)

    world.push(commit("1", GOOD))
    world.once()
    before = shop.resources("late"), shop.resources()
    mark = world.mark()
    world.push(commit("2", NEWER, REFUSED))
    world.once(code=1)

    assert world.verdicts() == [("deploy", "good"), ("deploy", "failed"), ("rollback", "good")]
    failed = world.history()[1]
    assert failed["cause"] == "commit"
    assert "local_file.refused" in failed["reason"]
    assert "infra/late/main.tf:4" in failed["reason"]
    assert (shop.resources("late"), shop.resources()) == before
    assert (shop.settings(), shop.image()) == ("db-1", GOOD)
    assert sorted(changed(world, shop.space, mark)) == ["patch settings"] * 2 + ["patch web"] * 2


def test_a_module_takes_the_output_of_another_in_the_same_run(shop: Shop) -> None:
    store = 'variable "host" {\n  type = string\n}\nresource "terraform_data" "bucket" {\n  input = var.host\n}\n'
    component = shop.module("store", 20, varsFrom=[{"terraform": "network.host"}])
    named: dict[str, Any] = {"components": [component], "more": {"infra/store/main.tf": store}}
    shop.delivered("1", **named)
    assert shop.resources("store")["terraform_data.bucket"]["output"]["value"] == "db-1"
    shop.delivered("2", **named)
    assert shop.resources("store")["terraform_data.bucket"]["output"]["value"] == "db-2"
    shop.world.push(shop.files("3", BROKEN, **named))
    shop.world.once(code=1)
    assert shop.resources("store")["terraform_data.bucket"]["output"]["value"] == "db-2"
    assert shop.world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]


def test_a_renamed_component_asks_for_its_state_key(shop: Shop) -> None:
    world = shop.world
    shop.delivered()
    state = shop.state()
    mark = world.mark()
    files = shop.files()
    renamed = files["gitopsd.yaml"].replace("name: network", "name: backbone").replace("network.host", "backbone.host")
    world.push({"gitopsd.yaml": renamed.replace(shop.key, shop.state_key("backbone"))})
    world.once(code=1)
    assert f"stateKey: {shop.key}" in world.history()[0]["reason"]
    assert changed(world, shop.space, mark) == []
    assert shop.state() == state

    world.push({"gitopsd.yaml": renamed})
    world.once()
    assert world.phase() == "Synced"
    assert shop.state() == state, "it goes on with what is there"
    parent = json.dumps(world.get("configmap", f"gitopsd-{world.stack}", "-n", SYSTEM))
    assert "terraform/backbone" in parent
    assert "terraform/network" not in parent


def test_a_lost_state_directory_is_rebuilt_without_a_change_of_anything(shop: Shop) -> None:
    world = shop.world
    commit = shop.delivered()
    state = shop.state()
    mark = world.mark()
    world.lose_state()
    world.once()
    assert changed(world, shop.space, mark) == []
    assert shop.state() == state
    assert world.phase() == "Synced"
    assert world.status()["revision"]["good"] == commit
    shop.delivered("2")
    assert (shop.size(), shop.settings()) == ("2", "db-2")


def test_a_plan_shows_resources_and_writes_nothing(shop: Shop, snapshot: Callable[[Path], dict[str, bytes]]) -> None:
    world = shop.world
    world.kubectl("apply", "-f", "-", input=json.dumps(a_namespace(SYSTEM)))  # where states go once there is one
    mark = world.mark()
    world.push(shop.files("1"))
    first = world.gitopsd("plan", code=2)
    for line in (
        r"\+ +create +terraform/network",
        r"\+ +create +terraform_data\.db",
        "after apply of: terraform/network",
    ):
        assert re.search(line, first), first
    assert changed(world, shop.space, mark) == []
    assert shop.state() is None or not shop.resources()
    world.once()

    state, kept = shop.state(), snapshot(world.state_dir)
    world.push(shop.files("2", code=network("large")))
    text = world.gitopsd("plan", code=2)
    assert re.search(r"-/\+ +replace +terraform_data\.db", text), text
    assert f"gitopsd approve {world.stack}" in text
    assert shop.state() == state
    assert shop.lock() == ""
    assert snapshot(world.state_dir) == kept


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """Every file of the state directory but the mirror and the cache of what was parsed."""

    def take(directory: Path) -> dict[str, bytes]:
        return {
            str(file.relative_to(directory)): file.read_bytes()
            for file in directory.rglob("*")
            if file.is_file() and file.relative_to(directory).parts[0] not in {"mirrors", "cache.db"}
        }

    return take


def test_a_plan_of_another_ref_runs_none_of_its_code_unless_told(shop: Shop, tmp_path: Path) -> None:
    """A branch may come from anybody, and Terraform runs what stands in it."""
    world = shop.world
    program = LoggedProgram(tmp_path, shop.host["binary"])
    shop.configure(binary=str(program.binary))
    shop.delivered()
    assert program.calls
    program.forget()
    world.git("checkout", "-q", "-b", "feature")
    world.write(shop.files("2", code=network(more='resource "random_pet" "added" {\n}\n')))
    world.git("add", "-A")
    world.git("commit", "-q", "-m", "a wish")
    world.git("push", "-q", "origin", "feature")
    text = world.gitopsd("plan", "--ref", "feature", code=2)
    assert "random_pet.added" not in text
    assert "--terraform" in text
    assert program.calls == []
    assert "random_pet.added" in world.gitopsd("plan", "--ref", "feature", "--terraform", code=2)
    assert program.calls
