"""SEMANTICS 14 on a real cluster: what the team's kubeseal writes is live to the byte, and nowhere else to be seen."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitopsd.sealing.keyfiles import generate, rotate
from sandbox import tool
from tests.support.kubeseal import BITS, Kubeseal, secret
from tests.support.modules import Shop
from tests.support.witness import Witness
from tests.support.world import World, config_map, deployment, wait_until

DATA = {"text": b"correct horse", "empty": b"", "binary": bytes(range(256)), "newline": b"line\r\nline\n"}
SCOPES = ("strict", "namespace-wide", "cluster-wide")


class Vaulted:
    """A world with one sealing key, `first`, and the team's kubeseal."""

    def __init__(self, world: World, space: str) -> None:
        self.world, self.space, self.keys = world, space, world.directory / "keys"
        self.shelf = world.directory.parent / "shelf"
        self.shelf.mkdir(mode=0o700)
        self.keys.mkdir(mode=0o700, exist_ok=True)
        generate(self.keys, datetime.now(UTC), name="first", bits=BITS)
        self.kubeseal = Kubeseal(self.keys, "first")

    def rotate(self) -> Kubeseal:
        """One more key, newer than the first."""
        rotate(self.keys, datetime.now(UTC) + timedelta(seconds=1), name="second", bits=BITS)
        return Kubeseal(self.keys, "second")

    def take(self, name: str) -> Kubeseal:
        """Put a key on the shelf, where the team still seals for it."""
        for suffix in (".key", ".crt"):
            (self.keys / f"{name}{suffix}").rename(self.shelf / f"{name}{suffix}")
        return Kubeseal(self.shelf, name)

    def bring(self, name: str) -> None:
        for suffix in (".crt", ".key"):
            (self.shelf / f"{name}{suffix}").rename(self.keys / f"{name}{suffix}")

    def sealed(self, name: str, data: Mapping[str, bytes], *options: str, by: Kubeseal | None = None) -> str:
        return (by or self.kubeseal).seal(secret(name, self.space, data), *options).decode()

    def push(self, files: Mapping[str, Any], **component: Any) -> str:
        stack = self.world.stack_file({"name": "app", "path": "app", "namespace": self.space, **component})
        return self.world.push({"gitopsd.yaml": stack, **{f"app/{name}.yaml": text for name, text in files.items()}})

    def data(self, name: str) -> dict[str, bytes] | None:
        found = self.world.get("secret", name, "-n", self.space)
        return found and {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}


@pytest.fixture
def vaulted(world: World, namespace: str) -> Vaulted:
    tool("kubeseal")
    return Vaulted(world, namespace)


# ---------------------------------------------------------------- what kubeseal writes


def test_everything_that_kubeseal_writes_is_live_to_the_byte(vaulted: Vaulted, tmp_path: Path) -> None:
    world, space, kubeseal = vaulted.world, vaulted.space, vaulted.kubeseal
    files = {scope: vaulted.sealed(scope, DATA, "--scope", scope) for scope in SCOPES}
    wanted = dict.fromkeys(SCOPES, DATA)
    large = {"large": os.urandom(1024 * 1024)}
    files["large"], wanted["large"] = vaulted.sealed("large", large), large

    raw = {key: kubeseal.raw(value, "--namespace", space, "--name", "raw") for key, value in DATA.items() if value}
    head = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": "raw"}}
    files["raw"] = yaml.safe_dump({**head, "spec": {"encryptedData": raw}})
    wanted["raw"] = {key: value for key, value in DATA.items() if value}

    merged = tmp_path / "merged.yaml"
    merged.write_text(vaulted.sealed("merged", {"old": b"stays", "new": b"before"}))
    vaulted.sealed("merged", {"new": b"after", "more": b"\x00"}, "--merge-into", str(merged))
    files["merged"], wanted["merged"] = merged.read_text(), {"old": b"stays", "new": b"after", "more": b"\x00"}

    templated = yaml.safe_load(vaulted.sealed("templated", {"password": b"p w"}))
    templated["spec"]["template"] |= {"type": "example.org/db", "data": {"url": "db://me:{{ .password }}@h"}}
    templated["spec"]["template"]["metadata"]["labels"] = {"team": "shop"}
    files["templated"] = yaml.safe_dump(templated)
    wanted["templated"] = {"password": b"p w", "url": b"db://me:p w@h"}

    world.start()
    world.wait_good(vaulted.push(files))
    for name, data in wanted.items():
        assert vaulted.data(name) == data, name
    live = world.get("secret", "templated", "-n", space)
    assert live is not None
    assert (live["type"], live["metadata"]["labels"]["team"]) == ("example.org/db", "shop")
    assert "sealedsecrets" not in world.kubectl("api-resources", "-o", "name"), "nothing in the cluster knows the kind"


