"""What is read of a new commit is what it changes, and it is listed as if nothing had been known before."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gitopsd.git import difference as comparing
from gitopsd.git.commits import parse_commit
from gitopsd.git.difference import TooDifferent, difference
from gitopsd.git.history import LOG_FORMAT, parse_log
from tests.support.gitserver import GitRepo, Link
from tests.unit.git.conftest import Opener, counted

PLACES = ["a.yaml", "b", "d/a", "d/b.yaml", "d/e/f", "d/e/g", "d.x", "z/z", "d-"]


def test_a_push_of_one_file_needs_one_process_and_a_poll_without_news_two(
    repo: GitRepo, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened()
    first = repo.commit({f"app/{n}.yaml": str(n) for n in range(300)})
    source.fetch()
    source.tree(first).read(source.tree(first).files()[:1])
    source.keep("web", [first])
    source.fetch()
    commands = counted(source, monkeypatch)
    second = repo.commit({"app/7.yaml": "changed"})
    assert source.fetch() == second
    tree = source.tree(second)
    changed = [e for e in tree.files() if e not in set(source.tree(first).files())]
    assert tree.read(changed) == {"app/7.yaml": b"changed"}
    assert changed[0].size == len("changed")
    assert source.is_ancestor(first, second)
    assert [r.commit for r in source.between(first, second)] == [second]
    assert source.revision(second).subject
    assert commands == ["fetch"]
    source.keep("web", [second, first])
    assert commands[1:] == ["update-ref"]
    assert source.fetch() == second
    assert commands[2:] == ["fetch", "for-each-ref", "gc"]
    source.fetch()
    assert commands[5:] == ["fetch", "for-each-ref"]


def test_entries_that_are_the_same_are_the_very_same_values(repo: GitRepo, opened: Opener) -> None:
    source = opened()
    first = repo.commit({f"app/{n}.yaml": str(n) for n in range(50)})
    source.fetch()
    before = {e.path: e for e in source.tree(first).files()}
    second = repo.commit({"app/7.yaml": "changed"})
    source.fetch()
    assert [e.path for e in source.tree(second).files() if e is not before[e.path]] == ["app/7.yaml"]


@pytest.mark.parametrize("seed", range(6))
def test_every_commit_is_listed_as_by_one_who_knows_nothing(seed: int, repo: GitRepo, opened: Opener) -> None:
    """Files become directories and links, and the other way round; directories come and go; names sort around `/`."""
    chance, source = random.Random(seed), opened()  # noqa: S311
    repo.commit({"keep": "1"})
    source.fetch()
    source.tree(source.head() or "")
    for step in range(12):
        place = chance.choice(PLACES)
        here = {e.path for e in source.tree(source.head() or "").files()}
        gone = {p: None for p in here if p.startswith(f"{place}/") or place.startswith(f"{p}/")}
        content = chance.choice([str(step), Link("keep"), None if place in here else "new"])
        repo.commit({**gone, place: content})
        head = source.fetch()
        known, fresh = source.tree(head), opened().tree(head)
        assert known.files() == fresh.files()
        names = {"", *PLACES, *(str(p) for f in fresh.files() for p in Path(f.path).parents if str(p) != ".")}
        assert {n: known.oid(n) for n in names} == {n: fresh.oid(n) for n in names}


def test_too_much_and_odd_names_are_left_to_git(repo: GitRepo, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened()
    first = repo.commit({"a": "1"})
    source.fetch()
    source.tree(first)
    monkeypatch.setattr(comparing, "MOST", 5)
    second = repo.commit({f"b/{n}": "1" for n in range(9)})
    source.fetch()
    commands = counted(source, monkeypatch)
    assert len(source.tree(second).files()) == 10
    assert commands == ["ls-tree"]
    with pytest.raises(TooDifferent):
        difference({"0" * 40: b"", "1" * 40: b"160000 sub\0" + b"x" * 20}.__getitem__, "0" * 40, "1" * 40)


MESSAGES = [b"one line", b"\n\n  led by blanks \ngoes on\n\nbody", b"", b"caf\xc3\xa9 \xff\x1b[31m", b"a\r\n\r\nb\n"]
AUTHORS = ["Ada Lovelace <ada@example.org> 1700000000 +0100", "\u00c9mile <> 0 +0000", "Two  Names <a@b> 1 +0000"]


@pytest.mark.parametrize("author", AUTHORS)
@pytest.mark.parametrize("message", MESSAGES)
def test_a_commit_is_read_as_git_log_tells_it(message: bytes, author: str, repo: GitRepo) -> None:
    tree = repo.git("mktree").strip()
    parent = repo.commit({"a": "1"})
    head = f"tree {tree}\nparent {parent}\nauthor {author}\ncommitter C <c@x> 1700000001 -0330\n\n".encode()
    oid = repo.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=head + message).strip()
    commit = parse_commit(oid, head + message)
    (told,) = parse_log(repo.git("log", "-z", "-1", LOG_FORMAT, oid, "--").encode("utf-8", "surrogateescape"))
    assert (commit.tree, commit.parents, commit.revision) == (tree, (parent,), told)


@pytest.mark.parametrize(
    "odd", ["A <a@b> x +0000", "A a@b 1 +0000", "A <a@b> 1", " A <a@b> 1 +0000", "A < a@b> 1 +0000"]
)
def test_a_person_that_is_written_otherwise_is_left_to_git(odd: str) -> None:
    data = f"tree {'a' * 40}\nauthor {odd}\ncommitter C <c@x> 1 +0000\n\nx".encode()
    assert parse_commit("c" * 40, data).revision is None
    encoded = f"tree {'a' * 40}\nauthor A <a@b> 1 +0000\ncommitter C <c@x> 1 +0000\nencoding latin1\n\nx".encode()
    assert parse_commit("c" * 40, encoded).revision is None
    with pytest.raises(ValueError, match="no tree"):
        parse_commit("c" * 40, b"nonsense")


def test_a_reader_that_dies_is_replaced(repo: GitRepo, opened: Opener) -> None:
    source = opened()
    head = repo.commit({"a": "1"})
    source.fetch()
    entries = source.tree(head).files()
    assert source.tree(head).read(entries) == {"a": b"1"}
    for conversation in (source._mirror.reader()._heads, source._mirror.reader()._objects):
        if conversation._process is not None:
            conversation._process.kill()
    for _ in range(2):
        assert source.tree(head).read(entries) == {"a": b"1"}
        assert source.head() == head
