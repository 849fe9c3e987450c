"""A source over a local repository: what it says of the branch, its commits and its files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitopsd.git import process
from gitopsd.model.errors import CommitError, EnvironmentFault, NeedsPerson, UsageError
from gitopsd.model.ports import Source
from gitopsd.model.units import Person
from tests.support.gitserver import GitRepo, Link, Script
from tests.unit.git.conftest import Opener

UNKNOWN = "0123456789" * 4


class TestHead:
    def test_there_is_none_before_the_first_fetch_and_nothing_is_written_for_asking(
        self, opened: Opener, mirrors: Path
    ) -> None:
        assert opened().head() is None
        assert not mirrors.exists()

    def test_follows_each_fetch_and_survives_a_restart(self, repo: GitRepo, opened: Opener) -> None:
        source: Source = opened()
        first = repo.commit({"a.yaml": "1"})
        assert source.fetch() == source.head() == first
        second = repo.commit({"a.yaml": "2"})
        assert source.head() == first
        assert source.fetch() == second
        assert opened().head() == second

    def test_stays_when_the_remote_is_gone(self, repo: GitRepo, opened: Opener) -> None:
        source = opened()
        first = repo.commit({"a.yaml": "1"})
        source.fetch()
        repo.commit({"a.yaml": "2"})
        repo.path.rename(repo.path.with_name("elsewhere"))
        with pytest.raises(EnvironmentFault, match=r"source main: there is no repository at .*infra\.git"):
            source.fetch()
        assert source.head() == first
        assert source.tree(first).read(source.tree(first).files()) == {"a.yaml": b"1"}

    def test_of_another_url_or_branch_is_unknown_until_it_was_asked(
        self, repo: GitRepo, opened: Opener, tmp_path: Path
    ) -> None:
        first = repo.commit({"a.yaml": "1"})
        opened().fetch()
        other = GitRepo(tmp_path / "other.git")
        there = other.commit({"b.yaml": "1"})
        moved = opened(str(other.path))
        assert moved.head() is None
        assert moved.fetch() == there
        assert opened().head() is None, "the old head is forgotten with the first fetch from the new place"
        repo.git("branch", "--move", "main", "main/next")
        assert opened(branch="main/next").fetch() == first, "a name below the old branch's is no conflict"

    def test_takes_a_rewritten_branch_as_it_is(self, repo: GitRepo, opened: Opener) -> None:
        source = opened()
        base = repo.commit({"a.yaml": "1"})
        old = repo.commit({"a.yaml": "2"})
        source.fetch()
        repo.git("update-ref", "refs/heads/main", base)
        assert source.fetch() == base
        assert source.is_ancestor(base, old)
        assert not source.is_ancestor(old, base)
        unrelated = repo.commit({"z.yaml": "1"}, rewrite=True)
        assert source.fetch() == unrelated
        assert not source.is_ancestor(old, unrelated)
        assert source.related(base, old)
        assert not source.related(old, unrelated)
        assert source.has(old), "what was deployed stays readable for a rollback"


class TestFetchProblems:
    def test_a_missing_branch_is_for_a_person_and_names_those_that_exist(self, repo: GitRepo, opened: Opener) -> None:
        for number in range(12):
            repo.commit({"a.yaml": "1"}, branch=f"team-{number:02}")
        with pytest.raises(NeedsPerson, match=r"source main: .*infra\.git has no branch main") as caught:
            opened().fetch()
        assert "team-00, team-01" in str(caught.value)
        assert "..." in str(caught.value)

    def test_an_empty_repository_is_for_a_person(self, opened: Opener) -> None:
        with pytest.raises(NeedsPerson, match=r"is empty \(push the branch main\)"):
            opened().fetch()

    def test_a_branch_that_goes_away_keeps_the_head_of_before(self, repo: GitRepo, opened: Opener) -> None:
        source = opened()
        first = repo.commit({"a.yaml": "1"})
        repo.commit({"a.yaml": "1"}, branch="other")
        source.fetch()
        repo.git("update-ref", "-d", "refs/heads/main")
        with pytest.raises(NeedsPerson, match="has no branch main"):
            source.fetch()
        assert source.head() == first

    def test_an_unwritable_mirror_directory_is_a_fault_of_the_host(
        self, repo: GitRepo, opened: Opener, mirrors: Path
    ) -> None:
        repo.commit({"a.yaml": "1"})
        mirrors.write_text("a file in the way")
        with pytest.raises(EnvironmentFault, match="the mirror cannot be written"):
            opened().fetch()

    def test_a_repository_of_another_user_is_read(
        self, repo: GitRepo, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        variable = "GIT_TEST_ASSUME_DIFFERENT_OWNER"  # git's own switch for its tests of this check
        monkeypatch.setattr(process, "_KEPT_VARIABLES", process._KEPT_VARIABLES | {variable})
        monkeypatch.setenv(variable, "1")
        head = repo.commit({"a.yaml": "1"})
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        refused = subprocess.run(
            ["git", "ls-remote", str(repo.path)], capture_output=True, env=environment, check=False
        )
        assert b"dubious ownership" in refused.stderr, "the switch does not work any more, and the test shows nothing"
        assert opened().fetch() == head
        assert opened(f"file://{repo.path}", name="by-url").fetch() == head

    def test_settings_of_the_host_and_the_caller_do_not_matter(
        self, repo: GitRepo, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = repo.commit({"a.yaml": "1"})
        (tmp_path / ".gitconfig").write_text(f'[url "/nowhere/"]\n\tinsteadOf = "{repo.path.parent}/"\n')
        monkeypatch.setenv("HOME", str(tmp_path))
        for name, value in {
            "GIT_DIR": "/nowhere",
            "GIT_OBJECT_DIRECTORY": "/nowhere",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "url./nowhere/.insteadOf",
            "GIT_CONFIG_VALUE_0": f"{repo.path.parent}/",
            "GIT_TRACE": "1",
        }.items():
            monkeypatch.setenv(name, value)
        source = opened()
        assert source.fetch() == head
        assert source.tree(head).oid("a.yaml") is not None

    def test_a_host_without_git_is_told_to_install_it(
        self, repo: GitRepo, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repo.commit({"a.yaml": "1"})
        source = opened()
        source.fetch()
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(EnvironmentFault, match=r"git cannot be started: .*install git"):
            source.fetch()

    def test_a_git_that_would_obey_the_settings_of_the_host_is_refused(
        self, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "OLDEST_GIT", (99, 1))
        process._gitpython.cache_clear()
        with pytest.raises(EnvironmentFault, match=r"git \d+\.\d+.* is too old .install git 99\.1 or newer"):
            opened().fetch()


class TestHistory:
    def test_a_revision_has_both_people_and_the_time_in_utc(self, repo: GitRepo, opened: Opener) -> None:
        commit = repo.commit(
            {"a": "1"}, "Raise the limit\n\nand say why\n", author="Zoë Ünal <zoe@example.com>", committer="CI <ci@x>"
        )
        source = opened()
        source.fetch()
        found = source.revision(commit)
        assert (found.commit, found.subject, found.time) == (commit, "Raise the limit", "2023-11-14T22:13:21Z")
        assert (found.author, found.committer) == (Person("Zoë Ünal", "zoe@example.com"), Person("CI", "ci@x"))

    def test_control_sequences_of_a_commit_do_not_reach_a_terminal(self, repo: GitRepo, opened: Opener) -> None:
        commit = repo.commit({"a": "1"}, "harmless\x1b[2J\x07", author="Mal\x1b[31m <m@x>")
        source = opened()
        source.fetch()
        found = source.revision(commit)
        assert (found.subject + found.author.name).isprintable()
        assert "\x1b" not in repr(found)

    def test_between_is_what_the_new_has_and_the_old_has_not_oldest_first(self, repo: GitRepo, opened: Opener) -> None:
        commits = [repo.commit({"a": str(n)}, f"change {n}") for n in range(5)]
        source = opened()
        source.fetch()
        assert [r.commit for r in source.between(commits[1], commits[4])] == commits[2:]
        assert [r.commit for r in source.between(commits[1], commits[4], limit=2)] == commits[3:]
        assert [r.commit for r in source.between(UNKNOWN, commits[2])] == commits[:3]
        assert source.between(commits[4], commits[1]) == ()

    def test_a_name_is_resolved_or_refused_with_words(self, repo: GitRepo, opened: Opener) -> None:
        commit = repo.commit({"a": "1"})
        source = opened()
        with pytest.raises(UsageError, match="nothing was fetched yet"):
            source.resolve("main")
        with pytest.raises(UsageError, match="names no commit here"):
            source.resolve(commit)
        source.fetch()
        assert {source.resolve(name) for name in ("main", "HEAD", "origin/main", commit, commit[:8])} == {commit}
        for name in (
            "",
            "-x",
            "--upload-pack=touch /tmp/x",
            "main..main",
            "main:a",
            "main~0",
            ":/change",
            "no-such",
            "a b",
        ):
            with pytest.raises(UsageError, match="names no commit here"):
                source.resolve(name)

    def test_an_ambiguous_id_asks_for_more_digits(self, repo: GitRepo, opened: Opener) -> None:
        source = opened()
        one, two = _twins(repo.git("write-tree"))
        for content in (one, two):
            commit = repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=content)
            repo.git("update-ref", "refs/heads/main", commit)
            source.fetch()
        with pytest.raises(UsageError, match=f"several commits begin with {commit[:4]}"):
            source.resolve(commit[:4])
        assert source.resolve(commit) == commit

    def test_another_branch_or_tag_can_be_looked_at_without_moving_the_head(
        self, repo: GitRepo, opened: Opener
    ) -> None:
        head = repo.commit({"a": "1"})
        feature = repo.commit({"a": "2"}, branch="feature/x")
        repo.git("-c", "user.name=t", "-c", "user.email=t@x", "tag", "-a", "-m", "one", "v1", feature)
        source = opened()
        source.fetch()
        assert source.fetch_ref("feature/x") == feature
        assert source.fetch_ref("v1") == feature, "a tag is followed to its commit"
        assert source.head() == head
        for name in ("nope", "-x", "a*"):
            with pytest.raises(UsageError, match="names no commit"):
                source.fetch_ref(name)

    def test_a_commit_that_is_not_here_is_no_reason_to_answer_no(self, repo: GitRepo, opened: Opener) -> None:
        commit = repo.commit({"a": "1"})
        source = opened()
        assert not source.has(commit)
        source.fetch()
        assert source.has(commit)
        assert not source.has(UNKNOWN)
        assert not source.has(commit[:10]), "an abbreviation is not an id"
        for ask in (
            lambda: source.is_ancestor(UNKNOWN, commit),
            lambda: source.related(commit, UNKNOWN),
            lambda: source.revision(UNKNOWN),
            lambda: source.tree(UNKNOWN),
            lambda: source.tree("--help"),
        ):
            with pytest.raises(EnvironmentFault, match="the mirror has no commit"):
                ask()


def _twins(tree: str) -> tuple[bytes, bytes]:
    """Two commits whose ids begin with the same four digits; among 65,537 there must be."""
    seen: dict[str, bytes] = {}
    for number in range(65_537):
        content = f"tree {tree}\nauthor a <a> {number} +0000\ncommitter a <a> {number} +0000\n\nx\n".encode()
        oid = hashlib.sha1(b"commit %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        if oid[:4] in seen:
            return seen[oid[:4]], content
        seen[oid[:4]] = content
    raise AssertionError("impossible")


class TestTree:
    def test_lists_below_a_directory_and_no_neighbour(self, repo: GitRepo, opened: Opener) -> None:
        files = ["k8s.yaml", "k8s/a.yaml", "k8s/deep/b.yaml", "k8s-old/c.yaml", "k8s0/d.yaml", "z.yaml"]
        commit = repo.commit(dict.fromkeys(files, "x"))
        source = opened()
        source.fetch()
        tree = source.tree(commit)
        assert tree.commit == commit
        assert [f.path for f in tree.files()] == sorted(files)
        for under in ("k8s", "k8s/", "./k8s", "k8s//."):
            assert [f.path for f in tree.files(under)] == ["k8s/a.yaml", "k8s/deep/b.yaml"]
        assert [f.path for f in tree.files("z.yaml")] == ["z.yaml"]
        assert tree.files("nope") == ()
        with pytest.raises(CommitError, match="leaves the repository"):
            tree.files("k8s/../..")

    def test_names_every_path_by_an_id_that_changes_with_its_content(self, repo: GitRepo, opened: Opener) -> None:
        source = opened()
        one = repo.commit({"a/x": "1", "b/x": "1"})
        source.fetch()
        two = repo.commit({"b/x": "2"})
        source.fetch()
        before, after = source.tree(one), source.tree(two)
        assert before.oid("a") == after.oid("a") == before.oid("b")
        assert before.oid("b") != after.oid("b")
        assert before.oid("") == before.oid(".") == repo.git("rev-parse", f"{one}^{{tree}}")
        assert before.oid("") != after.oid("")
        assert before.oid("nope") is None
        assert before.oid("../x") is None

    def test_a_name_with_blanks_or_a_line_break_is_a_name(self, repo: GitRepo, opened: Opener) -> None:
        files = {"a b.yaml": b"1", "line\nbreak": b"2", 'quo"te\\': b"3", "größe/ø": b"4", "tab\there": b"\n\n"}
        commit = repo.commit(files)
        source = opened()
        source.fetch()
        tree = source.tree(commit)
        assert tree.read(tree.files()) == files
        assert {f.path: f.size for f in tree.files()} == {name: len(content) for name, content in files.items()}

    @pytest.mark.parametrize(
        ("name", "shown"), [(b"caf\xe9.yaml", r"caf\\xe9\.yaml"), (b"..", r"\.\."), (b".GIT", r"\.GIT")]
    )
    def test_a_name_that_no_file_system_should_see_is_refused_where_it_is_asked_for(
        self, repo: GitRepo, opened: Opener, tmp_path: Path, name: bytes, shown: str
    ) -> None:
        commit = repo.commit_raw({name: b"x", b"good.yaml": b"y"})
        source = opened()
        source.fetch()
        tree = source.tree(commit)
        assert tree.oid("good.yaml") is not None
        with pytest.raises(CommitError, match=shown):
            tree.files()
        with pytest.raises(CommitError, match=shown):
            tree.export(tmp_path / "out", [""])
        assert [f.path for f in tree.files("good.yaml")] == ["good.yaml"], "a neighbour is not held hostage"

    def test_a_submodule_has_no_files_and_an_lfs_pointer_is_its_bytes(
        self, repo: GitRepo, opened: Opener, tmp_path: Path
    ) -> None:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
        commit = repo.commit(
            {"big.bin": pointer, "sub/x": "1", ".gitmodules": '[submodule "s"]\n\tpath = s\n\turl = ext::sh\n'}
        )
        lines = repo.git("ls-tree", commit) + f"\n160000 commit {UNKNOWN}\ts"
        commit = repo.commit_tree(repo.git("mktree", "--missing", stdin=f"{lines}\n".encode()))
        source = opened()
        source.fetch()
        tree = source.tree(commit)
        assert "s" not in [f.path for f in tree.files()]
        assert (tree.submodules(), tree.submodules("sub")) == (("s",), ())
        assert tree.read(tree.files("big.bin")) == {"big.bin": pointer}
        tree.export(tmp_path / "out", [""])
        assert not (tmp_path / "out" / "s").exists()

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_reads_back_exactly_what_was_committed(self, repo: GitRepo, opened: Opener, data: st.DataObject) -> None:
        part = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=6)
        part = part.filter(lambda p: p not in {".", ".."} and ".git" not in p.lower())
        paths = st.lists(part, min_size=1, max_size=3).map("/".join)
        files = data.draw(st.dictionaries(paths, st.binary(max_size=64), min_size=1, max_size=12))
        files = {p: c for p, c in files.items() if not any(q.startswith(f"{p}/") for q in files)}
        commit = repo.commit(files, rewrite=True)
        source = opened()
        source.fetch()
        tree = source.tree(commit)
        assert tree.read(tree.files()) == files
        assert [f.path for f in tree.files()] == sorted(files)
        for path in files:
            top = path.split("/", maxsplit=1)[0]
            assert [f.path for f in tree.files(top)] == sorted(p for p in files if p == top or p.startswith(f"{top}/"))

    def test_eight_threads_read_the_same_as_one(self, repo: GitRepo, opened: Opener) -> None:
        files = {f"d{n % 7}/{n}.yaml": f"{n}\n" * (n % 50) for n in range(300)}
        commit = repo.commit(files)
        source = opened()
        source.fetch()
        start = threading.Barrier(8)

        def read(worker: int) -> dict[str, bytes]:
            start.wait()
            tree = source.tree(commit)
            source.fetch() if worker == 0 else source.revision(commit)
            return {p: c for _ in range(3) for p, c in tree.read(tree.files()).items()}

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(read, range(8)))
        assert results == [{p: c.encode() for p, c in files.items()}] * 8


class TestExport:
    def test_writes_the_asked_files_with_modes_and_links(self, repo: GitRepo, opened: Opener, tmp_path: Path) -> None:
        commit = repo.commit(
            {
                "base/run.sh": Script(b"#!/bin/sh\n"),
                "base/plain": "x",
                "base/link": Link("../shared/./v.yaml"),
                "base/dir": Link("../shared"),
                "shared/v.yaml": "v",
                "other/secret": "no",
            }
        )
        source = opened()
        source.fetch()
        source.tree(commit).export(tmp_path / "out", ["base", "shared/v.yaml"])
        out = tmp_path / "out"
        assert (out / "base" / "link").read_text() == (out / "base" / "dir" / "v.yaml").read_text() == "v"
        assert (out / "base" / "run.sh").stat().st_mode & 0o777 == 0o755
        assert (out / "base" / "plain").stat().st_mode & 0o777 == 0o644
        assert not (out / "other").exists()

    @pytest.mark.parametrize("target", ["/etc/hostname", "../../../etc/hostname", "..", "here/../..", "loop"])
    def test_a_link_out_of_the_tree_is_refused_without_saying_where_it_leads(
        self, repo: GitRepo, opened: Opener, tmp_path: Path, target: str
    ) -> None:
        name = "loop" if target == "loop" else "evil"
        commit = repo.commit({name: Link(target), "here": Link("."), "a/ok": "x"})
        source = opened()
        source.fetch()
        tree = source.tree(commit)
        with pytest.raises(CommitError, match=f"^{name}: the symlink leaves") as caught:
            tree.export(tmp_path / "out", [""])
        assert "hostname" not in str(caught.value)
        assert not (tmp_path / "out").exists(), "nothing is written before all is checked"
        tree.export(tmp_path / "out", ["a"])

    def test_a_path_that_the_commit_does_not_have_is_named(self, repo: GitRepo, opened: Opener, tmp_path: Path) -> None:
        commit = repo.commit({"a": "1"})
        source = opened()
        source.fetch()
        with pytest.raises(CommitError, match=r"^base: the commit has no such file"):
            source.tree(commit).export(tmp_path / "out", ["a", "base"])

    def test_a_full_or_closed_destination_is_a_fault_of_the_host(
        self, repo: GitRepo, opened: Opener, tmp_path: Path
    ) -> None:
        commit = repo.commit({"a/b": "1"})
        source = opened()
        source.fetch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a").write_text("in the way")
        with pytest.raises(EnvironmentFault, match="cannot be written"):
            source.tree(commit).export(tmp_path / "out", ["a"])
