"""Who owns which field, by the `managedFields` of a live object (FieldsV1 of server-side apply)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gitopsd.kinds.paths import Path
from gitopsd.model.live import LiveObject
from gitopsd.model.units import Manifest

MANAGER = "gitopsd"
"""The field manager of every write that gitopsd makes."""


def own_entry(live: LiveObject) -> Mapping[str, Any] | None:
    """Our apply entry; None if we never applied the object or have lost every field. It may lack `time`."""
    raise NotImplementedError


def owned_paths(fields: Mapping[str, Any]) -> frozenset[Path]:
    """Every path of a FieldsV1 set, in its own spelling (`f:spec`, `k:{...}`, `v:...`)."""
    raise NotImplementedError


def keep_ignored(manifest: Manifest, live: LiveObject | None, ignore: tuple[str, ...]) -> Manifest:
    """The manifest with ignored fields left to their owner. `live` is the whole object; None: sent as in git."""
    raise NotImplementedError


def owns_all(manifest: Manifest, live: LiveObject) -> bool:
    """Whether we own every leaf that the manifest sets; if not, a write is due even though the values are equal."""
    raise NotImplementedError


def overridden(manifest: Manifest, live: LiveObject) -> tuple[str, ...]:
    """The other managers that own a leaf which the manifest sets to another value.

    Pass the dry run's answer as `manifest` where there is one: its values are spelt as the server spells them.
    """
    raise NotImplementedError


def autoscaled(desired: Iterable[Manifest]) -> set[tuple[str, str, str]]:
    """(kind, namespace, name) of every object whose replicas belong to a HorizontalPodAutoscaler of these."""
    raise NotImplementedError


def ignorable(path: str) -> bool:
    """Whether a field may be left to others: not what identifies the object."""
    raise NotImplementedError
