"""Watches against a server that misbehaves as told: whatever happens to the connection, nothing is missed for ever."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gitopsd.cluster import ClusterSettings, KubernetesCluster, Limits, connect
from gitopsd.cluster.settings import WatchLimits
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.watching import Removed, Seen, Whole
from tests.support.watchreader import PATIENCE, Reader, word
from tests.unit.cluster.server import kubeconfig
from tests.unit.cluster.watchserver import (
    BARE_404,
    CUT,
    GROUP,
    HELD,
    KIND,
    Api,
    Asked,
    Refused,
    Rule,
    WatchServer,
    status,
)

QUICK = Limits(
    budget=0.3,
    first=0.02,
    most=0.05,
    watch=WatchLimits(arrival=0.5, silence=PATIENCE, compare=PATIENCE, absence=PATIENCE, first=0.02, most=0.1),
)


def limits(**watch: float) -> Limits:
    return replace(QUICK, watch=replace(QUICK.watch, **watch))


class Place:
    """A server with the Widgets a, b and c, and an adapter that is connected to it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.api = directory, Api()
        for name in ("a", "b", "c"):
            self.api.put(name, labels={"applyset.kubernetes.io/part-of": "applyset-x-v1"})

    @contextmanager
    def connected(self, limits: Limits = QUICK, *, tls: bool = False, **user: Any) -> Iterator[KubernetesCluster]:
        with WatchServer(self.api, self.directory if tls else None) as server:
            more = {"certificate-authority": str(self.directory / "ca.crt")} if tls else {}
            path = kubeconfig(self.directory / "kubeconfig", server.url, user or None, **more)
            with connect(ClusterSettings("default", path), limits=limits) as cluster:
                yield cluster

    @contextmanager
    def watched(self, limits: Limits = QUICK, *, tls: bool = False) -> Iterator[Reader]:
        with self.connected(limits, tls=tls) as cluster:
            reader = Reader(cluster.watch(GROUP, KIND, ["applyset-x-v1"]))
            reader.wait("a*", "b*", "c*", "Whole")
            self.streaming()
            yield reader
        assert reader.ended(), "the adapter was closed, but its watch reads on"

    def streaming(self, count: int = 1) -> None:
        with self.api.lock:
            assert self.api.lock.wait_for(lambda: self.api.streams == count, PATIENCE), self.api.streams


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def only(what: str, refused: Refused, times: int | None = None) -> Rule:
    """Refuses requests of one sort, so many times."""
    left = [10**9 if times is None else times]

    def rule(asked: Asked) -> Refused | None:
        if asked.what != what or not left[0]:
            return None
        left[0] -= 1
        return refused

    return rule


def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


# ---------------------------------------------------------------- what is told


def test_a_list_part_by_part_and_then_what_happens(place: Place) -> None:
    with place.watched() as reader:
        place.api.put("a")
        place.api.bookmark()
        place.api.drop("b")
        place.api.put("d")
        assert reader.wait("d") == ["a*", "b*", "c*", "Whole", "a", "-b", "d"]
        whole = reader.told[3]
        assert isinstance(whole, Whole)
        assert {unit.name for unit in whole.units} == {"a", "b", "c"}
        seen = reader.told[4]
        assert isinstance(seen, Seen)
        assert seen.live.id.kind == KIND
        assert set(seen.live.body) == {"apiVersion", "kind", "metadata"}  # although this server sends a spec, too
        assert (seen.live.uid, seen.live.resource_version) == ("uid-a", "104")
        gone = reader.told[5]
        assert isinstance(gone, Removed)
        assert gone.live.labels == {"applyset.kubernetes.io/part-of": "applyset-x-v1"}


def test_what_is_asked_of_the_server(place: Place) -> None:
    with place.watched():
        listed, watched = place.api.last("list"), place.api.last("watch")
        assert "as=PartialObjectMetadataList;" in listed.headers["Accept"]
        assert "as=PartialObjectMetadata;" in watched.headers["Accept"]  # the List form is answered, and then silent
        assert listed.headers["Accept-Encoding"] == "gzip"
        assert watched.headers["Accept-Encoding"] == "identity"  # a compressed event may wait for the next one
        assert watched.query["labelSelector"] == "applyset.kubernetes.io/part-of in (applyset-x-v1)"
        assert watched.query["resourceVersion"] == "103"
        assert watched.query["allowWatchBookmarks"] == "true"
        assert 1800 <= int(watched.query["timeoutSeconds"]) <= 3600


