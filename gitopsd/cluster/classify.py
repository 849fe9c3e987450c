"""Why a valid-looking manifest cannot be applied to the object that is there: sorted by two dry runs, never by text.

(p) the same manifest under another name: refused too, it is invalid in itself, or wants something that is taken;
(u) the manifest in place of the live object: taken, a merge with another writer's elements is the obstacle ("wedged");
refused, the change needs a new object.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from gitopsd.cluster.connection import APPLY, Connection, Reply, Request
from gitopsd.cluster.errors import is_secret
from gitopsd.cluster.locate import Place
from gitopsd.model.ids import UnitId
from gitopsd.model.live import RejectionKind
from gitopsd.model.units import Manifest

_NEVER_WHOLE = frozenset({("batch", "Job"), ("", "Pod"), ("", "PersistentVolumeClaim"), ("", "PersistentVolume")})
"""Kinds whose live object holds what no manifest has (a Job's selector, a Pod's node, a claim's volume): putting the
manifest in its place is always refused and says nothing. Their lists cannot be wedged: they are immutable as well."""

_TRIES = 4


class Classifier:
    """Asks the two questions about a refusal."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sort(self, unit: UnitId, place: Place, manifest: Manifest, *, otherwise: RejectionKind) -> RejectionKind:
        """NEEDS_RECREATE or WEDGED for a manifest that only the live object keeps from being applied, else `otherwise`:
        there is no live object, or the manifest is refused under another name as well."""
        live = self._live(unit, place)
        if not live or not self._fits_elsewhere(unit, place, manifest, live):
            return otherwise
        if (unit.group, unit.kind) in _NEVER_WHOLE:
            return RejectionKind.NEEDS_RECREATE
        return (
            RejectionKind.WEDGED if self._fits_in_place(unit, place, manifest, live) else RejectionKind.NEEDS_RECREATE
        )

    def _live(self, unit: UnitId, place: Place) -> Mapping[str, Any]:
        reply = self._connection.send(Request("GET", place.of(unit.name)))
        return reply.object() if reply.ok else {}

    def _fits_elsewhere(self, unit: UnitId, place: Place, manifest: Manifest, live: Mapping[str, Any]) -> bool:
        probe = renamed(unit, manifest, live, f"gitopsd-probe-{secrets.token_hex(4)}")
        query = {"fieldManager": "gitopsd", "force": "true", "fieldValidation": "Strict", "dryRun": "All"}
        path = place.of(str(probe["metadata"]["name"]))
        request = Request("PATCH", path, query, probe, APPLY, transient=_busy, secret=is_secret(unit))
        return self._connection.send(request).ok

    def _fits_in_place(self, unit: UnitId, place: Place, manifest: Manifest, live: Mapping[str, Any]) -> bool:
        query = {"fieldManager": "gitopsd", "fieldValidation": "Strict", "dryRun": "All"}
        for _ in range(_TRIES):
            version = (live.get("metadata") or {}).get("resourceVersion")
            body = {**manifest, "metadata": {**manifest.get("metadata", {}), "resourceVersion": version}}
            request = Request("PUT", place.of(unit.name), query, body, transient=_busy, secret=is_secret(unit))
            reply = self._connection.send(request)
            if reply.status != 409:
                return reply.ok
            time.sleep(0.05)
            live = self._live(unit, place)
        return False


def _busy(reply: Reply) -> bool:
    return reply.status in {429, 502, 503, 504}


def renamed(unit: UnitId, manifest: Manifest, live: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The manifest as another object of its kind, without what only one object can have and the live one has."""
    probe: dict[str, Any] = {**manifest, "metadata": {**manifest.get("metadata", {}), "name": name}}
    if (unit.group, unit.kind) == ("", "Service"):
        probe["spec"] = _without_addresses(manifest.get("spec") or {}, live.get("spec") or {})
    if (unit.group, unit.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition"):
        # Its name follows from its group: another group makes another name. The suffix keeps the rules of protected
        # groups (*.k8s.io) the same.
        spec = dict(manifest.get("spec") or {})
        spec["group"] = f"{name}.{spec.get('group', '')}"
        plural = str((spec.get("names") or {}).get("plural", ""))
        probe["spec"] = spec
        probe["metadata"]["name"] = f"{plural}.{spec['group']}"
    return probe


def _without_addresses(spec: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """A Service's spec without the addresses and node ports that the live Service holds; those of others stay, so that
    a port which is taken shows."""
    ours = {port.get("nodePort") for port in live.get("ports") or ()}
    kept = dict(spec)
    if kept.get("clusterIP") == live.get("clusterIP") and kept.get("clusterIP") != "None":
        kept.pop("clusterIP", None)
    if kept.get("clusterIPs") == live.get("clusterIPs") and kept.get("clusterIPs") != ["None"]:
        kept.pop("clusterIPs", None)
    if kept.get("healthCheckNodePort") == live.get("healthCheckNodePort"):
        kept.pop("healthCheckNodePort", None)
    if "ports" in kept:
        kept["ports"] = [
            {key: value for key, value in port.items() if key != "nodePort" or value not in ours}
            for port in kept["ports"]
        ]
    return kept
