"""The adapter itself: the parts of this package behind the `Cluster` protocol of `gitopsd.model.ports`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from gitopsd.cluster.access import Access
from gitopsd.cluster.channel import Server
from gitopsd.cluster.connection import Connection, Request
from gitopsd.cluster.discovery import Discovery
from gitopsd.cluster.house import House
from gitopsd.cluster.lease import Leases
from gitopsd.cluster.listing import Listing
from gitopsd.cluster.locate import Locator
from gitopsd.cluster.objects import Objects
from gitopsd.cluster.parent import Parents
from gitopsd.cluster.settings import ClusterSettings, Limits
from gitopsd.cluster.watch import KindWatch, Watches
from gitopsd.cluster.workers import Workers
from gitopsd.cluster.workloads import Workloads
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, Catalog, Deletion, LiveObject, Rejection, Workload
from gitopsd.model.memory import Memory
from gitopsd.model.units import Manifest

SPARE = 8
"""Connections kept beside those of the pool's workers, for the threads that ask by themselves."""


def connect(settings: ClusterSettings, *, parallel: int = 8, limits: Limits | None = None) -> KubernetesCluster:
    """The cluster of one entry of the host configuration. Credentials are read now, nothing is asked of the server yet.

    `parallel` bounds the requests that one call makes at a time. Raises ConfigurationError for a kubeconfig that is
    wrong or turns off the verification of the server, EnvironmentFault if a credential plugin gives nothing.
    """
    return KubernetesCluster(settings, parallel=parallel, limits=limits or Limits())


class KubernetesCluster:
    """One Kubernetes cluster. Safe to use from several threads."""

    def __init__(self, settings: ClusterSettings, *, parallel: int, limits: Limits) -> None:
        self._name = settings.name
        self._connection = Connection(settings, limits, parallel + SPARE)
        self._workers = Workers(parallel, settings.name)
        self._discovery = Discovery(self._connection)
        locator = Locator(self._connection, self._discovery)
        access = Access(self._connection)
        house = self._house = House(self._connection, access)
        self._namespace = settings.namespace
        self._objects = Objects(self._connection, locator, access)
        self._listing = Listing(settings.name, self._connection, locator, access, self._workers)
        self._watches = Watches(
            Server(settings.name, self._connection, locator, access, self._listing, limits.watch),
        )
        self._workloads = Workloads(self._objects, self._listing, locator, self._workers)
        self._parents = Parents(settings.name, settings.namespace, self._connection, house)
        self._leases = Leases(settings.name, settings.namespace, self._connection, house)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the watches, wait for requests under way, then end the workers and the connections."""
        self._watches.close()
        self._workers.close()
        self._connection.close()

    @property
    def name(self) -> str:
        return self._name

    @property
    def server(self) -> str:
        """The API server's URL, for messages."""
        return self._connection.server

    def uid(self) -> str:
        found = self._objects.get(UnitId(self._name, "", "Namespace", "", "kube-system"))
        if isinstance(found, Absence) or not found.uid:
            raise self._connection.fault("the namespace kube-system, which identifies a cluster, does not exist")
        return found.uid

    def version(self) -> str:
        reply = self._connection.send(Request("GET", "/version"))
        if not reply.ok:
            raise self._connection.fault(f"GET /version: the server does not tell its version (HTTP {reply.status})")
        return str(reply.object().get("gitVersion", ""))

    def catalog(self, *, refresh: bool = False) -> Catalog:
        return (self._discovery.renew() if refresh else self._discovery.get()).catalog

    def get(self, unit: UnitId, api_version: str = "") -> LiveObject | Absence:
        return self._objects.get(unit, api_version)

    def apply(self, unit: UnitId, manifest: Manifest, *, dry_run: bool = False) -> Accepted | Rejection:
        return self._objects.apply(unit, manifest, dry_run=dry_run)

    def dry_run_pod(self, unit: UnitId, pod: Manifest) -> Rejection | None:
        return self._objects.dry_run_pod(unit, pod)

    def patch(self, unit: UnitId, operations: Sequence[Mapping[str, Any]]) -> LiveObject | Absence | Rejection:
        return self._objects.patch(unit, operations)

    def delete(self, unit: UnitId, *, uid: str, resource_version: str) -> Deletion:
        return self._objects.delete(unit, uid=uid, resource_version=resource_version)

    def members(self, applyset: str, group_kinds: Iterable[str]) -> tuple[LiveObject, ...]:
        return self._listing.members(applyset, group_kinds)

    def list(self, group: str, kind: str, namespace: str = "", *, limit: int = 0) -> tuple[LiveObject, ...]:
        return self._listing.kind(group, kind, namespace, limit)

    def watch(self, group: str, kind: str, applysets: Collection[str]) -> KindWatch:
        return self._watches.watch(group, kind, applysets)

    def workloads(self, units: Sequence[UnitId]) -> dict[UnitId, Workload | Absence]:
        return self._workloads.read(units)

    def load_memory(self, stack: str) -> Memory | None:
        return self._parents.load(stack)

    def save_memory(self, memory: Memory, *, over: str = "") -> None:
        self._parents.save(memory, over=over)

    def house(self, *, make: bool) -> bool:
        return self._house.stands(self._namespace, make=make)

    def hold_lease(self, stack: str, instance: str) -> None:
        self._leases.hold(stack, instance)

    def release_lease(self, stack: str, instance: str) -> None:
        self._leases.release(stack, instance)
