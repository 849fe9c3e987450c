"""What changes inside one resource or output, field by field and masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.model.modules import Edit, FieldChange
from gitopsd.tfplan.scrub import Scrubber
from gitopsd.tfplan.values import join, marked, part, part_of_mask, same, settled


@dataclass(frozen=True, slots=True)
class _Pair:
    """Both sides of one place, with what Terraform marks there."""

    before: Any
    after: Any
    unknown: Any
    before_sensitive: Any
    after_sensitive: Any

    def at(self, key: str | int) -> _Pair:
        return _Pair(
            part(self.before, key),
            part(self.after, key),
            part_of_mask(self.unknown, key),
            part_of_mask(self.before_sensitive, key),
            part_of_mask(self.after_sensitive, key),
        )

    @property
    def closed(self) -> bool:
        """Whether nobody may look inside."""
        return self.before_sensitive is True or self.after_sensitive is True


def field_changes(change: Mapping[str, Any], scrubber: Scrubber, path: str = "") -> tuple[FieldChange, ...]:
    """The fields that differ in one `change` of a plan, sorted as they stand. Values that Terraform marks as sensitive,
    and those that contain one, are masked; those known after apply are marked so."""
    pair = _Pair(
        change.get("before"),
        change.get("after"),
        change.get("after_unknown"),
        change.get("before_sensitive"),
        change.get("after_sensitive"),
    )
    return tuple(_walk(path, pair, scrubber))


def _walk(path: str, pair: _Pair, scrubber: Scrubber) -> Iterator[FieldChange]:
    if pair.closed or pair.unknown is True:
        if marked(pair.unknown) or not same(pair.before, pair.after):
            yield _leaf(path, pair, scrubber)
        return
    inside = [field for key in _keys(pair) for field in _walk(join(path, key), pair.at(key), scrubber)]
    yield from inside
    if not inside and not same(pair.before, pair.after):  # one more element, even if there is nothing in it
        yield _leaf(path, pair, scrubber)


def _keys(pair: _Pair) -> list[str] | list[int]:
    """The parts to look into: none where a value has none, or is of another shape on the other side."""
    sides = [side for side in (pair.before, pair.after) if side is not None]
    shapes = [*sides, pair.unknown] if isinstance(pair.unknown, (dict, list)) and pair.unknown else sides
    if shapes and all(isinstance(side, dict) for side in shapes):
        return sorted({str(key) for side in shapes for key in side})
    if shapes and all(isinstance(side, list) for side in shapes):
        return list(range(max(len(side) for side in shapes)))
    return []


def _leaf(path: str, pair: _Pair, scrubber: Scrubber) -> FieldChange:
    unknown = marked(pair.unknown)
    edit = Edit.REPLACE
    if settled(pair.before) is None:
        edit = Edit.ADD
    elif settled(pair.after) is None and not unknown:
        edit = Edit.REMOVE
    masks = (pair.before_sensitive, pair.after_sensitive)
    if any(map(marked, masks)) or scrubber.hides(pair.before) or scrubber.hides(pair.after):
        return FieldChange(path, edit, masked=True, unknown=unknown)
    return FieldChange(path, edit, pair.before, None if unknown else pair.after, unknown=unknown)
