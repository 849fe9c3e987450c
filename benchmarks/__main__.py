"""`python -m benchmarks`: every figure beside its floor, on a sandbox of its own. Needs a quiet machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import drift, figures, kustomize, sealed, start, terraform
from benchmarks.report import table
from sandbox import Cluster

QUIET = 0.3
"""Load for each core above which a machine is not quiet: the figures are then marked as such."""


def machine() -> dict[str, Any]:
    cores = os.cpu_count() or 1
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    load = os.getloadavg()[0]
    return {
        "cores": cores,
        "memoryGiB": round(pages / 2**30),
        "python": platform.python_version(),
        "system": platform.system(),
        "loadBefore": round(load, 2),
        "quiet": load / cores <= QUIET,
    }


LARGE = 1000
"""Objects above which a first deploy is measured once: it takes minutes, and says nothing that is not seen below."""


def measure(sizes: list[int], *, quick: bool, modules: bool, secrets: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "schema": "gitopsd.io/benchmarks/v1",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "sizes": {},
    }
    with tempfile.TemporaryDirectory(prefix="gitopsd-bench-") as scratch:
        root = Path(scratch)
        with Cluster.start(root / "cluster") as cluster:
            for count in sizes:
                apply, stage = figures.cold(root, cluster, count, 1 if quick or count > LARGE else 3)
                pushed = figures.push(root, cluster, stage, 3 if quick else 9)
                shown = figures.status(stage, 5 if quick else 20)
                rss = figures.memory(stage)
                begun = start.measure(cluster, stage)
                found["sizes"][str(count)] = {
                    "cold": apply,
                    **pushed,
                    "status": shown,
                    "memory": rss,
                    "start": begun,
                }
                if count == min(sizes, key=lambda size: abs(size - LARGE)):
                    found["drift"] = drift.measure(cluster, stage, quick=quick)
            if sizes:
                found["kustomize"] = kustomize.measure(root / "kustomized", cluster, quick=quick)
            if modules:
                found["terraform"] = terraform.measure(root / "terraform", cluster, quick=quick)
            if secrets:
                found["sealed"] = sealed.measure(root / "sealed-secrets", cluster, quick=quick)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    parser.add_argument(
        "--sizes", default="100,1000,4000,10000", help="numbers of objects, separated by commas; '' for none"
    )
    parser.add_argument("--quick", action="store_true", help="few repeats: to see that it works, not to compare")
    parser.add_argument("--terraform", action="store_true", help="also what Terraform modules cost")
    parser.add_argument("--sealed", action="store_true", help="also what sealed secrets cost")
    given = parser.parse_args()
    found = measure(
        [int(size) for size in given.sizes.split(",") if size],
        quick=given.quick,
        modules=given.terraform,
        secrets=given.sealed,
    )
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