def test_without_applysets_every_object_of_the_kind_counts(place: Place) -> None:
    with place.connected() as cluster:
        reader = Reader(cluster.watch(GROUP, KIND, ()))
        reader.wait("a*", "b*", "c*", "Whole")
        assert all("labelSelector" not in asked.query for asked in place.api.asked)


def test_compressed_events_come_one_by_one(place: Place) -> None:
    place.api.compressed = True
    with place.watched() as reader:
        place.api.put("a")
        reader.wait("a")
        place.api.put("b")
        reader.wait("b")


def test_a_list_whose_token_expires_begins_anew(place: Place) -> None:
    def rule(asked: Asked) -> Refused | None:
        late = "continue" in asked.query and place.api.count("list") < 8
        return status(410, "Expired") if late else None

    place.api.rule = rule
    with place.connected() as cluster:
        reader = Reader(cluster.watch(GROUP, KIND, ["x"]))
        words = reader.wait("a*", "b*", "c*", "Whole")
        assert words[:4] == ["a*", "b*", "a*", "b*"]
        assert words.count("Whole") == 1
        assert "Blind" not in words


def test_a_list_whose_kind_vanishes_in_the_middle_begins_anew(place: Place) -> None:
    def rule(asked: Asked) -> Refused | None:
        if "continue" in asked.query and "a" in place.api.objects:
            place.api.drop("a")
            return BARE_404
        return None

    place.api.rule = rule
    with place.connected() as cluster:
        reader = Reader(cluster.watch(GROUP, KIND, ["x"]))
        assert reader.wait("Whole") == ["a*", "b*", "b*", "c*", "Whole"]
        assert reader.told[-1] == Whole(frozenset(e.live.id for e in reader.told[2:4] if isinstance(e, Seen)))


# ---------------------------------------------------------------- the connection


@pytest.mark.parametrize("tls", [False, True])
def test_a_cut_connection_loses_nothing_and_is_no_news(place: Place, tls: bool) -> None:
    with place.watched(tls=tls) as reader:
        place.api.put("a")
        reader.wait("a")
        mark = place.api.mark()
        place.api.set(stalled=True)
        place.api.put("b")
        place.api.drop("c")
        place.api.set(stalled=False)
        place.api.end()
        reader.then("a", "b", "-c")
        place.streaming()
        assert place.api.last("watch").query["resourceVersion"] in {"104", "105", "106"}
        place.api.put("a")
        reader.wait("a")
        assert [asked.query.get("limit") for asked in place.api.asked[mark:] if asked.what == "list"] in (["1"], [])


def test_an_event_that_was_cut_in_the_middle_of_its_line_comes_again(place: Place) -> None:
    with place.watched() as reader:
        place.api.put("a")
        reader.wait("a")
        place.api.set(stalled=True)
        place.api.put("b")
        place.api.end(late=b'{"type":"MODIFIED","object":{"metadata":{"name":"b","resou')
        place.api.set(stalled=False)
        assert reader.wait("b") == ["a*", "b*", "c*", "Whole", "a", "b"]


def test_the_ordinary_end_is_followed_from_the_last_bookmark_on_the_same_connection(place: Place) -> None:
    with place.watched() as reader:
        place.api.bookmark()
        place.api.put("a")
        place.api.bookmark()
        reader.wait("a")
        mark = place.api.mark()
        eventually(lambda: reader.watch._position == "106", "the bookmark is read")  # type: ignore[attr-defined]
        place.api.end("ordinary")
        eventually(lambda: place.api.count("watch", mark) == 1, "the next watch")
        assert place.api.last("watch").query["resourceVersion"] == "106"
        assert place.api.count("list", mark) == 0
        place.api.put("b")
        reader.then("a", "b")


def test_an_absent_server_is_told_once_and_its_return_too(place: Place) -> None:
    with place.watched() as reader:
        place.api.set(rule=lambda _: CUT)
        place.api.end()
        reader.wait("Blind")
        assert "cluster default (http://127.0.0.1" in reader.fault()
        mark = place.api.mark()
        place.api.put("a")
        eventually(lambda: len(place.api.asked) > mark + 10, "it is tried again and again")
        place.api.set(rule=lambda _: None)
        reader.then("Blind", "Sighted", "a")


