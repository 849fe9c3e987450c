"""Drift: how soon what somebody changes is as it was, beside a client that watches and writes back without asking."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from statistics import quantiles
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from benchmarks.bare import BareClient
from benchmarks.figures import milliseconds, tally
from benchmarks.stage import Resident, Stage, maps, resident, seconds
from sandbox import Cluster
from tests.support.world import wait_until

PACE = 0.25
"""Seconds between two edits: each is healed before the next comes."""

NAMESPACE = "floor-drift"


class Writer:
    """Somebody who edits ConfigMaps by hand."""

    def __init__(self, cluster: Cluster) -> None:
        self._server = cluster.server
        self._pool = urllib3.PoolManager(ca_certs=str(cluster.certificate_authority), cert_reqs="CERT_REQUIRED")
        self._headers = {"Authorization": f"Bearer {cluster.admin_token}", "User-Agent": "somebody"}

    def edit(self, namespace: str, name: str, number: int) -> None:
        """Set a value that is git's. The manager is another each time, as people are: who writes again and again what
        was mended is a conflict, and is not answered at once."""
        url = f"{self._server}/api/v1/namespaces/{namespace}/configmaps/{name}?fieldManager=somebody-{number}"
        headers = {**self._headers, "Content-Type": "application/merge-patch+json"}
        answer = self._pool.request("PATCH", url, body=b'{"data":{"key-0":"edited"}}', headers=headers, retries=False)
        if answer.status != 200:
            raise RuntimeError(f"PATCH {url}: {answer.status} {answer.data[:300]!r}")


class BareHealer(threading.Thread):
    """Watches ConfigMaps of a namespace and applies each that is written by others as it was, without a look at it."""

    def __init__(self, cluster: Cluster, bare: BareClient, wanted: dict[str, dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self._bare, self._wanted = bare, wanted
        pool = urllib3.PoolManager(ca_certs=str(cluster.certificate_authority), cert_reqs="CERT_REQUIRED")
        accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        url = f"{cluster.server}/api/v1/namespaces/{NAMESPACE}/configmaps?watch=1&resourceVersion=0"
        headers = {"Authorization": f"Bearer {cluster.admin_token}", "Accept": accept, "User-Agent": "bare"}
        self._stream = pool.request("GET", url, headers=headers, preload_content=False, retries=False, timeout=600)

    def run(self) -> None:
        with contextlib.suppress(HTTPError):  # the cluster has come to its end
            self._heal()

    def _heal(self) -> None:
        rest = b""
        for chunk in self._stream.stream(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                metadata = event["object"]["metadata"]
                others = [
                    f["manager"] for f in metadata.get("managedFields", ()) if f["manager"].startswith("somebody")
                ]
                if event["type"] == "MODIFIED" and others:
                    self._bare.apply(NAMESPACE, self._wanted[metadata["name"]])


def measure(cluster: Cluster, stage: Stage, *, quick: bool) -> dict[str, Any]:
    """The stage has to be delivered already; edits are those of distinct objects, one after the other."""
    edits = 20 if quick else 200
    floor = _floor(cluster, edits)
    with resident(stage) as daemon:
        daemon.poll()
        daemon.good(stage.commit)
        mark, used = cluster.audit_offset(), daemon.cpu()
        _edit(Writer(cluster), stage.name, edits)
        wait_until(lambda: len(_delays(cluster, mark, stage.name, "gitopsd")) == edits, "all are healed", 120)
        spent = daemon.cpu() - used
        healed = _delays(cluster, mark, stage.name, "gitopsd")
        asked = tally(stage.world.requests(mark))
        _at_rest(daemon)
    return {
        "edits": edits,
        "tracked": stage.count,
        "healed": _percentiles(healed),
        "floor": _percentiles(floor),
        "ratio": round(_percentiles(healed)["p50"] / _percentiles(floor)["p50"], 2),
        "cpuMsEach": round(spent / edits * 1000, 1),
        "requestsEach": {sort: round(count / edits, 1) for sort, count in asked.items()},
    }


def _floor(cluster: Cluster, edits: int) -> list[float]:
    bare = BareClient(cluster)
    cluster.kubectl("create", "namespace", NAMESPACE)
    wanted = {each["metadata"]["name"]: each for each in maps(edits)}
    for each in wanted.values():
        bare.apply(NAMESPACE, each)
    BareHealer(cluster, bare, wanted).start()
    mark = cluster.audit_offset()
    _edit(Writer(cluster), NAMESPACE, edits)
    wait_until(lambda: len(_delays(cluster, mark, NAMESPACE, "bare")) == edits, "all are written back", 120)
    return _delays(cluster, mark, NAMESPACE, "bare")


def _edit(writer: Writer, namespace: str, edits: int) -> None:
    for number in range(edits):
        writer.edit(namespace, f"map-{number:05d}", number)
        time.sleep(PACE)


def _delays(cluster: Cluster, mark: int, namespace: str, agent: str) -> list[float]:
    """Seconds from the answer to each edit to the answer to the write that mended it, by the API server's clock."""
    edited: dict[str, float] = {}
    found: dict[str, float] = {}
    for event in cluster.audit_events(mark):
        ref = event.get("objectRef", {})
        if event["verb"] != "patch" or ref.get("namespace") != namespace or "dryRun=" in event["requestURI"]:
            continue
        at, who = seconds(event["stageTimestamp"]), str(event.get("userAgent", ""))
        if who.startswith("somebody"):
            edited[ref["name"]] = at
        elif who.startswith(agent) and ref["name"] in edited:
            found.setdefault(ref["name"], at - edited[ref["name"]])
    return list(found.values())


def _percentiles(delays: list[float]) -> dict[str, float]:
    cuts = quantiles(delays, n=100, method="inclusive")
    whole = milliseconds(delays)
    return {"p50": round(cuts[49] * 1000, 1), "p99": round(cuts[98] * 1000, 1), "most": whole["most"]}


def _at_rest(daemon: Resident) -> None:
    daemon.good(daemon.stage.status()["revision"]["good"])
