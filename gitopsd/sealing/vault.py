"""The port `Vault` on the key directory of this host."""

from __future__ import annotations

from pathlib import Path

from gitopsd.model.ports import OpenedItems
from gitopsd.model.units import Sealed
from gitopsd.sealed.document import SealedSecret
from gitopsd.sealing.keyring import Keyring
from gitopsd.sealing.opening import open_items


class KeyVault:
    """Opens with the keys that are in the directory at that moment. Safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        self.keyring = Keyring(directory)

    def open(self, sealed: Sealed) -> OpenedItems:
        if not isinstance(sealed, SealedSecret):
            raise TypeError(f"a {type(sealed).__name__} is not read by gitopsd.sealed")
        found = open_items(sealed, self.keyring.snapshot().opening)
        return OpenedItems(found.items, found.fingerprints)

    def digest(self) -> str:
        return self.keyring.digest()
