"""Fetching over HTTP from a real `git http-backend`: logging in, being refused, being kept waiting."""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gitopsd.git import GitSource
from gitopsd.model.errors import EnvironmentFault, NeedsPerson, UsageError
from tests.support.gitserver import GitHttpServer, GitRepo, Request, command_lines, processes_on, wait_until
from tests.unit.git.conftest import Opener

TOKEN = "t0ken-that-nobody-may-see"
BASIC = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    return path


def test_an_open_repository_needs_no_credentials(repo: GitRepo, http: GitHttpServer, opened: Opener) -> None:
    commit = repo.commit({"a": "1"})
    assert opened(http.url(repo)).fetch() == commit
    assert {request.authorization for request in http.requests} == {None}


def test_a_fetch_of_nothing_new_transfers_no_pack(repo: GitRepo, http: GitHttpServer, opened: Opener) -> None:
    repo.commit({"a": "1"})
    repo.commit({"x": "1"}, branch="other")
    repo.git("tag", "v1", "main")
    source = opened(http.url(repo))
    head = source.fetch()
    http.requests.clear()
    assert source.fetch() == head
    assert [request.method for request in http.requests] == ["GET", "POST"], "the refs are asked for, and no more"
    assert not source.has(repo.head("other")), "other branches are not mirrored"
    with pytest.raises(UsageError):
        source.resolve("v1")  # nor are tags: a thousand of them would be asked for at each fetch


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_token_works_whichever_scheme_the_server_wants(
    scheme: str, repo: GitRepo, http: GitHttpServer, opened: Opener, token_file: Path
) -> None:
    commit = repo.commit({"a": "1"})
    http.behaviour.authorization = BASIC if scheme == "Basic" else f"Bearer {TOKEN}"
    http.behaviour.challenge = f'{scheme} realm="git"'
    assert opened(http.url(repo), token_file=token_file).fetch() == commit


def test_user_and_password_are_sent_as_they_are(
    repo: GitRepo, http: GitHttpServer, opened: Opener, token_file: Path
) -> None:
    commit = repo.commit({"a": "1"})
    http.behaviour.authorization = "Basic " + base64.b64encode(f"böt:{TOKEN}".encode()).decode()
    assert opened(http.url(repo), username="böt", password_file=token_file).fetch() == commit


def test_a_refused_credential_is_told_with_the_host_and_without_itself(
    repo: GitRepo, http: GitHttpServer, opened: Opener, token_file: Path
) -> None:
    head = repo.commit({"a": "1"})
    source = opened(http.url(repo), token_file=token_file)
    source.fetch()
    http.behaviour.authorization = "Basic other"
    with capture_logs() as logs, pytest.raises(EnvironmentFault) as caught:
        source.fetch()
    text = str(caught.value) + repr(caught.value.__cause__) + str(logs)
    assert f"source main: 127.0.0.1:{http.port} refused to let gitopsd read the repository" in text
    assert "check the credentials" in text
    assert TOKEN not in text
    assert BASIC.removeprefix("Basic ") not in text
    assert source.head() == head


def test_a_missing_credential_does_not_wait_for_a_prompt(repo: GitRepo, http: GitHttpServer, opened: Opener) -> None:
    http.behaviour.authorization = BASIC
    with pytest.raises(EnvironmentFault, match="refused to let gitopsd read"):
        opened(http.url(repo)).fetch()


def test_a_rotated_token_is_used_by_the_next_fetch(
    repo: GitRepo, http: GitHttpServer, opened: Opener, token_file: Path
) -> None:
    source = opened(http.url(repo), token_file=token_file)
    repo.commit({"a": "1"})
    http.behaviour.authorization = BASIC
    source.fetch()
    http.behaviour.authorization = "Basic " + base64.b64encode(b"x-access-token:new").decode()
    with pytest.raises(EnvironmentFault, match="refused"):
        source.fetch()
    token_file.write_text("new")
    commit = repo.commit({"a": "2"})
    assert source.fetch() == commit


def test_a_missing_branch_is_told_to_a_person_also_where_a_token_is_needed(
    repo: GitRepo, http: GitHttpServer, opened: Opener, token_file: Path
) -> None:
    repo.commit({"a": "1"}, branch="trunk")
    http.behaviour.authorization = f"Bearer {TOKEN}"
    with pytest.raises(NeedsPerson, match=r"has no branch main .*there are: trunk"):
        opened(http.url(repo), token_file=token_file).fetch()


