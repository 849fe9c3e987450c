"""What has to be known of a source to mirror it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gitopsd.git.endpoint import Endpoint, Transport, parse_endpoint
from gitopsd.git.names import is_ref_name
from gitopsd.model.errors import ConfigurationError, Problem

DEFAULT_FETCH_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One branch of one repository, and how to log in there.

    `url` is http, https, ssh, `user@host:path`, `file://` or an absolute path, and carries no credentials. Of the ways
    to log in at most one is set: a token; user and password; an ssh key with the hosts that it may be shown to.
    `force_push` (`hold` or `allow`) is for those who decide about a head: the mirror takes every head as it is.
    `fetch_timeout` is in seconds: the longest that a server may be silent, and that a fetch may take; the first fetch,
    which carries the whole history, may take ten times as long.
    """

    name: str
    url: str
    branch: str = "main"
    token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ssh_key_file: Path | None = None
    known_hosts_file: Path | None = None
    force_push: str = "hold"
    fetch_timeout: float = DEFAULT_FETCH_TIMEOUT


def check_settings(settings: SourceSettings) -> Endpoint:
    """The place that `settings` name. Raises ConfigurationError with everything that is wrong with them."""
    where = f"source {settings.name}"
    problems = []
    endpoint = None
    try:
        endpoint = parse_endpoint(settings.url)
    except ValueError as error:
        problems.append(Problem(f"{where}: url {error}"))
    if not is_ref_name(settings.branch):
        problems.append(Problem(f"{where}: {settings.branch!r} cannot be the name of a branch"))
    if settings.fetch_timeout <= 0:
        problems.append(Problem(f"{where}: the fetch timeout must be more than 0 seconds"))
    if endpoint is not None:
        problems += [Problem(f"{where}: {text}") for text in _login_problems(settings, endpoint)]
    if problems or endpoint is None:
        raise ConfigurationError(*problems)
    return endpoint


def _login_problems(settings: SourceSettings, endpoint: Endpoint) -> list[str]:
    by_token = settings.token_file is not None
    by_password = bool(settings.username) or settings.password_file is not None
    by_key = settings.ssh_key_file is not None or settings.known_hosts_file is not None
    problems = []
    if by_token + by_password + by_key > 1:
        problems.append("has several ways to log in; keep one of token, password and ssh key")
    if by_password and not (settings.username and settings.password_file):
        problems.append("a password needs both the user's name and the password file")
    if ":" in settings.username:
        problems.append("the user's name has a colon, which HTTP cannot carry")
    if by_key and not (settings.ssh_key_file and settings.known_hosts_file):
        problems.append("an ssh key needs both the key file and the file of known hosts")
    if (by_token or by_password) and endpoint.transport is not Transport.HTTP:
        problems.append(f"a token or password is of no use for {settings.url}; it needs an http or https URL")
    if by_key and endpoint.transport is not Transport.SSH:
        problems.append(f"an ssh key is of no use for {settings.url}; it needs an ssh URL")
    return problems
