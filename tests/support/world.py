"""A whole world for end-to-end tests: a repository, a host configuration and `gitopsd` itself, on a real cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from sandbox import Cluster, SandboxError, tool

PATIENCE = 90.0
"""Seconds until a condition that should come true is given up."""

GITOPSD_AGENT = "gitopsd"


def wait_until(found: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Wait for a condition; its true value. Fails with `what` and the last value or error."""
    deadline = time.monotonic() + timeout
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = found()
        except (AssertionError, SandboxError, KeyError, IndexError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.05)
    raise AssertionError(f"never came true: {what}; last seen: {last!r}")


class World:
    """One stack in one repository, delivered by one gitopsd.

    `stack` is unique, so that worlds may share a cluster; `namespace` is created by the test's own manifests
    unless the fixture made it.
    """

    def __init__(
        self, directory: Path, cluster: Cluster, stack: str, *, instance: str = "test", kubeconfig: Path | None = None
    ) -> None:
        self.directory, self.cluster, self.stack, self.instance = directory, cluster, stack, instance
        self.kubeconfig = kubeconfig or cluster.kubeconfig
        directory.mkdir(parents=True, exist_ok=True)
        self.repository, self.clone = directory / "repo.git", directory / "clone"
        self.config = directory / "config.yaml"
        self.log = directory / "gitopsd.log"
        self.url = str(self.repository)
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "PATH": f"{tool('kubectl').parent}:{os.environ['PATH']}",
            "GITOPSD_CONFIG": str(self.config),
            "NO_COLOR": "1",
        }
        if not self.repository.exists():
            self.git("init", "-q", "--bare", "-b", "main", str(self.repository), cwd=directory)
            self.clone.mkdir()
            self.git("init", "-q", "-b", "main")
            self.git("remote", "add", "origin", str(self.repository))
        self.configure()

    # ------------------------------------------------------------ files and git

    def configure(
        self,
        *,
        poll: str = "1s",
        namespace: str = "gitopsd-system",
        terraform: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Write the host's configuration; `terraform` are keys of that section, `more` of the source."""
        self.config.write_text(
            yaml.safe_dump(
                {
                    "instance": self.instance,
                    "stateDir": "state",
                    "keyDir": "keys",
                    "socket": "run/gitopsd.sock",
                    "sources": [{"name": "main", "url": self.url, "branch": "main", "poll": poll, **more}],
                    "clusters": [{"name": "default", "kubeconfig": str(self.kubeconfig), "namespace": namespace}],
                    **({"terraform": dict(terraform)} if terraform is not None else {}),
                }
            )
        )

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    def stack_file(self, *components: Mapping[str, Any], **spec: Any) -> str:
        """The text of a stack file; a component is `{"name": ..., "path": ..., "wave": ..., ...}`."""
        made = []
        for component in components:
            rest = {k: v for k, v in component.items() if k not in {"path", "namespace"}}
            place = {k: component[k] for k in ("path", "namespace") if k in component}
            made.append({**rest, "kubernetes": place})
        document = {
            "apiVersion": "gitopsd.io/v1alpha1",
            "kind": "Stack",
            "metadata": {"name": self.stack},
            "spec": {"components": made, **spec},
        }
        return yaml.safe_dump(document, sort_keys=False)

    def write(self, files: Mapping[str, Any]) -> None:
        """Put files into the clone: text as it is, an object or a list of objects as YAML, None removes."""
        for name, content in files.items():
            path = self.clone / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content)
            else:
                objects = content if isinstance(content, list) else [content]
                path.write_text(yaml.safe_dump_all(objects, sort_keys=False))

    def push(self, files: Mapping[str, Any] | None = None, message: str = "change") -> str:
        """Commit everything and push it; the commit's id."""
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "--force", "origin", "main")
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        identity = ["-c", "user.name=Dana", "-c", "user.email=dana@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=cwd or self.clone, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"git {arguments}: {done.stderr}"
        return done.stdout

    # ------------------------------------------------------------ gitopsd

    def gitopsd(self, *arguments: str, code: int | Collection[int] | None = 0) -> str:
        """Run a command; its standard output. `code` is the exit code (or one of them) that it must have."""
        done = self.run(*arguments)
        codes = {code} if isinstance(code, int) else code
        assert codes is None or done.returncode in codes, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(
        self, *arguments: str, timeout: float = PATIENCE, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gitopsd", *arguments]
        done = subprocess.run(
            command,
            input=input,
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: str, code: int | Collection[int] | None = (0, 1, 2)) -> Any:
        return json.loads(self.gitopsd(*arguments, "--json", code=code))

    def once(self, code: int | Collection[int] = 0) -> str:
        return self.gitopsd("once", code=code)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the daemon; `close` ends it."""
        with self.log.open("ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "gitopsd", "run"],
                env=self.environment,
                cwd=self.directory,
                stdout=log,
                stderr=log,
            )
        self._daemons.append(daemon)
        return daemon

    def kill(self, daemon: subprocess.Popen[bytes]) -> None:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(30)

    def close(self) -> None:
        for daemon in self._daemons:
            if daemon.poll() is None:
                daemon.kill()
            daemon.wait(30)

    def lose_state(self) -> None:
        """What a lost host loses: everything that gitopsd keeps on it."""
        shutil.rmtree(self.state_dir)
        shutil.rmtree(self.directory / "run", ignore_errors=True)

    # ------------------------------------------------------------ what came of it

    def status(self) -> dict[str, Any]:
        """This stack in `gitopsd status --json`."""
        stacks = self.json("status")["stacks"]
        found: dict[str, Any] = next((s for s in stacks if s["name"] == self.stack), {})
        return found

    def phase(self) -> str:
        return str(self.status().get("phase"))

    def holds(self) -> set[str]:
        return {hold["reason"] for hold in self.status().get("holds", [])}

    def history(self) -> list[dict[str, Any]]:
        """Newest first."""
        if not (self.state_dir / "state.db").exists():
            return []
        runs: list[dict[str, Any]] = self.json("history")["runs"]
        return runs

    def verdicts(self) -> list[tuple[str, str]]:
        """(kind, verdict) of every run, oldest first."""
        return [(r["kind"], r["verdict"]) for r in reversed(self.history())]

    def wait_good(self, commit: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until a deploy of `commit` is good; its run."""

        def good() -> dict[str, Any] | None:
            return next((r for r in self.history() if r["revision"] == commit and r["verdict"] == "good"), None)

        run: dict[str, Any] = wait_until(good, f"{commit[:12]} is good", timeout)
        return run

    def wait_phase(self, *phases: str, timeout: float = PATIENCE) -> dict[str, Any]:
        wait_until(lambda: self.phase() in phases, f"phase is one of {phases}", timeout)
        return self.status()

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return self.cluster.kubectl(*arguments, input=input)

    def get(self, *arguments: str) -> dict[str, Any] | None:
        """An object, or None if there is none."""
        text = self.kubectl("get", *arguments, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return found

    def data(self, namespace: str, name: str) -> dict[str, str] | None:
        """The data of a ConfigMap; None if there is none."""
        found = self.get("configmap", name, "-n", namespace)
        return None if found is None else found.get("data", {})

    def image(self, namespace: str, deployment: str) -> str | None:
        found = self.get("deployment", deployment, "-n", namespace)
        return None if found is None else found["spec"]["template"]["spec"]["containers"][0]["image"]

    # ------------------------------------------------------------ the witness

    def mark(self) -> int:
        """A place in the API server's audit log, for `requests` and `writes`."""
        return self.cluster.audit_offset()

    def requests(self, since: int) -> list[dict[str, Any]]:
        """Every request that gitopsd made."""
        return [e for e in self.cluster.audit_events(since) if str(e.get("userAgent", "")).startswith(GITOPSD_AGENT)]

    def writes(self, since: int, *, own: bool = False) -> list[tuple[str, str, str]]:
        """(verb, resource, namespace/name) of every real write of gitopsd in order; without its own parent and lease
        unless `own`."""
        found = []
        for event in self.requests(since):
            ref = event.get("objectRef", {})
            dry = "dryRun=" in event["requestURI"]
            review = str(ref.get("resource", "")).startswith("selfsubject")  # a question, though it is asked by a POST
            mine = ref.get("namespace") == "gitopsd-system" or ref.get("name") == "gitopsd-system"
            if (
                event["verb"] in {"create", "update", "patch", "delete"}
                and not dry
                and not review
                and (own or not mine)
            ):
                place = "/".join(p for p in (ref.get("namespace"), ref.get("name")) if p)
                found.append((event["verb"], ref.get("resource", ""), place))
        return found


# ---------------------------------------------------------------- manifests


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def config_map(name: str, data: Mapping[str, str], **annotations: str) -> dict[str, Any]:
    notes = {f"gitopsd.io/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **({"annotations": notes} if notes else {})},
        "data": dict(data),
    }


def deployment(
    name: str, image: str = "registry.example/app:1", replicas: int = 1, **annotations: str
) -> dict[str, Any]:
    notes = {f"gitopsd.io/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **({"annotations": notes} if notes else {})},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    }


def job(name: str, image: str = "registry.example/app:1", ttl: int | None = None, **annotations: str) -> dict[str, Any]:
    notes = {f"gitopsd.io/{key}": value for key, value in annotations.items()}
    spec: dict[str, Any] = {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": image}]}},
        "backoffLimit": 0,
    }
    if ttl is not None:
        spec["ttlSecondsAfterFinished"] = ttl
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **({"annotations": notes} if notes else {})},
        "spec": spec,
    }
