"""The host's configuration: which sources are delivered to which clusters, and where this host keeps its things."""

from __future__ import annotations

import os
import re
import socket as network
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gitopsd.config.paths import DEFAULT_SOCKET, DEFAULT_STATE_DIR, beside, read_host_file
from gitopsd.config.repopath import repository_path
from gitopsd.config.schema import (
    Duration,
    Label,
    Later,
    PathText,
    Place,
    Section,
    Text,
    check,
    duplicates,
    entries,
    is_label,
)
from gitopsd.config.terraform import TerraformConfig, TerraformSection, state_cluster_problems, terraform_config
from gitopsd.model.errors import ConfigurationError, Problem, raise_if
from gitopsd.model.ids import DEFAULT_CLUSTER
from gitopsd.yamltext import LineIndex

DEFAULT_KEY_DIR: Final = "/etc/gitopsd/keys"
_SCP: Final = re.compile(r"(?:[\w.-]+@)?[A-Za-z0-9][\w.-]*:[^/].*")
_NO_BRANCH: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|\.$|/$|^[-./]|^@$|^$")
"""What git-check-ref-format(1) forbids, and a leading hyphen."""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One branch of one repository.

    `url` is http, https, ssh or an absolute local path. `path` is the directory of the stack file, relative to the
    repository's root ("" is the root). `poll` is in seconds. `force_push` is `hold` or `allow`. Of the ways to log in
    at most one is set.
    """

    name: str
    url: str
    branch: str = "main"
    path: str = ""
    poll: float = 60.0
    force_push: str = "allow"
    token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ssh_key_file: Path | None = None
    known_hosts_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """How to reach one cluster; without `kubeconfig` and `in_cluster` it is what kubectl would take.
    `namespace` is where gitopsd keeps its own objects."""

    name: str
    kubeconfig: Path | None = None
    context: str = ""
    namespace: str = "gitopsd-system"
    in_cluster: bool = False


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The whole configuration, every path absolute. `key_dir` holds the sealing keypairs and lies outside of the other
    directories. `runtime_dir` is the socket's directory; members of `socket_group`
    may change the state of stacks over it, beside root ("" for root alone)."""

    file: Path
    instance: str
    state_dir: Path
    key_dir: Path
    socket: Path
    runtime_dir: Path
    sources: tuple[SourceConfig, ...]
    clusters: tuple[ClusterConfig, ...]
    terraform: TerraformConfig = field(default_factory=TerraformConfig)
    socket_group: str = ""


def load_host_config(file: Path) -> HostConfig:
    """Raises ConfigurationError with everything that is wrong, each with its line."""
    document, data = read_host_file(file)
    place = Place(str(file), LineIndex(data), document.index)
    host, problems = check(_Host, document.value, place)
    problems += [*_repeated(document.value, place), *state_cluster_problems(document.value, place)]
    problems += _exposed_keys(file, host, place) if host is not None else []
    instance = host.instance if host and host.instance else _host_name()
    if not is_label(instance):
        problems.append(
            Problem("the host's name cannot name this instance", str(file), remedy="set instance: to a DNS label")
        )
    raise_if(problems, ConfigurationError)
    if host is None:
        raise ConfigurationError(Problem("the configuration cannot be understood", str(file)))
    socket = beside(file, host.socket)
    return HostConfig(
        file=file.absolute(),
        instance=instance,
        state_dir=beside(file, host.state_dir),
        key_dir=beside(file, host.key_dir),
        socket=socket,
        runtime_dir=socket.parent,
        sources=tuple(_source(file, source) for source in host.sources),
        clusters=tuple(_cluster(file, cluster) for cluster in host.clusters),
        terraform=terraform_config(file, host.terraform, [cluster.name for cluster in host.clusters]),
        socket_group=host.socket_group or "",
    )


def _host_name() -> str:
    return network.gethostname().partition(".")[0].lower()


def _repeated(value: Any, place: Place) -> list[Problem]:
    """Names that stand twice, whatever else is wrong with the document."""
    problems = []
    for key, default in (("sources", None), ("clusters", DEFAULT_CLUSTER)):
        names = [entry.get("name", default) for entry in entries(value, key)]
        for index, first in duplicates(names):
            line = place.lines.line(place.document, (key, first))
            text = f"the name {names[index]!r} is already taken on line {line}"
            problems.append(place.problem(text, (key, index, "name")))
    return problems


def _exposed_keys(file: Path, host: _Host, place: Place) -> list[Problem]:
    """Keys beside what they guard: who copies, backs up or steals the state would have them with it, and the runtime
    directory does not last."""
    keys = beside(file, host.key_dir)
    others = {"stateDir": beside(file, host.state_dir), "the socket's directory": beside(file, host.socket).parent}
    return [
        place.problem(f"may not be inside of {name}, nor that inside of it", ("keyDir",), "name a directory of its own")
        for name, path in others.items()
        if _one_in_the_other(os.path.normpath, keys, path) or _one_in_the_other(os.path.realpath, keys, path)
    ]


def _one_in_the_other(reading: Callable[[Path], str], one: Path, other: Path) -> bool:
    """Whether one directory holds the other, or is it: as the paths are written, or where their symlinks lead."""
    a, b = Path(reading(one)), Path(reading(other))
    return a in (b, *b.parents) or b in a.parents


