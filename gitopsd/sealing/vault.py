"""The port `Vault` on the key directory of this host."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import orjson

from gitopsd.model.errors import Problem
from gitopsd.model.ports import BlobCache, OpenedItems
from gitopsd.model.units import Sealed
from gitopsd.sealed.document import SealedSecret
from gitopsd.sealing.keyring import Keyring
from gitopsd.sealing.opening import NoKeyOpens, open_items

_PREFIX: Final = "opened-by:1:"


class KeyVault:
    """Opens with the keys that are in the directory at that moment. Which key opened what is kept in `cache`: neither
    a value nor anything of one. Safe to use from several threads."""

    def __init__(self, directory: Path, cache: BlobCache) -> None:
        self.keyring = Keyring(directory)
        self._cache = cache

    def open(self, sealed: Sealed) -> OpenedItems:
        if not isinstance(sealed, SealedSecret):
            raise TypeError(f"a {type(sealed).__name__} is not read by gitopsd.sealed")
        keys = self.keyring.snapshot()
        try:
            found = open_items(sealed, keys.opening, lambda: self.opened_by(sealed))
        except NoKeyOpens as fault:  # the key may be here, and only not be guarded well enough
            raise NoKeyOpens(*keys.problems, *fault.problems) from None
        names = sorted(set(found.fingerprints.values()))
        self._cache.put({f"{_PREFIX}{sealed.digest}": orjson.dumps(names)})
        return OpenedItems(found.items, found.fingerprints)

    def digest(self) -> str:
        return self.keyring.digest()

    def fingerprints(self) -> frozenset[str]:
        return frozenset(pair.fingerprint for pair in self.keyring.snapshot().pairs)

    def unusable(self) -> tuple[Problem, ...]:
        return self.keyring.snapshot().problems

    def opened_by(self, sealed: Sealed) -> frozenset[str]:
        key = f"{_PREFIX}{sealed.digest}"
        known = self._cache.get([key]).get(key)
        return frozenset(orjson.loads(known)) if known else frozenset()
