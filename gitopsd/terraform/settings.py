"""What has to be known of a host to run Terraform or OpenTofu on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class KubeBackend:
    """Where the `kubernetes` backend keeps states: as kubectl finds the cluster, with a `kubeconfig` and `context` of
    its own, or from inside it. States are Secrets in `namespace`, locks are Leases beside them."""

    kubeconfig: Path | None = None
    context: str = ""
    namespace: str = "gitopsd-system"
    in_cluster: bool = False


@dataclass(frozen=True, slots=True)
class SealingKey:
    """What copies of states are sealed with now. `seal` takes a plaintext and the label without which it cannot be
    opened again; `fingerprint` is the name of the key."""

    fingerprint: str
    seal: Callable[[bytes, bytes], bytes] = field(repr=False)


def _no_key() -> SealingKey | None:
    return None


@dataclass(frozen=True, slots=True)
class TerraformSettings:
    """The host's part of every Terraform run. Times are in seconds.

    `binary` is a name on PATH or a path, of Terraform or OpenTofu. `backend` keeps the states of modules that name none
    themselves: `kubernetes` needs `cluster`; `local` keeps them in `state_dir`. `env` and the KEY=VALUE lines of
    `env_files` are for credentials: they reach the program alone, and are left out of every text. `timeout` bounds a
    plan and an apply, `init_timeout` the preparations, `lock_timeout` the wait for the lock of a state, `patience` how
    long the program may take to stop once it was interrupted. `runtime_dir` holds saved plans, which have sensitive
    values in them: best on a tmpfs. `digest_key` keys the digests of sensitive outputs, and is asked when
    there is one. `scratch` is for who plans
    beside the daemon: a directory for the code, where nothing of the daemon's is touched. `sealing_key` is asked each
    time a copy of a state is made; None where there is no keypair at all. It raises EnvironmentFault for keypairs that
    cannot be used: that is no reason to write in the clear.
    """

    state_dir: Path
    runtime_dir: Path
    digest_key: Callable[[], bytes] = field(repr=False)
    binary: str = "terraform"
    backend: Literal["kubernetes", "local"] = "kubernetes"
    cluster: KubeBackend | None = None
    parallelism: int = 10
    timeout: float = 1800.0
    init_timeout: float = 600.0
    lock_timeout: float = 60.0
    patience: float = 300.0
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_files: tuple[Path, ...] = ()
    cli_config: Path | None = None
    scratch: Path | None = None
    sealing_key: Callable[[], SealingKey | None] = field(default=_no_key, repr=False)

    @property
    def lock_wait(self) -> str:
        """`lock_timeout` as the program's options take it."""
        return f"{self.lock_timeout:.3f}s"
