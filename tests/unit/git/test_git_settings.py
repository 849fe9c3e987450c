"""What a source may be configured to, and which credential files are taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gitopsd.git.credentials import read_access
from gitopsd.git.endpoint import Transport, parse_endpoint
from gitopsd.git.settings import SourceSettings, check_settings
from gitopsd.model.errors import ConfigurationError, EnvironmentFault


@pytest.mark.parametrize(
    ("url", "transport", "host"),
    [
        ("https://git.example/team/infra.git", Transport.HTTP, "git.example"),
        ("http://[::1]:8080/x", Transport.HTTP, "::1:8080"),
        ("https://GIT.example:8443/x", Transport.HTTP, "git.example:8443"),
        ("ssh://git@git.example:2222/x.git", Transport.SSH, "git.example:2222"),
        ("git@git.example:team/infra.git", Transport.SSH, "git.example"),
        ("git@git.example:/srv/infra.git", Transport.SSH, "git.example"),
        ("git.example:infra.git", Transport.SSH, "git.example"),
        ("/srv/git/infra.git", Transport.FILE, "/srv/git/infra.git"),
        ("/srv/with blank:colon/infra.git", Transport.FILE, "/srv/with blank:colon/infra.git"),
        ("file:///srv/git/my%20repo", Transport.FILE, "/srv/git/my repo"),
    ],
)
def test_a_url_is_understood(url: str, transport: Transport, host: str) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.url, endpoint.transport, endpoint.host) == (url, transport, host)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://user:hunter2@git.example/x", "carries a user or a credential"),
        ("https://hunter2@git.example/x", "carries a user or a credential"),
        ("ssh://git:hunter2@git.example/x", "carries a password"),
        ("ext::sh -c hunter2%", "has a blank or a control character"),
        ("ext::sh", "is neither"),
        ("git://git.example/x", "has the scheme 'git'"),
        ("ftp://git.example/x", "has the scheme 'ftp'"),
        ("relative/path", "is neither"),
        ("../up", "is neither"),
        ("-oProxyCommand=x:y", "is neither"),
        ("--upload-pack=x", "is neither"),
        ("ssh://-oProxyCommand=x/y", "has no host"),
        ("https:///x", "has no host"),
        ("https://git.example:port/x", "is no URL"),
        ("file://elsewhere/srv", "must name an absolute path"),
        ("https://git.example/a\nb", "has a blank or a control character"),
        ("", "is neither"),
    ],
)
def test_a_url_that_git_must_not_be_given_is_refused_without_its_secret(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^source main: url .*{why}") as caught:
        check_settings(SourceSettings("main", url))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"branch": "-x"}, "cannot be the name of a branch"),
        ({"branch": "feature*"}, "cannot be the name of a branch"),
        ({"fetch_timeout": 0}, "more than 0 seconds"),
        ({"token_file": Path("/t"), "username": "u", "password_file": Path("/p")}, "several ways to log in"),
        ({"username": "u"}, "both the user's name and the password file"),
        ({"password_file": Path("/p")}, "both the user's name and the password file"),
        ({"username": "a:b", "password_file": Path("/p")}, "has a colon"),
        ({"ssh_key_file": Path("/k")}, "both the key file and the file of known hosts"),
        ({"url": "/srv/x", "token_file": Path("/t")}, "needs an http or https URL"),
        ({"ssh_key_file": Path("/k"), "known_hosts_file": Path("/h")}, "needs an ssh URL"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        check_settings(SourceSettings(**{"name": "main", "url": "https://git.example/x", **settings}))


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_settings(SourceSettings("main", "nowhere", branch="-x", fetch_timeout=-1))
    assert len(caught.value.problems) == 3


class TestCredentialFiles:
    def access(self, path: Path, url: str = "https://git.example/x", **more: Any) -> str:
        settings = SourceSettings("main", url, **({"token_file": path} | more))
        return repr([dict(a.environment) for a in read_access(settings, check_settings(settings))])

    def secret(self, path: Path, content: bytes = b"s3cret\n", mode: int = 0o600) -> Path:
        path.write_bytes(content)
        path.chmod(mode)
        return path

    @pytest.mark.parametrize(
        ("content", "mode", "why"),
        [
            (b"s3cret\n", 0o644, "can be read by every user .*chmod 600"),
            (b"", 0o600, "is empty"),
            (b" \n\n", 0o600, "is empty"),
            (b"s3cret\nX-Injected: 1\n", 0o600, "holds more than one line"),
            (b"s3cret\r\nX: 1", 0o600, "holds more than one line"),
            (b"\xff\xfe", 0o600, "is no text"),
            (b"s" * 70_000, 0o600, "holds more than one line"),
        ],
    )
    def test_a_bad_one_is_named_with_the_remedy_and_without_its_content(
        self, tmp_path: Path, content: bytes, mode: int, why: str
    ) -> None:
        with pytest.raises(EnvironmentFault, match=f"token: source main: the token file {why}") as caught:
            self.access(self.secret(tmp_path / "token", content, mode))
        assert "s3cret" not in str(caught.value)

    def test_a_missing_one_and_a_directory_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(EnvironmentFault, match=r"token: .*No such file or directory"):
            self.access(tmp_path / "token")
        with pytest.raises(EnvironmentFault, match="is not a file"):
            self.access(tmp_path)

    def test_the_group_may_read_a_token_but_not_an_ssh_key_of_ours(self, tmp_path: Path) -> None:
        assert "Authorization" in self.access(self.secret(tmp_path / "token", mode=0o640))
        key, hosts = self.secret(tmp_path / "key", mode=0o640), self.secret(tmp_path / "hosts", mode=0o644)
        ssh = {"token_file": None, "ssh_key_file": key, "known_hosts_file": hosts}
        with pytest.raises(EnvironmentFault, match="ssh will not use it"):
            self.access(key, "ssh://git@git.example/x", **ssh)
        key.chmod(0o600)
        command = self.access(key, "ssh://git@git.example/x", **ssh)
        for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", str(hosts), f"-i {key}"):
            assert option in command

    def test_a_missing_file_of_known_hosts_is_named(self, tmp_path: Path) -> None:
        ssh = {"token_file": None, "ssh_key_file": self.secret(tmp_path / "key"), "known_hosts_file": tmp_path / "no"}
        with pytest.raises(EnvironmentFault, match="the file of known hosts cannot be read"):
            self.access(tmp_path, "ssh://git@git.example/x", **ssh)

    def test_the_header_goes_to_the_configured_server_alone(self, tmp_path: Path) -> None:
        settings = SourceSettings("main", "https://git.example:8443/x", token_file=self.secret(tmp_path / "token"))
        for access in read_access(settings, check_settings(settings)):
            assert access.environment["GIT_CONFIG_KEY_0"] == "http.https://git.example:8443/.extraHeader"
            assert access.environment["GIT_CONFIG_VALUE_1"] == "false"
            assert "s3cret" not in repr(access)
            assert access.scrub(f"remote: no {'s3cret'}, https://u:p@h/") == "remote: no ***, https://***@h/"

    def test_one_that_we_may_not_read_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(EnvironmentFault, match="give gitopsd's user read access"):
            self.access(self.secret(tmp_path / "token"))
