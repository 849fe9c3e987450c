"""From a unit to the path of its object: which resource it is, in which version, and whether that is served at all."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from gitopsd.cluster.connection import Connection
from gitopsd.cluster.discovery import Discovery
from gitopsd.model.errors import CommitError, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Resource


@dataclass(frozen=True, slots=True)
class Place:
    """A collection of one resource in one version; `namespace` is "" for all of them or for cluster-wide kinds."""

    resource: Resource
    version: str
    namespace: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.resource.group}/{self.version}" if self.resource.group else self.version

    @property
    def path(self) -> str:
        root = f"/apis/{self.resource.group}/{self.version}" if self.resource.group else f"/api/{self.version}"
        middle = f"/namespaces/{quote(self.namespace, safe='')}" if self.namespace else ""
        return f"{root}{middle}/{self.resource.plural}"

    def of(self, name: str) -> str:
        """The path of one object. RBAC names may hold what paths may not."""
        return f"{self.path}/{quote(name, safe='')}"


class Locator:
    """Finds places through discovery. A kind that is missing is looked for once more before it counts as not served:
    its CRD may have come since."""

    def __init__(self, connection: Connection, discovery: Discovery) -> None:
        self._connection, self._discovery = connection, discovery

    def unit(self, unit: UnitId, api_version: str = "") -> Place | None:
        """Where a unit's object is; None if its kind is not served (in this version). Raises CommitError for an object
        without a namespace whose kind needs one."""
        place = self.kind(unit.group, unit.kind, unit.namespace, api_version.rpartition("/")[2])
        if place is not None and place.resource.namespaced and not place.namespace:
            raise CommitError(Problem(f"a {unit.kind} needs a namespace", unit=str(unit)))
        return place

    def kind(self, group: str, kind: str, namespace: str = "", version: str = "") -> Place | None:
        """Where the objects of a kind are. Raises EnvironmentFault if its group's API server does not answer, so that
        nobody knows whether the kind is served."""
        seen = self._discovery.get()
        resource = _served(seen.catalog.find(group, kind), version)
        if resource is None:
            seen = self._discovery.refresh(seen)
            resource = _served(seen.catalog.find(group, kind), version)
        if resource is None:
            if group in seen.blind:
                raise self._connection.fault(
                    f"the server of the API group {group} does not answer, so that {kind}.{group} cannot be judged",
                    remedy="look at its APIService: kubectl get apiservices",
                )
            return None
        return Place(resource, version or resource.versions[0], namespace if resource.namespaced else "")

    def still_served(self, place: Place) -> bool:
        """Whether fresh discovery has this place: asked after a bare 404."""
        found = self._discovery.refresh(self._discovery.get()).catalog.find(place.resource.group, place.resource.kind)
        return _served(found, place.version) is not None


def _served(resource: Resource | None, version: str) -> Resource | None:
    return resource if resource is not None and (not version or version in resource.versions) else None