def forged(vaulted: Vaulted) -> dict[str, dict[str, Any]]:
    """SealedSecrets that were sealed for another place, or changed since, by what is wrong with them."""
    strict = yaml.safe_load(vaulted.sealed("db", {"password": b"s3cret"}))
    wide = yaml.safe_load(vaulted.sealed("db", {"password": b"s3cret"}, "--scope", "namespace-wide"))
    text = base64.b64decode(strict["spec"]["encryptedData"]["password"])

    def placed(sealed: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        return {**sealed, "metadata": {**sealed["metadata"], **metadata}}

    def changed(content: bytes) -> dict[str, Any]:
        return {**strict, "spec": {"encryptedData": {"password": base64.b64encode(content).decode()}}}

    return {
        "copied to another name": placed(strict, name="stolen"),
        "copied to another namespace": placed(strict, namespace="default"),
        "namespace-wide in another namespace": placed(wide, namespace="default"),
        "a scope that it was not sealed for": placed(
            strict, annotations={"sealedsecrets.bitnami.com/cluster-wide": "true"}
        ),
        "a flipped bit": changed(text[:-20] + bytes([text[-20] ^ 1]) + text[-19:]),
        "cut off": changed(text[:-1]),
    }


def test_copied_and_forged_ones_are_refused_before_the_first_effect_and_audited(vaulted: Vaulted) -> None:
    world = vaulted.world
    good = {"settings": config_map("settings", {"mode": "1"})}
    world.wait_good(_once(vaulted, good))
    mark = world.mark()
    for number, (wrong, manifest) in enumerate(forged(vaulted).items(), start=2):
        vaulted.push({"db": manifest, "settings": config_map("settings", {"mode": str(number)})})
        world.once(code=1)
        message = world.status()["message"]
        place = manifest["metadata"]
        item = f"app/db.yaml:1: SealedSecret/{place['name']}: spec.encryptedData.password: no key opens this item"
        assert item in message, wrong
        assert place["namespace"] in message or "sealed cluster-wide" in message, wrong
        assert world.holds() == {"blocked"}, wrong
        held = [e for e in world.json("audit", "-n", "5")["entries"] if e["action"] == "hold"]
        assert any(item in e["detail"] for e in held), wrong
        _once(vaulted, {**good, "db": None})
        assert world.holds() == set(), wrong
    assert world.writes(mark) == []
    assert world.data(vaulted.space, "settings") == {"mode": "1"}
    foreign = Kubeseal(vaulted.shelf, "foreign")
    generate(vaulted.shelf, datetime.now(UTC), name="foreign", bits=BITS)
    vaulted.push({"db": vaulted.sealed("db", {"password": b"x"}, by=foreign)})
    world.once(code=1)
    assert world.writes(mark) == []
    assert "no key opens this item" in world.status()["message"]


def _once(vaulted: Vaulted, files: Mapping[str, Any]) -> str:
    commit = vaulted.push(files)
    vaulted.world.once()
    return commit


# ---------------------------------------------------------------- keys that come and go


def test_a_key_that_goes_is_told_and_one_that_comes_lets_a_waiting_stack_go_on(vaulted: Vaulted) -> None:
    world = vaulted.world
    world.start()
    world.wait_good(vaulted.push({"db": vaulted.sealed("db", {"password": b"old"})}))
    by = vaulted.take("first")
    told = wait_until(
        lambda: next((e for e in world.status()["attention"] if "no key opens" in e["reason"]), None),
        "status names the Secret that no key opens any more",
    )
    assert told["unit"] == f"Secret/{vaulted.space}/db"
    assert vaulted.data("db") == {"password": b"old"}
    mark = world.mark()
    commit = vaulted.push({"db": vaulted.sealed("db", {"password": b"new"}, by=by), "more": config_map("more", {})})
    wait_until(lambda: world.holds() == {"blocked"}, "it waits for the key")
    assert world.writes(mark) == []
    assert vaulted.data("db") == {"password": b"old"}
    vaulted.bring("first")
    world.wait_good(commit)
    assert vaulted.data("db") == {"password": b"new"}
    assert world.holds() == set()
    wait_until(lambda: world.status()["attention"] == [], "nothing is left to tell")


@pytest.mark.parametrize("kept", [True, False], ids=["old key there", "old key gone"])
def test_a_rollback_across_a_change_of_a_secret(vaulted: Vaulted, kept: bool) -> None:
    world = vaulted.world
    good = deployment("web", wave="1")
    bad = deployment("web", "registry.example/app:pull-error", wave="1")
    _once(
        vaulted,
        {"db": vaulted.sealed("db", {"password": b"old"}), "web": good, "settings": config_map("settings", {"v": "1"})},
    )
    by = vaulted.rotate()
    if not kept:
        vaulted.take("first")
    vaulted.push(
        {
            "db": vaulted.sealed("db", {"password": b"new"}, by=by),
            "web": bad,
            "settings": config_map("settings", {"v": "2"}),
        }
    )
    world.once(code=1)
    assert world.data(vaulted.space, "settings") == {"v": "1"}, "everything else is back in any case"
    assert world.image(vaulted.space, "web") == "registry.example/app:1"
    if kept:
        assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]
        assert vaulted.data("db") == {"password": b"old"}
        return
    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "failed")]
    assert vaulted.data("db") == {"password": b"new"}
    assert world.holds() == {"rollback-failed"}
    left = {item["unit"]: item["reason"] for item in world.json("show", "last")["leftovers"]}
    assert "no key opens this item" in left[f"Secret/{vaulted.space}/db"]
    vaulted.bring("first")
    world.once(code=(0, 1))
    assert vaulted.data("db") == {"password": b"old"}
    assert world.holds() == {"quarantined"}


