"""Sealed secrets: how many are opened when, and what that costs beside the bare ciphers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

from benchmarks.figures import milliseconds
from benchmarks.stage import A_FILE, Delivery, resident, seconds
from gitopsd.sealing.envelope import seal
from gitopsd.sealing.keyfiles import generate, rotate
from gitopsd.sealing.keyring import Keypair
from sandbox import Cluster
from tests.support.world import config_map

COUNT = 1000


def measure(root: Path, cluster: Cluster, *, quick: bool) -> dict[str, Any]:
    """One story: a first deploy, a commit about something else, a restart, a rotation. `opened` counts the
    SealedSecrets that were opened in each."""
    count = COUNT // 10 if quick else COUNT
    stage = Delivery(root, cluster)
    keys = root / "keys"
    old = generate(keys, datetime.now(UTC), name="first")
    texts = _sealed(stage.name, count, old)
    found: dict[str, Any] = {"secrets": count, "bare": {"first": _bare(stage.name, texts, old)}}
    found["first"] = _delivered(stage, {"gitopsd.yaml": _stack(stage), **_files(stage.name, texts), **_other("0")})
    found["other"] = _delivered(stage, _other("1"))
    found["restart"] = _restarted(stage)
    new = rotate(keys, datetime.now(UTC), name="second")
    texts = _sealed(stage.name, count, new)
    found["bare"]["rotation"] = _bare(stage.name, texts, new)
    found["rotation"] = _delivered(stage, _files(stage.name, texts))
    return found


def _delivered(stage: Delivery, files: dict[str, Any]) -> dict[str, Any]:
    """A commit, from the poll that finds it to its run good, by a daemon that has just started."""
    commit = stage.world.push(files)
    with resident(stage) as daemon:
        before, used, mark = _opened(stage), daemon.cpu(), stage.world.mark()
        began = daemon.poll()["began"]
        ended = daemon.good(commit)
        return {
            "opened": _opened(stage) - before,
            "writes": len(stage.world.writes(mark)),
            "good": milliseconds([seconds(ended["lastRun"]["finished"]) - began]),
            "cpu": milliseconds([daemon.cpu() - used]),
        }


def _restarted(stage: Delivery) -> dict[str, Any]:
    before = _opened(stage)
    began = time.perf_counter()
    with resident(stage) as daemon:
        daemon.poll()
        daemon.sweep()
        took = time.perf_counter() - began
        return {"opened": _opened(stage) - before, "rest": milliseconds([took]), "cpu": milliseconds([daemon.cpu()])}


def _opened(stage: Delivery) -> int:
    log = stage.world.state_dir / "audit.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return sum(1 for line in lines if json.loads(line)["action"] == "unseal")


# ---------------------------------------------------------------- what is sealed


def _name(number: int) -> str:
    return f"secret-{number:05d}"


def _sealed(namespace: str, count: int, pair: Keypair) -> list[bytes]:
    """A password for each, strict."""
    labels = [f"{namespace}/{_name(number)}".encode() for number in range(count)]
    return [seal(pair.public, f"password {number}".encode(), label) for number, label in enumerate(labels)]


def _files(namespace: str, texts: Sequence[bytes]) -> dict[str, Any]:
    made = [
        {
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"name": _name(number), "namespace": namespace},
            "spec": {"encryptedData": {"password": base64.b64encode(text).decode()}},
        }
        for number, text in enumerate(texts)
    ]
    return {f"app/{at:05d}.yaml": made[at : at + A_FILE] for at in range(0, len(made), A_FILE)}


def _other(value: str) -> dict[str, Any]:
    return {"app/other.yaml": config_map("other", {"value": value})}


def _stack(stage: Delivery) -> str:
    return stage.world.stack_file({"name": "app", "path": "app", "namespace": stage.name})


def _bare(namespace: str, texts: Sequence[bytes], pair: Keypair) -> dict[str, Any]:
    """Milliseconds of the RSA and AES operations alone, one after the other."""
    began = time.perf_counter()
    for number, text in enumerate(texts):
        length = int.from_bytes(text[:2], "big")
        label = f"{namespace}/{_name(number)}".encode()
        key = pair.private.decrypt(text[2 : 2 + length], OAEP(MGF1(SHA256()), SHA256(), label))
        AESGCM(key).decrypt(bytes(12), text[2 + length :], None)
    return milliseconds([time.perf_counter() - began])
