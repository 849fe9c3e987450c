"""One watch for each kind of each cluster, shared by the stacks that track it, and none for what nobody tracks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Catalog, LiveObject, Resource
from gitopsd.model.ports import Watch
from gitopsd.model.watching import Removed, Seen, Sighted, WatchEvent, Whole
from gitopsd.stack.vigil import Interest, Topic, Vigil
from gitopsd.triggers import watches as module
from gitopsd.triggers.watches import RULES, Watches

PATIENCE = 20.0
MAPS, SECRETS = ("", "ConfigMap"), ("", "Secret")


def until(found: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class FakeWatch:
    """Tells what the test puts in."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[WatchEvent] = [Whole(frozenset())]
        self.closed = False

    def put(self, event: WatchEvent) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify()

    def events(self) -> Iterator[WatchEvent]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self.closed)
                if self.closed:
                    return
                event = self._events.pop(0)
            yield event


class FakeCluster:
    """Hands out watches; `refused` kinds cannot be watched."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str, frozenset[str], FakeWatch]] = []
        self.refused: set[str] = {kind for _, kind in RULES}
        self.tries = 0
        self.program = "v1.36.0"

    def version(self) -> str:
        return self.program

    def watch(self, group: str, kind: str, applysets: Collection[str]) -> Watch:
        self.tries += 1
        if kind in self.refused:
            raise EnvironmentFault(f"{kind} cannot be watched")
        made = FakeWatch()
        self.opened.append((group, kind, frozenset(applysets), made))
        return made

    def catalog(self, *, refresh: bool = False) -> Catalog:
        widget = Resource("example.org", "Widget", "widgets", True, ("v1",))
        return Catalog({("example.org", "Widget"): widget})

    def open(self, kind: str) -> list[tuple[frozenset[str], FakeWatch]]:
        return [(sets, watch) for _, each, sets, watch in self.opened if each == kind and not watch.closed]


class FakeVigil(Vigil):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self.heard: list[tuple[Topic, WatchEvent]] = []
        self.rules: list[tuple[str, tuple[str, str] | None]] = []

    def told(self, topic: Topic, event: WatchEvent) -> None:
        super().told(topic, event)
        self.heard.append((topic, event))

    def redefined(self, cluster: str, kind: tuple[str, str] | None) -> None:
        self.rules.append((cluster, kind))

    def seen(self) -> list[str]:
        return [event.live.id.name for _, event in self.heard if isinstance(event, Seen | Removed)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(module, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(module, "LONGEST_RETRY", 0.02)
    return FakeCluster()


@pytest.fixture
def watches(cluster: FakeCluster) -> Iterator[Watches]:
    before = set(threading.enumerate())
    made = Watches(lambda _: cluster)  # type: ignore[arg-type,return-value]
    yield made
    made.stop()
    assert set(threading.enumerate()) <= before


def interest(applyset: str, *kinds: tuple[str, str]) -> dict[str, Interest]:
    return {"default": Interest(applyset, frozenset(kinds))}


def config_map(name: str, applyset: str = "", version: int = 1, generation: int = 0) -> LiveObject:
    labels = {"applyset.kubernetes.io/part-of": applyset} if applyset else {}
    metadata = {"name": name, "uid": name, "resourceVersion": str(version), "labels": labels, "generation": generation}
    return LiveObject(UnitId("default", "", "ConfigMap", "web", name), {"metadata": metadata})


def test_two_stacks_share_the_watch_of_a_kind_and_each_hears_of_its_own(watches: Watches, cluster: FakeCluster) -> None:
    one, two = FakeVigil(), FakeVigil()
    watches.tend("one", one, interest("set-1", MAPS))
    watches.tend("two", two, interest("set-2", MAPS, SECRETS))
    until(lambda: cluster.open("Secret") and cluster.open("ConfigMap")[0][0] == {"set-1", "set-2"}, "both are watched")
    ((_, watch),) = cluster.open("ConfigMap")
    watch.put(Seen(config_map("a", "set-1")))
    watch.put(Seen(config_map("b", "set-2")))
    until(lambda: "b" in two.seen(), "it is told")
    assert (one.seen(), two.seen()) == (["a"], ["b"])
    assert one.covers(config_map("a").id)


def test_what_lost_its_label_is_told_to_everybody(watches: Watches, cluster: FakeCluster) -> None:
    """The last metadata of what is gone may be of before or after somebody took the label off."""
    one, two = FakeVigil(), FakeVigil()
    watches.tend("one", one, interest("set-1", MAPS))
    watches.tend("two", two, interest("set-2", MAPS))
    until(lambda: cluster.open("ConfigMap") and cluster.open("ConfigMap")[0][0] == {"set-1", "set-2"}, "both")
    cluster.open("ConfigMap")[0][1].put(Removed(config_map("a")))
    until(lambda: one.seen() == two.seen() == ["a"], "both are told")


def test_nothing_is_opened_again_while_nothing_changes(watches: Watches, cluster: FakeCluster) -> None:
    vigil = FakeVigil()
    cluster.refused.clear()
    for _ in range(5):
        watches.tend("one", vigil, interest("set-1", MAPS))
    until(lambda: len(cluster.opened) == 1 + len(RULES), "all are open")
    watches.tend("one", vigil, interest("set-1", MAPS))
    assert len(cluster.opened) == 1 + len(RULES)


def test_a_kind_that_nobody_tracks_any_more_is_not_watched(watches: Watches, cluster: FakeCluster) -> None:
    vigil = FakeVigil()
    watches.tend("one", vigil, interest("set-1", MAPS, SECRETS))
    until(lambda: cluster.open("Secret") and cluster.open("ConfigMap"), "both kinds")
    watches.tend("one", vigil, interest("set-1", MAPS))
    until(lambda: not cluster.open("Secret"), "it is closed")
    assert len(cluster.open("ConfigMap")) == 1
    watches.drop("one")
    until(lambda: not cluster.open("ConfigMap"), "everything is closed")


def test_what_cannot_be_watched_is_tried_again_and_is_not_covered_meanwhile(
    watches: Watches, cluster: FakeCluster
) -> None:
    vigil = FakeVigil()
    cluster.refused |= {"ConfigMap"}
    watches.tend("one", vigil, interest("set-1", MAPS))
    until(lambda: vigil.heard and not vigil.covers(config_map("a").id), "it is told to be blind")
    tries = cluster.tries
    until(lambda: cluster.tries > tries + 3, "it is tried again")
    cluster.refused -= {"ConfigMap"}
    until(lambda: vigil.covers(config_map("a").id), "it is watched")


def test_beyond_the_limit_kinds_are_left_to_the_sweep(cluster: FakeCluster) -> None:
    watches = Watches(lambda _: cluster, most=2)  # type: ignore[arg-type,return-value]
    vigil, shared = FakeVigil(), FakeVigil()
    kinds = [("", f"Kind{n}") for n in range(5)]
    try:
        watches.tend("two", shared, interest("set-2", kinds[4]))
        watches.tend("one", vigil, interest("set-1", *kinds))
        until(lambda: len([w for *_, w in cluster.opened if not w.closed]) == 2, "two are open")
        covered = [kind for _, kind in kinds if vigil.covers(UnitId("default", "", kind, "web", "x"))]
        assert len(covered) == 2
        assert "Kind4" in covered, "what most stacks have comes first"
    finally:
        watches.stop()


def test_a_cluster_that_is_reached_another_way_is_watched_that_way() -> None:
    first, second = FakeCluster(), FakeCluster()
    now = [first]
    watches = Watches(lambda _: now[0])  # type: ignore[arg-type,return-value]
    vigil = FakeVigil()
    try:
        watches.tend("one", vigil, interest("set-1", MAPS))
        until(lambda: first.open("ConfigMap"), "watched")
        now[0] = second
        watches.tend("one", vigil, interest("set-1", MAPS))
        until(lambda: second.open("ConfigMap") and not first.open("ConfigMap"), "watched there")
    finally:
        watches.stop()


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("CustomResourceDefinition", "widgets.example.org", ("example.org", "Widget")),
        ("MutatingWebhookConfiguration", "injector", None),
    ],
)
def test_a_rule_that_changes_is_told_and_one_that_only_shows_its_status_is_not(
    watches: Watches, cluster: FakeCluster, kind: str, name: str, told: tuple[str, str] | None
) -> None:
    cluster.refused -= {kind}
    vigil = FakeVigil()
    watches.tend("one", vigil, interest("set-1", MAPS))
    until(lambda: cluster.open(kind), "rules are watched")
    ((sets, watch),) = cluster.open(kind)
    assert sets == frozenset()
    watch.put(Seen(config_map(name, generation=1), listed=True))
    watch.put(Seen(config_map(name, version=2, generation=1)))
    watch.put(Seen(config_map(name, version=3, generation=2)))
    until(lambda: vigil.rules, "it is told")
    assert vigil.rules == [("default", told)]


def test_a_server_that_comes_back_as_another_version_has_everything_looked_at(
    watches: Watches, cluster: FakeCluster
) -> None:
    cluster.refused -= {"CustomResourceDefinition"}
    vigil = FakeVigil()
    watches.tend("one", vigil, interest("set-1", MAPS))
    until(lambda: cluster.open("CustomResourceDefinition"), "definitions are watched")
    ((_, watch),) = cluster.open("CustomResourceDefinition")
    watch.put(Sighted())
    cluster.program = "v1.37.0"
    watch.put(Sighted())
    until(lambda: vigil.rules, "it is told")
    watch.put(Sighted())
    watch.put(Seen(config_map("x.example.org", generation=1), listed=True))
    watch.put(Seen(config_map("x.example.org", version=2, generation=2)))
    until(lambda: len(vigil.rules) == 2, "what follows")
    assert vigil.rules[0] == ("default", None)
    assert vigil.rules[1] != ("default", None), "told twice"
