"""Server-side apply and field ownership as the API server does them, for objects in memory.

Lists whose elements all have a `name` are maps by it; every other list is one value. Bodies are never changed in place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

Path = tuple[str, ...]
Body = dict[str, Any]

_UNOWNED = frozenset({"apiVersion", "kind", "status"})
_SERVERS = frozenset(
    {
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
        "managedFields",
    }
)  # fmt: skip
_ABSENT = object()


@dataclass(frozen=True)
class Share:
    """What one manager owns of an object."""

    manager: str
    operation: str
    api_version: str
    paths: frozenset[Path]
    time: str
    subresource: str = ""

    def entry(self) -> Body:
        made = {
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": _tree(self.paths),
            "time": self.time,
        }
        return {**made, "subresource": self.subresource} if self.subresource else made


def applied(live: Body | None, manifest: Mapping[str, Any], manager: str, now: str) -> Body:
    """What `live` (None: nothing) becomes when `manager` applies `manifest` with force. Equal if nothing changes."""
    wanted = frozenset(_leaves(_ownable(manifest), ()))
    before = shares(live)
    mine = next((s for s in before if (s.manager, s.operation, s.subresource) == (manager, "Apply", "")), None)
    others = [s for s in before if s is not mine]
    body: Body = copy.deepcopy(live) if live is not None else {}
    if mine is not None:
        held = set().union(*(s.paths for s in others)) | wanted
        for path in sorted(mine.paths - held, key=len, reverse=True):
            if not any(h[: len(path)] == path for h in held):
                _remove(body, path)
    body = _merged(body, manifest)
    kept = [_without(s, (p for p in s.paths & wanted if _differs(live, body, p))) for s in others]
    own = Share(manager, "Apply", str(manifest["apiVersion"]), wanted, now)
    if mine is not None and (mine.paths, mine.api_version) == (own.paths, own.api_version) and _same(live, body):
        own = mine
    body.setdefault("metadata", {})["managedFields"] = [s.entry() for s in (*kept, own) if s.paths]
    return body


def updated(live: Body, body: Body, manager: str, now: str, subresource: str = "") -> Body:
    """`body` in place of `live`, written by `manager` with an ordinary update (of a subresource): what changed is its
    from now on."""
    old, new = frozenset(_leaves(_ownable(live), ())), frozenset(_leaves(_ownable(body), ()))
    changed = {p for p in new if p not in old or _differs(live, body, p)}
    before = shares(live)
    mine = next(
        (s for s in before if (s.manager, s.operation, s.subresource) == (manager, "Update", subresource)), None
    )
    others = [_without(s, changed | (old - new)) for s in before if s is not mine]
    paths = ((mine.paths if mine else frozenset()) - (old - new)) | changed
    own = Share(manager, "Update", str(live["apiVersion"]), paths, now, subresource)
    result = copy.deepcopy(body)
    result["metadata"]["managedFields"] = [s.entry() for s in (*others, own) if s.paths]
    return result


def shares(body: Mapping[str, Any] | None) -> list[Share]:
    """Who owns what."""
    entries = (body or {}).get("metadata", {}).get("managedFields") or ()
    return [
        Share(
            e["manager"],
            e["operation"],
            e["apiVersion"],
            frozenset(_paths(e["fieldsV1"], ())),
            e.get("time", ""),
            e.get("subresource", ""),
        )
        for e in entries
    ]


# ---------------------------------------------------------------- values and paths


def _ownable(body: Mapping[str, Any]) -> Body:
    metadata = {k: v for k, v in (body.get("metadata") or {}).items() if k not in _SERVERS}
    return {**{k: v for k, v in body.items() if k not in _UNOWNED and k != "metadata"}, "metadata": metadata}


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, Mapping) and (value or not path):
        for key, item in value.items():
            if item != {} or path:
                yield from _leaves(item, (*path, f"f:{key}"))
    elif _is_named(value):
        for item in value:
            here = (*path, _key(item["name"]))
            yield here
            yield from _leaves(item, here)
    else:
        yield path


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, Mapping) and "name" in i for i in value)


def _key(name: str) -> str:
    return f"k:{orjson.dumps({'name': name}).decode()}"


def _step(value: Any, step: str) -> Any:
    kind, _, text = step.partition(":")
    if kind == "f":
        return value.get(text, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    name = orjson.loads(text)["name"]
    items = value if isinstance(value, list) else ()
    return next((i for i in items if isinstance(i, Mapping) and i.get("name") == name), _ABSENT)


def _at(body: Any, path: Path) -> Any:
    for step in path:
        body = _step(body, step)
    return body


def _differs(one: Any, other: Any, path: Path) -> bool:
    """Whether the values at a leaf differ; of an element of a list only whether it is there."""
    first, second = _at(one, path), _at(other, path)
    if path[-1].startswith("k:"):
        return (first is _ABSENT) != (second is _ABSENT)
    return bool(first != second)


def _remove(body: Body, path: Path) -> None:
    """Take a value out, and with it what it leaves empty above it."""
    parent = _at(body, path[:-1])
    if path[-1].startswith("f:") and isinstance(parent, dict):
        parent.pop(path[-1][2:], None)
    elif isinstance(parent, list):
        parent[:] = [i for i in parent if i is not _step(parent, path[-1])]
    if len(path) > 1 and parent in ({}, []):
        _remove(body, path[:-1])


def _merged(live: Any, wanted: Any) -> Any:
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        return {**live, **{k: _merged(live.get(k), v) for k, v in wanted.items()}}
    if _is_named(live) and _is_named(wanted):
        new = {item["name"]: item for item in wanted}
        kept = [_merged(item, new.pop(item["name"], {})) for item in live]
        return [*kept, *new.values()]
    return copy.deepcopy(wanted)


def _same(live: Body | None, body: Body) -> bool:
    return live is not None and all(
        live.get(k) == body.get(k) if k != "metadata" else _ownable(live)["metadata"] == _ownable(body)["metadata"]
        for k in live.keys() | body.keys()
    )


# ---------------------------------------------------------------- sets of fields


def _without(share: Share, lost: Iterable[Path]) -> Share:
    left = share.paths - frozenset(lost)
    return share if left == share.paths else replace(share, paths=left)


def _tree(paths: Iterable[Path]) -> Body:
    root: Body = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    _trim(root)
    return root


def _trim(node: Body) -> None:
    if set(node) == {"."}:
        del node["."]
    for below in node.values():
        _trim(below)


def _paths(tree: Mapping[str, Any], path: Path) -> Iterator[Path]:
    for step, below in tree.items():
        if step == ".":
            yield path
        elif below:
            yield from _paths(below, (*path, step))
        else:
            yield (*path, step)


def json_patched(body: Body, operations: Sequence[Mapping[str, Any]]) -> Body | None:
    """`body` after an RFC 6902 patch of test, add, replace and remove; None if a test does not hold."""
    result: Body = copy.deepcopy(body)
    for operation in operations:
        steps = [s.replace("~1", "/").replace("~0", "~") for s in str(operation["path"]).split("/")[1:]]
        parent, last = _place(result, steps)
        if operation["op"] == "test":
            if _found(parent, last) != operation["value"]:
                return None
        elif operation["op"] == "remove":
            del parent[last]
        else:
            parent[last] = copy.deepcopy(operation["value"])
    _drop_empty_lists(result)
    return result


def _place(body: Body, steps: Sequence[str]) -> tuple[Any, Any]:
    """What holds the place that a pointer names, and the key or number of it in there."""
    parent: Any = body
    for step in steps[:-1]:
        parent = _found(parent, int(step) if isinstance(parent, list) else step)
    return parent, int(steps[-1]) if isinstance(parent, list) else steps[-1]


def _found(parent: Any, key: Any) -> Any:
    if isinstance(parent, list):
        return parent[key] if key < len(parent) else None
    return parent.get(key) if isinstance(parent, Mapping) else None


def _drop_empty_lists(body: Body) -> None:
    """The server stores no empty list of owners."""
    if not body["metadata"].get("ownerReferences", True):
        del body["metadata"]["ownerReferences"]
