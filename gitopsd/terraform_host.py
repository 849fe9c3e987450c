"""Joins Terraform to one configuration: where it runs, where its states are, and what of the host goes into modules."""

from __future__ import annotations

import hashlib
import os
import secrets
from functools import partial
from pathlib import Path
from threading import Lock

import orjson

from gitopsd.config.host import HostConfig
from gitopsd.config.terraform import TerraformConfig
from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.sensitive import Sensitive
from gitopsd.sealing.envelope import seal
from gitopsd.sealing.keyring import Keyring
from gitopsd.sealing.mackey import MacKey
from gitopsd.terraform import KubeBackend, RealTerraform, SealingKey, TerraformSettings, open_terraform

DIGEST_KEY = "digest.key"
"""Keys the digests of sensitive outputs: a lost one makes them differ, so that what uses them is compared again."""


def open_program(config: HostConfig, *, scratch: Path | None = None) -> RealTerraform:
    """Terraform for this host. `scratch` is a directory for who only plans, beside a daemon that may be at work. Raises
    EnvironmentFault if the host's own files cannot be used."""
    terraform = config.terraform
    return open_terraform(
        TerraformSettings(
            state_dir=config.state_dir,
            runtime_dir=scratch or config.runtime_dir,
            digest_key=DigestKey(config),
            binary=terraform.binary,
            backend="local" if terraform.backend == "local" else "kubernetes",
            cluster=_state_cluster(config),
            parallelism=terraform.parallelism,
            timeout=terraform.timeout,
            lock_timeout=terraform.lock_timeout,
            env=terraform.env,
            env_files=terraform.env_files,
            cli_config=terraform.cli_config,
            scratch=scratch,
            sealing_key=partial(sealing_key, Keyring(config.key_dir)),
        )
    )


def sealing_key(keyring: Keyring) -> SealingKey | None:
    """What copies of states are sealed with: the newest certificate, be it expired, for they must not stop on that day.
    None if there is no keypair; raises EnvironmentFault if there are some and none can be used."""
    keys = keyring.snapshot()
    if not keys.pairs and not (keys.problems and keys.directory.exists()):
        return None
    newest = keys.for_sealing()
    return SealingKey(newest.fingerprint, partial(seal, newest.public))


def _state_cluster(config: HostConfig) -> KubeBackend | None:
    """The cluster that holds the states of modules without a backend of their own."""
    found = next((c for c in config.clusters if c.name == config.terraform.cluster), None)
    if found is None:
        return None
    return KubeBackend(found.kubeconfig, found.context, found.namespace, found.in_cluster)


def settings_digest(terraform: TerraformConfig) -> str:
    """Of all that the host's configuration puts into modules: another value of it plans them anew. Files are read each
    time, for credentials are rotated in place."""
    files = [*terraform.env_files, *([terraform.cli_config] if terraform.cli_config else [])]
    body = [terraform.backend, terraform.cluster, sorted(terraform.env.items()), [_content(f) for f in files]]
    return hashlib.sha256(orjson.dumps(body)).hexdigest()


def _content(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        remedy = "put it there, or take it out of `terraform` in the host's configuration"
        raise EnvironmentFault(Problem(f"cannot be read: {error.strerror}", str(file), remedy=remedy)) from error


class DigestKey:
    """Of the key directory, so that a thief of the state directory cannot guess values by their digests. A host without
    that directory has no other place than the state directory. Asked when there is a sensitive output for the first
    time, for who has none needs no key; raises EnvironmentFault for one that cannot be used, and then every time."""

    def __init__(self, config: HostConfig) -> None:
        self._config, self._lock = config, Lock()
        self._key: Sensitive | None = None

    def __call__(self) -> bytes:
        with self._lock:
            if self._key is None:
                self._key = Sensitive(self._read())
            found: bytes = self._key.reveal()
            return found

    def _read(self) -> bytes:
        if not self._config.key_dir.is_dir():
            return _own_key(self._config.state_dir / DIGEST_KEY)
        return bytes.fromhex(MacKey(self._config.key_dir).mac(b"outputs of Terraform").partition(":")[2])


def _own_key(path: Path) -> bytes:
    """Made when it is first needed, readable for this user alone."""
    try:
        if not path.exists():
            part = path.with_name(f"{path.name}.{os.getpid()}")
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(part, path)  # whoever was first keeps it
            except FileExistsError:
                return path.read_bytes()
            finally:
                part.unlink()
        return path.read_bytes()
    except OSError as error:
        remedy = "check the permissions and the space of the state directory"
        raise EnvironmentFault(Problem(f"cannot be used: {error.strerror}", str(path), remedy=remedy)) from error
