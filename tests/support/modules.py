"""Repositories with Terraform root modules beside manifests, and what is to be seen of them without gitopsd's help."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sandbox import terraform_environment
from tests.support.moments import GOOD
from tests.support.world import World, config_map, deployment, wait_until

SYSTEM = "gitopsd-system"

NETWORK = """\
variable "size" {
  type = string
}

resource "terraform_data" "db" {
  input            = "db-${var.size}"
  triggers_replace = ["%(kind)s"]
}

resource "random_pet" "name" {
}
%(more)s
output "host" {
  value = terraform_data.db.output
}
"""


def network(kind: str = "small", more: str = "") -> str:
    """A root module with the output `host` (`db-` and the variable `size`). Another `kind` replaces a resource."""
    return NETWORK % {"kind": kind, "more": more}


def stack_text(name: str, components: Sequence[Mapping[str, Any]], **spec: Any) -> str:
    """A stack file with components as they stand in one."""
    document = {
        "apiVersion": "gitopsd.io/v1alpha1",
        "kind": "Stack",
        "metadata": {"name": name},
        "spec": {"components": list(components), **spec},
    }
    return yaml.safe_dump(document, sort_keys=False)


class Shop:
    """A stack with Terraform component `network` in wave -10, a ConfigMap `settings` with its output in wave 0, and the
    Deployment `web` in wave 10."""

    def __init__(self, world: World, space: str, host: Mapping[str, Any]) -> None:
        self.world, self.space, self.host = world, space, dict(host)
        world.configure(terraform=self.host)

    @property
    def key(self) -> str:
        return self.state_key("network")

    def state_key(self, component: str) -> str:
        """States of all worlds of a cluster lie in one namespace."""
        return f"{self.world.stack}-{component}"

    def configure(self, **terraform: Any) -> None:
        """Change keys of the host's section `terraform`."""
        self.host |= terraform
        self.world.configure(terraform=self.host)

    def module(self, name: str, wave: int, **section: Any) -> dict[str, Any]:
        """A Terraform component whose code is in `infra/NAME`."""
        rest: dict[str, Any] = {key: section.pop(key) for key in ("approval", "dependsOn", "gate") if key in section}
        terraform = {"path": f"infra/{name}", "stateKey": self.state_key(name), **section}
        return {"name": name, "wave": wave, **rest, "terraform": terraform}

    def objects(self, name: str, wave: int, **more: Any) -> dict[str, Any]:
        """A component of manifests in the directory `NAME`."""
        return {"name": name, "wave": wave, **more, "kubernetes": {"path": name, "namespace": self.space}}

    def stack_file(self, *components: Mapping[str, Any], **spec: Any) -> str:
        return stack_text(self.world.stack, components, **spec)

    def files(
        self,
        size: str = "1",
        image: str = GOOD,
        *,
        code: str | None = None,
        components: Sequence[Mapping[str, Any]] = (),
        more: Mapping[str, Any] | None = None,
        timeout: str = "60s",
        **spec: Any,
    ) -> dict[str, Any]:
        """A commit: `size` is a variable of the network, `components` come in addition, `more` are further files."""
        return {
            "gitopsd.yaml": self.stack_file(
                self.module("network", -10, varFiles=["live.tfvars"]),
                self.objects("base", 0, values={"host": {"terraform": "network.host"}}),
                self.objects("app", 10, gate={"timeout": timeout}),
                *components,
                **spec,
            ),
            "infra/network/main.tf": network() if code is None else code,
            "infra/network/live.tfvars": f'size = "{size}"\n',
            "base/settings.yaml": config_map("settings", {"host": "${host}", "other": "${kept}"}),
            "app/web.yaml": deployment("web", image),
            **(more or {}),
        }

    def delivered(self, *arguments: Any, **named: Any) -> str:
        """A commit as `files` makes it, live and good."""
        commit = self.world.push(self.files(*arguments, **named))
        self.world.once()
        self.world.wait_good(commit)
        return commit

    def by_hand(self, directory: Path, *arguments: str) -> str:
        """What a person does with Terraform and the network's state, from a clone of his own and without gitopsd."""
        code = directory / "infra"
        if not code.exists():
            shutil.copytree(self.world.clone / "infra" / "network", code)
            place = {"secret_suffix": self.key, "namespace": SYSTEM, "config_path": str(self.world.kubeconfig)}
            override = {"terraform": {"backend": {"kubernetes": place}}}
            (code / "by_hand_override.tf.json").write_text(json.dumps(override))
            self._run_by_hand(code, "init", "-input=false")
        return self._run_by_hand(code, *arguments)

    def _run_by_hand(self, code: Path, *arguments: str) -> str:
        done = subprocess.run(
            [self.host["binary"], *arguments],
            cwd=code,
            env=terraform_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # ------------------------------------------------------------ witnesses

    def settings(self) -> str | None:
        """The output as it stands in the cluster."""
        data = self.world.data(self.space, "settings")
        return None if data is None else data["host"]

    def image(self) -> str | None:
        return self.world.image(self.space, "web")

    def state(self, component: str = "network") -> dict[str, Any] | None:
        """A module's state as the backend has it; None if there is none."""
        key = self.state_key(component)
        if self.host.get("backend") == "local":
            file = self.world.state_dir / "terraform" / "states" / f"{key}.tfstate"
            text = file.read_text() if file.exists() else None
            assert text != "", "Terraform empties the file before it writes it anew"
            return None if text is None else _loaded(text)
        secret = self.world.get("secret", f"tfstate-default-{key}", "-n", SYSTEM)
        if secret is None:
            return None
        return _loaded(gzip.decompress(base64.b64decode(secret["data"]["tfstate"])))

    def resources(self, component: str = "network") -> dict[str, dict[str, Any]]:
        """The attributes of every resource in a state, by address."""
        state = self.state(component) or {"resources": []}
        found = {}
        for resource in state["resources"]:
            assert len(resource["instances"]) <= 1, f"doubled: {resource}"
            for instance in resource["instances"]:
                assert "deposed" not in instance, f"an old one is left: {resource}"
                found[f"{resource['type']}.{resource['name']}"] = instance["attributes"]
        return found

    def size(self) -> str:
        """The size that the network has."""
        return str(self.resources()["terraform_data.db"]["output"]["value"]).removeprefix("db-")

    def lock(self, component: str = "network") -> str:
        """Who holds the lock of a state in the cluster; "" if nobody."""
        lease = self.world.get("lease", f"lock-tfstate-default-{self.state_key(component)}", "-n", SYSTEM)
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    def processes(self) -> list[tuple[int, str]]:
        """Programs at work on a module of this host, their providers with them: (pid, command line)."""
        wanted = f"TF_DATA_DIR={self.world.state_dir}".encode()
        return [(pid, command) for pid, environment, command in _all_processes() if wanted in environment]

    def kill_children(self) -> None:
        """As when the whole host goes down: nobody tidies up."""
        for pid, _ in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_until(lambda: not self.processes(), "Terraform is dead")


def _loaded(text: str | bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise AssertionError(f"half written: {error}") from None
    return found


def _all_processes() -> list[tuple[int, bytes, str]]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes()
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it is gone, or somebody else's
            continue
        if command:
            found.append((int(path.name), environment, command))
    return found


class LoggedProgram:
    """A program that writes down how it was called, and then does what the real one does."""

    def __init__(self, directory: Path, real: str) -> None:
        self.log = directory / "calls.log"
        self.binary = directory / "logged-terraform"
        self.binary.write_text(
            f'#!/bin/sh\nprintf \'%s|%s\\n\' "$PWD" "$*" >> {self.log}\nexec {real} "$@"\n', encoding="utf-8"
        )
        self.binary.chmod(self.binary.stat().st_mode | stat.S_IXUSR)
        self.forget()

    def forget(self) -> None:
        self.log.write_text("")

    @property
    def calls(self) -> list[tuple[str, str]]:
        """(directory, arguments) of every call so far; questions for the version left out."""
        lines = (line.partition("|") for line in self.log.read_text().splitlines())
        return [(place, arguments) for place, _, arguments in lines if not arguments.startswith("version")]


class HeldProgram:
    """A program that stands still before one of its commands until it is let go; otherwise it is the real one."""

    def __init__(self, directory: Path, real: str, command: str) -> None:
        self.sign, self.go, self.binary = directory / "sign", directory / "go", directory / "held-terraform"
        held = f"touch {self.sign}; while [ ! -e {self.go} ]; do sleep 0.05; done"
        self.binary.write_text(f'#!/bin/sh\nif [ "$1" = {command} ]; then {held}; fi\nexec {real} "$@"\n')
        self.binary.chmod(0o755)

    def wait(self) -> None:
        wait_until(self.sign.exists, "the program stands still")


def impatient(directory: Path, real: str) -> str:
    """A program that waits for a lock for a second only, whatever it is told."""
    binary = directory / "impatient-terraform"
    binary.write_text(
        '#!/bin/bash\nargs=()\nfor a in "$@"; do\n'
        'case "$a" in -lock-timeout=*) a=-lock-timeout=1s;; esac\nargs+=("$a")\ndone\n'
        f'exec {real} "${{args[@]}}"\n'
    )
    binary.chmod(0o755)
    return str(binary)
