"""The Lease of a stack: one instance at a time has effects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from gitopsd.cluster.connection import Connection
from gitopsd.cluster.house import MANAGED_BY, STACK_ANNOTATION, Found, House, Shelf
from gitopsd.kinds.marks import MANAGED_BY_LABEL, parent_name
from gitopsd.model.errors import NeedsPerson, Problem

DURATION = 60
"""Seconds for which a Lease that is not renewed keeps others out."""

SLACK = timedelta(seconds=3)
"""How far the host's clock may be from the server's to be written into a Lease; the server tells whole seconds."""

_TRIES = 5


class Leases:
    """The Leases of one cluster. Their times are the API server's own: clocks of hosts differ."""

    def __init__(self, name: str, namespace: str, connection: Connection, house: House) -> None:
        self._name, self._connection, self._house = name, connection, house
        self._shelf = Shelf("coordination.k8s.io", "v1", "Lease", "leases", namespace)

    def hold(self, stack: str, instance: str) -> None:
        """Take or renew it. The same instance takes over at once: it was restarted. Raises NeedsPerson while another
        one holds it."""
        name = parent_name(stack)
        if self._hold_again(name, instance):
            return
        for _ in range(_TRIES):
            found = self._house.read(self._shelf, name)
            if found is None:
                if self._house.create(self._shelf, name, self._first(stack, instance)):
                    return
                continue
            now = server_now(found)
            spec = found.body.get("spec") or {}
            holder = holder_of(spec, now, str(found.metadata.get("creationTimestamp") or ""))
            if holder and holder != instance:
                raise self._held(stack, holder, spec)
            if self._house.replace(self._shelf, name, _with(found, renewed(spec, instance, now))):
                return
        raise self._contended(stack)

    def _hold_again(self, name: str, instance: str) -> bool:
        """Take the Lease as we left it, without a look: that fails if anybody has taken it since, or if the two clocks
        have parted so far that others would count wrong."""
        found = self._house.recall(self._shelf, name, look=False)
        spec = found.body.get("spec") or {} if found else {}
        if found is None or spec.get("holderIdentity") not in {None, "", instance}:
            return False
        now = datetime.now(UTC)
        taken = self._house.replace(self._shelf, name, _with(found, renewed(spec, instance, now)))
        return taken is not None and abs(server_now(taken) - now) < SLACK

    def release(self, stack: str, instance: str) -> None:
        """Give it back if it is this instance's; otherwise nothing happens."""
        name = parent_name(stack)
        for _ in range(_TRIES):
            found = self._house.recall(self._shelf, name)
            if found is None or (found.body.get("spec") or {}).get("holderIdentity") != instance:
                return
            spec = {key: value for key, value in found.body["spec"].items() if key != "holderIdentity"}
            if self._house.replace(self._shelf, name, _with(found, spec)):
                return
        raise self._contended(stack)

    def _first(self, stack: str, instance: str) -> dict[str, Any]:
        # The server's clock is not known yet; its creationTimestamp says when this one was taken.
        metadata = {
            "name": parent_name(stack),
            "namespace": self._shelf.namespace,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
            "annotations": {STACK_ANNOTATION: stack},
        }
        spec = {"holderIdentity": instance, "leaseDurationSeconds": DURATION, "leaseTransitions": 0}
        return self._shelf.body(metadata, spec=spec)

    def _held(self, stack: str, holder: str, spec: Mapping[str, Any]) -> NeedsPerson:
        since = f", renewed at {spec['renewTime']}" if spec.get("renewTime") else ""
        return NeedsPerson(
            Problem(
                f"cluster {self._name}: the instance {holder!r} is at work on stack {stack} "
                f"(Lease {self._shelf.namespace}/{parent_name(stack)}{since})",
                remedy=f"stop that one; the Lease is free {DURATION} s after it was last renewed",
            )
        )

    def _contended(self, stack: str) -> Exception:
        return self._connection.fault(f"Lease {self._shelf.namespace}/{parent_name(stack)} is changed all the time")


def holder_of(spec: Mapping[str, Any], now: datetime, born: str = "") -> str:
    """Who holds a Lease at this moment; "" for nobody. `born`: when the Lease was created, for one never renewed."""
    holder = str(spec.get("holderIdentity") or "")
    renewed_at = spec.get("renewTime") or spec.get("acquireTime") or born
    if not holder or not renewed_at:
        return holder
    lasts = timedelta(seconds=float(spec.get("leaseDurationSeconds") or DURATION))
    return holder if datetime.fromisoformat(renewed_at) + lasts > now else ""


def renewed(spec: Mapping[str, Any], instance: str, now: datetime) -> dict[str, Any]:
    """The spec of a Lease that `instance` holds from now on."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    changes: dict[str, Any] = {"holderIdentity": instance, "leaseDurationSeconds": DURATION, "renewTime": stamp}
    if spec.get("holderIdentity") != instance:
        changes |= {"acquireTime": stamp, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
    return {**spec, **changes}


def server_now(found: Found) -> datetime:
    """The server's clock when it answered; this host's if a proxy has taken the header away."""
    return parsedate_to_datetime(found.date) if found.date else datetime.now(UTC)


def _with(found: Found, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {**found.body, "spec": dict(spec)}
