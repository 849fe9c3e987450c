"""What the checks over a whole stack have to know of a manifest, found once when its unit is made."""

from __future__ import annotations

from gitopsd.kinds.builtin import custom_kinds
from gitopsd.kinds.fields import autoscaled
from gitopsd.kinds.jobs import job_digest
from gitopsd.model.ids import UnitId
from gitopsd.model.units import PLAIN, Manifest, Traits
from gitopsd.planning.creators import is_crd, is_job


def traits_of(unit: UnitId, manifest: Manifest) -> Traits:
    """The traits of a complete (or, as far as it is, of a templated) manifest."""
    scales = next(iter(autoscaled([manifest])), None)
    custom = custom_kinds(manifest) if is_crd(unit) else None
    job = job_digest(manifest) if is_job(unit) else ""
    if scales is None and custom is None and not job:
        return PLAIN
    return Traits(scales, (custom.group, custom.kind) if custom else None, job)