# ---------------------------------------------------------------- nothing leaks


@pytest.fixture
def decoy() -> Iterator[bytes]:
    """A process that does what gitopsd must not: who watches has to see it."""
    word = f"decoy{uuid.uuid4().hex}"
    process = subprocess.Popen(["sleep", "600"], env={**os.environ, "PASSWORD": word})
    yield word.encode()
    process.kill()
    process.wait()


def forms(word: str) -> tuple[bytes, ...]:
    """A value as it is, and as files, APIs and logs may write it."""
    value = word.encode()
    once = base64.b64encode(value)
    return value, once.rstrip(b"=")[:-1], base64.b64encode(once)[:-4], value.hex().encode()


def test_the_values_are_nowhere_but_in_the_secret(vaulted: Vaulted, decoy: bytes) -> None:
    """A deploy, a heal of a hand edit, a failed deploy with its rollback, and all that people can ask for meanwhile."""
    world = vaulted.world
    old, new, edited = (f"{stem}{uuid.uuid4().hex}" for stem in ("old", "new", "edited"))
    words = tuple(form for word in (old, new, edited) for form in forms(word))
    told: list[str] = []

    def tell() -> None:
        for command in (["status"], ["plan"], ["history"], ["show", "last"], ["audit", "-n", "500"]):
            told.append(world.gitopsd(*command, code=(0, 1, 2)))
            told.append(json.dumps(world.json(*command)))
        told.append(world.gitopsd("show", "last", "--plan"))

    def files(value: str, image: str = "registry.example/app:1") -> dict[str, Any]:
        sealed = yaml.safe_load(vaulted.sealed("db", {"password": value.encode(), "user": b"me"}))
        sealed["spec"]["template"]["data"] = {"url": "db://{{ .user }}:{{ .password }}@h"}
        return {"db": sealed, "web": deployment("web", image, wave="1")}

    witness = Witness(decoy, *words)
    first = vaulted.push(files(old))
    told.append(world.gitopsd("plan", code=2))
    world.once()
    world.wait_good(first)
    assert (vaulted.data("db") or {})["url"] == f"db://me:{old}@h".encode()
    tell()
    patch = json.dumps({"stringData": {"password": edited}})
    world.kubectl(
        *("patch", "secret", "db", "-n", vaulted.space, "--type=merge", "--patch-file", "/dev/stdin"), input=patch
    )
    assert (vaulted.data("db") or {})["password"] == edited.encode()
    world.once()
    assert world.verdicts()[-1] == ("heal", "good")
    assert (vaulted.data("db") or {})["password"] == old.encode()
    tell()
    world.start()
    vaulted.push(files(new, "registry.example/app:pull-error"))
    wait_until(lambda: (vaulted.data("db") or {}).get("password") == new.encode(), "the new value is live")
    tell()
    wait_until(lambda: world.holds() == {"quarantined"}, "it has failed and is back")
    assert (vaulted.data("db") or {})["password"] == old.encode()
    told.append(world.gitopsd("plan", "--ref", "HEAD", code=None))
    tell()
    world.close()
    witness.end()
    assert witness.found.keys() == {decoy}
    assert files_with(world, words) == []
    assert [text for text in told if any(word.decode() in text for word in words)] == []
    kept = world.kubectl("get", "configmap,lease,event", "-A", "-o", "json")
    assert [word for word in words if word.decode() in kept] == []


