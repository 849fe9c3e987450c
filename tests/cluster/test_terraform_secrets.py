"""A sensitive variable and a sensitive output are found nowhere but in Terraform's own state and where they belong."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import SYSTEM, Shop
from tests.support.witness import Witness
from tests.support.world import World, wait_until

CODE = """\
variable "token" {
  type      = string
  sensitive = true
}
resource "terraform_data" "uses" {
  input = { token = var.token, json = jsonencode({ inner = var.token }), size = "%(size)s" }
}
resource "random_password" "made" {
  length  = 24
  special = false
}
output "host" {
  value = "db-%(size)s"
}
output "token" {
  value     = "${var.token}-out"
  sensitive = true
}
output "made" {
  value     = random_password.made.result
  sensitive = true
}
%(more)s
"""
STORE = """\
variable "token" {
  type      = string
  sensitive = true
}
resource "terraform_data" "store" {
  input = var.token
}
"""
FAILS = """
resource "local_file" "fails" {
  content  = "x"
  filename = "/proc/${var.token}/x"
}
"""


@pytest.fixture
def shop(world: World, namespace: str, terraform_host: dict[str, str]) -> Iterator[Shop]:
    made = Shop(world, namespace, terraform_host)
    yield made
    world.close()
    made.kill_children()


def test_a_sensitive_value_is_nowhere(shop: Shop) -> None:
    world = shop.world
    canary = f"hunter{uuid.uuid4().hex}"
    shop.configure(env={"TF_VAR_token": canary})
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db"},
        "stringData": {"token": "${token}", "made": "${made}"},
    }

    def commit(size: str, more: str = "") -> str:
        uses = {"token": {"terraform": "network.token"}, "made": {"terraform": "network.made"}}
        return world.push(
            {
                "gitopsd.yaml": shop.stack_file(
                    shop.module("network", -20),
                    shop.module("store", -10, varsFrom=[{"terraform": "network.token"}]),
                    shop.objects("base", 0, values=uses),
                ),
                "infra/network/main.tf": CODE % {"size": size, "more": more},
                "infra/store/main.tf": STORE,
                "base/db.yaml": secret,
            }
        )

    witness = Witness(canary.encode())
    told: list[str] = []

    def tell() -> None:
        """Everything that a person can ask for."""
        for command in (["status"], ["plan"], ["history"], ["show", "last"], ["audit", "-n", "500"]):
            told.append(world.gitopsd(*command, code=(0, 1, 2)))
            told.append(json.dumps(world.json(*command)))
        told.append(world.gitopsd("show", "last", "--plan"))

    first = commit("1")
    told.append(world.gitopsd("plan", code=2))
    world.start()
    world.wait_good(first)
    tell()
    live = world.get("secret", "db", "-n", shop.space)
    assert live is not None
    assert base64.b64decode(live["data"]["token"]).decode() == f"{canary}-out"
    made = base64.b64decode(live["data"]["made"]).decode()
    assert len(made) == 24
    assert shop.resources("store")["terraform_data.store"]["output"]["value"] == f"{canary}-out"

    second = commit("2")
    told.append(world.gitopsd("plan", code=(0, 2)))
    world.wait_good(second)
    tell()
    commit("3", FAILS)
    wait_until(lambda: world.holds() == {"quarantined"}, "it has failed and is back")
    assert "local_file.fails" in world.json("history")["runs"][1]["reason"]
    tell()
    shop.configure(env={"TF_VAR_token": f"{canary}-new"})
    told.append(world.gitopsd("plan", code=(0, 1, 2)))
    world.close()
    witness.end()
    assert witness.given, "it has seen how Terraform gets the value, and would have seen another way"
    assert witness.found == {}

    assert files_with(world.directory, canary, but=set()) == [str(world.config)]
    for word in (canary, made):
        assert not [text for text in told if word in text]
        assert files_with(world.directory, word, but={world.config}) == []
        assert memories_with(world, word) == []


def files_with(directory: Path, word: str, but: set[Path]) -> list[str]:
    """Files with a text in them, be it as it is or as base64 of the whole of it."""
    wanted = (word.encode(), base64.b64encode(word.encode()))
    return [
        str(file)
        for file in directory.rglob("*")
        if file.is_file() and file not in but and any(w in file.read_bytes() for w in wanted)
    ]


def memories_with(world: World, word: str) -> list[Any]:
    """What gitopsd keeps in the cluster."""
    found = json.loads(world.kubectl("get", "configmap,lease", "-n", SYSTEM, "-o", "json"))["items"]
    wanted = (word, base64.b64encode(word.encode()).decode())
    return [item["metadata"]["name"] for item in found if any(w in json.dumps(item) for w in wanted)]
