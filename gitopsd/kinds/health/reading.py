"""Reading statuses that may be incomplete, and putting them into few words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gitopsd.model.live import Assessment, Health, Workload
from gitopsd.model.units import Manifest

LONGEST = 300
"""Characters of a message: registries and admission webhooks like to answer with whole documents."""


def text(value: Any) -> str:
    return "" if value is None else str(value)


def short(message: str) -> str:
    """On one line, and no longer than a person reads."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def section(manifest: Manifest, name: str) -> Mapping[str, Any]:
    """`spec`, `status` or `metadata`; empty if there is none."""
    value = manifest.get(name)
    return value if isinstance(value, Mapping) else {}


def status(workload: Workload) -> Mapping[str, Any]:
    return section(workload.live.body, "status")


def spec(workload: Workload) -> Mapping[str, Any]:
    return section(workload.live.body, "spec")


def number(values: Mapping[str, Any], name: str, default: int = 0) -> int:
    """An integer field; the API leaves out zeros."""
    value = values.get(name)
    return value if isinstance(value, int) else default


def condition(manifest: Manifest, kind: str) -> Mapping[str, Any] | None:
    """The condition of a type."""
    found = section(manifest, "status").get("conditions")
    items = found if isinstance(found, list) else []
    return next((c for c in items if isinstance(c, Mapping) and c.get("type") == kind), None)


def holds(manifest: Manifest, kind: str, value: str = "True") -> Mapping[str, Any] | None:
    """The condition of a type, if its status is `value`."""
    found = condition(manifest, kind)
    return found if found is not None and found.get("status") == value else None


def told(health: Health, found: Mapping[str, Any], *, final: bool = False) -> Assessment:
    """What a condition says, in its own words."""
    reason = text(found.get("reason")) or text(found.get("type"))
    return Assessment(health, reason, short(text(found.get("message"))), final)


def moment(value: Any) -> datetime | None:
    """A Kubernetes time; None for none, or for one that is no time."""
    try:
        read = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