def test_a_long_absence_ends_in_a_list(place: Place) -> None:
    # The store may have been put back to a backup and have counted beyond our position again: b's end is not told.
    with place.watched(limits(absence=0.2)) as reader:
        place.api.put("b")
        reader.wait("b")
        place.api.set(rule=lambda _: CUT)
        place.api.end()
        reader.wait("Blind")
        time.sleep(0.25)
        place.api.restore(102)
        for _ in range(5):
            place.api.put("a")
        place.api.set(rule=lambda _: None)
        assert reader.wait("Whole", "Sighted")[5:] == ["Blind", "a*", "b*", "Whole", "Sighted"]


@pytest.mark.parametrize("refused", [status(503), status(429, "TooManyRequests"), status(500, "InternalError")])
def test_an_overload_that_passes_is_no_news(place: Place, refused: Refused) -> None:
    with place.watched() as reader:
        place.api.put("a")
        reader.wait("a")
        place.api.set(rule=only("watch", refused, 2))
        place.api.end()
        place.api.put("b")
        reader.then("a", "b")


def test_an_overload_that_stays_is_told_with_the_servers_words(place: Place) -> None:
    with place.watched() as reader:
        place.api.set(rule=only("watch", status(503)))
        place.api.end()
        reader.wait("Blind")
        assert "the server answers 503: told to answer 503; tried" in reader.fault()
        place.api.set(rule=lambda _: None)
        reader.wait("Blind", "Sighted")


def test_a_stalled_connection_is_left_and_nothing_is_missed(place: Place) -> None:
    with place.watched(limits(silence=0.3)) as reader:
        place.api.put("a")
        reader.wait("a")
        place.api.set(stalled=True)
        place.api.put("b")
        mark = place.api.mark()
        eventually(lambda: place.api.count("watch", mark) > 0, "another watch")
        place.api.set(stalled=False)
        assert reader.wait("b")[:6] == ["a*", "b*", "c*", "Whole", "a", "b"]


def test_a_watch_that_stays_silent_is_not_believed(place: Place) -> None:
    # Granted, and nothing comes, although the server counts on: what happened is found by a list.
    with place.watched(limits(silence=0.2, compare=0.3)) as reader:
        place.api.set(mute=True)
        place.api.end("ordinary")
        place.api.drop("c")
        words = reader.wait("a*", "b*", "Whole")
        assert reader.told[-1] == Whole(frozenset(e.live.id for e in reader.told[-3:-1] if isinstance(e, Seen)))
        assert "-c" not in words


def test_a_watch_that_is_never_answered_is_told(place: Place) -> None:
    with place.watched(limits(silence=0.3)) as reader:
        place.api.set(rule=only("watch", HELD, 1))
        place.api.end()
        reader.wait("Blind", "Sighted")
        assert "asked for and never answered" in reader.fault()


@pytest.mark.parametrize("noise", [b" ", b"\n"])
def test_a_trickle_of_bytes_is_silence_all_the_same(place: Place, noise: bytes) -> None:
    place.api.noise = noise
    with place.watched(limits(silence=0.3)):
        mark = place.api.mark()
        eventually(lambda: place.api.count("watch", mark) > 1, "another watch")


# ---------------------------------------------------------------- positions


def test_a_position_that_was_forgotten_ends_in_a_list(place: Place) -> None:
    with place.watched() as reader:
        place.api.set(floor=10**6)
        place.api.drop("c")
        reader.wait("-c")
        place.api.end("ordinary")
        reader.then("-c", "a*", "b*", "Whole")


def test_a_position_that_was_forgotten_may_be_said_by_the_status(place: Place) -> None:
    with place.watched() as reader:
        place.api.put("a")
        reader.wait("a")
        place.api.set(rule=only("watch", status(410, "Expired"), 1))
        place.api.end("ordinary")
        reader.then("a", "a*", "b*", "c*", "Whole")


def test_lists_that_are_forgotten_at_once_are_no_hot_loop(place: Place) -> None:
    with place.watched(limits(first=0.1, most=60)) as reader:
        place.api.set(rule=only("watch", status(410, "Expired")))
        place.api.end("ordinary")
        started = time.monotonic()
        eventually(lambda: reader.words().count("Whole") >= 5, "some lists")
        assert time.monotonic() - started > 0.05 + 0.1 + 0.2  # half of the pauses 0.1, 0.2 and 0.4


