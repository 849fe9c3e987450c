"""Who holds a Lease."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import pytest

from gitopsd.cluster.connection import Connection
from gitopsd.cluster.house import Found, House, Shelf
from gitopsd.cluster.lease import SLACK, Leases, holder_of, renewed

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ""),
        ({"renewTime": at(-1)}, ""),
        ({"holderIdentity": "a", "renewTime": at(-59), "leaseDurationSeconds": 60}, "a"),
        ({"holderIdentity": "a", "renewTime": at(-61), "leaseDurationSeconds": 60}, ""),
        ({"holderIdentity": "a", "renewTime": at(-61)}, ""),
        ({"holderIdentity": "a", "renewTime": at(-61), "leaseDurationSeconds": 120}, "a"),
        ({"holderIdentity": "a", "acquireTime": at(-61), "renewTime": at(-1)}, "a"),
        ({"holderIdentity": "a", "renewTime": at(30)}, "a"),  # a clock ahead of the server's
    ],
)
def test_a_lease_is_held_until_it_expires(spec: dict[str, Any], expected: str) -> None:
    assert holder_of(spec, NOW) == expected


def test_a_lease_that_was_never_renewed_expires_by_its_age() -> None:
    spec = {"holderIdentity": "a"}
    assert holder_of(spec, NOW, "2026-01-01T11:59:30Z") == "a"
    assert holder_of(spec, NOW, "2026-01-01T11:58:30Z") == ""
    assert holder_of(spec, NOW) == "a"  # nothing tells its age: better ask a person than run twice


def test_renewing_keeps_the_history_and_taking_over_counts() -> None:
    first = renewed({"leaseTransitions": 2, "holderIdentity": "b", "acquireTime": at(-99)}, "a", NOW)
    assert (first["holderIdentity"], first["leaseTransitions"], first["acquireTime"]) == ("a", 3, at(0))
    second = renewed(first, "a", NOW + timedelta(seconds=5))
    assert (second["leaseTransitions"], second["acquireTime"], second["renewTime"]) == (3, at(0), at(5))
    assert holder_of(second, NOW + timedelta(seconds=64)) == "a"


class Server:
    """A server whose clock is off by some seconds, with the Lease as this instance gave it back."""

    def __init__(self, off: float) -> None:
        self.off = timedelta(seconds=off)
        self.lease: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "spec": {"leaseTransitions": 1}}
        self.asked: list[str] = []

    def _found(self) -> Found:
        return Found(self.lease, format_datetime(datetime.now(UTC) + self.off, usegmt=True))

    def recall(self, shelf: Shelf, name: str, *, look: bool = True) -> Found | None:
        return self._found()

    def read(self, shelf: Shelf, name: str) -> Found | None:
        self.asked.append("read")
        return self._found()

    def replace(self, shelf: Shelf, name: str, body: dict[str, Any]) -> Found | None:
        self.asked.append("replace")
        self.lease = body
        return self._found()


@pytest.mark.parametrize(
    ("off", "asked"), [(0, ["replace"]), (-600, ["replace", "read", "replace"]), (600, ["replace", "read", "replace"])]
)
def test_a_lease_tells_the_servers_time_whatever_this_hosts_clock_says(off: float, asked: list[str]) -> None:
    server = Server(off)
    leases = Leases("default", "home", cast(Connection, None), cast(House, server))
    leases.hold("shop", "a")
    told = datetime.fromisoformat(server.lease["spec"]["renewTime"])
    assert abs(told - (datetime.now(UTC) + server.off)) < SLACK
    assert server.asked == asked
