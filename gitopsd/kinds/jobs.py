"""Jobs run once for each digest of their spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from gitopsd.kinds.normalise import manifest_digest
from gitopsd.model.live import LiveObject
from gitopsd.model.units import Manifest

JobState = Literal["running", "complete", "failed"]


def job_digest(manifest: Manifest) -> str:
    """What the Job is asked to do, as in git (normalised): a new digest is a new run of it. Labels do not count."""
    spec: Mapping[str, Any] = manifest.get("spec") or {}
    return manifest_digest(spec)


def job_state(live: LiveObject) -> JobState:
    """How far a Job is. `FailureTarget` and `SuccessCriteriaMet` come before its pods are gone: still running."""
    conditions = (live.body.get("status") or {}).get("conditions") or ()
    true = {condition.get("type") for condition in conditions if condition.get("status") == "True"}
    if "Complete" in true:
        return "complete"
    return "failed" if "Failed" in true else "running"