def test_a_store_put_back_to_a_backup_is_noticed_when_the_connection_breaks(place: Place) -> None:
    with place.watched() as reader:
        place.api.put("d")
        reader.wait("d")
        place.api.restore(103)
        place.api.end()
        reader.then("d", "a*", "b*", "c*", "Whole")
        place.streaming()
        place.api.put("a")
        reader.wait("a")


def test_a_watch_that_waits_for_the_future_is_noticed_by_its_silence(place: Place) -> None:
    with place.watched(limits(silence=0.3)) as reader:
        place.api.put("d")
        reader.wait("d")
        place.api.restore(101)
        reader.then("d", "a*", "Whole")


def test_a_server_that_counts_lower_is_noticed_while_all_seems_well(place: Place) -> None:
    with place.watched(limits(compare=0.0)) as reader:

        def lower(asked: Asked) -> Refused | None:
            body = b'{"metadata": {"resourceVersion": "50"}, "items": []}'
            return Refused(200, body) if asked.query.get("limit") == "1" else None

        mark = place.api.mark()
        place.api.set(rule=lower)
        place.api.bookmark()
        reader.then("a*", "b*", "c*", "Whole")
        assert "labelSelector" not in next(a.query for a in place.api.asked[mark:])  # any object will do


def test_a_comparison_that_fails_leaves_a_living_watch_alone(place: Place) -> None:
    with place.watched(limits(compare=0.0)) as reader:
        place.api.set(rule=only("list", status(403, "Forbidden")))
        place.api.put("a")
        reader.wait("a")
        place.api.put("b")
        reader.then("a", "b")


def test_an_event_of_the_past_is_not_believed(place: Place) -> None:
    with place.watched() as reader:
        old = b'{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}\n'
        place.api.end(late=old)
        reader.then("a*", "b*", "c*", "Whole")


# ---------------------------------------------------------------- what makes no sense


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (b"<html>busy</html>\n", "what comes is no event"),
        (b"[1, 2]\n", "what comes is no event"),
        (b'{"type":"ADDED"}\n', "what comes is no event"),
        (b'{"type":"ADDED","object":"x"}\n', "what comes is no event"),
        (b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is ill"}}\n', "etcd is ill"),
        (b'{"type":"ERROR","object":{"kind":"Status","code":"x","message":"told nothing"}}\n', "told nothing"),
        (b"x" * (9 << 20), "what comes is no event"),
    ],
    ids=["page", "list", "bare", "text", "error", "no-code", "endless"],
)
def test_nonsense_is_told_and_the_watch_goes_on_where_it_was(place: Place, late: bytes, why: str) -> None:
    with place.watched() as reader:
        place.api.end(late=late)
        reader.wait("Blind", "Sighted")
        assert why in reader.fault()
        place.api.put("a")
        reader.then("Blind", "Sighted", "a")


@pytest.mark.parametrize("page", [b"<html>log in</html>", b"{}", b'{"metadata": {}, "items": []}'])
def test_a_page_of_a_proxy_is_no_empty_list(place: Place, page: bytes) -> None:
    with place.watched() as reader:
        place.api.set(rule=only("list", Refused(200, page)), floor=10**6)
        place.api.drop("c")
        reader.wait("-c")
        place.api.end()
        reader.wait("Blind")
        place.api.set(rule=lambda _: None)
        reader.until(lambda words: words.count("Whole") >= 2, "a list again")
        assert {len(event.units) for event in list(reader.told) if isinstance(event, Whole)} == {3, 2}


def test_watches_that_end_at_once_are_no_hot_loop(place: Place) -> None:
    with place.watched(limits(first=0.2, most=60)) as reader:
        mark = place.api.mark()
        place.api.set(rule=only("watch", Refused(200, b"")))
        place.api.end()
        reader.wait("Blind")
        eventually(lambda: place.api.count("watch", mark) >= 2, "the next try")
        assert place.api.count("watch", mark) < 10
        assert "without having told anything" in reader.fault()


# ---------------------------------------------------------------- kinds and rights


def test_a_kind_that_is_not_served_cannot_be_watched(place: Place) -> None:
    with place.connected() as cluster:
        with pytest.raises(EnvironmentFault, match=r"watch of Gadget\.example\.com: it is not served now"):
            cluster.watch(GROUP, "Gadget", ["x"])
        place.api.rule = lambda asked: BARE_404 if asked.what in {"list", "watch"} else None
        with pytest.raises(EnvironmentFault, match=r"look at the conditions of widgets\.example\.com"):
            cluster.watch(GROUP, KIND, ["x"])


