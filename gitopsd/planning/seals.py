"""SealedSecrets among the documents: each is the Secret that it becomes, known but for its values."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gitopsd.kinds.options import ARGOCD_WAVE, PREFIX
from gitopsd.model.errors import EnvironmentFault, Problem, raise_if
from gitopsd.model.ids import UnitId
from gitopsd.model.plan import Leftover
from gitopsd.model.sensitive import Sensitive
from gitopsd.model.spec import KubernetesComponent
from gitopsd.model.units import Desired, Document, KubernetesUnit, Manifest, Sealed
from gitopsd.planning.select import Candidate
from gitopsd.sealed.document import At, SealedSecret, is_sealed_secret, read_sealed_secret

FALLBACK_NAMESPACE = "default"
"""Where kubectl, too, puts an object that names no namespace."""


def unsealed(document: Document, component: KubernetesComponent) -> tuple[Document, SealedSecret | None]:
    """A SealedSecret as the Secret that it becomes, without values; any other document as it is. Raises CommitError
    with everything that is wrong with it."""
    if not is_sealed_secret(document.manifest):
        return document, None
    place = At(document.origin.file, document.origin.line)
    sealed = read_sealed_secret(document.manifest, place, component.namespace or FALLBACK_NAMESPACE)
    raise_if(_placeholders(document, component))
    bare = sealed.bare()
    said = _own_annotations(document.manifest)
    if said:
        metadata = bare["metadata"]
        bare["metadata"] = {**metadata, "annotations": {**metadata.get("annotations", {}), **said}}
    return replace(document, manifest=bare), sealed


def sealed_unit(unit: KubernetesUnit, sealed: Sealed) -> KubernetesUnit:
    """The unit of a Secret that is still sealed. Its digest changes with the sealed texts, and needs no key."""
    digest = hashlib.sha256(f"{unit.digest}\n{sealed.digest}".encode()).hexdigest()
    return replace(unit, digest=digest, sealed=sealed)


def opened_unit(unit: KubernetesUnit, items: Mapping[str, Sensitive]) -> KubernetesUnit:
    """The unit with its values: from here on it is a Secret like any other, and lives no longer than its run."""
    if unit.sealed is None:
        return unit
    data = {key: value.reveal() for key, value in unit.sealed.secret(items)["data"].items()}
    return replace(unit, manifest={**unit.manifest, "data": data} if data else unit.manifest, sealed=None)


def still_sealed(candidates: Sequence[Candidate]) -> tuple[KubernetesUnit, ...]:
    """What of the candidates has to be opened before anybody can be asked about it."""
    return tuple(c.unit for c in candidates if c.unit.sealed is not None)


def with_opened(
    desired: Desired, candidates: Sequence[Candidate], opened: Mapping[UnitId, KubernetesUnit]
) -> tuple[Desired, tuple[Candidate, ...]]:
    """What a run is about, with the Secrets that were opened in place of the sealed ones."""
    if not opened:
        return desired, tuple(candidates)
    changed = tuple(replace(c, unit=opened.get(c.unit.id, c.unit)) for c in candidates)
    return replace(desired, units={**desired.units, **opened}), changed


def raise_locked(faults: Collection[EnvironmentFault]) -> None:
    """Raise all faults as one, each problem once. Does nothing without any."""
    raise_if(dict.fromkeys(problem for fault in faults for problem in fault.problems), EnvironmentFault)


def left_locked(faults: Mapping[UnitId, EnvironmentFault]) -> tuple[Leftover, ...]:
    """What a run that does not wait for keys leaves as it is."""
    return tuple(Leftover(unit, str(fault), environment=True) for unit, fault in sorted(faults.items()))


def _own_annotations(manifest: Manifest) -> dict[str, Any]:
    """What the SealedSecret's annotations say to gitopsd; the others are its own and do not reach the Secret."""
    said = (manifest.get("metadata") or {}).get("annotations") or {}
    return {key: text for key, text in said.items() if key.startswith(PREFIX) or key == ARGOCD_WAVE}


def _placeholders(document: Document, component: KubernetesComponent) -> Iterator[Problem]:
    for name in component.values:
        if f"${{{name}}}" in _all_text(document.manifest):
            yield Problem(
                f"${{{name}}} cannot stand in a SealedSecret: its values are sealed before any output is known",
                document.origin.file,
                document.origin.line,
                remedy="write it out, or put it into a Secret of its own",
            )


def _all_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(_all_text(item) for item in value.values())
    if isinstance(value, list):
        return "\n".join(map(_all_text, value))
    return value if isinstance(value, str) else ""
