"""What the demo stands on: a sandbox cluster, a repository made of the example, a host configuration, the daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import Cluster, terraform_cli_config, terraform_environment, tool

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "manifests-example"

CONFIG = """\
instance: demo
stateDir: state
keyDir: keys
socket: run/gitopsd.sock
sources:
  - {{name: main, url: {repository}, branch: main, poll: 1s}}
clusters:
  - {{name: default, kubeconfig: {kubeconfig}}}
terraform:
  binary: {terraform}
  backend: kubernetes
  cliConfig: {cli_config}
"""

# How anybody finds the state of the component `infra` without gitopsd.
BACKEND = """\
terraform {{
  backend "kubernetes" {{
    secret_suffix = "infra"
    namespace     = "gitopsd-system"
    config_path   = "{kubeconfig}"
  }}
}}
"""


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@dataclass
class Stage:
    """The demo's directory and everything in it."""

    directory: Path
    cluster: Cluster
    environment: dict[str, str]
    terraform: Path
    daemon: subprocess.Popen[bytes] | None = None

    @classmethod
    def set(cls, directory: Path) -> Stage:
        """A fresh stage: whatever an earlier demo left there is removed."""
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        cluster = Cluster.start(directory / "cluster")
        path = f"{Path(sys.executable).parent}:{tool('kubectl').parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "GITOPSD_CONFIG": str(directory / "config.yaml"), "NO_COLOR": "1"}
        return cls(directory, cluster, environment, tool("terraform"))

    def strike(self) -> None:
        """End everything that runs."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.terminate()
            self.daemon.wait(60)
        self.cluster.down()

    # ------------------------------------------------------------ the repository

    @property
    def repository(self) -> Path:
        return self.directory / "infra.git"

    @property
    def clone(self) -> Path:
        return self.directory / "infra"

    def make_repository(self) -> None:
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self.repository), cwd=self.directory)
        shutil.copytree(EXAMPLE, self.clone)
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("remote", "add", "origin", str(self.repository))
        self.push("Everything that runs here")

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.clone / file
        text = path.read_text()
        if old not in text:
            raise DemoError(f"{file} has no {old!r}")
        path.write_text(text.replace(old, new))

    def push(self, message: str, author: str = "Dana Developer <dana@example.org>") -> str:
        self._git("add", "--all")
        self._git("commit", "--quiet", "--author", author, "--message", message)
        self._git("push", "--quiet", "origin", "main")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        identity = ["-c", "user.name=demo", "-c", "user.email=demo@example.org", "-c", "commit.gpgsign=false"]
        return self._run(["git", *identity, *arguments], cwd or self.clone)

    # ------------------------------------------------------------ the daemon

    def start_daemon(self) -> None:
        config = CONFIG.format(
            repository=self.repository,
            kubeconfig=self.cluster.kubeconfig,
            terraform=self.terraform,
            cli_config=terraform_cli_config(),
        )
        (self.directory / "config.yaml").write_text(config)
        with (self.directory / "gitopsd.log").open("wb") as log:
            self.daemon = subprocess.Popen(
                ["gitopsd", "run"], env=self.environment, stdout=log, stderr=log, cwd=self.directory
            )

    def gitopsd(self, *arguments: str) -> str:
        """Run a command as an operator would. Its exit code may say "not converged"."""
        done = subprocess.run(
            ["gitopsd", *arguments],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in {0, 2}:
            raise DemoError(f"gitopsd {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def runs(self) -> list[dict[str, Any]]:
        if not (self.directory / "state" / "state.db").exists():
            return []  # the daemon is still starting
        runs: list[dict[str, Any]] = json.loads(self.gitopsd("history", "--json"))["runs"]
        return runs

    def wait_for(self, what: str, found: Callable[[], bool], timeout: float = 180) -> float:
        """Wait until `found`; the seconds it took. Raises DemoError with the end of the daemon's log if it does not."""
        started = time.monotonic()
        while not found():
            ended = self.daemon is not None and self.daemon.poll() is not None
            if ended or time.monotonic() - started > timeout:
                tail = "\n".join((self.directory / "gitopsd.log").read_text().splitlines()[-20:])
                raise DemoError(f"{'the daemon ended' if ended else 'too long'} while waiting until {what}:\n{tail}")
            time.sleep(0.2)
        return time.monotonic() - started

    # ------------------------------------------------------------ what the world says, without gitopsd

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(*arguments)

    def output(self, name: str) -> str:
        """An output in the Terraform state of the component `infra`, as Terraform itself reads it."""
        place = self.directory / "state-of-infra"
        if not place.exists():
            place.mkdir()
            (place / "backend.tf").write_text(BACKEND.format(kubeconfig=self.cluster.kubeconfig))
            self._terraform("init", "-input=false", cwd=place)
        return self._terraform("output", "-raw", name, cwd=place)

    def _terraform(self, *arguments: str, cwd: Path) -> str:
        return self._run([str(self.terraform), *arguments], cwd, terraform_environment())

    def _run(self, command: list[str], cwd: Path, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout
