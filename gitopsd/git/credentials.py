"""How git logs in: read from files at each fetch, handed over in the environment, shown nowhere."""

from __future__ import annotations

import base64
import math
import os
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gitopsd.git.endpoint import Endpoint, Transport
from gitopsd.git.settings import SourceSettings
from gitopsd.model.errors import EnvironmentFault, Problem

TOKEN_USER = "x-access-token"  # noqa: S105 - servers that take a token as a password ignore the user's name
_MAX_SECRET = 64 * 1024
_IN_URL = re.compile(r"(://)[^/@\s'\"]+@")
_POD_HINT = "in a pod, set the volume's defaultMode to 0400"


@dataclass(frozen=True, slots=True)
class Access:
    """One way to log in: variables for git's environment, and every text that must not be seen in its output."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def scrub(self, text: str) -> str:
        """`text` without credentials."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return _IN_URL.sub(r"\1***@", text)


def read_access(settings: SourceSettings, endpoint: Endpoint) -> tuple[Access, ...]:
    """The ways to log in, the likeliest first; they are tried in turn while the server refuses them.

    A token is sent as a password, which most servers take, and else as a bearer. Raises EnvironmentFault for a file
    that is missing, empty or open to every user of the host.
    """
    where = f"source {settings.name}"
    if endpoint.transport is Transport.SSH:
        return (Access(_ssh_environment(settings, where)),)
    if settings.token_file is not None:
        token = _read_secret(settings.token_file, f"{where}: the token file")
        return _basic(endpoint, TOKEN_USER, token), _header(endpoint, f"Bearer {token}", token)
    if settings.password_file is not None:
        password = _read_secret(settings.password_file, f"{where}: the password file")
        return (_basic(endpoint, settings.username, password),)
    return (Access(),)


def _basic(endpoint: Endpoint, user: str, password: str) -> Access:
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return _header(endpoint, f"Basic {encoded}", password, encoded)


def _header(endpoint: Endpoint, value: str, *secrets: str) -> Access:
    """git would send the header on to wherever the server redirects, so a redirect is refused instead."""
    pairs = (
        (f"http.{endpoint.base}.extraHeader", f"Authorization: {value}"),
        ("http.followRedirects", "false"),
    )
    environment = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, setting) in enumerate(pairs):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = setting
    return Access(environment, secrets)


def _ssh_environment(settings: SourceSettings, where: str) -> dict[str, str]:
    seconds = max(1, math.ceil(settings.fetch_timeout))
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        f"ConnectTimeout={seconds}",
        f"ServerAliveInterval={max(1, seconds // 3)}",
        "ServerAliveCountMax=3",
    ]
    command = ["ssh"]
    if settings.ssh_key_file is not None and settings.known_hosts_file is not None:
        _check_secret(settings.ssh_key_file, f"{where}: the ssh key file", group_too=True)
        _check_readable(settings.known_hosts_file, f"{where}: the file of known hosts")
        # Only the named files count: neither the ssh settings of this host nor its other keys and known hosts.
        command += ["-F", "none", "-i", str(settings.ssh_key_file)]
        options += [
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={_ssh_path(settings.known_hosts_file)}",
            "GlobalKnownHostsFile=none",
        ]
    for option in options:
        command += ["-o", option]
    return {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}


def _ssh_path(path: Path) -> str:
    """ssh splits the list of known hosts files at blanks and expands `%` in it."""
    return '"' + str(path).replace("%", "%%") + '"'


def _read_secret(path: Path, what: str) -> str:
    _check_secret(path, what, group_too=False)
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_SECRET + 1)
        text = raw.decode().strip()
    except OSError as error:
        raise _fault(path, what, f"cannot be read: {error.strerror}", "give gitopsd's user read access") from None
    except UnicodeDecodeError:
        raise _fault(path, what, "is no text", "write the credential alone into it, in one line") from None
    if not text or len(raw) > _MAX_SECRET or not text.isprintable():
        wrong = "is empty" if not text else "holds more than one line of text"
        raise _fault(path, what, wrong, "write the credential alone into it, in one line")
    return text


def _check_secret(path: Path, what: str, *, group_too: bool) -> None:
    found = _check_readable(path, what)
    if found.st_mode & stat.S_IROTH:
        raise _fault(path, what, "can be read by every user of this host", f"chmod 600 {path}; {_POD_HINT}")
    if group_too and found.st_uid == os.getuid() and found.st_mode & 0o077:
        # ssh ignores such a key, and says only that the server denied permission
        raise _fault(path, what, "is open to its group, so that ssh will not use it", f"chmod 600 {path}; {_POD_HINT}")


def _check_readable(path: Path, what: str) -> os.stat_result:
    try:
        found = path.stat()
    except OSError as error:
        raise _fault(path, what, f"cannot be read: {error.strerror}", "create it, or correct the path") from None
    if not stat.S_ISREG(found.st_mode):
        raise _fault(path, what, "is not a file", "correct the path")
    if not os.access(path, os.R_OK):
        raise _fault(path, what, "cannot be read: Permission denied", "give gitopsd's user read access")
    return found


def _fault(path: Path, what: str, wrong: str, remedy: str) -> EnvironmentFault:
    return EnvironmentFault(Problem(f"{what} {wrong}", file=str(path), remedy=remedy))
