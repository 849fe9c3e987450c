"""Repetition, timeouts and credentials, against a server that misbehaves as told."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gitopsd.cluster.connection import Connection, Request
from gitopsd.cluster.settings import ClusterSettings, Limits
from gitopsd.model.errors import ConfigurationError, EnvironmentFault
from tests.unit.cluster.server import Answer, Asked, FakeServer, Script, in_turn, kubeconfig, settings

QUICK = Limits(first=0.01, most=0.05)
BRIEF = Limits(budget=1.5, first=0.01, most=0.05)
GET = Request("GET", "/api/v1/namespaces/web")
ONCE = Request("PATCH", "/api/v1/namespaces/web", body=[], repeatable=False)


def connected(path: Path, server: str, limits: Limits = QUICK, **more: Any) -> Connection:
    return Connection(settings(kubeconfig(path / "kubeconfig", server, **more)), limits, 4)


@pytest.mark.parametrize(
    "first", [Answer(429, headers={"Retry-After": "0"}), Answer(503), Answer(500), Answer(cut=True)]
)
def test_what_may_pass_is_tried_again(tmp_path: Path, first: Answer) -> None:
    with FakeServer(in_turn(first, first, Answer(200, {"a": 1}))) as server:
        reply = connected(tmp_path, server.url).send(GET)
        assert (reply.status, reply.json(), reply.attempts) == (200, {"a": 1}, 3)
        assert reply.uncertain is (first.status != 429)


def test_the_pause_that_the_server_asks_for_is_kept(tmp_path: Path) -> None:
    with FakeServer(in_turn(Answer(429, headers={"Retry-After": "1"}), Answer())) as server:
        started = time.monotonic()
        connected(tmp_path, server.url, Limits(budget=5)).send(GET)
        assert time.monotonic() - started >= 1


def test_a_longer_pause_than_the_budget_is_handed_to_the_caller(tmp_path: Path) -> None:
    with FakeServer(in_turn(Answer(429, headers={"Retry-After": "30"}))) as server:
        started = time.monotonic()
        with pytest.raises(EnvironmentFault) as caught:
            connected(tmp_path, server.url, BRIEF).send(GET)
        assert caught.value.retry_after == 30
        assert time.monotonic() - started < 15
        assert len(server.asked) == 1


def test_the_budget_ends_the_attempts_and_the_fault_tells_it_all(tmp_path: Path) -> None:
    body = {"kind": "Status", "message": "etcd is away", "code": 503}
    with FakeServer(in_turn(Answer(503, body))) as server:
        with pytest.raises(EnvironmentFault) as caught:
            connected(tmp_path, server.url, BRIEF).send(GET)
        text = str(caught.value)
        assert f"cluster default ({server.url}): GET /api/v1/namespaces/web" in text
        assert "the server answers 503: etcd is away; tried" in text
        assert 1 < len(server.asked) < 200


@pytest.mark.parametrize("answer", [Answer(cut=True), Answer(500), Answer(503)])
def test_what_must_not_happen_twice_is_sent_once(tmp_path: Path, answer: Answer) -> None:
    with FakeServer(in_turn(answer, Answer())) as server:
        connection = connected(tmp_path, server.url)
        if answer.cut:
            with pytest.raises(EnvironmentFault):
                connection.send(ONCE)
        else:
            assert connection.send(ONCE).status == answer.status
        assert len(server.asked) == 1


def test_a_429_has_done_nothing_and_is_repeated_even_then(tmp_path: Path) -> None:
    with FakeServer(in_turn(Answer(429), Answer())) as server:
        assert connected(tmp_path, server.url).send(ONCE).status == 200


def test_a_silent_server_is_left_after_the_read_timeout(tmp_path: Path) -> None:
    with FakeServer(in_turn(Answer(silent=True))) as server:
        started = time.monotonic()
        with pytest.raises(EnvironmentFault, match="does not answer in time"):
            connected(tmp_path, server.url, Limits(read=0.3, budget=0.3)).send(GET)
        assert time.monotonic() - started < 15


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(EnvironmentFault, match=r"connection refused; tried \d+ times"):
        connected(tmp_path, url, BRIEF).send(ONCE)  # never arrived: repeated although it must not happen twice


def test_a_server_without_tls_gets_no_credentials(tmp_path: Path) -> None:
    with FakeServer(in_turn(Answer())) as server:
        with pytest.raises(EnvironmentFault, match="cluster default"):
            connected(tmp_path, server.url.replace("http:", "https:"), BRIEF).send(GET)
        assert server.asked == []


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    with (
        FakeServer(in_turn(Answer(302, headers={"Location": "http://elsewhere.example/"}))) as server,
        pytest.raises(EnvironmentFault, match=r"redirects to http://elsewhere\.example/"),
    ):
        connected(tmp_path, server.url).send(GET)


def test_a_secret_request_is_not_answered_with_the_servers_words(tmp_path: Path) -> None:
    with FakeServer(in_turn(Answer(503, {"kind": "Status", "message": "hunter2 is bad"}))) as server:
        with pytest.raises(EnvironmentFault) as caught:
            connected(tmp_path, server.url, BRIEF).send(Request("GET", "/x", secret=True))
        assert "hunter2" not in str(caught.value)


# ---------------------------------------------------------------- credentials


def bearer(*tokens: str) -> Script:
    """Takes these tokens only."""

    def script(asked: Asked) -> Answer:
        return Answer(200 if asked.headers.get("Authorization") in {f"Bearer {t}" for t in tokens} else 401)

    return script


def test_a_rotated_token_is_read_again(tmp_path: Path) -> None:
    with FakeServer(bearer("new")) as server:
        connection = connected(tmp_path, server.url, user={"token": "old"})
        kubeconfig(tmp_path / "kubeconfig", server.url, {"token": "new"})
        assert connection.send(GET).status == 200
        assert connection.send(GET).status == 200
        assert len(server.asked) == 3


def test_a_refused_credential_is_named(tmp_path: Path) -> None:
    with FakeServer(bearer("other")) as server:
        connection = connected(tmp_path, server.url)
        with pytest.raises(EnvironmentFault, match=r"credentials of user 'robot' of .*kubeconfig \(401"):
            connection.send(GET)
        (tmp_path / "kubeconfig").write_text("no: kubeconfig\n")
        with pytest.raises(EnvironmentFault, match="the kubeconfig"):
            connection.send(GET)


def test_a_token_file_may_end_in_a_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n")  # named relative to the kubeconfig, as kubectl reads it
    with FakeServer(bearer("t")) as server:
        assert connected(tmp_path, server.url, user={"tokenFile": "token"}).send(GET).status == 200


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """A credential plugin that counts its runs and hands out tokens t1, t2, ... with the expiry of a file."""
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, pathlib, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "runs = here / 'runs'\n"
        "n = len(runs.read_text()) + 1 if runs.exists() else 1\n"
        "runs.write_text('x' * n)\n"
        "mode = (here / 'mode').read_text()\n"
        "if mode == 'fail': raise SystemExit(3)\n"
        "while mode == 'hang' and (here / 'mode').read_text() == 'hang': time.sleep(0.02)\n"
        "status = {'token': f't{n}'}\n"
        "if mode != 'lasting': status['expirationTimestamp'] = mode\n"
        "kind = {'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential'}\n"
        "print(json.dumps({**kind, 'status': status}))\n"
    )
    execute = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(script)],
        "interactiveMode": "Never",
    }
    (tmp_path / "mode").write_text("lasting")
    yield {"exec": execute}, tmp_path
    (tmp_path / "mode").write_text("lasting")  # a plugin that hangs ends now


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text())


def test_a_plugin_runs_once_as_long_as_its_token_is_taken(tmp_path: Path, plugin: tuple[dict[str, Any], Path]) -> None:
    user, directory = plugin
    # Shorter than what the client library takes for "about to expire": it would run the plugin for every request.
    (directory / "mode").write_text((datetime.now(UTC) + timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    with FakeServer(bearer("t1", "t2")) as server:
        connection = connected(tmp_path, server.url, user=user)
        assert [connection.send(GET).status for _ in range(3)] == [200] * 3
        assert runs(directory) == 1


def test_a_plugins_expired_token_is_replaced_before_it_is_refused(
    tmp_path: Path, plugin: tuple[dict[str, Any], Path]
) -> None:
    user, directory = plugin
    (directory / "mode").write_text((datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    with FakeServer(bearer("t2")) as server:
        connection = connected(tmp_path, server.url, user=user)
        (directory / "mode").write_text("lasting")
        assert connection.send(GET).status == 200
        assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer t2"]


def test_a_plugin_that_fails_is_no_anonymous_user(tmp_path: Path, plugin: tuple[dict[str, Any], Path]) -> None:
    user, directory = plugin
    (directory / "mode").write_text("fail")
    with pytest.raises(EnvironmentFault, match="plugin of user 'robot' gave no credential"):
        connected(tmp_path, "https://127.0.0.1:1", user=user)


def test_a_plugin_that_hangs_is_waited_for_no_longer_than_allowed(
    tmp_path: Path, plugin: tuple[dict[str, Any], Path]
) -> None:
    user, directory = plugin
    limits = Limits(budget=0.5, credentials=1)
    with FakeServer(bearer("t2", "t3")) as server:
        connection = connected(tmp_path, server.url, limits, user=user)
        (directory / "mode").write_text("hang")
        with pytest.raises(EnvironmentFault, match="gives no answer in 1 s"):
            connection.send(GET)
        with pytest.raises(EnvironmentFault, match="still hangs"):
            connection.send(GET)
        (directory / "mode").write_text("lasting")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                assert connection.send(GET).status == 200
                break
            except EnvironmentFault:
                time.sleep(0.05)
        else:
            pytest.fail("the credentials never came back")


@pytest.mark.parametrize(
    ("cluster", "user", "server", "expected"),
    [
        ({"insecure-skip-tls-verify": True}, None, "https://a", "certificate-authority-data"),
        ({}, {"auth-provider": {"name": "oidc", "config": {}}}, "https://a", "auth-provider"),
        ({}, None, "http://api.example", "is not https"),
        ({"certificate-authority": "missing.crt"}, None, "https://a", "missing.crt"),
    ],
)
def test_an_unsafe_or_broken_kubeconfig_is_refused(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any] | None, server: str, expected: str
) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", server, user, **cluster)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        Connection(settings(path), QUICK, 4)
    assert caught.value.problems[0].file == str(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "apiVersion: v1\n", json.dumps({"contexts": 3, "current-context": "x"})]
)
def test_what_is_no_kubeconfig_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(ConfigurationError, match="cluster default: the kubeconfig"):
        Connection(settings(tmp_path / "kubeconfig"), QUICK, 4)


def test_in_cluster_needs_a_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="no service account to use"):
        Connection(ClusterSettings("default", in_cluster=True), QUICK, 4)


def test_no_kubeconfig_is_named_and_none_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"no kubeconfig is named and .*none does not exist"):
        Connection(ClusterSettings("default"), QUICK, 4)
    kubeconfig(tmp_path / "none", "https://127.0.0.1:1")
    assert Connection(ClusterSettings("default"), QUICK, 4).server == "https://127.0.0.1:1"


def test_a_context_that_the_kubeconfig_does_not_have(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=r"the kubeconfig has no context 'nowhere' \(.*; it has: \w+"):
        Connection(ClusterSettings("default", path, context="nowhere"), QUICK, 4)


@pytest.mark.parametrize("text", ["a-host-name\n", "- a\n", "5\n"])
def test_a_file_that_is_no_kubeconfig_is_told_in_words_of_our_own(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hostname"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"hostname is none: a mapping with clusters, users and contexts"):
        Connection(settings(path), QUICK, 4)


def test_a_missing_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        Connection(settings(tmp_path / "none"), QUICK, 4)
