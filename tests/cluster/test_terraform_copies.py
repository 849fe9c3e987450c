"""Copies of states: a value that is a secret stands in the clear in Terraform's own state alone, and a state that is
lost comes back from its copy."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import terraform_environment
from tests.support.modules import Shop
from tests.support.seals import bring_key, fingerprint_of
from tests.support.world import World, config_map, wait_until

CODE = """\
variable "token" {
  type      = string
  sensitive = true
}
resource "terraform_data" "uses" {
  input = { token = var.token, size = "%s" }
}
%s
"""
FAILS = """\
resource "local_file" "fails" {
  depends_on = [terraform_data.uses]
  content    = "x"
  filename   = "/proc/none/x"
}
"""


@pytest.fixture
def shop(world: World, namespace: str, terraform_host: dict[str, str]) -> Iterator[Shop]:
    made = Shop(world, namespace, terraform_host)
    yield made
    world.close()
    made.kill_children()


def files_with(directory: Path, word: str) -> set[Path]:
    """Files with a text in them: as it is, as base64 wherever it stands in it, or either of them under gzip."""
    wanted = {word.encode()}
    for shift in range(3):
        text = base64.b64encode(b"x" * shift + word.encode() + b"x" * 3).decode()
        wanted.add(text[4 if shift else 0 : -8].encode())
    found = set()
    for file in directory.rglob("*"):
        if not file.is_file() or file.is_symlink():
            continue
        content = file.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        if any(text in content for text in wanted):
            found.add(file)
    return found


@pytest.mark.parametrize("how", ["raw", "base64", "gzip"])
def test_the_search_finds_a_word_in_every_dress(tmp_path: Path, how: str) -> None:
    text = b"12 a-long-secret-word 34"
    dressed = {"raw": text, "base64": base64.b64encode(text), "gzip": gzip.compress(base64.b64encode(text))}
    (tmp_path / "file").write_bytes(dressed[how])
    assert files_with(tmp_path, "a-long-secret-word") == {tmp_path / "file"}


@pytest.mark.parametrize("backend", ["local", "kubernetes"])
def test_a_secret_of_a_state_lies_in_the_clear_in_the_state_alone_and_a_lost_state_comes_back(
    shop: Shop, backend: str, tmp_path: Path
) -> None:
    world, canary = shop.world, f"hunter{uuid.uuid4().hex}"
    shop.configure(backend=backend, env={"TF_VAR_token": canary})
    bring_key(world.directory / "keys")

    def commit(size: str, more: str = "") -> str:
        file = shop.stack_file(shop.module("network", -10))
        return world.push({"gitopsd.yaml": file, "infra/network/main.tf": CODE % (size, more)})

    for size in ("1", "2"):
        good = commit(size)
        world.once()
        world.wait_good(good)
    commit("3", FAILS)
    world.once(code=(0, 1))
    assert world.verdicts()[-1][1] == "good", "it is rolled back"
    states = world.state_dir / "terraform" / "states"
    local = {states / f"{shop.key}.tfstate"} if backend == "local" else set()
    assert files_with(world.state_dir, canary) == local
    assert files_with(world.directory / "run", canary) == set()

    # What is in the copies: all of it, and byte by byte what Terraform itself gives.
    listed = world.json("state", "list", world.stack, code=0)["copies"]
    assert [c["fingerprint"] for c in listed] == [fingerprint_of()] * len(listed)
    assert all(c["opens"] for c in listed)
    assert len(listed) >= 4, "two deploys, half of one, and a rollback"
    out = tmp_path / "network.tfstate"
    told = world.gitopsd("state", "restore", world.stack, "network", "--out", str(out))
    place = world.state_dir / "terraform" / "work" / world.stack / "network"
    assert out.read_text() == terraform(shop, place, "state", "pull")

    # A state that is lost blocks the stack, which says how it comes back; then it goes on.
    before = shop.resources()
    if backend == "local":
        (states / f"{shop.key}.tfstate").unlink()
    else:
        world.kubectl("delete", "secret", "-n", "gitopsd-system", f"tfstate-default-{shop.key}")
    fourth = commit("4")
    world.once(code=1)
    said = json.dumps(world.json("status"))
    assert f"gitopsd state restore {world.stack} network --serial {listed[0]['serial']} --out FILE" in said
    assert canary not in said
    (push,) = [line for line in told.splitlines() if line.startswith("  ")]
    done = subprocess.run(
        ["sh", "-c", push.replace(" terraform ", f" {shop.host['binary']} ")],
        env=terraform_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    world.start()
    wait_until(lambda: world.status().get("phase") is not None, "the daemon looks")
    world.gitopsd("retry", world.stack, code=(0, 1))
    world.wait_good(fourth)
    after = shop.resources()["terraform_data.uses"]
    assert after["id"] == before["terraform_data.uses"]["id"], "it goes on with the resource that was there"
    assert after["input"]["value"]["size"] == "4"
    world.close()
    assert files_with(world.state_dir, canary) == local


def test_a_copy_that_cannot_be_written_is_told_with_the_run_and_stops_nothing(shop: Shop) -> None:
    world = shop.world
    shop.configure(env={"TF_VAR_token": "t"})
    bring_key(world.directory / "keys")
    copies = world.state_dir / "terraform" / "states" / "copies"
    world.state_dir.mkdir(mode=0o700)
    copies.mkdir(parents=True)
    (copies / world.stack).write_text("in the way")
    base = {"base/settings.yaml": config_map("settings", {"a": "b"})}
    module = shop.module("network", -10)
    first = world.push(
        {
            "gitopsd.yaml": shop.stack_file(module, shop.objects("base", 0)),
            "infra/network/main.tf": CODE % ("1", ""),
            **base,
        }
    )
    world.once()
    world.wait_good(first)
    assert "no copy of its state is kept" in detail(world)
    gone = world.push({"gitopsd.yaml": shop.stack_file(shop.objects("base", 0))})
    world.start()
    wait_until(lambda: "approval" in world.holds(), "somebody has to allow it")
    world.gitopsd("approve", world.stack)
    world.wait_good(gone)
    assert shop.resources() == {}
    assert "no copy of its state is kept" in detail(world)


def detail(world: World) -> str:
    """What the newest run says of the network."""
    outcomes = world.json("show", "last")["outcomes"]
    return str(next(o["detail"] for o in outcomes if o["unit"] == "terraform/network"))


def terraform(shop: Shop, place: Path, *arguments: str) -> str:
    """What the program says to a person who asks it in the daemon's directory."""
    root = place / "tree" / "infra" / "network"
    environment = {**terraform_environment(), "TF_DATA_DIR": str(place / "data")}
    return subprocess.run(
        [shop.host["binary"], *arguments],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
