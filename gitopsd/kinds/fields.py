"""Who owns which field, by the `managedFields` of a live object (FieldsV1 of server-side apply).

A FieldsV1 set is a tree: `f:NAME` is a map's entry, `k:{...}` the element of a list with these key fields, `v:VALUE` an
element of a set, `.` the entry or element itself, and a node without children a leaf: a scalar, or a list or map that
is owned as a whole. So the set itself says how a value is to be taken apart, for kinds that we know nothing of, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from gitopsd.kinds.diff import same
from gitopsd.kinds.paths import DEFAULTS, Path, find_element, parse_path
from gitopsd.model.live import LiveObject
from gitopsd.model.units import Manifest

MANAGER = "gitopsd"
"""The field manager of every write that gitopsd makes."""

Fields = Mapping[str, Any]

_IDENTITY = frozenset({("apiVersion",), ("kind",), ("metadata",), ("metadata", "name"), ("metadata", "namespace")})
"""Fields that no manager owns, for they say which object is meant."""

_ABSENT: Final = object()


def own_entry(live: LiveObject) -> Mapping[str, Any] | None:
    """Our apply entry; None if we never applied the object or have lost every field. It may lack `time`."""
    return next((entry for entry in live.managed_fields if is_own(entry)), None)


def owns_all(manifest: Manifest, live: LiveObject) -> bool:
    """Whether we own every leaf that the manifest sets; if not, a write is due even though the values are equal.

    Ownership under another API version says nothing: the fields may have other names there.
    """
    entry = own_entry(live)
    if entry is not None and entry.get("apiVersion") != manifest.get("apiVersion"):
        return False
    fields: Fields | None = (entry or {}).get("fieldsV1") or None
    wanted = {key: value for key, value in manifest.items() if (key,) not in _IDENTITY}
    metadata: Mapping[str, Any] = manifest.get("metadata") or {}
    described = {key: value for key, value in metadata.items() if ("metadata", key) not in _IDENTITY}
    return _covers(fields, wanted) and _covers((fields or {}).get("f:metadata"), described)


def overridden(wanted: Manifest, live: LiveObject) -> tuple[str, ...]:
    """The other managers that own a leaf which we set to another value, sorted.

    `wanted` is the manifest, or better the dry run's answer: its values are spelt as the server spells them. Of an
    answer only what our entry in it owns counts; the rest may have been changed by others between two looks.
    """
    answer = LiveObject(live.id, wanted)
    entry = own_entry(answer)
    ours: Fields = (entry.get("fieldsV1") or {}) if entry else {}
    others = [e for e in live.managed_fields if e.get("manager") != MANAGER and e.get("fieldsV1")]
    found = {str(e.get("manager", "")) for e in others if _contradicts(e["fieldsV1"], ours, wanted, live.body)}
    return tuple(sorted(found))


def keep_ignored(manifest: Manifest, live: LiveObject | None, ignore: tuple[str, ...]) -> Manifest:
    """The manifest with ignored fields left to their owner. `live` is the whole object; None: sent as in git.

    Leaving out a field that nobody else owns would remove it (or reset it to its default), also if git has stopped to
    set it. So what is ours alone is sent with its live value, and left out as soon as another manager owns it, too.
    What belongs to an element of a list that is not live yet is sent as in git.
    """
    if live is None:
        return manifest
    entry = own_entry(live)
    ours = entry.get("fieldsV1") if entry else None
    others = [e.get("fieldsV1") for e in live.managed_fields if not is_own(e)]
    kept: Any = manifest
    for path in ignore:
        kept = _settle_at(parse_path(path), kept, live.body, ours, [fields for fields in others if fields])
    result: Manifest = kept
    return result


def autoscaled(desired: Iterable[Manifest]) -> set[tuple[str, str, str]]:
    """(kind, namespace, name) of every object whose replicas belong to an autoscaler of these: a
    HorizontalPodAutoscaler, or KEDA's ScaledObject, which makes one."""
    found: set[tuple[str, str, str]] = set()
    for manifest in desired:
        default_kind = _AUTOSCALERS.get(str(manifest.get("kind")))
        target = (manifest.get("spec") or {}).get("scaleTargetRef")
        if default_kind is None or not isinstance(target, Mapping) or not target.get("name"):
            continue
        namespace = (manifest.get("metadata") or {}).get("namespace", "")
        found.add((str(target.get("kind") or default_kind), str(namespace), str(target["name"])))
    return found


_AUTOSCALERS = {"HorizontalPodAutoscaler": "", "ScaledObject": "Deployment"}
"""Kind of autoscaler, and the kind of its target if it names none."""


def ignorable(path: str) -> bool:
    """Whether a field may be left to others: not what identifies the object."""
    return parse_path(path) not in _IDENTITY


# ---------------------------------------------------------------- sets


def is_own(entry: Mapping[str, Any]) -> bool:
    """Apply on the object itself: a patch under our name is an entry of its own, which an apply does not replace."""
    return entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")


def _covers(fields: Fields | None, value: Any) -> bool:
    """Whether a set holds every leaf of a value. An empty map or list has none: servers drop it as they like."""
    if isinstance(value, Mapping | list) and not value:
        return True
    if fields is None:
        return isinstance(value, Mapping) and all(_covers(None, item) for item in value.values())
    if not fields:
        return True
    if isinstance(value, Mapping):
        return all(_covers(fields.get(f"f:{key}"), item) for key, item in value.items())
    if isinstance(value, list):
        return all(_covers(_element_fields(fields, index, item), item) for index, item in enumerate(value))
    return True


