"""What goes wrong with Terraform is said in a sentence, with its place and its cause, and leaves nothing half done."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Cluster
from sandbox.faults import FaultProxy
from tests.support.modules import Shop, network
from tests.support.moments import GOOD, NEWER
from tests.support.world import World, wait_until

SLOW = """
resource "terraform_data" "counted" {
  provisioner "local-exec" {
    command = "echo made >> %s"
  }
}
resource "time_sleep" "slow" {
  depends_on      = [terraform_data.counted]
  create_duration = "4s"
}
"""


@pytest.fixture
def world(sandbox_cluster: Cluster, faults: FaultProxy, tmp_path: Path) -> Iterator[World]:
    """gitopsd, and Terraform with it, reaches the shared cluster through the proxy."""
    made = World(tmp_path / "world", sandbox_cluster, f"s{uuid.uuid4().hex[:8]}", kubeconfig=faults.kubeconfig())
    yield made
    made.close()


@pytest.fixture
def shop(world: World, namespace: str, terraform_host: dict[str, str]) -> Iterator[Shop]:
    made = Shop(world, namespace, terraform_host)
    yield made
    world.close()
    made.kill_children()


def check_refused(shop: Shop, files: dict[str, Any], *words: str) -> None:
    """Push a commit that is wrong beside a live one: it is refused with these words, and nothing was touched."""
    world = shop.world
    good, state = shop.delivered(), shop.state()
    mark = world.mark()
    bad = world.push(files)
    planned = world.gitopsd("plan", code=1)
    world.once(code=1)
    run = world.history()[0]
    assert (run["revision"], run["verdict"], run["cause"]) == (bad, "failed", "commit")
    assert world.verdicts() == [("deploy", "good"), ("deploy", "failed")], "there is nothing to bring back"
    assert world.writes(mark) == []
    assert shop.state() == state
    assert shop.lock() == ""
    status = world.status()
    assert (status["revision"]["good"], status["revision"]["quarantined"]) == (good, [bad])
    assert (shop.settings(), shop.image()) == ("db-1", GOOD)
    reason = str(run["reason"])
    assert "\n" not in reason
    assert "╷" not in reason + planned
    for word in words:
        assert word in reason
        assert word in planned


BROKEN_CODE = [
    pytest.param("infra/network/main.tf", network() + "resource {\n", ("infra/network/main.tf:16:",), id="syntax"),
    pytest.param(
        "infra/network/main.tf",
        network(more='output "a" {\n  value = var.nope\n}\n'),
        ('"nope"', "infra/network/main.tf:13:"),
        id="no such variable",
    ),
    pytest.param("infra/network/live.tfvars", "size = [1]\n", ("size", "infra/network/"), id="type"),
    pytest.param("infra/network/live.tfvars", "", ("size", "infra/network/main.tf:1:"), id="not set"),
]


def test_a_provider_that_the_mirror_has_not_blocks_before_the_first_effect_and_blames_nobody(shop: Shop) -> None:
    world = shop.world
    world.start()
    good = world.push(shop.files())
    world.wait_good(good)
    mark = world.mark()
    world.push({**shop.files("2", NEWER), "infra/network/main.tf": network(more='resource "wonder_thing" "a" {\n}\n')})
    wait_until(lambda: world.holds() == {"blocked"}, "it waits for the provider")
    (hold,) = world.status()["holds"]
    assert "terraform/network" in hold["detail"]
    assert "hashicorp/wonder" in hold["detail"]
    assert (world.writes(mark), world.status()["revision"]["quarantined"]) == ([], [])
    fixed = world.push(shop.files("3", NEWER))
    world.wait_good(fixed)


@pytest.mark.parametrize(("file", "text", "words"), BROKEN_CODE)
def test_what_a_commit_gets_wrong_is_refused_before_the_first_effect(
    shop: Shop, file: str, text: str, words: tuple[str, ...]
) -> None:
    check_refused(shop, {**shop.files("2", NEWER), file: text}, *words)


def test_a_missing_output_is_refused_by_the_line_that_takes_it(shop: Shop) -> None:
    files = shop.files("2", NEWER)
    files["gitopsd.yaml"] = files["gitopsd.yaml"].replace("network.host", "network.hots")
    check_refused(shop, files, "network.hots", "gitopsd.yaml:14:")


def blocked(shop: Shop, commit: str) -> str:
    """The environment fails a look at a commit; what the hold says. Nobody is blamed, and nothing was touched."""
    world = shop.world
    mark = world.mark()
    world.once(code=1)
    status = world.status()
    assert status["phase"] == "Held"
    assert status["revision"]["desired"] == commit
    assert status["revision"]["quarantined"] == []
    (hold,) = status["holds"]
    assert hold["reason"] == "blocked"
    assert world.writes(mark) == []
    assert all(run["verdict"] != "failed" for run in world.history())
    assert "╷" not in hold["detail"]
    return str(hold["detail"])


def goes_on(shop: Shop, commit: str) -> None:
    shop.world.once()
    shop.world.wait_good(commit)
    assert shop.world.phase() == "Synced"
    assert len(shop.resources()) == 2
    assert shop.settings() == f"db-{shop.size()}"


def test_a_backend_that_does_not_answer_blocks_and_blames_nobody(shop: Shop, faults: FaultProxy) -> None:
    shop.delivered()
    commit = shop.world.push(shop.files("2"))
    faults.answer(503, times=None, path=f".*tfstate-default-{shop.key}")
    faults.answer(503, times=None, path=".*/secrets.*tfstate")
    detail = blocked(shop, commit)
    assert "terraform/network" in detail
    faults.clear()
    goes_on(shop, commit)
    assert shop.size() == "2"


@pytest.mark.parametrize("what", ["registry", "program", "crash"])
def test_a_host_that_lacks_something_blocks_until_it_has_it(shop: Shop, tmp_path: Path, what: str) -> None:
    right = dict(shop.host)
    away = tmp_path / "terraformrc"
    away.write_text('provider_installation {\n  network_mirror {\n    url = "https://127.0.0.1:9/"\n  }\n}\n')
    crashing = tmp_path / "crashing"
    crashing.write_text(f'#!/bin/sh\n[ "$1" = plan ] && kill -SEGV $$\nexec {right["binary"]} "$@"\n')
    crashing.chmod(0o755)
    wrong, words = {
        "registry": ({"cliConfig": str(away)}, "hashicorp/random"),
        "program": ({"binary": str(tmp_path / "nothing")}, f"no program '{tmp_path / 'nothing'}'"),
        "crash": ({"binary": str(crashing)}, "signal 11"),
    }[what]
    shop.configure(**wrong)
    commit = shop.world.push(shop.files())
    assert words in blocked(shop, commit)
    shop.configure(**right)
    goes_on(shop, commit)


def test_a_provider_that_dies_in_an_apply_pauses_the_run_which_then_goes_on(shop: Shop, tmp_path: Path) -> None:
    world = shop.world
    count = tmp_path / "count"
    commit = world.push(shop.files(code=network(more=SLOW % count)))
    world.start()
    wait_until(count.exists, "the apply is at work")
    provider = wait_until(
        lambda: next((pid for pid, command in shop.processes() if "provider-time" in command), 0), "the provider runs"
    )
    os.kill(provider, signal.SIGKILL)
    detail = wait_until(
        lambda: next((h["detail"] for h in world.status()["holds"] if h["reason"] == "blocked"), ""), "the run pauses"
    )
    assert "terraform/network" in detail
    assert world.status()["revision"]["quarantined"] == []
    world.wait_good(commit)
    assert count.read_text() == "made\n"
    assert shop.lock() == ""
    assert world.phase() == "Synced"
    assert all(verdict != "failed" for _, verdict in world.verdicts())


def test_a_cluster_that_goes_away_after_the_apply_pauses_and_terraform_is_not_run_twice(
    shop: Shop, faults: FaultProxy
) -> None:
    world = shop.world
    shop.delivered()
    rule = faults.answer(503, times=None, method="PATCH", path=r"^(?!.*dryRun=).*configmaps/settings")
    commit = world.push(shop.files("2", NEWER))
    world.start()
    wait_until(lambda: rule.hits and "blocked" in world.holds(), "the run pauses")
    state = shop.state()
    assert shop.size() == "2"
    faults.clear()
    world.wait_good(commit)
    assert shop.state() == state
    assert (shop.settings(), shop.image()) == ("db-2", NEWER)
    assert world.verdicts() == [("deploy", "good")] * 2
