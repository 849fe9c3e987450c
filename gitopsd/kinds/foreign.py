"""What others have written to an object of ours, by its managedFields: who, when, and which fields. Never values."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from gitopsd.kinds.fields import MANAGER, Fields, own_entry
from gitopsd.kinds.imprint import without
from gitopsd.kinds.paths import child, element, parse_path
from gitopsd.model.live import LiveObject
from gitopsd.model.status import Addition, Writer

KUBERNETES = frozenset(
    {
        "cloud-controller-manager",
        "clusterrole-aggregation-controller",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
    }
)
"""Managers that are the cluster itself: the revision of a Deployment or the volume of a claim is nobody's addition."""

SHOWN = 10
"""Paths of one manager that are kept of one object: thousands of objects may have the same sidecar."""


def writers(live: LiveObject, names: Iterable[str]) -> tuple[Writer, ...]:
    """These managers with the newest of their times, in order of name."""
    wanted = dict.fromkeys(names, "")
    for entry in live.managed_fields:
        name = str(entry.get("manager", ""))
        if name in wanted:
            wanted[name] = max(wanted[name], _time(entry))
    return tuple(Writer(name, at) for name, at in sorted(wanted.items()))


def foreign_additions(
    live: LiveObject, ignore: Sequence[str] = (), *, wanted: LiveObject | None = None
) -> tuple[Addition, ...]:
    """What other managers have added, beside what we own and what is left to others (`ignore`). Metadata is enough.

    `wanted` is the dry run's answer, in which we own all that git asks for: without it a field that somebody has taken
    from us is one of theirs.
    """
    theirs: dict[str, list[Mapping[str, Any]]] = {}
    for entry in live.managed_fields:
        name = str(entry.get("manager", ""))
        if name != MANAGER and name not in KUBERNETES and not entry.get("subresource") and entry.get("fieldsV1"):
            theirs.setdefault(name, []).append(entry)
    if not theirs:  # of most objects; the rest of them are read once more
        return ()
    ours: Fields = (own_entry(wanted or live) or {}).get("fieldsV1") or {}
    paths = [parse_path(path) for path in ignore]
    found = []
    for name, entries in sorted(theirs.items()):
        added = sorted({path for e in entries for path in _added("", without(e["fieldsV1"], paths), ours)})
        if added:
            shown = tuple(sys.intern(path) for path in added[:SHOWN])
            found.append(Addition(sys.intern(name), shown, len(added) - len(shown), max(map(_time, entries))))
    return tuple(found)


def _time(entry: Mapping[str, Any]) -> str:
    return str(entry.get("time") or "")


def _added(path: str, theirs: Fields, ours: Fields) -> Iterator[str]:
    """The fields and elements of one set that another does not have. An element counts as a whole."""
    for step, below in theirs.items():
        sort, _, text = step.partition(":")
        if not text or (not path and text == "status"):  # "." is the map itself; a status is no wish
            continue
        known = ours.get(step)
        here = _path(path, sort, text)
        if known is None and (sort != "f" or not below):
            yield here
        elif known is None or (known and below):  # a leaf of ours covers everything below it
            yield from _added(here, below, known or {})


def _path(path: str, sort: str, text: str) -> str:
    if sort == "f":
        return child(path, text)
    if sort == "k":
        return element(path, "/".join(str(value) for value in orjson.loads(text).values()))
    return element(path, str(orjson.loads(text)) if sort == "v" else text)
