"""The sandbox for Python programs, above all for tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox import components, control, launch
from sandbox import layout as files
from sandbox.audit import AuditLog
from sandbox.client import Client
from sandbox.common import SandboxError, wait_until
from sandbox.layout import Layout
from sandbox.toolsets import tool

KUBECTL_TIMEOUT = 120


class Component:
    """One program of the control plane, for fault injection. It keeps its port and its data."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        if name not in components.COMPONENTS:
            raise SandboxError(f"no component is named {name!r}; known: {', '.join(components.COMPONENTS)}")
        self.name, self._cluster = name, cluster

    def stop(self) -> None:
        """Ask it to end (after 5 s: kill it); returns when it is gone. It stays away until `start`."""
        self._do("stop")

    def kill(self) -> None:
        """SIGKILL; returns when it is gone. It stays away until `start`."""
        self._do("kill")

    def pause(self) -> None:
        """SIGSTOP: connections are accepted and never answered."""
        self._do("pause")

    def resume(self) -> None:
        self._do("resume")

    def start(self, timeout: float = 60) -> None:
        """Start it again and wait until it is healthy."""
        self._do("start")
        what = f"{self.name} (logs: {self._cluster.layout.logs})"
        wait_until(lambda: self._cluster.healthy(self.name), lambda: what, timeout)

    def restart(self) -> None:
        self.kill()
        self.start()

    @property
    def pid(self) -> int | None:
        """None: it does not run."""
        state = self._do("status")["components"][self.name]
        return int(state["pid"]) if state["alive"] else None

    def _do(self, what: str) -> dict[str, Any]:
        return control.request(self._cluster.layout, what, self.name)


class Cluster:
    """`with Cluster.start(directory) as cluster: ...`; ended at the end of the block, or when this process is gone."""

    def __init__(self, kubeconfig: Path, layout: Layout | None, kubectl: Path) -> None:
        self.kubeconfig = kubeconfig
        self._layout, self._kubectl = layout, kubectl
        self._handed_out: set[str] = set()
        self._audit: AuditLog | None = None

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        nodes: int = 1,
        audit: bool = True,
        users: Mapping[str, Sequence[str]] | None = None,
        owned: bool = True,
    ) -> Self:
        """`users`: names and groups of those who get a token (default: user-1 ... user-64 without groups).
        `owned=False`: the cluster outlives this process, until `down`."""
        launch.up(directory, nodes=nodes, audit=audit, users=users, owner_pid=os.getpid() if owned else None)
        return cls.attach(directory)

    @classmethod
    def attach(cls, directory: Path) -> Self:
        """A cluster that somebody else has started."""
        layout = Layout(directory)
        if not launch.is_up(directory):
            raise SandboxError(f"no sandbox is up in {layout.directory}")
        return cls(layout.kubeconfig, layout, tool("kubectl"))

    @classmethod
    def external(cls, kubeconfig: Path) -> Self:
        """A cluster which is not ours: `kubectl` and `server` work, what reaches behind the API server does not."""
        found = shutil.which("kubectl")
        return cls(kubeconfig.absolute(), None, Path(found) if found else tool("kubectl"))

    def down(self) -> None:
        if self._layout is not None:
            launch.down(self._layout.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def is_sandbox(self) -> bool:
        return self._layout is not None

    @property
    def layout(self) -> Layout:
        if self._layout is None:
            raise SandboxError(f"{self.kubeconfig} is not the kubeconfig of a sandbox")
        return self._layout

    @property
    def directory(self) -> Path:
        return self.layout.directory

    @property
    def server(self) -> str:
        if self._layout is not None:
            return str(json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
        return self.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")

    @property
    def certificate_authority(self) -> Path:
        return self.layout.certificate_authority

    @property
    def audit_log(self) -> Path:
        return self.layout.audit_log

    @property
    def admin_token(self) -> str:
        return self.token(files.ADMIN)

    def token(self, user: str) -> str:
        return files.read_tokens(self.layout.tokens)[user]

    def add_user(self, name: str | None = None, groups: Collection[str] = ()) -> Path:
        """The kubeconfig of a user without any right yet, for RBAC tests. Without a name: one that this object has not
        handed out before (`user_of` tells the name).

        The API server reads tokens only at its start, so names and groups are those given to `start(users=...)`."""
        everybody = files.read_users(self.layout.tokens).items()
        known = {user: found for user, found in everybody if user not in files.COMPONENT_USERS}
        free = (user for user, found in known.items() if user not in self._handed_out and set(groups) == set(found))
        chosen = name or next(free, None)
        if chosen is None or chosen not in known or set(groups) != set(known[chosen]):
            wanted = f"{name or 'is left'} in groups {sorted(groups)}"
            raise SandboxError(f"no user {wanted}; name those you need in Cluster.start(users={{...}})")
        self._handed_out.add(chosen)
        return self.layout.user_kubeconfig(chosen)

    @staticmethod
    def user_of(kubeconfig: Path) -> str:
        return str(json.loads(kubeconfig.read_text())["users"][0]["name"])

    def component(self, name: str) -> Component:
        return Component(self, name)

    def healthy(self, name: str) -> bool:
        """Whether a component works now. etcd shows in the API server; kwok has no port: its process counts."""
        if name in components.FIRST:
            return self.client().healthy("/readyz")
        if name == "kwok":
            return self.component(name).pid is not None
        port = json.loads(self.layout.plan.read_text())["ports"][name]
        authority = self.layout.certificates(name) / f"{name}.crt"
        return Client(f"https://127.0.0.1:{port}", authority).healthy("/healthz")

    def client(self, user: str = files.ADMIN) -> Client:
        """Plain requests to the API server."""
        return Client(self.server, self.layout.certificate_authority, self.token(user))

    def kubectl(self, *arguments: str, input: str | None = None, kubeconfig: Path | None = None) -> str:
        """The output; a SandboxError with what kubectl said otherwise."""
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig or self.kubeconfig)}
        if self._layout is not None:
            # kubectl keeps a cache of what each server offers: beside the server, not in the user's home.
            environment["HOME"] = str(self._layout.home)
        done = subprocess.run(
            [str(self._kubectl), *arguments],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=KUBECTL_TIMEOUT,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise SandboxError(f"kubectl {' '.join(arguments)}: exit {done.returncode}: {said}")
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get ... -o json`, read."""
        value: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return value

    def audit_offset(self) -> int:
        return self._audit_reader().offset()

    def audit_events(
        self, since: int = 0, user: str | None = None, verbs: Collection[str] | None = None, flush: bool = True
    ) -> list[dict[str, Any]]:
        return self._audit_reader().events(since, user, verbs, flush)

    def _audit_reader(self) -> AuditLog:
        if self._audit is None:
            if not json.loads(self.layout.plan.read_text())["audit"]:
                raise SandboxError(f"the sandbox in {self.layout.directory} was started without its audit log")
            self._audit = AuditLog(self.layout.audit_log, self.client(files.PROBE))
        return self._audit