def _contradicts(theirs: Fields | None, ours: Fields | None, wanted: Any, live: Any) -> bool:
    """Whether a leaf that both sets hold is wanted to be another than it is. What is not wanted is not looked at."""
    if theirs is None or ours is None:
        return False
    if isinstance(wanted, Mapping) and isinstance(live, Mapping) and theirs:
        steps = ((f"f:{key}", item, live[key]) for key, item in wanted.items() if key in live)
    elif isinstance(wanted, list) and isinstance(live, list) and theirs:
        steps = ((step, _select(wanted, step), _select(live, step)) for step in theirs)
    else:
        return not same(wanted, live)
    return any(
        _contradicts(theirs.get(step), _child(ours, step), item, found)
        for step, item, found in steps
        if item is not _ABSENT and found is not _ABSENT
    )


def _element_fields(fields: Fields, index: int, item: Any) -> Fields | None:
    """The part of a list's set that is about one element."""
    steps = [step for step in fields if _means(step, index, item)]
    return fields[max(steps, key=len)] if steps else None


def _select(items: Sequence[Any], step: str) -> Any:
    return next((item for index, item in enumerate(items) if _means(step, index, item)), _ABSENT)


def _means(step: str, index: int, item: Any) -> bool:
    """Whether a step of a set leads to this element. Key fields that the server fills in may be missing in it."""
    sort, _, text = step.partition(":")
    if sort == "k":
        return isinstance(item, Mapping) and all(_has_key(item, k, v) for k, v in orjson.loads(text).items())
    if sort == "v":
        return same(item, orjson.loads(text))
    return sort == "i" and text == str(index)


def _has_key(item: Mapping[str, Any], key: str, value: Any) -> bool:
    """A key field without a known default may have any (a custom kind's own)."""
    return same(item[key], value) if key in item else key not in DEFAULTS or DEFAULTS[key] == value


# ---------------------------------------------------------------- ignored fields


def _settle_at(path: Path, wanted: Any, live: Any, ours: Fields | None, others: Sequence[Fields]) -> Any:
    """`wanted` with what stands at `path` left to its owner; walks manifest, live object and sets at once."""
    if not path:
        return _ours_alone(live, ours, others)
    step, rest = path[0], path[1:]
    if isinstance(wanted, list):
        return _settle_in_list(path, wanted, live, ours, others)
    if wanted is not _ABSENT and not isinstance(wanted, Mapping):
        return wanted
    here: Any = {} if wanted is _ABSENT else wanted
    below: Any = live.get(step, _ABSENT) if isinstance(live, Mapping) else _ABSENT
    if isinstance(below, list) and rest and step not in here:
        return wanted  # the whole list has left git: its elements go with it
    settled = _settle_at(
        rest, here.get(step, _ABSENT), below, _child(ours, f"f:{step}"), _children(others, f"f:{step}")
    )
    if settled is _ABSENT:
        return {key: value for key, value in here.items() if key != step} if step in here else wanted
    return {**here, step: settled}


def _settle_in_list(path: Path, wanted: list[Any], live: Any, ours: Fields | None, others: Sequence[Fields]) -> Any:
    """One element of a list. If git or the cluster does not have it there is nothing to settle."""
    index = find_element(wanted, path[0])
    found = find_element(live, path[0]) if isinstance(live, list) else None
    if index is None or found is None:
        return wanted
    steps = [step for step in ours or {} if _means(step, found, live[found])]
    mine = _child(ours, steps[0]) if steps else None
    theirs = [f for o in others if (f := _element_fields(o, found, live[found])) is not None]
    settled = _settle_at(path[1:], wanted[index], live[found], mine, theirs)
    return [*wanted[:index], *(() if settled is _ABSENT else (settled,)), *wanted[index + 1 :]]


def _child(fields: Fields | None, step: str) -> Fields | None:
    """The set below a step. A leaf above it is owned as a whole, and so is everything below."""
    if fields is None:
        return None
    return fields.get(step) if fields else fields


def _children(sets: Sequence[Fields], step: str) -> list[Fields]:
    return [below for fields in sets if (below := _child(fields, step)) is not None]


def _ours_alone(live: Any, ours: Fields | None, others: Sequence[Fields]) -> Any:
    """The part of a live value that we own and nobody else does."""
    if live is _ABSENT or ours is None:
        return _ABSENT
    if not ours:
        return _ABSENT if others else live
    if isinstance(live, Mapping):
        parts = {k: _ours_alone(v, _child(ours, f"f:{k}"), _children(others, f"f:{k}")) for k, v in live.items()}
        kept = {key: value for key, value in parts.items() if value is not _ABSENT}
        return kept or _ABSENT
    if isinstance(live, list):
        return _own_elements(live, ours, others) or _ABSENT
    return live


def _own_elements(live: list[Any], ours: Fields, others: Sequence[Fields]) -> list[Any]:
    kept = []
    for index, item in enumerate(live):
        step = next((s for s in ours if _means(s, index, item)), None)
        if step is None:
            continue
        theirs = [f for o in others if (f := _element_fields(o, index, item)) is not None]
        part = _ours_alone(item, ours[step], theirs)
        if part is not _ABSENT:
            keys = orjson.loads(step[2:]) if step.startswith("k:") else {}
            kept.append({**part, **keys} if isinstance(part, Mapping) else part)
    return kept
