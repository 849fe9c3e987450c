"""Terraform: what gitopsd adds to the program itself, and what modules cost for which there is nothing to do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.figures import beside
from benchmarks.stage import Delivery, Resident, resident, seconds
from gitopsd.model.ids import UnitId
from sandbox import Cluster, terraform_cli_config, terraform_environment, tool
from tests.support.modules import LoggedProgram, stack_text
from tests.support.world import config_map
from tests.unit.terraform.bench import Bench

RESOURCES = 20
MODULES = 20

ONE = """\
resource "terraform_data" "a" {
  input = "a"
}
"""


def code() -> str:
    """Twenty resources of two providers, one of either generation."""
    pets = "".join(f'resource "random_pet" "p{n}" {{\n}}\n' for n in range(RESOURCES // 2))
    return pets + "".join(f'resource "null_resource" "n{n}" {{\n}}\n' for n in range(RESOURCES // 2))


def measure(root: Path, cluster: Cluster, *, quick: bool) -> dict[str, Any]:
    return {
        "program": subprocess.run(
            [tool("terraform"), "version"], capture_output=True, text=True, check=True
        ).stdout.splitlines()[0],
        "resources": RESOURCES,
        **commands(root / "commands", 2 if quick else 7),
        "deploy": deploy(root, cluster, 1 if quick else 3),
        "idle": idle(root, cluster, 3 if quick else 9),
    }


def host() -> dict[str, Any]:
    return {"binary": str(tool("terraform")), "backend": "local", "cliConfig": str(terraform_cli_config())}


# ---------------------------------------------------------------- the commands alone


class Bare:
    """Terraform run by hand in a directory of its own, with a warm plugin cache."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True)
        cache.mkdir(parents=True, exist_ok=True)
        (directory / "main.tf").write_text(code())
        self._environment = {**terraform_environment(), "TF_PLUGIN_CACHE_DIR": str(cache)}

    def __call__(self, *arguments: str) -> float:
        """Seconds of one command."""
        began = time.perf_counter()
        command = [str(tool("terraform")), *arguments]
        subprocess.run(command, cwd=self._directory, env=self._environment, check=True, capture_output=True)
        return time.perf_counter() - began

    def whole(self) -> tuple[float, float, float]:
        """Init, plan and apply."""
        return self("init", "-input=false"), self("plan", "-input=false", "-out=p"), self("apply", "-input=false", "p")


def commands(root: Path, repeats: int) -> dict[str, Any]:
    """The adapter's plan (with its init, and without) and apply, beside the same commands by hand. A plan of gitopsd
    reads the saved plan, an apply the state that came of it."""
    cache = root / "cache"
    spent: dict[str, list[float]] = {name: [] for name in ("initAndPlan", "plan", "apply")}
    floor: dict[str, list[float]] = {name: [] for name in spent}
    bench = Bench(root / "host", {"binary": str(tool("terraform")), "cli_config": terraform_cli_config()})
    for number in range(repeats + 1):
        init, plan, apply = Bare(root / f"bare-{number}", cache).whole()
        name = f"part-{number}x"
        module = bench.module(code(), id=UnitId.terraform(name), component=name)
        began = time.perf_counter()
        bench.terraform.discard([bench.terraform.plan(module)])
        first = time.perf_counter()
        planned = bench.terraform.plan(module)
        second = time.perf_counter()
        bench.apply(module, planned)
        third = time.perf_counter()
        if number:  # the first one is to warm the caches of plugins
            for figure, took, least in (
                ("initAndPlan", first - began, init + plan),
                ("plan", second - first, plan),
                ("apply", third - second, apply),
            ):
                spent[figure].append(took)
                floor[figure].append(least)
    bench.terraform.close()
    return {name: beside(floor[name], gitopsd=spent[name]) for name in spent}


# ---------------------------------------------------------------- the daemon


def deploy(root: Path, cluster: Cluster, repeats: int) -> dict[str, Any]:
    """The first deploy of a stack with one module of twenty resources, from the poll that finds it to its run good."""
    good, floor = [], []
    for number in range(repeats):
        floor.append(sum(Bare(root / f"bare-deploy-{number}", root / "cache").whole()))
        stage = Delivery(root / f"deploy-{number}", cluster, host())
        commit = stage.world.push({"gitopsd.yaml": _stack(stage, ["network"]), "infra/network/main.tf": code()})
        with resident(stage) as daemon:
            began = daemon.poll()["began"]
            good.append(seconds(daemon.good(commit)["lastRun"]["finished"]) - began)
    return beside(floor, good=good)


def idle(root: Path, cluster: Cluster, repeats: int) -> dict[str, Any]:
    """A push of one value in a stack with twenty modules that it does not concern, beside the same push in a stack
    without any; and how often Terraform was started for it."""
    root.mkdir(parents=True, exist_ok=True)
    logged = LoggedProgram(root, str(tool("terraform")))
    names = [f"part-{number:02d}x" for number in range(MODULES)]
    stages = {
        "with": (Delivery(root / "idle-with", cluster, {**host(), "binary": str(logged.binary)}), names),
        "without": (Delivery(root / "idle-without", cluster), []),
    }
    found: dict[str, list[float]] = {name: [] for name in stages}
    with ExitStack() as opened:
        daemons = {}
        for name, (stage, modules) in stages.items():
            files: Mapping[str, Any] = {f"infra/{module}/main.tf": ONE for module in modules}
            commit = stage.world.push({"gitopsd.yaml": _stack(stage, modules), **_value("0"), **files})
            daemons[name] = opened.enter_context(resident(stage))
            daemons[name].poll()
            daemons[name].good(commit)
        logged.forget()
        for number in range(repeats + 1):
            for name, (stage, _) in stages.items():
                took = _push(stage, daemons[name], f"changed {number}")
                if number:
                    found[name].append(took)
    return {
        "modules": MODULES,
        "programsStarted": len(logged.calls),
        **beside(found["without"], good=found["with"]),
    }


def _push(stage: Delivery, daemon: Resident, value: str) -> float:
    """Seconds from the poll that finds a changed value to the run good."""
    commit = stage.world.push(_value(value))
    began = daemon.poll()["began"]
    return seconds(daemon.good(commit)["lastRun"]["finished"]) - began


def _value(text: str) -> dict[str, Any]:
    return {"app/settings.yaml": config_map("settings", {"value": text})}


def _stack(stage: Delivery, modules: list[str]) -> str:
    """The stack file: these modules, and the directory `app` if there is no module alone."""
    parts: list[dict[str, Any]] = [{"name": m, "wave": -10, "terraform": {"path": f"infra/{m}"}} for m in modules]
    if len(modules) != 1:
        parts.append({"name": "app", "kubernetes": {"path": "app", "namespace": stage.name}})
    return stack_text(stage.name, parts)
