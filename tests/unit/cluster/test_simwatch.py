"""The simulated cluster's watch tells what the real one would: deciders are tested with it."""

from __future__ import annotations

from typing import Any

from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.ids import UnitId
from gitopsd.model.watching import Blind, Removed, Seen, Sighted, WatchEvent, Whole
from tests.support.simcluster import SimCluster
from tests.support.simstate import ServerState
from tests.support.simwatch import SimWatch

A, B = (UnitId("default", "", "ConfigMap", "web", name) for name in ("a", "b"))


class Quiet:
    """Lets every call through."""

    def before(self, verb: str, unit: UnitId | None, *, write: bool) -> None: ...

    def after(self, verb: str, unit: UnitId | None, *, write: bool) -> None: ...


def config_map(name: str, label: str = "x", **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "web", "labels": {PART_OF_LABEL: label}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def watched() -> tuple[SimCluster, SimWatch]:
    cluster = SimCluster(ServerState(), lambda: 0.0, Quiet())
    cluster.make(config_map("a"))
    return cluster, cluster.watch("", "ConfigMap", ["x"])


def told(watch: SimWatch) -> list[WatchEvent]:
    watch.close()
    return list(watch.events())


def shape(events: list[WatchEvent]) -> list[str]:
    names = []
    for event in events:
        name = event.live.id.name if isinstance(event, Seen | Removed) else ""
        names.append(f"{type(event).__name__} {name}{'*' if isinstance(event, Seen) and event.listed else ''}".strip())
    return names


def test_a_list_and_then_each_write_by_itself() -> None:
    cluster, watch = watched()
    found = watch.events()
    assert shape([next(found), next(found)]) == ["Seen a*", "Whole"]
    cluster.edit(A, lambda body: body["data"].update(k="1"))
    cluster.edit(A, lambda body: body["data"].update(k="2"))
    cluster.make(config_map("b", label="y"))
    cluster.edit(A, lambda body: body["metadata"].pop("labels"))
    cluster.drop(A)
    watch.close()
    last = list(found)
    assert shape(last) == ["Seen a", "Seen a", "Removed a"]
    assert isinstance(last[-1], Removed)
    assert last[-1].live.labels == {PART_OF_LABEL: "x"}  # as it was while it was ours
    assert "data" not in last[-1].live.body


def test_what_happens_behind_a_cut_or_a_stall_comes_afterwards() -> None:
    cluster, watch = watched()
    found = watch.events()
    assert shape([next(found), next(found)]) == ["Seen a*", "Whole"]
    watch.cut()
    cluster.drop(A)
    watch.mend()
    watch.stall()
    cluster.make(config_map("b"))
    watch.mend()
    watch.close()
    events = list(found)
    assert shape(events) == ["Blind", "Sighted", "Removed a", "Seen b"]
    assert isinstance(events[0], Blind)
    assert isinstance(events[1], Sighted)


def test_an_expired_position_ends_in_a_new_list() -> None:
    cluster, watch = watched()
    found = watch.events()
    assert shape([next(found), next(found)]) == ["Seen a*", "Whole"]
    watch.cut()
    cluster.drop(A)
    cluster.make(config_map("b"))
    watch.mend(expired=True)
    watch.close()
    events = list(found)
    assert shape(events) == ["Blind", "Sighted", "Seen b*", "Whole"]
    assert events[-1] == Whole(frozenset({B}))


def test_without_applysets_every_object_counts() -> None:
    cluster, _ = watched()
    cluster.make(config_map("b", label="y"))
    assert shape(told(cluster.watch("", "ConfigMap", ()))) == ["Seen a*", "Seen b*", "Whole"]