def files_with(world: World, words: tuple[bytes, ...]) -> list[Path]:
    """Files of everything that gitopsd and the team have, with one of these in them."""
    return [f for f in world.directory.rglob("*") if f.is_file() and any(w in f.read_bytes() for w in words)]


CODE = """\
variable "password" {
  type      = string
  sensitive = true
}
resource "terraform_data" "uses" {
  input = var.password
}
output "password" {
  value     = var.password
  sensitive = true
}
"""


def test_a_sealed_variable_is_seen_by_terraform_alone(
    vaulted: Vaulted, terraform_host: dict[str, str], decoy: bytes
) -> None:
    """Its own state has it; its working directory, the copies of the state and everything else have not."""
    world, shop = vaulted.world, Shop(vaulted.world, vaulted.space, terraform_host)
    old, new = (f"{stem}{uuid.uuid4().hex}" for stem in ("old", "new"))
    words = (*forms(old), *forms(new))
    told: list[str] = []

    def push(value: str) -> str:
        taken = shop.module("network", -20, varsFrom=[{"sealedSecret": "vars/db.yaml"}])
        return world.push(
            {
                "gitopsd.yaml": shop.stack_file(taken),
                "infra/network/main.tf": CODE,
                "vars/db.yaml": vaulted.sealed("vars", {"password": value.encode()}),
            }
        )

    witness = Witness(decoy, *words)
    for value in (old, new):
        commit = push(value)
        told.append(world.gitopsd("plan", code=2))
        world.once()
        world.wait_good(commit)
        assert shop.resources("network")["terraform_data.uses"]["output"]["value"] == value
        for command in (["status"], ["history"], ["show", "last"], ["show", "last", "--plan"], ["audit", "-n", "500"]):
            told.append(world.gitopsd(*command, code=(0, 1, 2)))
    witness.end()
    assert (set(witness.found), witness.given) == ({decoy}, {old.encode(), new.encode()})
    assert files_with(world, words) == []
    assert [text for text in told if any(word.decode() in text for word in words)] == []
