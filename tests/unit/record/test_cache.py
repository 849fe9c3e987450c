"""The cache may cost time, never correctness and never a failure."""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gitopsd.model.ports import BlobCache
from gitopsd.record import BlobStore
from gitopsd.record.cache import CACHE_DB


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[BlobStore]:
    with BlobStore(tmp_path) as opened:
        yield opened


def filled(directory: Path, items: dict[str, bytes]) -> None:
    with BlobStore(directory) as cache:
        cache.put(items)


def test_it_remembers_across_openings(tmp_path: Path) -> None:
    with BlobStore(tmp_path) as cache:
        port: BlobCache = cache
        port.put({"a": b"1", "b": b"2"})
        assert port.get(["a", "c"]) == {"a": b"1"}
    with BlobStore(tmp_path) as again:
        again.put({"a": b"new"})
        assert again.get(["a", "b"]) == {"a": b"new", "b": b"2"}
        assert again.trouble == ""
    assert (tmp_path / CACHE_DB).stat().st_mode & 0o777 == 0o600


def test_it_takes_more_keys_than_sqlite_takes_values(cache: BlobStore) -> None:
    items = {f"k{n}": str(n).encode() for n in range(2500)}
    cache.put(items)
    assert cache.get([*items, "unknown"]) == items
    assert cache.get([]) == {}


def test_what_was_used_longest_ago_leaves_first(tmp_path: Path) -> None:
    with BlobStore(tmp_path, limit=1000) as cache:
        for name in "abcdefgh":
            cache.put({name: bytes(100)})
        cache.get(["a"])  # used: outlives what came after it
        for name in "ijk":
            cache.put({name: bytes(100)})
        assert set(cache.get(list("abcdefghijk"))) == set("adefghijk")
    with BlobStore(tmp_path, limit=1000) as again:  # the size is known after a restart too
        for name in "lmnopqrst":
            again.put({name: bytes(100)})
        kept = again.get(list("abcdefghijklmnopqrst"))
        assert sum(map(len, kept.values())) <= 1000
        assert set("pqrst") <= set(kept)


def test_replacing_the_same_key_does_not_fill_it(tmp_path: Path) -> None:
    with BlobStore(tmp_path, limit=1000) as cache:
        cache.put({"other": b"x"})
        for _ in range(50):
            cache.put({"same": bytes(300)})
        assert set(cache.get(["same", "other"])) == {"same", "other"}


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 500, b"SQLite format 3\0" + bytes(5000)])
def test_a_spoilt_file_is_replaced_without_a_word(tmp_path: Path, damage: bytes) -> None:
    filled(tmp_path, {"a": b"1"})
    (tmp_path / CACHE_DB).write_bytes(damage)
    with BlobStore(tmp_path) as cache:
        assert cache.get(["a"]) == {}
        cache.put({"a": b"2"})
        assert cache.get(["a"]) == {"a": b"2"}
        assert cache.trouble == ""


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
@example(1587)  # gives a key the body of another one
@example(2590)  # hits the text of the schema, which SQLite then quotes in an error that Python cannot decode
def test_no_flipped_bits_ever_become_contents(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    directory = tmp_path_factory.mktemp("cache")
    items = {f"k{n}": bytes([n]) * 700 for n in range(40)}
    filled(directory, items)
    data = bytearray((directory / CACHE_DB).read_bytes())
    chance = random.Random(seed)  # noqa: S311  (damage, not secrets)
    for _ in range(chance.choice([1, 10, 200])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    (directory / CACHE_DB).write_bytes(data)
    with BlobStore(directory) as cache:
        for key, body in cache.get(list(items)).items():
            assert items[key] == body
        cache.put({"new": b"1"})
        assert cache.get(["new"]) in ({"new": b"1"}, {})


def test_a_flipped_bit_of_a_body_empties_the_cache(tmp_path: Path) -> None:
    body = bytes(range(200))
    filled(tmp_path, {"a": body, "b": b"fine"})
    data = (tmp_path / CACHE_DB).read_bytes()
    assert data.count(body) == 1
    (tmp_path / CACHE_DB).write_bytes(data.replace(body, body[:-1] + b"!"))
    with BlobStore(tmp_path) as cache:
        assert cache.get(["b"]) == {"b": b"fine"}
        assert cache.get(["a"]) == {}
        assert cache.get(["b"]) == {}


def test_another_versions_file_is_replaced(tmp_path: Path) -> None:
    filled(tmp_path, {"a": b"1"})
    db = sqlite3.connect(tmp_path / CACHE_DB)
    db.execute("PRAGMA user_version=99")
    db.close()
    with BlobStore(tmp_path) as cache:
        assert cache.get(["a"]) == {}
        assert cache.trouble == ""


def test_without_a_place_it_does_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with BlobStore(tmp_path / "file") as cache:
        cache.put({"a": b"1"})
        assert cache.get(["a"]) == {}
        assert "going on without the cache" in cache.trouble


def test_a_full_disk_ends_the_cache_and_nothing_else(cache: BlobStore, tmp_path: Path) -> None:
    cache.put({"a": b"1"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        cache.put({"big": os.urandom(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "going on without the cache" in cache.trouble
    assert cache.get(["a"]) == {}
    cache.put({"b": b"2"})
    cache.close()
    with BlobStore(tmp_path) as again:
        assert again.get(["a", "big"]) == {"a": b"1"}


def test_somebody_in_the_way_costs_one_answer(
    cache: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put({"a": b"1"})
    assert cache._db is not None
    cache._db.execute("PRAGMA busy_timeout=10")
    other = sqlite3.connect(tmp_path / CACHE_DB, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    cache.put({"b": b"2"})
    other.execute("ROLLBACK")
    other.close()
    cache.put({"c": b"3"})
    assert cache.get(["a", "b", "c"]) == {"a": b"1", "c": b"3"}
    assert cache.trouble == ""


def test_many_threads_share_it(cache: BlobStore) -> None:
    def work(number: int) -> None:
        for step in range(20):
            cache.put({f"{number}-{step}": b"x"})
            cache.get([f"{number}-{step}"])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache.get([f"{n}-{s}" for n in range(4) for s in range(20)])) == 80
