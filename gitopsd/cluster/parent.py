"""The parent: a ConfigMap, ApplySet parent of a stack, with the stack's memory, so that a lost host can be rebuilt."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import orjson

from gitopsd.cluster.connection import Connection
from gitopsd.cluster.house import MANAGED_BY, STACK_ANNOTATION, Found, House, Shelf
from gitopsd.kinds import marks
from gitopsd.model.codec import from_plain, to_plain
from gitopsd.model.errors import EnvironmentFault, NeedsPerson, Problem
from gitopsd.model.memory import Memory

LARGEST = 900 * 1024
"""Bytes of data that are written; the API server's limit is 1 MiB with everything that it adds."""

_KEYS = {f.name: f.name for f in dataclasses.fields(Memory) if f.name != "stack"} | {"audit": "auditHead"}
"""Field of the memory -> key of the ConfigMap. The stack itself is in the annotation and the name."""

_TRIES = 5


class Parents:
    """The parents of one cluster."""

    def __init__(self, name: str, namespace: str, connection: Connection, house: House) -> None:
        self._name, self._connection, self._house = name, connection, house
        self._shelf = Shelf("", "v1", "ConfigMap", "configmaps", namespace)

    def load(self, stack: str) -> Memory | None:
        """What the parent says; None if there is none.

        Raises NeedsPerson for a ConfigMap of that name which is not a parent, EnvironmentFault for one that cannot be
        understood.
        """
        found = self._house.read(self._shelf, marks.parent_name(stack))
        return None if found is None else self._memory(stack, found)

    def save(self, memory: Memory, *, over: str = "") -> None:
        """Write the parent unless it says the same already.

        Raises NeedsPerson if it belongs to another instance than ours and `over`, or is not ours, EnvironmentFault if
        it has a higher generation: then another process has written it, and this memory is old.
        """
        name = marks.parent_name(memory.stack)
        for _ in range(_TRIES):
            found = self._house.recall(self._shelf, name)
            wanted = self._wanted(memory, found)
            if found is None:
                if self._house.create(self._shelf, name, wanted):
                    return
                continue
            self._may_replace(memory, self._memory(memory.stack, found), over)
            if _same(found.body, wanted):
                if not found.remembered:
                    return
            elif self._house.replace(self._shelf, name, wanted):
                return
        raise self._connection.fault(f"ConfigMap {self._place(memory.stack)} is changed all the time by somebody else")

    def _wanted(self, memory: Memory, found: Found | None) -> dict[str, Any]:
        """The whole ConfigMap: ours over what others may have put beside it in its metadata."""
        name, namespace = marks.parent_name(memory.stack), self._shelf.namespace
        metadata: dict[str, Any] = dict(found.metadata) if found is not None else {"name": name, "namespace": namespace}
        labels = {marks.ID_LABEL: marks.applyset_id(name, namespace), marks.MANAGED_BY_LABEL: MANAGED_BY}
        elsewhere = sorted(set(memory.namespaces) - {namespace, ""})
        annotations = {
            marks.TOOLING_ANNOTATION: marks.TOOLING,
            marks.CONTAINS_ANNOTATION: ",".join(sorted(set(memory.kinds))),
            marks.NAMESPACES_ANNOTATION: ",".join(elsewhere),
            STACK_ANNOTATION: memory.stack,
        }
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
        return self._shelf.body(metadata, data=fit(memory, self._place(memory.stack)))

    def _may_replace(self, memory: Memory, there: Memory, over: str) -> None:
        place = self._place(memory.stack)
        if there.instance not in {memory.instance, over}:
            raise NeedsPerson(
                Problem(
                    f"cluster {self._name}: stack {memory.stack} belongs to the instance {there.instance!r}, "
                    f"as ConfigMap {place} says",
                    remedy=f"stop that one, then run `gitopsd takeover {memory.stack}` on this host",
                )
            )
        if there.generation > memory.generation:
            raise self._connection.fault(
                f"ConfigMap {place} has generation {there.generation}, newer than this host's {memory.generation}: "
                f"another process runs as {memory.instance!r}, or the state directory is an old copy",
                remedy="stop the other process and restart this one; it reads the newer memory at its start",
            )

    def _memory(self, stack: str, found: Found) -> Memory:
        if found.stack != stack:
            raise NeedsPerson(
                Problem(
                    f"cluster {self._name}: ConfigMap {self._place(stack)} exists, but it is not the parent of a stack "
                    f"(it lacks the annotation {STACK_ANNOTATION}: {stack})",
                    remedy="rename the stack, or remove that ConfigMap if nobody needs it",
                )
            )
        return self._read(stack, found.body.get("data") or {})

    def _read(self, stack: str, data: Mapping[str, str]) -> Memory:
        hints = typing.get_type_hints(Memory)
        values: dict[str, Any] = {}
        for field, key in _KEYS.items():
            if key not in data:
                if field in {"instance", "source"}:
                    raise self._broken(stack, key, "is missing")
                continue
            try:
                values[field] = from_plain(hints[field], orjson.loads(data[key]))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise self._broken(stack, key, "has been changed to what cannot be understood") from error
        return Memory(stack=stack, **values)

    def _broken(self, stack: str, key: str, what: str) -> EnvironmentFault:
        remedy = "put the former value back; without the ConfigMap the stack is deployed as new"
        return self._connection.fault(f"ConfigMap {self._place(stack)}: its key {key!r} {what}", remedy=remedy)

    def _place(self, stack: str) -> str:
        return f"{self._shelf.namespace}/{marks.parent_name(stack)}"


def encode(memory: Memory) -> dict[str, str]:
    """The ConfigMap's data: every field as JSON text, so that people can read it and `kubectl diff` shows it."""
    return {key: orjson.dumps(to_plain(getattr(memory, field))).decode() for field, key in _KEYS.items()}


def fit(memory: Memory, place: str) -> dict[str, str]:
    """`encode`, without the oldest quarantine entries if it is too large: forgetting one costs one more failed try."""
    kept = sorted(memory.quarantine, key=lambda q: q.at)
    while True:
        data = encode(dataclasses.replace(memory, quarantine=tuple(q for q in memory.quarantine if q in kept)))
        size = sum(len(key) + len(value.encode()) for key, value in data.items())
        if size <= LARGEST:
            return data
        if not kept:
            raise EnvironmentFault(
                Problem(
                    f"the memory of stack {memory.stack} does not fit into ConfigMap {place} ({size // 1024} KiB)",
                    remedy="split the stack: it has more finished Jobs than one parent can list",
                )
            )
        kept = kept[len(kept) // 10 + 1 :]


def _same(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether nothing would change: data, labels and annotations (the other metadata is taken from the object)."""
    return body.get("data") == wanted.get("data") and body.get("metadata") == wanted.get("metadata")
