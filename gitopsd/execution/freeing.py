"""Takes an object away from the SealedSecret that it was made from, so that it survives when that one goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.execution.session import Session
from gitopsd.kinds.marks import is_ours, sealed_secret_of
from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.live import Absence, LiveObject, Rejection, RejectionKind
from gitopsd.model.ports import Cluster
from gitopsd.model.units import KubernetesUnit, Manifest

TRIES = 5
"""The controller may write between our writes; after this many such races the environment is at fault."""


@dataclass(frozen=True, slots=True)
class Freed:
    """The object as it is now, and the reference that it had; None if nothing owned it. `refused`: nobody could take it
    off."""

    live: LiveObject
    reference: Mapping[str, Any] | None = None
    refused: Rejection | None = None


def free(session: Session, unit: KubernetesUnit, manifest: Manifest, live: LiveObject) -> Freed:
    """Remove the ownerReference to a SealedSecret from what was just applied.

    The controller, while it still runs, writes the whole of the object, our marks included, whenever it looks at that
    SealedSecret: then it is applied once more, and looked at once more. Raises EnvironmentFault if this does not end.
    """
    cluster, first = session.cluster(unit.id), sealed_secret_of(live)
    for _ in range(TRIES):
        reference = sealed_secret_of(live)
        if reference is not None:
            answer = cluster.patch(unit.id, _removal(live, reference))
        elif is_ours(live, session.spec.name, session.applysets[unit.id.cluster]):
            return Freed(live, first)
        else:
            answer = _applied(cluster, unit, manifest)
        if answer is Absence.GONE or answer is Absence.KIND_UNSERVED:
            raise EnvironmentFault(Problem("is gone since it was applied", unit=str(unit.id)))
        if isinstance(answer, Rejection) and answer.kind is RejectionKind.CONFLICT:
            answer = _applied(cluster, unit, manifest)  # it was written since it was looked at
        if isinstance(answer, Rejection):
            return Freed(live, first, answer)
        live = answer
    text = "the sealed-secrets controller writes it faster than it can be taken over"
    raise EnvironmentFault(Problem(text, unit=str(unit.id), remedy="stop that controller"))


def _applied(cluster: Cluster, unit: KubernetesUnit, manifest: Manifest) -> LiveObject | Rejection:
    answer = cluster.apply(unit.id, manifest)
    return answer if isinstance(answer, Rejection) else answer.live


def _removal(live: LiveObject, reference: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """RFC 6902 operations that take off this reference of this object, and do nothing if either is another by now."""
    place = f"/metadata/ownerReferences/{live.owner_references.index(reference)}"
    return [
        {"op": "test", "path": "/metadata/uid", "value": live.uid},
        {"op": "test", "path": f"{place}/uid", "value": reference.get("uid", "")},
        {"op": "remove", "path": place},
    ]
