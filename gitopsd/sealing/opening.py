"""From a checked SealedSecret and the keys of this host to its opened items."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.sensitive import Sensitive
from gitopsd.sealed.document import SealedSecret
from gitopsd.sealing.envelope import NotOpened, OpeningKey, unseal


class NoKeyOpens(EnvironmentFault):
    """Some items cannot be opened with the keys that are there: a key may come, so this is not the commit's fault."""


@dataclass(frozen=True, slots=True)
class OpenedSecret:
    """The items in clear, each `Sensitive` bytes, and the fingerprint of the key that opened each."""

    items: Mapping[str, Sensitive]
    fingerprints: Mapping[str, str]


def open_items(
    secret: SealedSecret, keys: Sequence[OpeningKey], before: Callable[[], Collection[str]] = tuple
) -> OpenedSecret:
    """Open every item, with the first of the keys (newest first) that does it. Raises NoKeyOpens with every item that
    none opens, its place, its scope and the fingerprints tried, and those of keys that opened the Secret `before`."""
    items: dict[str, Sensitive] = {}
    fingerprints: dict[str, str] = {}
    problems: list[Problem] = []
    for key, sealed in secret.items.items():
        try:
            opened = unseal(keys, sealed, secret.label)
        except NotOpened:
            problems.append(no_key_opens(secret, key, keys, before()))
            continue
        items[key], fingerprints[key] = opened.plaintext, opened.fingerprint
    if problems:
        raise NoKeyOpens(*problems)
    return OpenedSecret(items, fingerprints)


def no_key_opens(secret: SealedSecret, item: str, keys: Sequence[OpeningKey], before: Collection[str] = ()) -> Problem:
    """The words for an item that none of these keys opens. Those of keys that opened the Secret `before` and are gone
    say which one to look for."""
    path = ("spec", "encryptedData", item)
    tried = ", ".join(key.fingerprint for key in keys) or "none, for there is no usable key"
    place = f" for {secret.namespace}/{secret.name}" if secret.scope.value == "strict" else ""
    place = f" for namespace {secret.namespace}" if secret.scope.value == "namespace-wide" else place
    gone = ", ".join(sorted({*before} - {key.fingerprint for key in keys}))
    known = f"; {gone} opened it before and is not here" if gone else ""
    return Problem(
        f"no key opens this item (sealed {secret.scope.value}{place}; tried {tried}{known})",
        secret.at.file,
        secret.at.line_of(path),
        field=".".join(path),
        unit=secret.subject,
        remedy="bring the key it was sealed for into the key directory, or seal the value again for this place",
    )