def _source(file: Path, section: _Source) -> SourceConfig:
    auth = section.auth or _Auth()
    return SourceConfig(
        name=section.name,
        url=str(beside(file, section.url)) if _is_local(section.url) else section.url,
        branch=section.branch,
        path=section.path,
        poll=section.poll,
        force_push=section.force_push,
        token_file=_maybe(file, auth.token_file),
        username=auth.username or "",
        password_file=_maybe(file, auth.password_file),
        ssh_key_file=_maybe(file, auth.ssh_key_file),
        known_hosts_file=_maybe(file, auth.known_hosts_file),
    )


def _cluster(file: Path, section: _Cluster) -> ClusterConfig:
    return ClusterConfig(
        name=section.name,
        kubeconfig=_maybe(file, section.kubeconfig),
        context=section.context or "",
        namespace=section.namespace,
        in_cluster=section.in_cluster,
    )


def _maybe(file: Path, path: str | None) -> Path | None:
    return beside(file, path) if path is not None else None


# ---------------------------------------------------------------- what a URL may be


def _is_local(url: str) -> bool:
    return "://" not in url and not _SCP.fullmatch(url)


def _url(url: str) -> str:
    if not url or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError("expected a URL or a path, without blanks")
    if url.startswith("-"):
        raise ValueError("a path may not begin with a hyphen; write ./ before it")
    if _is_local(url):
        return url
    scheme, host, credential = _parts(url)
    if scheme not in {"http", "https", "ssh", "file"}:
        raise ValueError(f"gitopsd does not speak {scheme}; use https, http, ssh or a path")
    if scheme != "file" and not host:
        raise ValueError("this URL has no host")
    if credential:
        raise ValueError("a URL may not carry a credential; use auth with a file")
    return url


def _parts(url: str) -> tuple[str, str, bool]:
    """(scheme, host, whether there is a credential in it)."""
    if "://" not in url:
        return "ssh", url.partition(":")[0].rpartition("@")[2], False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("this is no URL; check its host and port") from None
    named = parts.username is not None and parts.scheme in {"http", "https"}
    return parts.scheme, host, named or parts.password is not None


def _branch(name: str) -> str:
    if _NO_BRANCH.search(name):
        raise ValueError("this cannot be the name of a branch")
    return name


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("expected HOST:PORT, as in 127.0.0.1:8480")
    return text


Address = Annotated[str, AfterValidator(_address)]


# ---------------------------------------------------------------- the file's sections


class _Auth(Section):
    token_file: PathText | None = None
    username: Text | None = None
    password_file: PathText | None = None
    ssh_key_file: PathText | None = None
    known_hosts_file: PathText | None = None

    @model_validator(mode="after")
    def _one_way(self) -> _Auth:
        password = (self.username, self.password_file)
        key = (self.ssh_key_file, self.known_hosts_file)
        ways = [bool(self.token_file), any(password), any(key)]
        if sum(ways) > 1:
            raise ValueError("several ways to log in; keep one of tokenFile, username + passwordFile, sshKeyFile")
        if any(password) and not all(password):
            raise ValueError("username and passwordFile need each other")
        if any(key) and not all(key):
            raise ValueError("sshKeyFile and knownHostsFile need each other: the host is always checked")
        return self


class _Webhook(Section):
    provider: Literal["github", "gitlab", "gitea", "bitbucket", "generic"]
    secret_file: PathText


class _Verify(Section):
    gpg_keyring: PathText | None = None
    ssh_allowed_signers: PathText | None = None


class _Kinds(Section):
    allow: list[Text] | None = None
    deny: list[Text] | None = None


class _Policy(Section):
    namespaces: list[Text] | None = None
    kinds: _Kinds | None = None
    terraform_paths: list[Text] | None = None


class _Source(Section):
    name: Label
    url: Annotated[str, AfterValidator(_url)]
    branch: Annotated[str, AfterValidator(_branch)] = "main"
    path: Annotated[str, AfterValidator(repository_path)] = ""
    poll: Duration = 60.0
    force_push: Literal["hold", "allow"] = "allow"
    auth: _Auth | None = None
    webhook: Later[_Webhook] | None = None
    verify: Later[_Verify] | None = None
    policy: Later[_Policy] | None = None

    @model_validator(mode="after")
    def _fitting_login(self) -> _Source:
        scheme = "file" if _is_local(self.url) else _parts(self.url)[0]
        if self.auth and self.auth.ssh_key_file and scheme != "ssh":
            raise ValueError("auth: an ssh key needs an ssh URL")
        if self.auth and (self.auth.token_file or self.auth.username) and scheme not in {"http", "https"}:
            raise ValueError("auth: a token or password needs an http or https URL")
        return self


class _Cluster(Section):
    name: Label = DEFAULT_CLUSTER
    kubeconfig: PathText | None = None
    context: Text | None = None
    namespace: Label = "gitopsd-system"
    in_cluster: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> _Cluster:
        if self.in_cluster and (self.kubeconfig or self.context):
            raise ValueError("inCluster needs neither kubeconfig nor context")
        return self


class _Host(Section):
    instance: Label | None = None
    state_dir: PathText = DEFAULT_STATE_DIR
    key_dir: PathText = DEFAULT_KEY_DIR
    socket: PathText = DEFAULT_SOCKET
    sources: Annotated[list[_Source], Field(min_length=1)]
    clusters: Annotated[list[_Cluster], Field(min_length=1)]
    terraform: TerraformSection = TerraformSection()
    socket_group: Text | None = None
    listen: Later[Address] | None = None
    webhook_listen: Later[Address] | None = None
    api_token_file: Later[PathText] | None = None
    api_public: Later[bool] | None = None
    policy: Later[_Policy] | None = None
