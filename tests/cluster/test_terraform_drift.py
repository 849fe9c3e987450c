"""What others do to Terraform's resources is seen when it is due, healed or only reported; noise is not drift."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import LoggedProgram, Shop, network
from tests.support.world import World, wait_until

NOTE = """
resource "local_file" "note" {
  content         = "from git"
  filename        = "%s"
  file_permission = "0644"
}
"""
EVERY_PROVIDER = """
resource "null_resource" "a" {
  triggers = {}
}
resource "null_resource" "b" {
}
resource "random_password" "p" {
  length = 12
}
resource "random_pet" "keyed" {
  keepers = {}
}
resource "tls_private_key" "k" {
  algorithm = "ED25519"
}
resource "time_static" "t" {
}
"""


@pytest.fixture
def shop(world: World, namespace: str, terraform_host: dict[str, str]) -> Iterator[Shop]:
    made = Shop(world, namespace, {**terraform_host, "driftInterval": "1s"})
    yield made
    world.close()
    made.kill_children()


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note.txt"


def look(shop: Shop) -> list[dict[str, Any]]:
    """Look for drift; what the status says of the network."""
    shop.world.once(code=(0, 1))
    return [entry for entry in shop.world.status()["attention"] if entry["unit"] == "terraform/network"]


def test_a_file_that_somebody_deletes_or_edits_comes_back(shop: Shop, note: Path) -> None:
    world = shop.world
    commit = world.push(shop.files(code=network(more=NOTE % note)))
    world.start()
    world.wait_good(commit)
    mark = world.mark()
    others = {address: a for address, a in shop.resources().items() if address != "local_file.note"}
    note.unlink()
    wait_until(lambda: note.exists() and note.read_text() == "from git", "it is back")
    wait_until(lambda: world.verdicts()[1:] == [("heal", "good")], "the run is good")
    note.write_text("by hand")
    wait_until(lambda: note.read_text() == "from git", "it is as git has it")
    wait_until(lambda: world.verdicts()[1:] == [("heal", "good")] * 2, "the run is good")
    assert shop.resources().items() > others.items(), "nothing else was touched"
    assert world.writes(mark) == []
    assert world.phase() == "Synced"
    assert "local_file.note" in world.gitopsd("show", "last", "--plan")
    entries = [e for e in world.json("audit", "-n", "500")["entries"] if e["unit"] == "terraform/network"]
    assert [e["result"] for e in entries if e["action"] == "create" or e["action"] == "update"] == ["applied"] * 3


def test_drift_that_is_only_reported_is_named_and_left(shop: Shop, note: Path, tmp_path: Path) -> None:
    world = shop.world
    world.push(shop.files(code=network(more=NOTE % note), drift="report"))
    world.once()
    note.unlink()
    shop.by_hand(
        tmp_path / "person", "apply", "-input=false", "-auto-approve", "-var=size=9", "-target=terraform_data.db"
    )

    def seen() -> str:
        (entry,) = look(shop)
        assert entry["drifted"]
        return str(entry["message"])

    message = wait_until(seen, "it is reported")
    assert "local_file.note is gone" in message
    assert "terraform_data.db.input" in message
    assert not note.exists()
    assert shop.size() == "9"
    assert [kind for kind, _ in world.verdicts()] == ["deploy"]
    for word in ("terraform/network", "drifted", "local_file.note"):
        assert word in world.gitopsd("status", code=2)

    world.push(shop.files(code=network(more=NOTE % note), drift="heal"))
    wait_until(lambda: not look(shop) and note.exists(), "healed once that is wanted")
    assert shop.size() == "1"
    assert world.phase() == "Synced"


def test_noise_of_providers_is_no_drift(shop: Shop, tmp_path: Path, note: Path) -> None:
    """Framework providers answer a refresh with an exit code as if something had changed; old ones cannot tell null
    from an empty map."""
    world = shop.world
    program = LoggedProgram(tmp_path, shop.host["binary"])
    shop.configure(binary=str(program.binary))
    shop.delivered(code=network(more=EVERY_PROVIDER + NOTE % note))
    state = shop.state()
    program.forget()

    def looked() -> bool:
        assert look(shop) == []
        return sum(arguments.startswith("plan") for _, arguments in program.calls) >= 3

    wait_until(looked, "Terraform was asked three times")
    assert world.verdicts() == [("deploy", "good")]
    assert shop.state() == state
    assert not any(arguments.startswith("apply") for _, arguments in program.calls)


def test_a_heal_that_would_destroy_waits_for_a_person(shop: Shop, tmp_path: Path) -> None:
    """Somebody replaced a resource by hand with other code: back again is a replacement too."""
    world = shop.world
    world.start()
    world.wait_good(world.push(shop.files()))
    (tmp_path / "person").mkdir()
    shop.by_hand(tmp_path / "person", "plan", "-input=false", "-var-file=live.tfvars")
    (tmp_path / "person" / "infra" / "main.tf").write_text(network("large"))
    shop.by_hand(tmp_path / "person", "apply", "-input=false", "-auto-approve", "-var-file=live.tfvars")
    theirs = shop.resources()
    wait_until(lambda: "approval" in world.holds(), "a person is asked")
    assert "replace terraform_data.db" in world.status()["holds"][0]["detail"]
    assert shop.resources() == theirs
    world.gitopsd("approve", world.stack)
    wait_until(lambda: world.verdicts()[-1] == ("heal", "good"), "it is healed")
    assert shop.resources()["terraform_data.db"]["id"] != theirs["terraform_data.db"]["id"]
    assert shop.resources()["random_pet.name"] == theirs["random_pet.name"]
    wait_until(lambda: world.phase() == "Synced", "at rest")
