"""Fetching over SSH from a real sshd: the key, the known hosts, and a server that says nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitopsd.model.errors import EnvironmentFault
from tests.support.gitserver import GitRepo, SshServer, processes_on, silent_listener
from tests.unit.git.conftest import Opener


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshServer]:
    with SshServer(tmp_path / "sshd with blank") as server:
        yield server


def test_the_named_key_and_the_named_host_key_let_us_in(repo: GitRepo, ssh: SshServer, opened: Opener) -> None:
    commit = repo.commit({"a": "1"})
    source = opened(ssh.url(repo), ssh_key_file=ssh.user_key, known_hosts_file=ssh.known_hosts())
    assert source.fetch() == commit
    commit = repo.commit({"a": "2"})
    assert source.fetch() == commit


def test_a_changed_host_key_is_not_trusted(repo: GitRepo, ssh: SshServer, opened: Opener) -> None:
    source = opened(ssh.url(repo), ssh_key_file=ssh.user_key, known_hosts_file=ssh.known_hosts(ssh.other_key))
    with pytest.raises(EnvironmentFault, match=f"host key of 127.0.0.1:{ssh.port} is another one than"):
        source.fetch()


def test_an_unknown_host_key_is_not_learned(repo: GitRepo, ssh: SshServer, opened: Opener, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.touch()
    with pytest.raises(EnvironmentFault, match=f"host key of 127.0.0.1:{ssh.port} is not in the known hosts file"):
        opened(ssh.url(repo), ssh_key_file=ssh.user_key, known_hosts_file=hosts).fetch()
    assert hosts.read_text() == ""


def test_a_key_that_the_server_does_not_know_is_refused(repo: GitRepo, ssh: SshServer, opened: Opener) -> None:
    source = opened(ssh.url(repo), ssh_key_file=ssh.other_key, known_hosts_file=ssh.known_hosts())
    with pytest.raises(EnvironmentFault, match=rf"127\.0\.0\.1:{ssh.port} refused the ssh key .*read access"):
        source.fetch()


def test_a_file_that_is_no_key_is_told_as_such(repo: GitRepo, ssh: SshServer, opened: Opener, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("no key\n")
    with pytest.raises(EnvironmentFault, match="ssh cannot use the key"):
        opened(ssh.url(repo), ssh_key_file=key, known_hosts_file=ssh.known_hosts()).fetch()


def test_a_missing_repository_is_told_with_its_url(repo: GitRepo, ssh: SshServer, opened: Opener) -> None:
    url = ssh.url(repo) + "-not"
    with pytest.raises(EnvironmentFault, match="there is no repository at ssh://"):
        opened(url, ssh_key_file=ssh.user_key, known_hosts_file=ssh.known_hosts()).fetch()


def test_a_silent_or_absent_server_is_given_up(repo: GitRepo, ssh: SshServer, opened: Opener, mirrors: Path) -> None:
    login = {"ssh_key_file": ssh.user_key, "known_hosts_file": ssh.known_hosts(), "fetch_timeout": 1.0}
    with silent_listener() as port:
        started = time.monotonic()
        with pytest.raises(EnvironmentFault, match=f"127.0.0.1:{port} did not answer"):
            opened(f"ssh://git@127.0.0.1:{port}/x", **login).fetch()
        assert time.monotonic() - started < 9.0
    assert {c for c in processes_on(mirrors / "main.git").values() if "cat-file" not in c} == set()
    with pytest.raises(EnvironmentFault, match=f"cannot reach 127.0.0.1:{port}: .*Connection refused"):
        opened(f"ssh://git@127.0.0.1:{port}/x", **login).fetch()
