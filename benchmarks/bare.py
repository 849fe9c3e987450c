"""The floors: the least that anybody would need for the same effect, without deciding, checking or remembering."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3

from sandbox import Cluster

PARALLEL = 8
"""Requests at the same time: as many as gitopsd makes."""

QUERY = "fieldManager=bare&force=true"


class BareClient:
    """Server-side applies of ConfigMaps over kept connections, and nothing else."""

    def __init__(self, cluster: Cluster) -> None:
        self._server = cluster.server
        self._pool = urllib3.PoolManager(
            maxsize=PARALLEL, ca_certs=str(cluster.certificate_authority), cert_reqs="CERT_REQUIRED"
        )
        self._headers = {
            "Authorization": f"Bearer {cluster.admin_token}",
            "Content-Type": "application/apply-patch+yaml",
            "User-Agent": "bare",
        }

    def apply(self, namespace: str, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        url = f"{self._server}/api/v1/namespaces/{namespace}/configmaps/{name}?{QUERY}"
        body = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
        answer = self._pool.request("PATCH", url, body=json.dumps(body).encode(), headers=self._headers, retries=False)
        if answer.status not in {200, 201}:
            raise RuntimeError(f"PATCH {url}: {answer.status} {answer.data[:300]!r}")

    def apply_all(self, namespace: str, manifests: Sequence[dict[str, Any]]) -> float:
        """Seconds for one PATCH each, `PARALLEL` at a time."""
        began = time.perf_counter()
        with ThreadPoolExecutor(PARALLEL) as pool:
            for _ in pool.map(lambda manifest: self.apply(namespace, manifest), manifests):
                pass
        return time.perf_counter() - began


class BareMirror:
    """A bare clone that is only ever fetched into."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        subprocess.run(["git", "clone", "-q", "--bare", url, str(directory)], check=True)

    def fetch(self) -> float:
        """Seconds of a fetch of the branch."""
        began = time.perf_counter()
        subprocess.run(
            ["git", "-C", str(self._directory), "fetch", "-q", "origin", "+refs/heads/main:refs/heads/main"], check=True
        )
        return time.perf_counter() - began
