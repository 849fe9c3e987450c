"""The measurements. Each returns plain values: medians of repeats, the floor of the same run, and their ratio."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bare import BareClient, BareMirror
from benchmarks.stage import Resident, Stage, maps, process_cpu, resident, seconds
from sandbox import Cluster
from tests.support.world import wait_until

POLLS = 20
"""Polls without news whose requests are counted."""


def milliseconds(samples: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(samples)
    return {
        "median": round(median(ordered) * 1000, 1),
        "least": round(ordered[0] * 1000, 1),
        "most": round(ordered[-1] * 1000, 1),
        "repeats": len(ordered),
    }


def beside(floor: Sequence[float], **figures: Sequence[float]) -> dict[str, Any]:
    """Figures and their floor in milliseconds, and how many times the floor each is."""
    below = median(floor)
    return {
        **{f"{name}Ms": milliseconds(samples) for name, samples in figures.items()},
        "floorMs": milliseconds(floor),
        "ratio": {name: round(median(samples) / below, 2) for name, samples in figures.items()},
    }


# ---------------------------------------------------------------- cold apply


def cold(root: Path, cluster: Cluster, count: int, repeats: int) -> tuple[dict[str, Any], Stage]:
    """The first deploy of a stack: from the poll that finds it to its last object written, and to its run good. Also
    the stage of the last repeat, for what follows."""
    live, good, cpu, floor, floor_cpu, requests = [], [], [], [], [], []
    bare = BareClient(cluster)
    for number in range(repeats):
        namespace = f"floor-{count}-{number}"
        cluster.kubectl("create", "namespace", namespace)
        manifests, used = maps(count), time.process_time()
        floor.append(bare.apply_all(namespace, manifests))
        floor_cpu.append(time.process_time() - used)
        stage = Stage(root / f"cold-{count}-{number}", cluster, count)
        with resident(stage) as daemon:
            mark, used = cluster.audit_offset(), daemon.cpu()
            began = daemon.poll()["began"]
            ended = daemon.good(stage.commit)
            cpu.append(daemon.cpu() - used)
            events = stage.world.requests(mark)
            writes = [e for e in events if sort_of(e) == "writes"]
            live.append(seconds(writes[-1]["stageTimestamp"]) - began)
            good.append(seconds(ended["lastRun"]["finished"]) - began)
            requests.append(tally(events))
    figures: dict[str, Any] = {"wall": beside(floor, live=live, good=good), "cpu": beside(floor_cpu, daemon=cpu)}
    figures["kubectlMs"] = _by_kubectl(root, cluster, count)
    return {**figures, "requests": requests[-1], "floorRequests": {"writes": count}}, stage


def _by_kubectl(root: Path, cluster: Cluster, count: int) -> float:
    """Milliseconds of kubectl for the same objects in another namespace."""
    namespace, file = f"kubectl-{count}", root / f"kubectl-{count}.json"
    cluster.kubectl("create", "namespace", namespace)
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": maps(count)}))
    began = time.perf_counter()
    cluster.kubectl("apply", "--server-side", "--validate=ignore", "-n", namespace, "-f", str(file))
    return round((time.perf_counter() - began) * 1000, 1)


# ---------------------------------------------------------------- push


def push(root: Path, cluster: Cluster, stage: Stage, repeats: int) -> dict[str, Any]:
    """One changed value: from the poll that finds the commit to the API server's answer to its apply, and to the run
    good. Also what a poll without news and a sweep at rest ask of the API server."""
    mirror, bare = BareMirror(root / f"mirror-{stage.count}.git", stage.world.url), BareClient(cluster)
    live, good, cpu, floor, floor_cpu, requests = [], [], [], [], [], []
    with resident(stage) as daemon:
        daemon.poll()
        daemon.good(stage.commit)
        for number in range(repeats + 1):
            commit = stage.change(f"changed {number}")
            used = sum(os.times()[:4])
            least = mirror.fetch() + _one_patch(bare, f"floor-{stage.count}-0", f"changed {number}")
            least_cpu = sum(os.times()[:4]) - used
            mark, used = cluster.audit_offset(), daemon.cpu()
            began = daemon.poll()["began"]
            ended = daemon.good(commit)
            spent = daemon.cpu() - used
            events = stage.world.requests(mark)
            write = next(e for e in events if sort_of(e) == "writes" and e["objectRef"]["name"] == stage.changing)
            if number:  # the first one is to warm up
                floor.append(least)
                floor_cpu.append(least_cpu)
                cpu.append(spent)
                live.append(seconds(write["stageTimestamp"]) - began)
                good.append(seconds(ended["lastRun"]["finished"]) - began)
                requests.append(tally(events))
        at_rest = _at_rest(cluster, stage, daemon)
    asked = {"push": requests[-1], **at_rest}
    return {
        "push": {"wall": beside(floor, live=live, good=good), "cpu": beside(floor_cpu, daemon=cpu)},
        "requests": asked,
    }


def _one_patch(bare: BareClient, namespace: str, value: str) -> float:
    (manifest,) = maps(1, value)
    began = time.perf_counter()
    bare.apply(namespace, manifest)
    return time.perf_counter() - began


def _at_rest(cluster: Cluster, stage: Stage, daemon: Resident) -> dict[str, Any]:
    mark = cluster.audit_offset()
    for _ in range(POLLS):
        daemon.poll()
    idle = tally(stage.world.requests(mark))
    mark = cluster.audit_offset()
    daemon.sweep()
    return {"pollsWithoutNews": {"polls": POLLS, **idle}, "sweepAtRest": tally(stage.world.requests(mark))}


def sort_of(event: dict[str, Any]) -> str:
    """What a request is: a read, a dry run, a real write, or of the parent and its Lease."""
    ref = event.get("objectRef", {})
    if ref.get("namespace") == "gitopsd-system" or ref.get("name") == "gitopsd-system":
        return "lease" if ref.get("resource") == "leases" else "parent"
    if event["verb"] in {"get", "list", "watch"}:
        return "reads"
    return "dryRuns" if "dryRun=" in event["requestURI"] else "writes"


def tally(events: Iterable[dict[str, Any]]) -> dict[str, int]:
    found = Counter(map(sort_of, events))
    return {**{sort: found[sort] for sort in ("writes", "dryRuns", "reads", "parent", "lease")}, "all": found.total()}


# ---------------------------------------------------------------- status and memory


def status(stage: Stage, repeats: int) -> dict[str, Any]:
    """`gitopsd status` as a whole process beside a Python that does nothing."""
    wall: list[float] = []
    cpu: list[float] = []
    floor_wall: list[float] = []
    floor_cpu: list[float] = []
    for _ in range(repeats):
        for command, elapsed, used in (
            (["-m", "gitopsd", "status"], wall, cpu),
            (["-c", "pass"], floor_wall, floor_cpu),
        ):
            took, spent = _process([sys.executable, *command], stage)
            elapsed.append(took)
            used.append(spent)
    return {"wall": beside(floor_wall, status=wall), "cpu": beside(floor_cpu, status=cpu)}


def _process(command: list[str], stage: Stage) -> tuple[float, float]:
    """Wall and processor seconds of a process from fork to exit."""
    began = time.perf_counter()
    child = subprocess.Popen(command, env=stage.world.environment, cwd=stage.world.directory, stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(code)
    if child.returncode not in {0, 2}:
        raise RuntimeError(f"{' '.join(command)}: exit {child.returncode}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def memory(stage: Stage) -> dict[str, Any]:
    """Resident memory of an ordinary `gitopsd run` after its start, its first sweep and some polls at rest, beside
    interpreters that import nothing, and the daemon's code alone."""
    stage.configure("1s")
    daemon = stage.world.start()
    wait_until(lambda: stage.status().get("phase") == "Synced", "the daemon is at rest", 120)
    _quiet(daemon.pid)
    found = _resident_kib(daemon.pid)
    used, began = process_cpu(daemon.pid), time.perf_counter()
    time.sleep(10)
    share = (process_cpu(daemon.pid) - used) / (time.perf_counter() - began)
    daemon.terminate()
    daemon.wait(60)
    nothing, code = _import_kib("pass"), _import_kib("import gitopsd.daemon, apscheduler, kubernetes.config")
    return {
        "daemonMiB": _mib(found["VmRSS"]),
        "peakMiB": _mib(found["VmHWM"]),
        "pythonMiB": _mib(nothing),
        "importsMiB": _mib(code),
        "ratio": {"python": round(found["VmRSS"] / nothing, 2), "imports": round(found["VmRSS"] / code, 2)},
        "cpuShareAtRest": round(share, 4),
    }


def _quiet(pid: int) -> None:
    """Wait until the process has used little processor time for two seconds."""
    used = -1.0
    for _ in range(60):
        now = process_cpu(pid)
        if now - used < 0.2:
            return
        used = now
        time.sleep(2)


def _resident_kib(pid: int) -> dict[str, int]:
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Vm"))
    return {name.rstrip(":"): int(size) for name, size, _ in lines}


def _import_kib(code: str) -> int:
    program = f"{code}\nprint(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("VmRSS"))


def _mib(kib: int) -> float:
    return round(kib / 1024, 1)
