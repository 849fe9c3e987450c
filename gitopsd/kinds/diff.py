"""The difference of two objects as a person reads it, without noise and without a Secret's values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gitopsd.kinds.marks import PART_OF_LABEL, TRACKING_ANNOTATION
from gitopsd.kinds.normalise import group_kind
from gitopsd.kinds.paths import child, element, element_key, natural_keys
from gitopsd.model.plan import Edit, FieldChange
from gitopsd.model.units import Manifest

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Where client-side `kubectl apply` keeps a whole copy of what it sent, a Secret's values included."""

NOISE = frozenset({"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"})


class _Missing:
    """No value; None is one (of a field that is set to null)."""


class _Masked:
    """Stands for a value that may be compared but never shown, nor its length."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Masked) and same(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "(masked)"


MISSING: Final = _Missing()


def diff(before: Manifest | None, after: Manifest | None, *, secret: bool) -> tuple[FieldChange, ...]:
    """What changes from `before` to `after` (None: no object), sorted by path.

    A subtree that comes or goes is one change. Elements of lists are matched by their natural key, else by index; where
    only the order of matched elements differs, one change has their keys in the old and the new order. Whatever
    `secret` says, a Secret's values are masked.
    """
    secret = secret or any(group_kind(m) == ("", "Secret") for m in (before, after) if m is not None)
    old, new = ({} if m is None else _masked(strip_noise(m), secret) for m in (before, after))
    return tuple(sorted(_compare("", old, new), key=lambda change: (change.path, change.edit)))


def strip_noise(manifest: Manifest) -> Manifest:
    """Without what the server keeps to itself and without our own marks."""
    clean = {key: value for key, value in manifest.items() if key not in {"status", "metadata"}}
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        return clean if metadata is None else {**clean, "metadata": metadata}
    kept = {key: value for key, value in metadata.items() if key not in NOISE}
    for field, mark in (("labels", PART_OF_LABEL), ("annotations", TRACKING_ANNOTATION)):
        values = kept.get(field)
        if isinstance(values, Mapping) and mark in values:
            kept[field] = {key: value for key, value in values.items() if key != mark}
            if not kept[field]:
                del kept[field]
    return {**clean, "metadata": kept} if kept else clean


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: `true` is not 1, though Python says so; 1 and 1.0 are the same number."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


# ---------------------------------------------------------------- masking


def _masked(manifest: Manifest, secret: bool) -> Manifest:
    """A Secret with every value behind a mask, so that no path through the comparison can show one."""
    if not secret:
        return manifest
    hidden = {field: _mask_values(manifest[field]) for field in ("data", "stringData") if field in manifest}
    metadata = manifest.get("metadata")
    if isinstance(metadata, Mapping):
        annotations = metadata.get("annotations")
        if isinstance(annotations, Mapping) and LAST_APPLIED in annotations:
            copied = {**annotations, LAST_APPLIED: _Masked(annotations[LAST_APPLIED])}
            hidden["metadata"] = {**metadata, "annotations": copied}
    return {**manifest, **hidden}


def _mask_values(values: Any) -> Any:
    return {key: _Masked(value) for key, value in values.items()} if isinstance(values, Mapping) else _Masked(values)


def _hides(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_hides(item) for item in value.values())
    return isinstance(value, _Masked)


# ---------------------------------------------------------------- comparing


def _compare(path: str, old: Any, new: Any) -> Iterator[FieldChange]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _compare(child(path, key), old.get(key, MISSING), new.get(key, MISSING))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _compare_lists(path, old, new)
    elif not same(old, new):
        yield from _changed(path, old, new)


def _compare_lists(path: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[FieldChange]:
    names = natural_keys(old, new)
    if names is None:
        for index in range(max(len(old), len(new))):
            here = element(path, str(index))
            yield from _compare(here, _at(old, index), _at(new, index))
        return
    former = {element_key(item, names): item for item in old}
    latter = {element_key(item, names): item for item in new}
    for key in sorted(former.keys() | latter.keys()):
        yield from _compare(element(path, key), former.get(key, MISSING), latter.get(key, MISSING))
    order = [key for key in former if key in latter]
    new_order = [key for key in latter if key in former]
    if order != new_order:
        yield FieldChange(path, Edit.REPLACE, order, new_order)


def _at(items: Sequence[Any], index: int) -> Any:
    return items[index] if index < len(items) else MISSING


def _changed(path: str, old: Any, new: Any) -> Iterator[FieldChange]:
    if old is not MISSING and new is not MISSING and not _hides(old) and not _hides(new):
        yield FieldChange(path, Edit.REPLACE, old, new)
    elif isinstance(old, _Masked) and isinstance(new, _Masked):
        yield FieldChange(path, Edit.REPLACE, masked=True)
    else:
        yield from _one_sided(path, Edit.REMOVE, old)
        yield from _one_sided(path, Edit.ADD, new)


def _one_sided(path: str, edit: Edit, value: Any) -> Iterator[FieldChange]:
    """What comes or goes as a whole; taken apart only where something in it must not be shown."""
    if value is MISSING:
        return
    if isinstance(value, _Masked):
        yield FieldChange(path, edit, masked=True)
    elif isinstance(value, Mapping) and _hides(value):
        for key in sorted(value):
            yield from _one_sided(child(path, key), edit, value[key])
    elif edit is Edit.ADD:
        yield FieldChange(path, edit, after=value)
    else:
        yield FieldChange(path, edit, before=value)