def test_a_kind_without_the_verb_cannot_be_watched(place: Place) -> None:
    place.api.verbs = ("get", "list")
    with place.connected() as cluster, pytest.raises(EnvironmentFault, match="its server has no watch for it"):
        cluster.watch(GROUP, KIND, ["x"])


def test_a_kind_without_resource_versions_cannot_be_watched(place: Place) -> None:
    place.api.rule = only("list", Refused(200, b'{"metadata": {}, "items": []}'))
    with place.connected() as cluster, pytest.raises(EnvironmentFault, match="keeps no resourceVersion"):
        cluster.watch(GROUP, KIND, ["x"])


@pytest.mark.parametrize("what", ["list", "watch"])
def test_a_new_kind_may_need_a_moment(place: Place, what: str) -> None:
    place.api.rule = only(what, BARE_404, 2)
    with place.watched() as reader:
        place.api.put("a")
        reader.wait("a")


@pytest.mark.parametrize("verb", ["list", "watch"])
def test_a_missing_right_is_named_as_the_rule_to_grant(place: Place, verb: str) -> None:
    place.api.allowed = False
    place.api.rule = only(verb, status(403, "Forbidden"))
    rule = rf'apiGroups \["example.com"\], resources \["widgets"\], verbs \["{verb}"\], by a ClusterRole'
    with place.connected() as cluster, pytest.raises(EnvironmentFault, match=rule):
        cluster.watch(GROUP, KIND, ["x"])


def test_a_right_that_is_taken_away_is_told_and_its_return_noticed(place: Place) -> None:
    with place.watched() as reader:
        place.api.set(rule=only("watch", status(403, "Forbidden")), allowed=False)
        place.api.end("ordinary")
        reader.wait("Blind")
        assert "user robot may not watch widgets.example.com in all namespaces" in reader.fault()
        place.api.put("a")
        place.api.set(rule=lambda _: None, allowed=True)
        reader.then("Blind", "Sighted", "a")


def test_a_kind_that_goes_and_comes_back_is_listed_anew(place: Place) -> None:
    with place.watched() as reader:
        place.api.set(served=())
        place.api.end("ordinary")
        reader.wait("Blind")
        assert "not served now" in reader.fault()
        for name in ("a", "b", "c"):
            place.api.drop(name)
        place.api.put("d")
        place.api.set(served=("v2",))  # and in another version only
        reader.then("Blind", "d*", "Whole", "Sighted")
        seen = reader.told[-3]
        assert isinstance(seen, Seen)
        assert seen.live.body["apiVersion"] == "example.com/v2"


def test_credentials_are_renewed_for_a_watch(place: Place) -> None:
    def rule(asked: Asked) -> Refused | None:
        return None if asked.headers.get("Authorization") == f"Bearer {token[0]}" else status(401, "Unauthorized")

    token = ["t"]
    with place.watched() as reader:
        place.api.put("a")
        reader.wait("a")
        token[0] = "new"
        path = place.directory / "kubeconfig"
        path.write_text(path.read_text().replace('"token": "t"', '"token": "new"'))
        place.api.set(rule=rule)
        place.api.end()
        place.api.put("b")
        reader.then("a", "b")


def test_credentials_that_are_refused_are_named(place: Place) -> None:
    with place.watched() as reader:
        place.api.set(rule=lambda _: status(401, "Unauthorized"))
        place.api.end()
        reader.wait("Blind")
        assert "does not accept the credentials of user 'robot'" in reader.fault()


# ---------------------------------------------------------------- the proof


def test_events_that_do_not_arrive_are_noticed_before_anybody_relies_on_them(place: Place) -> None:
    place.api.mute = True
    with place.connected() as cluster, pytest.raises(EnvironmentFault, match=r"does not arrive within 0\.5 s.*proxy"):
        cluster.watch(GROUP, KIND, ["x"])
    assert place.api.last("watch").query["fieldSelector"] == "metadata.name=a,metadata.namespace=web"


@pytest.mark.parametrize("answer", [Refused(200, b""), HELD], ids=["closed", "held back"])
def test_a_watch_without_an_event_is_noticed(place: Place, answer: Refused) -> None:
    place.api.rule = only("watch", answer)
    with place.connected() as cluster, pytest.raises(EnvironmentFault, match=r"does not arrive within 0\.5 s.*proxy"):
        cluster.watch(GROUP, KIND, ["x"])


