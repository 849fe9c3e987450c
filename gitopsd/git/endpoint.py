"""Where a repository is, read from its URL without asking anybody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, unquote, urlsplit

_SCP_LIKE = re.compile(r"(?P<user>[^@/:\s]+@)?(?P<host>[A-Za-z0-9][\w.-]*|\[[0-9a-fA-F:]+\]):(?!:)\S")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")


class Transport(StrEnum):
    """How git reaches a repository."""

    HTTP = "http"
    SSH = "ssh"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed URL. `host` is what people are told: the server with its port, or the local path.

    `base` is the URL of an HTTP server's root, the scope of a credential; `path` is set for a local repository.
    """

    url: str
    transport: Transport
    host: str
    base: str = ""
    path: str = ""


def parse_endpoint(url: str) -> Endpoint:
    """Raises ValueError, with a text that goes on after "url", for anything that git must not be given."""
    if url.startswith("/"):
        if "\n" in url or "\x00" in url:
            raise ValueError("has a line break")
        return Endpoint(url, Transport.FILE, url, path=url)
    if _UNPRINTABLE.search(url):
        raise ValueError("has a blank or a control character")
    if "://" not in url:
        return _scp_like(url)
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise ValueError("is no URL: check its host and port") from None
    if parts.scheme == "file":
        return _file(url, parts)
    host = f"{parts.hostname or ''}{port}"
    if not parts.hostname or parts.hostname.startswith("-"):
        raise ValueError("has no host")
    if parts.scheme in {"http", "https"}:
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "carries a user or a credential; move it to `auth` (tokenFile, or username and passwordFile)"
            )
        return Endpoint(url, Transport.HTTP, host, base=f"{parts.scheme}://{parts.netloc}/")
    if parts.scheme == "ssh":
        if parts.password is not None:
            raise ValueError("carries a password; ssh logs in with a key (`auth.sshKeyFile`)")
        return Endpoint(url, Transport.SSH, host)
    raise ValueError(f"has the scheme {parts.scheme!r}; use https, http, ssh or an absolute path")


def _scp_like(url: str) -> Endpoint:
    match = _SCP_LIKE.match(url)
    if match is None:
        raise ValueError(f"{url!r} is neither https, http, ssh nor an absolute path")
    return Endpoint(url, Transport.SSH, match["host"])


def _file(url: str, parts: SplitResult) -> Endpoint:
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\n" in path or "\x00" in path:
        raise ValueError("must name an absolute path of this host, as in file:///srv/git/infra.git")
    return Endpoint(url, Transport.FILE, path, path=path)
