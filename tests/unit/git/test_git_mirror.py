"""The mirror on disk: damage, kills, gc, and several processes at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gitopsd.git import GitSource, mirror
from gitopsd.model.errors import EnvironmentFault
from tests.support.gitserver import QUIET_GIT, GitHttpServer, GitRepo, processes_on, wait_until
from tests.unit.git.conftest import Opener, counted

FETCH = """
import sys
from pathlib import Path
from gitopsd.git import SourceSettings, open_source
print(open_source(SourceSettings("main", sys.argv[1], fetch_timeout=60), Path(sys.argv[2])).fetch())
"""


def mirror_git(mirrors: Path, *arguments: str) -> str:
    environment = {**os.environ, **QUIET_GIT, "GIT_DIR": str(mirrors / "main.git")}
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, env=environment).stdout


def loose(mirrors: Path, oid: str) -> Path:
    return mirrors / "main.git" / "objects" / oid[:2] / oid[2:]


def spoil(path: Path, content: bytes = b"") -> None:
    path.chmod(0o644)
    path.write_bytes(content)


class TestKeep:
    def test_kept_commits_survive_a_rewritten_remote_and_gc(self, repo: GitRepo, opened: Opener, mirrors: Path) -> None:
        source = opened()
        commits = [repo.commit({"a": str(n)}) for n in range(3)]
        source.fetch()
        source.keep("web", [commits[1]])
        repo.commit({"b": "1"}, rewrite=True)
        source.fetch()
        mirror_git(mirrors, "gc", "--quiet", "--prune=now")
        assert not source.has(commits[2]), "gc did its work, or the test shows nothing"
        assert source.has(commits[0])
        assert source.tree(commits[1]).read(opened().tree(commits[1]).files()) == {"a": b"1"}

    def test_exactly_the_given_are_held_in_their_order_for_each_stack(
        self, repo: GitRepo, opened: Opener, mirrors: Path
    ) -> None:
        source = opened()
        a, b, c = (repo.commit({"a": str(n)}) for n in range(3))
        source.fetch()
        source.keep("web", [c, b, a])
        source.keep("web-2", [a])
        source.keep("web", [c, a])
        listed = mirror_git(mirrors, "for-each-ref", "--format=%(refname) %(objectname)", "refs/gitopsd/good")
        assert listed.splitlines() == [
            f"refs/gitopsd/good/web-2/0 {a}",
            f"refs/gitopsd/good/web/0 {c}",
            f"refs/gitopsd/good/web/1 {a}",
        ]
        source.keep("web", [])
        source.keep("web-2", [])
        assert mirror_git(mirrors, "for-each-ref", "refs/gitopsd/good") == ""

    def test_a_lost_commit_is_logged_and_hinders_no_other(self, repo: GitRepo, opened: Opener, mirrors: Path) -> None:
        source = opened()
        commit = repo.commit({"a": "1"})
        source.fetch()
        with capture_logs() as logs:
            source.keep("web", [commit, "0" * 40, "no id"])
        assert commit in mirror_git(mirrors, "for-each-ref", "refs/gitopsd/good/web/0")
        assert logs[0]["commits"] == ["0" * 40, "no id"]


class TestDamage:
    @pytest.fixture
    def kept(self, repo: GitRepo, opened: Opener) -> tuple[str, str]:
        """A good commit that the remote has no more, and the head."""
        source = opened()
        good = repo.commit({"old.yaml": "good", "same.yaml": "s"})
        source.fetch()
        source.keep("web", [good])
        head = repo.commit({"new.yaml": "n", "same.yaml": "s2"}, rewrite=True)
        source.fetch()
        return good, head

    def sound(self, source: GitSource, good: str, head: str, mirrors: Path) -> None:
        assert source.fetch() == head
        assert source.tree(head).read(source.tree(head).files()) == {"new.yaml": b"n", "same.yaml": b"s2"}
        assert source.tree(good).read(source.tree(good).files()) == {"old.yaml": b"good", "same.yaml": b"s"}
        assert good in mirror_git(mirrors, "for-each-ref", "refs/gitopsd/good/web/0")
        mirror_git(mirrors, "fsck", "--strict")
        assert sorted(p.name for p in mirrors.iterdir()) == ["main.git", "main.gitconfig", "main.lock"]

    @pytest.mark.parametrize("file", ["HEAD", "config"])
    @pytest.mark.parametrize("content", [b"", b"\x00\xffgarbage"])
    def test_a_spoilt_file_of_the_repository_is_mended(
        self, opened: Opener, mirrors: Path, kept: tuple[str, str], file: str, content: bytes
    ) -> None:
        spoil(mirrors / "main.git" / file, content)
        self.sound(opened(), *kept, mirrors)

    def test_an_empty_ref_after_a_power_cut_is_mended_and_logged(
        self, opened: Opener, mirrors: Path, kept: tuple[str, str]
    ) -> None:
        (ref,) = (p for p in (mirrors / "main.git" / "refs" / "remotes").rglob("main") if p.is_file())
        spoil(ref)
        with capture_logs() as logs:
            self.sound(opened(), *kept, mirrors)
        assert [(entry["log_level"], entry["event"]) for entry in logs] == [
            ("warning", "the mirror is damaged and is cloned anew")
        ]

    @pytest.mark.parametrize("content", [b"", b"garbage"])
    def test_a_spoilt_commit_of_the_head_is_fetched_again(
        self, opened: Opener, mirrors: Path, kept: tuple[str, str], content: bytes
    ) -> None:
        spoil(loose(mirrors, kept[1]), content)
        self.sound(opened(), *kept, mirrors)

    @pytest.mark.parametrize("what", ["file", "tree"])
    def test_a_spoilt_file_shows_when_it_is_read_and_the_next_fetch_mends_it(
        self, opened: Opener, mirrors: Path, kept: tuple[str, str], what: str
    ) -> None:
        good, head = kept
        path = "" if what == "tree" else "new.yaml"
        spoil(loose(mirrors, str(opened().tree(head).oid(path))))
        source = opened()
        with pytest.raises(EnvironmentFault, match=r"the mirror .*main\.git cannot be used.*the next fetch mends it"):
            source.tree(head).read(source.tree(head).files())
        self.sound(source, good, head, mirrors)

    def test_a_good_commit_that_only_the_damaged_mirror_had_is_reported_lost(
        self, opened: Opener, mirrors: Path, kept: tuple[str, str]
    ) -> None:
        good, head = kept
        spoil(loose(mirrors, str(opened().tree(good).oid("old.yaml"))))
        source = opened()
        with pytest.raises(EnvironmentFault):
            source.tree(good).read(source.tree(good).files())
        with capture_logs() as logs:
            assert source.fetch() == head
        assert [entry["commits"] for entry in logs if "lost" in entry["event"]] == [[good]]
        assert not source.has(good)

    def test_the_good_commits_come_out_of_the_damage_without_the_server(
        self, repo: GitRepo, opened: Opener, mirrors: Path, kept: tuple[str, str]
    ) -> None:
        good, head = kept
        spoil(loose(mirrors, head))
        repo.path.rename(repo.path.with_name("away"))
        with pytest.raises(EnvironmentFault, match="there is no repository"):
            opened().fetch()
        source = opened()
        assert source.tree(good).read(source.tree(good).files()) == {"old.yaml": b"good", "same.yaml": b"s"}
        assert source.head() is None
        repo.path.with_name("away").rename(repo.path)
        self.sound(source, good, head, mirrors)

    def test_a_remote_that_is_damaged_itself_does_not_cost_us_the_mirror(
        self, repo: GitRepo, opened: Opener, mirrors: Path, kept: tuple[str, str]
    ) -> None:
        good, head = kept
        source = opened()
        inode = (mirrors / "main.git").stat().st_ino
        newer = repo.commit({"new.yaml": "newer"})
        blob = repo.git("rev-parse", f"{newer}:new.yaml")
        spoil(repo.path / "objects" / blob[:2] / blob[2:])
        with pytest.raises(EnvironmentFault):
            source.fetch()
        assert (mirrors / "main.git").stat().st_ino == inode
        assert source.head() == head
        assert source.has(good)


class TestKill:
    @pytest.mark.parametrize("first", [True, False])
    def test_a_kill_in_the_middle_of_a_fetch_leaves_a_usable_mirror(
        self, first: bool, repo: GitRepo, http: GitHttpServer, opened: Opener, mirrors: Path
    ) -> None:
        known = None
        if not first:
            known = repo.commit({"old": "x"})
            assert opened(http.url(repo)).fetch() == known
        head = repo.commit({f"{n}.bin": os.urandom(2000) for n in range(120)})
        http.behaviour.cut_pack = 100_000
        child = subprocess.Popen([sys.executable, "-c", FETCH, http.url(repo), str(mirrors)])
        wait_until(http.stalled.is_set, "half a pack was sent")
        place = mirrors / "main.git"
        wait_until(lambda: any((place / "objects" / "pack").glob("tmp_pack_*")), "git writes the pack")
        victims = processes_on(place)
        assert any("index-pack" in line for line in victims.values())
        for pid in (child.pid, *victims):
            os.kill(pid, signal.SIGKILL)
        child.wait()
        http.behaviour.cut_pack = None
        source = opened(http.url(repo))
        assert source.head() == known
        assert source.fetch() == head
        assert len(source.tree(head).read(source.tree(head).files())) == (120 if first else 121)
        assert not list((place / "objects" / "pack").glob("tmp_*")), "the half pack is swept away"

    def test_the_next_process_waits_for_a_git_that_outlived_its_own(
        self, repo: GitRepo, http: GitHttpServer, opened: Opener, mirrors: Path
    ) -> None:
        head = repo.commit({f"{n}.bin": os.urandom(2000) for n in range(120)})
        http.behaviour.cut_pack = 100_000
        child = subprocess.Popen([sys.executable, "-c", FETCH, http.url(repo), str(mirrors)])
        wait_until(http.stalled.is_set, "half a pack was sent")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        orphans = processes_on(mirrors / "main.git")
        assert orphans
        http.behaviour.cut_pack = None
        with pytest.raises(EnvironmentFault, match=r"another fetch into .* did not end within 0\.3 seconds"):
            opened(http.url(repo), fetch_timeout=0.3).fetch()
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        assert opened(http.url(repo)).fetch() == head

    def test_what_older_kills_left_is_swept_but_a_fresh_lock_is_respected(
        self, repo: GitRepo, opened: Opener, mirrors: Path
    ) -> None:
        source = opened()
        repo.commit({"a": "1"})
        source.fetch()
        (ref,) = (p for p in (mirrors / "main.git" / "refs" / "remotes").rglob("main") if p.is_file())
        half_made = mirrors / ".main.new-abc"
        half_made.mkdir()
        lock = ref.with_name("main.lock")
        lock.touch()
        head = repo.commit({"a": "2"})
        with pytest.raises(EnvironmentFault, match="left-over lock is removed after a minute"):
            source.fetch()
        assert not half_made.exists()
        an_hour_ago = time.time() - 3600
        os.utime(lock, (an_hour_ago, an_hour_ago))
        assert source.fetch() == head

    def test_two_processes_that_fetch_first_at_the_same_time_make_one_mirror(
        self, repo: GitRepo, mirrors: Path
    ) -> None:
        head = repo.commit({"a": "1"})
        command = [sys.executable, "-c", FETCH, str(repo.path), str(mirrors)]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [child.communicate()[0].strip() for child in children] == [head, head]
        assert sorted(p.name for p in mirrors.iterdir()) == ["main.git", "main.gitconfig", "main.lock"]

    def test_the_mirror_is_for_our_user_alone(self, repo: GitRepo, opened: Opener, mirrors: Path) -> None:
        repo.commit({"a": "1"})
        opened().fetch()
        assert mirrors.stat().st_mode & 0o777 == 0o700


def test_many_small_fetches_are_packed_in_the_end(
    repo: GitRepo, opened: Opener, mirrors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = mirror._git_settings
    eager = "[fetch]\n\tunpackLimit = 1\n[gc]\n\tautoPackLimit = 3\n"
    monkeypatch.setattr(mirror, "_git_settings", lambda *a: written(*a) + eager)
    source = opened()
    for number in range(8):
        head = repo.commit({f"{number}": str(number)})
        source.fetch()
        assert source.tree(head).read(source.tree(head).files())  # who reads holds packs open
    source.fetch()  # who waits for news does not wait for the packing
    packs = list((mirrors / "main.git" / "objects" / "pack").glob("*.pack"))
    assert 0 < len(packs) <= 4, "each fetch brought a pack, and gc made one of many"
    assert len(source.tree(head).files()) == 8


def test_heads_that_keep_coming_are_packed_all_the_same(
    repo: GitRepo, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MOST_UNPACKED", 2)
    source = opened()
    commands = counted(source, monkeypatch)
    for number in range(7):
        repo.commit({"a": str(number)})
        source.fetch()
    assert commands.count("gc") == 2
