"""A start of the daemon beside what it tracks: until it asks nothing more, and what it costs when nothing happens."""

from __future__ import annotations

import time
from typing import Any

import urllib3

from benchmarks.figures import tally
from benchmarks.stage import Stage, process_cpu, seconds
from sandbox import Cluster
from tests.support.world import wait_until

REST = 5.0
"""Seconds without a request after which a daemon is at rest."""

IDLE = 60.0
"""Seconds for which one at rest is looked at."""


def measure(cluster: Cluster, stage: Stage) -> dict[str, Any]:
    """From fork to the last request of the start; the floor is one metadata-only list of what is tracked."""
    floor = _floor(cluster, stage.name)
    mark = cluster.audit_offset()
    began = time.time()
    daemon = stage.world.start()
    wait_until(lambda: stage.status().get("phase") == "Synced", "the daemon is at rest", 120)
    last = _last_request(stage, mark)
    spent = process_cpu(daemon.pid)
    asked = tally(stage.world.requests(mark))
    mark, used = cluster.audit_offset(), process_cpu(daemon.pid)
    time.sleep(IDLE)
    idle = {"requests": len(stage.world.requests(mark)), "cpuMs": round((process_cpu(daemon.pid) - used) * 1000)}
    daemon.terminate()
    daemon.wait(60)
    return {
        "quietMs": round((last - began) * 1000),
        "cpuMs": round(spent * 1000),
        "floorMs": round(floor * 1000, 1),
        "requests": asked,
        "idle": {"seconds": IDLE, **idle},
    }


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
