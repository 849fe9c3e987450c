"""Kubeconfig or service account -> a session: connection pool, server URL, authorization. The client library does the
reading, the credential plugins and TLS; what is dangerous in it is refused here."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from gitopsd.cluster.settings import ClusterSettings, Limits
from gitopsd.model.errors import ConfigurationError, EnvironmentFault, GitopsdError, Problem

if TYPE_CHECKING:
    import urllib3

EXPIRY_SKEW = 30.0
"""Seconds before its expiry at which a plugin's credential is asked for anew. The library's own five minutes would run
the plugin before every single request when it hands out short-lived tokens."""

STREAMS = 64
"""Idle connections kept for streams: one that has come to its ordinary end goes on with the same connection."""

KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that is gone without a word is noticed after a minute, although nothing is sent on a stream."""


@dataclass(frozen=True, slots=True)
class Session:
    """Everything that a request needs. Replaced whole when the credentials are renewed; `expires` is Unix time.

    `streams` is for answers without an end: they neither wait for a connection of `pool` nor keep one from it.
    """

    pool: urllib3.PoolManager
    streams: urllib3.PoolManager
    server: str
    authorization: str
    user: str
    expires: float | None = None

    def stale(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires - EXPIRY_SKEW


class Credentials:
    """Makes sessions. One credential plugin runs at a time, and no request waits for it longer than the limit."""

    def __init__(self, settings: ClusterSettings, limits: Limits, pool_size: int) -> None:
        self._settings, self._limits, self._pool_size = settings, limits, pool_size
        self._running: threading.Thread | None = None

    def load(self) -> Session:
        """A session with fresh credentials.

        Raises ConfigurationError for a kubeconfig that is wrong or unsafe, EnvironmentFault when a credential plugin
        fails or does not end.
        """
        outcome: list[Session | Exception] = []
        worker = self._start(outcome)
        worker.join(self._limits.credentials)
        if worker.is_alive():
            raise self._fault(
                f"the credential plugin of the kubeconfig gives no answer in {self._limits.credentials:g} s"
            )
        self._running = None
        found = outcome[0]
        if isinstance(found, Session):
            return found
        raise found

    def _start(self, outcome: list[Session | Exception]) -> threading.Thread:
        # The library runs plugins without a timeout, so the wait is bounded from outside; a plugin that hangs keeps
        # its thread, and no second one is started beside it.
        if self._running is not None and self._running.is_alive():
            raise self._fault("the credential plugin of the kubeconfig still hangs")

        def work() -> None:
            try:
                outcome.append(self._read())
            except GitopsdError as error:
                outcome.append(error)
            except Exception as error:  # noqa: BLE001  # the library lets whatever a broken file provokes through
                outcome.append(self._wrong(f"cannot be used: {error}"))

        self._running = threading.Thread(target=work, name=f"credentials-{self._settings.name}", daemon=True)
        self._running.start()
        return self._running

    def _read(self) -> Session:
        return self._in_cluster() if self._settings.in_cluster else self._from_kubeconfig()

    def _in_cluster(self) -> Session:
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException, load_incluster_config

        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except ConfigException as error:
            raise ConfigurationError(
                Problem(
                    f"cluster {self._settings.name}: there is no service account to use: {error}",
                    remedy="inCluster: true needs a pod whose service account token is mounted; else give a kubeconfig",
                )
            ) from error
        return self._session(configuration, "the pod's service account", None)

    def _from_kubeconfig(self) -> Session:
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException
        from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

        configuration = Configuration()
        try:
            files = self._files()
            self._refuse_others(files)
            merged = KubeConfigMerger(files)  # type: ignore[no-untyped-call]
            self._refuse_context(merged.config)
            loader = KubeConfigLoader(  # type: ignore[no-untyped-call]
                merged.config,
                active_context=self._settings.context or None,
                config_base_path=None,  # relative paths are relative to the file that names them
            )
            context = loader.current_context["context"]
            refuse_unsafe(merged.config, context, self._wrong)
            loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        except ConfigException as error:
            raise self._wrong(str(error)) from error
        except yaml.YAMLError as error:
            raise self._wrong(f"is no valid YAML: {error}") from error
        except OSError as error:
            raise self._fault(f"cannot read {error.filename or self._files()}: {error.strerror}") from error
        user = str(context.get("user", ""))
        expiry = getattr(loader, "expiry", None)
        session = self._session(configuration, f"user {user!r} of {self._files()}", _unix(expiry))
        if _has_exec(merged.config, user) and not session.authorization and not configuration.cert_file:
            # The library only logs why a plugin failed and would go on as an anonymous user.
            raise self._fault(f"the credential plugin of user {user!r} gave no credential", "run it by hand to see why")
        return session

    def _refuse_others(self, files: str) -> None:
        """Raise ConfigurationError for a file that is no kubeconfig: the library would fail in words of its own."""
        for path in (Path(part) for part in files.split(os.pathsep) if part):
            value = yaml.safe_load(path.read_bytes()) if path.is_file() else {}
            if not isinstance(value, dict):
                raise self._wrong(f"{path} is none: a mapping with clusters, users and contexts is expected")

    def _refuse_context(self, config: Any) -> None:
        names = [str(context["name"]) for context in config.safe_get("contexts") or () if context.safe_get("name")]
        wanted = self._settings.context
        if wanted and wanted not in names:
            known = f"it has: {', '.join(sorted(names))}" if names else "it has none"
            raise self._wrong(f"has no context {wanted!r}", f"name one that it has; {known}")

    def _files(self) -> str:
        if self._settings.kubeconfig is not None:
            path = self._settings.kubeconfig
            if not path.is_file():
                raise self._wrong("does not exist")
            return str(path)
        found = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        if not any(Path(part).is_file() for part in found.split(os.pathsep) if part):
            raise ConfigurationError(
                Problem(
                    f"cluster {self._settings.name}: no kubeconfig is named and {found} does not exist",
                    remedy="set kubeconfig or inCluster: true for it in the host configuration",
                )
            )
        return found

    def _session(self, configuration: Any, user: str, expires: float | None) -> Session:
        from kubernetes.client.rest import RESTClientObject
        from urllib3.connection import HTTPConnection

        server = str(configuration.host).rstrip("/")
        refuse_plaintext(server, self._wrong)
        configuration.verify_ssl = True
        configuration.connection_pool_maxsize = self._pool_size
        # Asked once: the hook behind it may run a plugin.
        authorization = str(configuration.api_key.get("BearerToken") or "").strip()
        pool = RESTClientObject(configuration).pool_manager
        configuration.connection_pool_maxsize = STREAMS
        configuration.socket_options = [*HTTPConnection.default_socket_options, *KEEPALIVE]
        streams = RESTClientObject(configuration).pool_manager
        return Session(pool, streams, server, authorization, user, expires)

    def _wrong(self, message: str, remedy: str = "") -> ConfigurationError:
        path = self._settings.kubeconfig
        return ConfigurationError(
            Problem(f"cluster {self._settings.name}: the kubeconfig {message}", file=str(path or ""), remedy=remedy)
        )

    def _fault(self, message: str, remedy: str = "") -> EnvironmentFault:
        return EnvironmentFault(Problem(f"cluster {self._settings.name}: {message}", remedy=remedy))


Refusal = Callable[[str, str], ConfigurationError]


def refuse_unsafe(config: Any, context: Mapping[str, Any], wrong: Refusal) -> None:
    """Refuse what would send credentials to a server that nobody has verified."""
    cluster = config["clusters"].get_with_name(context["cluster"])["cluster"]
    if cluster.safe_get("insecure-skip-tls-verify"):
        raise wrong(
            f"turns off the verification of the server's certificate (cluster {context['cluster']!r})",
            "replace insecure-skip-tls-verify by certificate-authority-data",
        )
    user = _user(config, str(context.get("user") or ""))
    if user is not None and "auth-provider" in user:
        # Its OIDC flavour stops verifying TLS when no authority is given; the others were removed from Kubernetes.
        raise wrong("uses an auth-provider, which is not supported", "use an exec plugin, a token or a certificate")


def refuse_plaintext(server: str, wrong: Refusal) -> None:
    """Only HTTPS, except to this very machine (`kubectl proxy`)."""
    parts = urlsplit(server)
    if parts.scheme == "https":
        return
    if parts.scheme != "http" or not _is_loopback(parts.hostname or ""):
        raise wrong(f"names the server {server}, which is not https", "give the server's https URL")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _user(config: Any, name: str) -> Any:
    users = config.safe_get("users")
    found = config["users"].get_with_name(name, safe=True) if users and name else None
    return found["user"] if found is not None else None


def _has_exec(config: Any, user: str) -> bool:
    found = _user(config, user)
    return found is not None and "exec" in found


def _unix(expiry: datetime | None) -> float | None:
    if expiry is None:
        return None
    aware = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
    return aware.timestamp()
