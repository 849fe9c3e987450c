"""Makes the adapters of one configuration: sources, clusters, renderer, and the pipeline that joins them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Protocol

import structlog

from gitopsd.cluster import ClusterSettings, KubernetesCluster, connect
from gitopsd.config.host import ClusterConfig, HostConfig, SourceConfig
from gitopsd.git import GitSource, SourceSettings, open_source
from gitopsd.heap import give_back
from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline, StackState
from gitopsd.model.ports import Cluster
from gitopsd.record.audit_reader import STATE_DB
from gitopsd.record.cache import BlobStore
from gitopsd.record.dirlock import prepare
from gitopsd.record.reader import open_reader
from gitopsd.render import Renderer
from gitopsd.sealing.vault import KeyVault
from gitopsd.stack.pipeline import Inventories, Origin, Pipeline, TerraformSetup
from gitopsd.terraform_host import open_program, settings_digest

log = structlog.get_logger("gitopsd.daemon")

STACK_FILE = "gitopsd.yaml"


class Clusters:
    """The clusters of the host, connected to when they are first needed: one that is away holds up nothing else. A
    kubeconfig that has changed since is read again: its credentials were rotated, or it leads to another cluster."""

    def __init__(self, configs: tuple[ClusterConfig, ...]) -> None:
        self._configs = {c.name: c for c in configs}
        self._connected: dict[str, KubernetesCluster] = {}
        self._read: dict[str, tuple[int, ...]] = {}
        self._former: list[KubernetesCluster] = []
        self._lock = Lock()

    def __call__(self, name: str) -> Cluster:
        with self._lock:
            config = self._configs.get(name)
            if config is None:
                remedy = "add it to `clusters` of the host's configuration"
                raise EnvironmentFault(Problem(f"there is no cluster {name!r}", remedy=remedy))
            mark = _mark(config.kubeconfig)
            if name in self._connected and mark and mark != self._read[name]:
                log.info("its kubeconfig has changed", cluster=name)
                self._former.append(self._connected.pop(name))  # somebody may be using it at this moment
            if name not in self._connected:
                self._read[name] = mark
                self._connected[name] = connect(
                    ClusterSettings(
                        name=config.name,
                        kubeconfig=config.kubeconfig,
                        context=config.context,
                        in_cluster=config.in_cluster,
                        namespace=config.namespace,
                    )
                )
            return self._connected[name]

    @property
    def namespaces(self) -> dict[str, str]:
        return {c.name: c.namespace for c in self._configs.values()}

    def close(self) -> None:
        for cluster in (*self._connected.values(), *self._former):
            cluster.close()
        self._connected.clear()


def _mark(kubeconfig: Path | None) -> tuple[int, ...]:
    """What changes when a file is replaced or written; nothing while there is none, as in the middle of a swap."""
    try:
        found = kubeconfig.stat() if kubeconfig else None
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found else ()


def _source(config: SourceConfig, state_dir: Path) -> GitSource:
    return open_source(
        SourceSettings(
            name=config.name,
            url=config.url,
            branch=config.branch,
            force_push=config.force_push,
            token_file=config.token_file,
            username=config.username,
            password_file=config.password_file,
            ssh_key_file=config.ssh_key_file,
            known_hosts_file=config.known_hosts_file,
        ),
        state_dir / "mirrors",
    )


@contextmanager
def make_pipeline(config: HostConfig, record: Inventories, *, scratch: Path | None = None) -> Iterator[Pipeline]:
    """Everything between a commit and a plan. `record` may be the writer or a reader: plans only read. `scratch` is a
    directory of their own for those who plan beside a daemon."""
    with ExitStack() as stack:
        prepare(config.state_dir)
        program = open_program(config, scratch=scratch)
        stack.callback(program.close)
        clusters = Clusters(config.clusters)
        stack.callback(clusters.close)
        cache = BlobStore(config.state_dir)
        stack.callback(cache.close)
        if cache.trouble:
            log.warning("works without its cache", why=cache.trouble)
        origins: dict[str, Origin] = {}
        for source in config.sources:
            opened = _source(source, config.state_dir)
            stack.callback(opened.close)
            path = "" if source.path in {"", "."} else source.path
            origins[source.name] = Origin(
                opened, path, f"{path}/{STACK_FILE}" if path else STACK_FILE, source.force_push
            )
        terraform = TerraformSetup(
            program,
            partial(settings_digest, config.terraform),
            config.terraform.drift_interval,
            config.terraform.cluster,
        )
        vault = KeyVault(config.key_dir, cache)
        yield Pipeline(
            origins,
            Renderer(cache),
            clusters,
            clusters.namespaces,
            record,
            terraform=terraform,
            vault=vault,
            give_back=give_back,
        )


class Known(Inventories, Protocol):
    """What `plan` needs to know of the stacks."""

    def state(self, _stack: str) -> StackState | None: ...


class NothingKnown:
    """The record of a host that has not delivered anything yet."""

    def stacks(self) -> tuple[str, ...]:
        return ()

    def state(self, _stack: str) -> StackState | None:
        return None

    def baselines(self, _stack: str) -> dict[UnitId, Baseline]:
        return {}


@contextmanager
def read_record(state_dir: Path) -> Iterator[Known]:
    """The host's record, which a daemon may be writing at this moment; on a new host there is nothing known yet."""
    if not (state_dir / STATE_DB).exists():
        yield NothingKnown()
        return
    with open_reader(state_dir) as reader:
        yield reader
