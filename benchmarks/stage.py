"""What is measured: a stack of many ConfigMaps in a repository of its own, and the daemon that delivers it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from sandbox import Cluster
from tests.support.world import World, config_map, wait_until

A_FILE = 10
"""Objects in one file of the repository."""

PATIENCE = 600.0


def maps(count: int, changed: str = "") -> list[dict[str, Any]]:
    """ConfigMaps of some hundred bytes; `changed` is one value of one of them."""
    made = []
    for number in range(count):
        data = {f"key-{key}": f"value {key} of map {number}" for key in range(8)}
        if changed and number == count // 2:
            data["key-0"] = changed
        made.append(config_map(f"map-{number:05d}", data))
    return made


class Delivery:
    """One stack, named after its directory, and a namespace of that name."""

    def __init__(self, directory: Path, cluster: Cluster, terraform: Mapping[str, Any] | None = None) -> None:
        self.name, self.terraform = directory.name, terraform
        self.world = World(directory, cluster, self.name, instance="bench")
        self.configure("1h")
        cluster.kubectl("create", "namespace", self.name)

    def configure(self, poll: str) -> None:
        """The host's configuration, with whole paths as an installed host has them."""
        self.world.configure(poll=poll, terraform=self.terraform)
        text = self.world.config.read_text()
        self.world.config.write_text(text.replace("stateDir: state", f"stateDir: {self.world.state_dir}"))

    def status(self) -> dict[str, Any]:
        """This stack as the daemon last published it, read without a process."""
        file = self.world.directory / "run" / "status.json"
        if not file.exists():
            return {}
        document = json.loads(file.read_bytes())
        found: dict[str, Any] = next((s for s in document["stacks"] if s["name"] == self.name), {})
        return {**found, "at": document["at"]}


class Stage(Delivery):
    """One stack of `count` ConfigMaps."""

    def __init__(self, directory: Path, cluster: Cluster, count: int) -> None:
        super().__init__(directory, cluster)
        self.count = count
        parts = {"gitopsd.yaml": self.world.stack_file({"name": "app", "path": "app", "namespace": self.name})}
        self.commit = self.world.push(parts | self._files(""))

    @property
    def changing(self) -> str:
        """The ConfigMap that `change` changes."""
        return f"map-{self.count // 2:05d}"

    def change(self, value: str) -> str:
        self.commit = self.world.push(self._files(value))
        return self.commit

    def _files(self, changed: str) -> dict[str, Any]:
        made = maps(self.count, changed)
        return {f"app/{at:05d}.yaml": made[at : at + A_FILE] for at in range(0, self.count, A_FILE)}


class Resident:
    """The daemon of a stage, with polls and sweeps on demand."""

    def __init__(self, stage: Delivery) -> None:
        self.stage = stage
        with stage.world.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.resident", str(stage.world.config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=stage.world.environment,
                text=True,
            )
        self._input, self._output = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        self._answer()

    def poll(self) -> dict[str, float]:
        return self._tell("poll")

    def sweep(self) -> None:
        """Returns when the stack is at rest again."""
        before = self.stage.status().get("at")
        self._tell("sweep")
        wait_until(lambda: self.stage.status().get("at") != before, "the sweep is done", PATIENCE)

    def good(self, commit: str) -> dict[str, Any]:
        """Wait until a commit is good and the stack at rest; its status."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.stage.status()
            if found.get("phase") == "Synced" and found["revision"]["good"] == commit:
                return found
            if found.get("phase") in {"Failed", "Held"}:
                raise RuntimeError(f"{found['phase']}: {found['message']}; see {self.stage.world.log}")
            time.sleep(0.01)
        raise RuntimeError(f"{commit} was not good within {PATIENCE:g} s; see {self.stage.world.log}")

    def cpu(self) -> float:
        """Seconds of processor time so far, with those of its children that have ended."""
        return process_cpu(self.process.pid)

    def _tell(self, word: str) -> dict[str, float]:
        self._input.write(f"{word}\n")
        self._input.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        line = self._output.readline()
        if not line:
            raise RuntimeError(f"the daemon ended; see {self.stage.world.log}")
        answer: dict[str, float] = json.loads(line)
        return answer


@contextmanager
def resident(stage: Delivery) -> Iterator[Resident]:
    made = Resident(stage)
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.communicate(timeout=60)


def process_cpu(pid: int) -> float:
    """Seconds in user and kernel mode, of the process and of what it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def seconds(text: str) -> float:
    """An API server's or gitopsd's timestamp as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
