"""A start of the daemon beside what it tracks: until it asks nothing more, and what it costs when nothing happens."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

from benchmarks.figures import tally
from benchmarks.stage import PATIENCE, Stage, process_cpu, seconds
from sandbox import Cluster
from tests.support.world import wait_until

REST = 5.0
"""Seconds without a request after which a daemon is at rest."""

IDLE = 60.0
"""Seconds for which one at rest is looked at."""


def measure(cluster: Cluster, stage: Stage) -> dict[str, Any]:
    """From fork to the last request of the start; the floor is one metadata-only list of what is tracked. `lost`: the
    same without the state directory."""
    floor = _floor(cluster, stage.name)
    found = {"floorMs": round(floor * 1000, 1)}
    with _started(stage, found) as daemon:
        mark, used = cluster.audit_offset(), process_cpu(daemon.pid)
        time.sleep(IDLE)
        idle = {"requests": len(stage.world.requests(mark)), "cpuMs": round((process_cpu(daemon.pid) - used) * 1000)}
    stage.world.lose_state()
    lost: dict[str, Any] = {}
    with _started(stage, lost):
        return {**found, "idle": {"seconds": IDLE, **idle}, "lost": lost}


@contextmanager
def _started(stage: Stage, found: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that has come to rest; what that took goes to `found`."""
    mark = stage.world.mark()
    began = time.time()
    daemon = stage.world.start()
    wait_until(lambda: stage.status().get("phase") == "Synced", "the daemon is at rest", PATIENCE)
    found["quietMs"] = round((_last_request(stage, mark) - began) * 1000)
    found["cpuMs"] = round(process_cpu(daemon.pid) * 1000)
    found["requests"] = tally(stage.world.requests(mark))
    try:
        yield daemon
    finally:
        daemon.terminate()
        daemon.wait(60)


def _last_request(stage: Stage, mark: int) -> float:
    """When the last request was answered after which none came for a while."""
    while True:
        events = stage.world.requests(mark)
        last = max((seconds(e["stageTimestamp"]) for e in events), default=0.0)
        if events and time.time() - last > REST:
            return last
        time.sleep(0.5)


def _floor(cluster: Cluster, namespace: str) -> float:
    pool = urllib3.PoolManager(ca_certs=str(cluster.certificate_authority), cert_reqs="CERT_REQUIRED")
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    headers = {"Authorization": f"Bearer {cluster.admin_token}", "Accept": accept, "User-Agent": "bare"}
    url = f"{cluster.server}/api/v1/namespaces/{namespace}/configmaps?limit=500"
    began, following = time.perf_counter(), ""
    while True:
        answer = pool.request("GET", url + (f"&continue={following}" if following else ""), headers=headers)
        following = str(answer.json()["metadata"].get("continue") or "")
        if not following:
            return time.perf_counter() - began
