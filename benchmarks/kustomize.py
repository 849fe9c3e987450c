"""Kustomize: a push to an overlay of many objects, beside the program's own time for it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import beside
from benchmarks.stage import A_FILE, Delivery, maps, resident, seconds
from sandbox import Cluster, tool

PATCHED = "map-00000"


class Overlay(Delivery):
    """A base of `count` ConfigMaps and an overlay that patches one of them."""

    def __init__(self, directory: Path, cluster: Cluster, count: int) -> None:
        super().__init__(directory, cluster)
        made = maps(count)
        files: dict[str, Any] = {f"base/{at:05d}.yaml": made[at : at + A_FILE] for at in range(0, count, A_FILE)}
        files["base/kustomization.yaml"] = {"resources": [name.removeprefix("base/") for name in sorted(files)]}
        files["overlay/kustomization.yaml"] = {
            "namespace": self.name,
            "resources": ["../base"],
            "patches": [{"path": "patch.yaml"}],
        }
        files["gitopsd.yaml"] = self.world.stack_file({"name": "app", "path": "overlay", "namespace": self.name})
        self.commit = self.world.push(files | self._patch("first"))

    def change(self, value: str) -> str:
        self.commit = self.world.push(self._patch(value))
        return self.commit

    def _patch(self, value: str) -> dict[str, Any]:
        metadata = {"name": PATCHED}
        return {
            "overlay/patch.yaml": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": value}}
        }


def measure(root: Path, cluster: Cluster, *, quick: bool) -> dict[str, Any]:
    """From the poll that finds a changed patch to the one changed object live. The floor is the program alone, on a
    checkout that is there."""
    count = 1000
    stage = Overlay(root, cluster, count)
    live, floor, cpu = [], [], []
    with resident(stage) as daemon:
        daemon.poll()
        daemon.good(stage.commit)
        for number in range((2 if quick else 7) + 1):
            commit = stage.change(f"value {number}")
            began = time.perf_counter()
            command = [str(tool("kubectl")), "kustomize", "overlay"]
            subprocess.run(command, cwd=stage.world.clone, check=True, capture_output=True)
            least = time.perf_counter() - began
            mark, used = cluster.audit_offset(), daemon.cpu()
            polled = daemon.poll()["began"]
            daemon.good(commit)
            writes = [e for e in stage.world.requests(mark) if (e.get("objectRef") or {}).get("name") == PATCHED]
            written = next(e for e in writes if e["verb"] == "patch" and "dryRun=" not in e["requestURI"])
            if number:
                live.append(seconds(written["stageTimestamp"]) - polled)
                cpu.append(daemon.cpu() - used)
                floor.append(least)
    return {"objects": count, **beside(floor, live=live, cpu=cpu)}
