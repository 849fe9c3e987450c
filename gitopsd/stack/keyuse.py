"""Which of this host's sealing keys what a stack tracks depends on, and what no key opens any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gitopsd.model.ids import UnitId
from gitopsd.model.ports import Vault
from gitopsd.model.units import Desired, Sealed

UNUSABLE_SHOWN = 3
"""Keys that cannot be used of which it is said why, wherever one is missed."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """`secrets` counts the sealed Secrets that each key opens, by fingerprint. `locked` are the units whose values stay
    as they are until a key comes back, and why."""

    secrets: Mapping[str, int] = field(default_factory=dict)
    locked: Mapping[UnitId, str] = field(default_factory=dict)


def key_use(vault: Vault, desired: Desired) -> KeyUse:
    """As far as it is remembered which key opened what: no key is touched for it."""
    here, unusable = vault.fingerprints(), "; ".join(map(str, vault.unusable()[:UNUSABLE_SHOWN]))
    counts: Counter[str] = Counter()
    locked: dict[UnitId, str] = {}
    for unit, sealed in _sealed(desired):
        names = vault.opened_by(sealed)
        counts.update(names)
        missing = sorted(names - here)
        if missing:
            why = f"not among the usable keys ({unusable})" if unusable else "gone"
            locked[unit] = (
                f"the key {missing[0]} that opened {sealed.name} is {why}: it stays as it is, and can be neither "
                "changed back nor healed until the key is in the key directory again"
            )
    return KeyUse(dict(counts), locked)


def _sealed(desired: Desired) -> Iterator[tuple[UnitId, Sealed]]:
    for unit in desired.units.values():
        if unit.sealed is not None:
            yield unit.id, unit.sealed
    for module in desired.modules.values():
        for sealed in module.sealed:
            yield module.id, sealed