def test_no_credential_is_in_the_arguments_of_any_process(
    repo: GitRepo, http: GitHttpServer, opened: Opener, token_file: Path
) -> None:
    repo.commit({"a": "1"})
    seen: list[str] = []

    def witness(_: Request) -> None:
        seen.extend(command_lines().values())

    http.behaviour.authorization = BASIC
    http.behaviour.on_request = witness
    opened(http.url(repo), token_file=token_file).fetch()
    fetching = [line for line in seen if "remote-http" in line and http.url(repo) in line]
    assert fetching, "the witness must have looked while git was asking the server"
    assert not [line for line in seen if TOKEN in line or BASIC.removeprefix("Basic ") in line]


def test_a_redirect_is_not_followed_with_credentials(
    repo: GitRepo, http: GitHttpServer, opened: Opener, token_file: Path, tmp_path: Path
) -> None:
    repo.commit({"a": "1"})
    with GitHttpServer(tmp_path / "served") as elsewhere:
        http.behaviour.redirect = f"http://localhost:{elsewhere.port}"
        with pytest.raises(EnvironmentFault, match=r"redirects to another address.*write the final address"):
            opened(http.url(repo), token_file=token_file).fetch()
        assert elsewhere.requests == []
        assert opened(http.url(repo), name="open").fetch() == repo.head(), "without any, there is nothing to protect"


@pytest.mark.parametrize(
    ("status", "why"), [(404, "there is no repository at"), (500, "broke off or answered"), (429, "429")]
)
def test_an_answer_of_the_server_is_told_apart(
    status: int, why: str, repo: GitRepo, http: GitHttpServer, opened: Opener
) -> None:
    http.behaviour.status = status
    with pytest.raises(EnvironmentFault, match=why):
        opened(http.url(repo)).fetch()


@pytest.mark.parametrize("first", [True, False])
def test_a_silent_server_is_given_up_and_nothing_of_git_is_left(
    first: bool, repo: GitRepo, http: GitHttpServer, opened: Opener, mirrors: Path
) -> None:
    head = repo.commit({"a": "1"})
    source = opened(http.url(repo), fetch_timeout=1.0)
    known = None if first else source.fetch()
    http.behaviour.silent = True
    started = time.monotonic()
    with pytest.raises(EnvironmentFault, match=f"127.0.0.1:{http.port} did not answer"):
        source.fetch()
    assert time.monotonic() - started < 9.0
    assert {c for c in processes_on(mirrors / "main.git").values() if "cat-file" not in c} == set()
    assert source.head() == known
    http.behaviour.silent = False
    assert source.fetch() == head


def test_a_server_that_is_gone_leaves_the_mirror_readable(repo: GitRepo, http: GitHttpServer, opened: Opener) -> None:
    first, second = repo.commit({"a": "1"}), repo.commit({"a": "2"})
    source = opened(http.url(repo))
    source.fetch()
    http.close()
    with pytest.raises(EnvironmentFault, match=f"cannot reach 127.0.0.1:{http.port}"):
        source.fetch()
    again: GitSource = opened(http.url(repo))
    assert again.head() == second
    assert [again.tree(commit).read(again.tree(commit).files()) for commit in (first, second)] == [
        {"a": b"1"},
        {"a": b"2"},
    ]


def test_an_unknown_host_is_told_by_name(repo: GitRepo, opened: Opener) -> None:
    with pytest.raises(EnvironmentFault, match=r"cannot reach git\.invalid: Could not resolve host"):
        opened("https://git.invalid/x.git").fetch()


def test_closing_ends_a_fetch_that_waits(repo: GitRepo, http: GitHttpServer, opened: Opener, mirrors: Path) -> None:
    http.behaviour.silent = True
    source = opened(http.url(repo))
    errors: list[Exception] = []

    def fetch() -> None:
        try:
            source.fetch()
        except EnvironmentFault as error:
            errors.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    wait_until(http.stalled.is_set, "the server has the request")
    source.close()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert "gitopsd is stopping" in str(errors[0])
    assert processes_on(mirrors / "main.git") == {}
    with pytest.raises(EnvironmentFault, match="gitopsd is stopping"):
        source.fetch()
