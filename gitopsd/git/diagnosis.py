"""What a failed git command means, told from its exit and from what it wrote (always in English, LC_ALL=C)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What ended a git command."""

    BRANCH_MISSING = "branch-missing"
    AUTH = "auth"
    HOST_KEY = "host-key"
    TLS = "tls"
    REDIRECT = "redirect"
    NOT_FOUND = "not-found"
    UNREACHABLE = "unreachable"
    SERVER = "server"
    TIMEOUT = "timeout"
    DISK = "disk"
    LOCKED = "locked"
    DAMAGED = "damaged"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class GitFault:
    """The meaning of a failure: a sentence about the host, what a person can do about it, and the line of git's output
    that told."""

    kind: FaultKind
    message: str
    remedy: str = ""
    detail: str = ""


_K = FaultKind
_RULES: tuple[tuple[FaultKind, str, str, str], ...] = (
    (_K.BRANCH_MISSING, r"couldn't find remote ref|[Rr]emote branch .* not found", "{host} has no such branch", ""),
    (
        _K.HOST_KEY,
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
        "the ssh host key of {host} is another one than the known hosts file has",
        "find out whether the server was replaced; only then put its new key into the known hosts file",
    ),
    (
        _K.HOST_KEY,
        r"Host key verification failed|No \S+ host key is known",
        "the ssh host key of {host} is not in the known hosts file",
        "add it (ssh-keyscan prints it) after comparing it with what the server's owner publishes",
    ),
    (
        _K.AUTH,
        r"Load key \S+: |UNPROTECTED PRIVATE KEY|invalid format.*key",
        "ssh cannot use the key for {host}",
        "use an unencrypted private key in OpenSSH's format that only gitopsd's user can read",
    ),
    (
        _K.AUTH,
        r"Permission denied \(|Too many authentication failures",
        "{host} refused the ssh key",
        "give the public key read access to the repository, or correct the user in the URL",
    ),
    (
        _K.TLS,
        r"certificate|SSL|gnutls_handshake|TLS",
        "no trusted TLS connection to {host}: {line}",
        "check the server's certificate and this host's certificate authorities (GIT_SSL_CAINFO names a private one)",
    ),
    (
        _K.REDIRECT,
        r"returned error: 30\d|unable to update url base from redirection",
        "{host} redirects to another address, which credentials do not follow",
        "write the final address into `url`",
    ),
    (
        _K.AUTH,
        r"Authentication failed|could not read (Username|Password)|returned error: (401|403|407)|Access denied",
        "{host} refused to let gitopsd read the repository",
        "check the credentials under `auth`: they may be missing, wrong, expired or without read access",
    ),
    (
        _K.NOT_FOUND,
        r"repository '.*' not found|returned error: 404|not valid: is this a git repository|[Rr]epository not found"
        r"|does not appear to be a git repository|repository '.*' does not exist|no such file or directory: '",
        "there is no repository at {url}",
        "correct `url`; many servers also say so when the credentials may not see it",
    ),
    (
        _K.AUTH,
        r"detected dubious ownership|insufficient permission|: Permission denied",
        "this host does not let gitopsd's user read {host}: {line}",
        "give gitopsd's user read access",
    ),
    (
        _K.UNREACHABLE,
        r"Could not resolve|Failed to connect|Couldn't connect|Connection refused|[Nn]o route to host"
        r"|Network is unreachable|Name or service not known|kex_exchange_identification|Connection (closed|reset) by",
        "cannot reach {host}: {line}",
        "check that the server is up and that name resolution, firewall and proxy let this host through",
    ),
    (
        _K.TIMEOUT,
        r"timed out|Operation too slow|[Tt]imeout",
        "{host} did not answer in time",
        "check the server and the network",
    ),
    (
        _K.DISK,
        r"No space left|Disk quota exceeded|Read-only file system|Input/output error",
        "the mirror cannot be written: {line}",
        "make room in, or repair, the file system of the state directory",
    ),
    (
        _K.LOCKED,
        r"\.lock': File exists|cannot lock ref",
        "another git process is writing to the mirror, or one was killed while it did",
        "nothing: a left-over lock is removed after a minute",
    ),
    (
        _K.SERVER,
        r"returned error: (429|5\d\d)|RPC failed|early EOF|hung up unexpectedly|unexpected disconnect|Empty reply"
        r"|expected flush|expected .* got|transfer closed|bad line length|Recv failure|remote error",
        "{host} broke off or answered with an error: {line}",
        "it is asked again; if it stays so, look at the server's log",
    ),
    (
        _K.DAMAGED,
        r"corrupt|bad object|missing blob|missing tree|missing commit|unable to read|loose object|bad tree"
        r"|object file .* is empty|not a git repository|bad config|unresolved deltas|broken ref|packed-refs"
        r"|did not send all necessary objects|inflate|missing necessary objects|pack has bad",
        "the mirror is damaged: {line}",
        "it is cloned anew by the next fetch",
    ),
)
RULES = tuple((kind, re.compile(pattern), message, remedy) for kind, pattern, message, remedy in _RULES)
_NOISE = re.compile(
    r"^(hint:|warning:|remote:\s*$|@@@|Please make sure|and the repository exists|fatal: Could not read from remote)"
)
_PREFIX = re.compile(r"^(fatal|error|ssh|remote): (unable to access '[^']*': )?")


def diagnose(output: str, *, host: str, url: str, timed_out: float | None = None) -> GitFault:
    """Sort a failure by git's error output, from which credentials have been removed already.

    `timed_out` is the time in seconds after which the command was ended from here, if it was.
    """
    if timed_out is not None:
        return GitFault(
            FaultKind.TIMEOUT, f"{host} did not answer within {timed_out:g} seconds", "check the server and the network"
        )
    lines = output.replace(url, "<url>").splitlines()  # the words of a URL say nothing about the failure
    for kind, pattern, message, remedy in RULES:
        for line in lines:
            if kind is FaultKind.DAMAGED and line.startswith("remote:"):
                continue  # damage over there is not ours
            if pattern.search(line):
                detail = _plain(line)
                return GitFault(kind, message.format(host=host, url=url, line=detail), remedy, detail)
    return GitFault(FaultKind.OTHER, f"git could not read {url}: {last_line(output)}", "see git's message")


def last_line(output: str) -> str:
    """The line of git's error output that says most: the last one that is no advice."""
    lines = [line for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if not _NOISE.match(line)] or lines
    return _plain(telling[-1]) if telling else "it gave no reason"


def _plain(line: str) -> str:
    text = _PREFIX.sub("", line.strip())
    return "".join(c if c.isprintable() else " " for c in text)[:300]
