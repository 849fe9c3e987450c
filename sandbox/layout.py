"""The files of one sandbox directory."""

from __future__ import annotations

import base64
import csv
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.common import write_private

ADMIN = "admin"
PROBE = "sandbox-probe"
KWOK = "sandbox-kwok"
CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
_MASTERS = ("system:masters",)
COMPONENT_USERS: dict[str, Sequence[str]] = {
    ADMIN: _MASTERS,
    PROBE: (),
    KWOK: _MASTERS,
    CONTROLLER_MANAGER: (),
    SCHEDULER: (),
}


class Layout:
    """Paths below the directory. `state` is removed by `down`; the logs and the audit log stay to be read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.kubeconfig = self.directory / "kubeconfig"
        self.audit_log = self.directory / "audit.log"
        self.logs = self.directory / "logs"
        self.state = self.directory / "state"
        self.lock = self.directory / "supervisor.lock"
        self.plan = self.state / "plan.json"
        self.ready = self.state / "ready"
        self.control = self.state / "control.sock"
        self.tokens = self.state / "tokens.csv"
        self.signing_key = self.state / "service-account.key"
        self.audit_policy = self.state / "audit-policy.json"
        self.users = self.state / "users"
        self.home = self.state / "home"

    def certificates(self, component: str) -> Path:
        return self.state / f"{component}-certificates"

    @property
    def certificate_authority(self) -> Path:
        """kube-apiserver makes a self-signed certificate for 127.0.0.1: it is its own authority."""
        return self.certificates("kube-apiserver") / "apiserver.crt"

    def user_kubeconfig(self, user: str) -> Path:
        return self.kubeconfig if user == ADMIN else self.users / f"{user.replace(':', '-')}.kubeconfig"

    def create(self) -> None:
        for path in (self.directory, self.logs, self.state, self.users, self.home):
            path.mkdir(parents=True, exist_ok=True)
        # Tokens of a cluster administrator lie below it.
        self.state.chmod(0o700)

    def forget(self) -> None:
        """Remove what a stopped cluster leaves except its logs."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.kubeconfig.unlink(missing_ok=True)


def write_signing_key(path: Path) -> None:
    """A P-256 private key in SEC 1 form. Its public half is optional there: a random number and a few bytes of DER are
    enough, and the standard library can make it. (Numbers above the curve's order, 1 in 2**32, are tried again.)"""
    number = secrets.token_bytes(32)
    while number >= b"\xff\xff\xff\xff" or not any(number):
        number = secrets.token_bytes(32)
    curve = bytes.fromhex("a00a06082a8648ce3d030107")
    body = b"\x02\x01\x01" + b"\x04\x20" + number + curve
    text = base64.b64encode(b"\x30" + bytes([len(body)]) + body).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    name = "EC PRIVATE KEY"
    write_private(path, "\n".join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----", ""]))


def write_tokens(path: Path, users: Mapping[str, Sequence[str]]) -> None:
    """kube-apiserver reads this file only at its start; tokens survive a restart of the sandbox with the same data."""
    known = read_tokens(path)
    lines = []
    for user, groups in {**users, **COMPONENT_USERS}.items():
        token = known.get(user) or secrets.token_hex(20)
        quoted = ",".join(groups)
        lines.append(f'{token},{user},{user},"{quoted}"\n')
    write_private(path, "".join(lines))


def read_tokens(path: Path) -> dict[str, str]:
    return {user: token for token, user, _, _ in _token_rows(path)}


def read_users(path: Path) -> dict[str, list[str]]:
    """Everybody who has a token, with groups."""
    return {user: [group for group in groups.split(",") if group] for _, user, _, groups in _token_rows(path)}


def _token_rows(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(newline="") as table:
        return list(csv.reader(table))


def write_kubeconfig(path: Path, server: str, authority: Path, user: str, token: str) -> None:
    """JSON is YAML, and the standard library writes it."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user}}],
        "current-context": "sandbox",
    }
    write_private(path, json.dumps(content, indent=2) + "\n")


def write_audit_policy(path: Path) -> None:
    """One line per finished request of anybody but the control plane itself."""
    rules = [
        # The reader of the log marks a place in it with this request.
        {"level": "Metadata", "users": [PROBE], "nonResourceURLs": ["/version"]},
        {
            "level": "None",
            "users": [PROBE, KWOK, CONTROLLER_MANAGER, SCHEDULER, "system:apiserver", "system:anonymous"],
        },
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system", "system:nodes"]},
        {"level": "Metadata"},
    ]
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted", "Panic"],
        "rules": rules,
    }
    write_private(path, json.dumps(policy, indent=2) + "\n")


def component_environment(layout: Layout) -> dict[str, str]:
    """The components see neither the user's kubeconfig nor proxies: everything is on this machine."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(layout.home),
        "TMPDIR": tempfile.gettempdir(),
    }
