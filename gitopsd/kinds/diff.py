"""The difference of two objects as a person reads it, without noise and without a Secret's values."""

from __future__ import annotations

from gitopsd.model.plan import FieldChange
from gitopsd.model.units import Manifest


def diff(before: Manifest | None, after: Manifest | None, *, secret: bool) -> tuple[FieldChange, ...]:
    """What changes from `before` to `after` (None: no object), sorted by path."""
    raise NotImplementedError


def strip_noise(manifest: Manifest) -> Manifest:
    """Without what the server keeps to itself and without our own marks."""
    raise NotImplementedError
