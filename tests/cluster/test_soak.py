"""A long life: commit upon commit with drift in between. In the end the cluster is what git says, and nothing grew.

`GITOPSD_SOAK_COMMITS` makes it longer, `GITOPSD_SOAK_SEED` repeats one; the figures in docs/benchmarks.md are those of
five hundred.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.support.moments import GOOD
from tests.support.world import World, config_map, deployment, wait_until

COMMITS = int(os.environ.get("GITOPSD_SOAK_COMMITS", "40"))
WARM = 0.4
"""Part of the commits after which everything that is kept for speed has been made."""


@dataclass(frozen=True)
class Weight:
    """What a process weighs: memory in KiB, threads, open files, and its state directory in bytes."""

    memory: int
    threads: int
    files: int
    disk: int

    @classmethod
    def of(cls, pid: int, state: Path) -> Weight:
        text = Path(f"/proc/{pid}/status").read_text()
        found = {name: value for name, _, value in (line.partition(":") for line in text.splitlines())}
        disk = sum(path.stat().st_size for path in state.rglob("*") if path.is_file() and path.name != "audit.jsonl")
        return cls(int(found["VmRSS"].split()[0]), int(found["Threads"]), len(os.listdir(f"/proc/{pid}/fd")), disk)


class Life:
    """The repository and everybody who interferes."""

    def __init__(self, world: World, space: str, seed: int) -> None:
        self.world, self.space, self.random = world, space, random.Random(seed)  # noqa: S311 - a life to be repeated, no secret
        self.maps = {f"map-{n}": {"value": "0"} for n in range(20)}
        self.next = 20
        cluster = world.cluster
        self._server = cluster.server
        self._pool = urllib3.PoolManager(ca_certs=str(cluster.certificate_authority), cert_reqs="CERT_REQUIRED")
        self._token = cluster.admin_token

    def files(self) -> dict[str, Any]:
        stack = self.world.stack_file({"name": "app", "path": "app", "namespace": self.space}, prune={"max": "50%"})
        return {
            "gitopsd.yaml": stack,
            "app/web.yaml": deployment("web", GOOD),
            "app/maps.yaml": [config_map(name, data) for name, data in sorted(self.maps.items())],
        }

    def commit(self, number: int) -> str:
        """Something changes; now and then it is a mistake that the next commit takes back."""
        kind = self.random.choice(["edit", "edit", "edit", "add", "remove", "broken", "readme"])
        if kind == "edit":
            self.maps[self.random.choice(sorted(self.maps))] = {"value": str(number)}
        elif kind == "add":
            self.maps[f"map-{self.next}"] = {"value": str(number)}
            self.next += 1
        elif kind == "remove" and len(self.maps) > 15:
            del self.maps[self.random.choice(sorted(self.maps))]
        elif kind == "broken":
            self.world.push({"app/broken.yaml": "kind: [unfinished"}, "a mistake")
            self.world.write({"app/broken.yaml": None})
        elif kind == "readme":
            return self.world.push({**self.files(), "README.md": str(number)}, "words")
        return self.world.push(self.files(), kind)

    def interfere(self) -> None:
        """Somebody edits, deletes, unlabels or adds to an object."""
        name = self.random.choice(sorted(self.maps))
        patch = {
            "edit": {"data": {"value": "edited"}},
            "add": {"data": {"theirs": "added"}},
            "unlabel": {"metadata": {"labels": {"applyset.kubernetes.io/part-of": None}}},
        }
        kind = self.random.choice([*patch, "delete"])
        url = f"{self._server}/api/v1/namespaces/{self.space}/configmaps/{name}?fieldManager=m{self.random.random()}"
        headers = {"Authorization": f"Bearer {self._token}", "User-Agent": "somebody"}
        if kind == "delete":
            self._pool.request("DELETE", url.partition("?")[0], headers=headers)
            return
        headers["Content-Type"] = "application/merge-patch+json"
        self._pool.request("PATCH", url, body=json.dumps(patch[kind]).encode(), headers=headers)

    def live(self) -> dict[str, str]:
        """Our value of each ConfigMap, as it is live."""
        listed = json.loads(self.world.kubectl("get", "configmaps", "-n", self.space, "-o", "json"))
        return {
            each["metadata"]["name"]: each["data"]["value"]
            for each in listed["items"]
            if "applyset.kubernetes.io/part-of" in (each["metadata"].get("labels") or {})
        }


def _settled(world: World, commit: str) -> Callable[[], bool]:
    """Read from the file, not by a command: that would take longer than the run."""

    def settled() -> bool:
        file = world.directory / "run" / "status.json"
        stacks = json.loads(file.read_bytes())["stacks"] if file.exists() else []
        return any(s["phase"] == "Synced" and s["revision"]["desired"] == commit for s in stacks)

    return settled


@pytest.mark.timeout(60 + 6 * COMMITS)
def test_the_end_equals_git_and_nothing_has_grown(world: World, namespace: str) -> None:
    seed = int(os.environ.get("GITOPSD_SOAK_SEED") or random.SystemRandom().randrange(2**32))
    life = Life(world, namespace, seed)
    commit = world.push(life.files())
    daemon = world.start()
    wait_until(_settled(world, commit), "the first commit is live")
    before: Weight | None = None
    for number in range(COMMITS):
        commit = life.commit(number)
        for _ in range(life.random.randrange(4)):
            life.interfere()
        if life.random.random() < 0.7:
            wait_until(_settled(world, commit), f"commit {number} is live (seed {seed})")
        if number == int(COMMITS * WARM):
            before = Weight.of(daemon.pid, world.state_dir)
    wait_until(_settled(world, commit), f"the last commit is live (seed {seed})")
    wanted = {name: data["value"] for name, data in life.maps.items()}

    wait_until(lambda: life.live() == wanted, f"the cluster is what git says (seed {seed})")
    after = Weight.of(daemon.pid, world.state_dir)
    print(f"{COMMITS} commits, seed {seed}: {before} -> {after}")
    assert before is not None
    assert after.threads <= before.threads + 2, (seed, before, after)
    assert after.files <= before.files + 4, (seed, before, after)
    assert after.memory <= before.memory * 1.15, (seed, before, after)
    assert after.disk <= before.disk * 2, (seed, before, after)
    daemon.terminate()
    assert daemon.wait(60) == 0