def test_an_object_that_is_deleted_just_then_proves_nothing(place: Place) -> None:
    def rule(asked: Asked) -> Refused | None:
        if asked.what == "watch" and "a" in place.api.objects:
            place.api.drop("a")
        return None

    place.api.rule = rule
    with place.connected() as cluster:
        reader = Reader(cluster.watch(GROUP, KIND, ["x"]))
        reader.wait("b*", "c*", "Whole")


def test_a_kind_without_objects_is_watched_all_the_same(place: Place) -> None:
    place.api.objects.clear()
    with place.connected() as cluster:
        reader = Reader(cluster.watch(GROUP, KIND, ["x"]))
        reader.wait("Whole")
        place.api.put("a")
        reader.wait("a")


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize("tls", [False, True])
def test_closing_ends_a_read_that_waits(place: Place, tls: bool) -> None:
    with place.watched(tls=tls) as reader:
        started = time.monotonic()
        reader.watch.close()
        assert time.monotonic() - started < 1
        assert reader.ended()
        assert time.monotonic() - started < 5
        reader.watch.close()
        assert list(reader.watch.events()) == []
        place.streaming(0)
        assert reader.words() == ["a*", "b*", "c*", "Whole"]


@pytest.mark.parametrize(
    "long",
    [
        replace(QUICK, budget=600, first=600, most=600),  # of a request, before it is repeated
        limits(first=600, most=600),  # of the watch
    ],
    ids=["request", "watch"],
)
def test_closing_ends_the_wait_for_the_next_try(place: Place, long: Limits) -> None:
    with place.watched(long) as reader:
        place.api.put("a")
        reader.wait("a")
        mark = place.api.mark()
        place.api.set(rule=lambda _: CUT)
        place.api.end()
        eventually(lambda: place.api.mark() > mark, "a try")
        if long.budget < 1:
            reader.wait("Blind")
        started = time.monotonic()
        reader.watch.close()
        assert reader.ended()
        assert time.monotonic() - started < 3


def test_a_closed_watch_is_forgotten(place: Place) -> None:
    with place.connected() as cluster:
        reader = Reader(cluster.watch(GROUP, KIND, ["x"]))
        reader.wait("Whole")
        reader.watch.close()
        assert reader.ended()
        kept = weakref.ref(reader.watch)
        del reader
        gc.collect()
        assert kept() is None


def test_an_ended_reader_ends_its_connection(place: Place) -> None:
    with place.connected() as cluster:
        watch = cluster.watch(GROUP, KIND, ["x"])
        events = watch.events()
        assert [word(next(events)) for _ in range(4)] == ["a*", "b*", "c*", "Whole"]
        place.api.put("a")
        assert word(next(events)) == "a"
        place.streaming()
        events.close()  # type: ignore[attr-defined]
        place.streaming(0)


def test_watches_do_not_compete_with_other_requests_for_connections(place: Place) -> None:
    with place.connected() as cluster:
        readers = [Reader(cluster.watch(GROUP, KIND, ["x"])) for _ in range(30)]
        place.streaming(30)
        assert len(cluster.list(GROUP, KIND)) == 3
        place.api.put("d")
        for reader in readers:
            reader.wait("d")


@pytest.mark.parametrize("tls", [False, True])
def test_nothing_is_left_of_two_hundred_watches(place: Place, tls: bool) -> None:
    with place.connected(tls=tls) as cluster:

        def once(way: int) -> None:
            reader = Reader(cluster.watch(GROUP, KIND, ["x"]))
            reader.wait("Whole")
            if way:
                place.streaming()
            if way == 2:
                place.api.end("ordinary")
            reader.watch.close()
            assert reader.ended()
            place.streaming(0)

        def held() -> tuple[int, int]:
            gc.collect()
            return len(os.listdir("/proc/self/fd")), threading.active_count()

        for number in range(6):
            once(number % 3)
        eventually(lambda: held()[1] <= 4, "the server's threads ended")
        before = held()
        for number in range(200):
            once(number % 3)
        eventually(lambda: held()[0] <= before[0] + 2 and held()[1] <= before[1] + 2, "as much as before")


def test_a_closed_adapter_keeps_no_connection(place: Place) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with place.watched() as reader:
        place.api.set(rule=only("watch", status(503)))
        place.api.end("ordinary")
        reader.wait("Blind")  # the answers were read to their end: their connection is free for the next one
    assert reader.watch  # and with it everything that it was made of
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "all connections closed")
