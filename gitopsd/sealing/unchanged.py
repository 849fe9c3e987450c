"""The proof, after an edit, that a file says what it said, sealed texts apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gitopsd.model.errors import CommitError, Problem
from gitopsd.sealed.document import is_sealed_secret
from gitopsd.sealing.splice import Found, SealedFile

MayChange = Callable[[Mapping[str, Any], str], bool]
"""Whether an item of a SealedSecret may be another one, or new."""


def verify(file: SealedFile, data: bytes, may_change: MayChange = lambda _manifest, _item: True) -> None:
    """Raises CommitError unless `data` reads like the file, apart from items that may change. Items are never lost."""
    after = _read(file.name, data)
    if after is None or not _same(list(file.manifests), list(after.manifests), may_change):
        raise _more_changes(file.name)


def unharmed(found: Found, data: bytes) -> SealedFile:
    """The file of a SealedSecret with one more item, read again. Raises CommitError with a line of the file as it was
    if it cannot be read any more."""
    after = _read(found.at.file, data)
    if after is None:
        raise _more_changes(found.at.file, found.at.line_of(("spec", "encryptedData")))
    return after


def _read(file: str, data: bytes) -> SealedFile | None:
    try:
        return SealedFile(file, data)
    except CommitError:
        return None


def _more_changes(file: str, line: int | None = None) -> CommitError:
    message = "a sealed text cannot be put in without changing more than that"
    return CommitError(Problem(message, file, line, remedy="write it as plain text on one line, and try again"))


def _same(old: Any, new: Any, may_change: MayChange) -> bool:
    if is_sealed_secret(old) and is_sealed_secret(new):
        return _rest(old) == _rest(new) and _items_fit(old, _items(old), _items(new), may_change)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(_same(a, b, may_change) for a, b in zip(old, new, strict=True))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key], may_change) for key in old)
    return bool(old == new)


def _items_fit(manifest: Mapping[str, Any], old: Any, new: Any, may_change: MayChange) -> bool:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return bool(old == new)
    kept = all(item in new and (new[item] == old[item] or may_change(manifest, item)) for item in old)
    return kept and all(may_change(manifest, item) for item in new.keys() - old.keys())


def _rest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    spec = manifest.get("spec")
    said = {key: value for key, value in spec.items() if key != "encryptedData"} if isinstance(spec, Mapping) else spec
    return {**manifest, "spec": said}


def _items(manifest: Mapping[str, Any]) -> Any:
    spec = manifest.get("spec")
    return spec.get("encryptedData") if isinstance(spec, Mapping) else None
