"""The inventory's entry for an object, from what the API server answered."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from gitopsd.kinds.imprint import imprint_of
from gitopsd.kinds.options import PRUNE
from gitopsd.model.live import LiveObject
from gitopsd.model.memory import Baseline
from gitopsd.model.units import Order


def baseline_of(
    live: LiveObject, *, component: str, order: Order, digest: str, at: str, ignore: Sequence[str] = ()
) -> Baseline:
    """What is kept of an object; `ignore` are the paths of its fields that are left to others. Little: there may be
    thousands, and what they look like is in the cluster and in git."""
    prune = live.annotations.get(PRUNE)
    metadata: dict[str, Any] = {"annotations": {PRUNE: prune}} if prune is not None else {}
    return Baseline(
        unit=live.id,
        component=component,
        order=order,
        digest=digest,
        uid=live.uid,
        resource_version=live.resource_version,
        api_version=sys.intern(str(live.body.get("apiVersion", ""))),
        at=at,
        metadata=metadata,
        imprint=imprint_of(live, ignore),
    )
