"""An API server for one kind, on this machine, which lists, watches and misbehaves as a test tells it.

It keeps the rules that resuming depends on: one counter, events after a position, a floor below which positions are
forgotten, silence for a position that it has not reached, and what is there at once for a watch without a position.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.cluster.test_discovery import VERBS, aggregated

GROUP, KIND, PLURAL = "example.com", "Widget", "widgets"
Item = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request: `what` is list, watch, discovery or review."""

    what: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Refused:
    """An answer in place of the right one; `cut` hangs up instead, `held` waits until the client does."""

    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    held: bool = False


def status(code: int, reason: str = "", **more: Any) -> Refused:
    body = {"kind": "Status", "code": code, "reason": reason, "message": f"told to answer {code}", **more}
    return Refused(code, json.dumps(body).encode())


BARE_404 = Refused(404, b"404 page not found\n")
CUT = Refused(cut=True)
HELD = Refused(held=True)
Rule = Callable[[Asked], Refused | None]


@dataclass
class Api:
    """What the server holds. Change it under `lock`, and `lock.notify_all()`; the methods do."""

    lock: threading.Condition = field(default_factory=threading.Condition)
    version: int = 100
    floor: int = 0
    objects: dict[str, Item] = field(default_factory=dict)
    history: list[tuple[int, str, Item]] = field(default_factory=list)
    served: tuple[str, ...] = ("v1",)
    verbs: tuple[str, ...] = tuple(VERBS)
    allowed: bool = True
    page: int = 2
    rule: Rule = lambda _: None
    stalled: bool = False
    mute: bool = False
    """New watches are granted, and tell nothing."""
    compressed: bool = False
    noise: bytes = b""
    """Sent again and again by a stream that has nothing to tell."""
    epoch: int = 0
    """Streams of an earlier epoch end, in the way of `farewell`."""
    farewell: str = "cut"
    late: bytes = b""
    """Sent by each stream right before its farewell."""
    asked: list[Asked] = field(default_factory=list)
    streams: int = 0

    def put(self, name: str, **metadata: Any) -> None:
        with self.lock:
            self.version += 1
            kind = "MODIFIED" if name in self.objects else "ADDED"
            known = self.objects.get(name, {"metadata": {"name": name, "namespace": "web", "uid": f"uid-{name}"}})
            made = {
                "metadata": {**known["metadata"], **metadata, "resourceVersion": str(self.version)},
                "spec": {"x": 1},
            }
            self.objects[name] = made
            self._happened(kind, made)

    def drop(self, name: str) -> None:
        with self.lock:
            self.version += 1
            gone = self.objects.pop(name)
            self._happened("DELETED", {"metadata": {**gone["metadata"], "resourceVersion": str(self.version)}})

    def bookmark(self) -> None:
        with self.lock:
            self.version += 1
            self._happened("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def restore(self, version: int) -> None:
        """The store is put back to what it was at a version."""
        with self.lock:
            self.history = [event for event in self.history if event[0] <= version]
            self.objects = {}
            for _, kind, item in self.history:
                name = item["metadata"].get("name", "")
                if kind == "DELETED":
                    self.objects.pop(name)
                elif kind != "BOOKMARK":
                    self.objects[name] = item
            self.version = version

    def end(self, how: str = "cut", late: bytes = b"") -> None:
        """End every stream: cut, or as the server does after its time (`ordinary`); after some `late` bytes."""
        with self.lock:
            self.farewell, self.late = how, late
            self.epoch += 1
            self.lock.notify_all()

    def set(self, **values: Any) -> None:
        with self.lock:
            for name, value in values.items():
                setattr(self, name, value)
            self.lock.notify_all()

    def _happened(self, kind: str, item: Item) -> None:
        self.history.append((self.version, kind, item))
        self.lock.notify_all()

    def count(self, what: str, since: int = 0) -> int:
        with self.lock:
            return sum(each.what == what for each in self.asked[since:])

    def last(self, what: str) -> Asked:
        with self.lock:
            return [each for each in self.asked if each.what == what][-1]

    def mark(self) -> int:
        with self.lock:
            return len(self.asked)


class WatchServer:
    def __init__(self, api: Api, tls: Path | None = None) -> None:
        """`tls`: a directory for a certificate; plain HTTP without."""
        self.api, self._tls = api, tls
        self._server = _Server(api, _context(tls) if tls else None)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.api.set(rule=lambda _: None, stalled=False)
        self.api.end()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, api: Api, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api, self._context = api, context

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._context is None:
            return connection, address
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    connection: socket.socket

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        what = "discovery" if url.path in {"/api", "/apis"} else "watch" if "watch" in query else "list"
        if self._admitted(Asked(what, url.path, query, dict(self.headers))):
            self._discovery(url.path) if what == "discovery" else self._kind(what, url.path, query)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._admitted(Asked("review", self.path, {}, dict(self.headers))):
            info = {"allowed": self.server.api.allowed, "userInfo": {"username": "robot"}}
            self._answer(Refused(201, json.dumps({"status": info}).encode()))

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _admitted(self, asked: Asked) -> bool:
        api = self.server.api
        with api.lock:
            api.asked.append(asked)
            refused = api.rule(asked)
        if refused is not None:
            self._answer(refused)
        return refused is None

    def _answer(self, answer: Refused) -> None:
        while answer.held and not self._gone():
            time.sleep(0.01)
        if answer.cut or answer.held:
            self._hang_up()
            return
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _discovery(self, path: str) -> None:
        api = self.server.api
        entry = {"resource": PLURAL, "responseKind": {"kind": KIND}, "scope": "Namespaced", "verbs": list(api.verbs)}
        versions = [{"version": v, "freshness": "Current", "resources": [entry]} for v in api.served]
        groups = [{"metadata": {"name": GROUP}, "versions": versions}] if versions and path == "/apis" else []
        self._answer(Refused(200, json.dumps(aggregated(*groups)).encode()))

    def _kind(self, what: str, path: str, query: Mapping[str, str]) -> None:
        api = self.server.api
        if path not in {f"/apis/{GROUP}/{version}/{PLURAL}" for version in api.served}:
            self._answer(BARE_404)
        elif what == "list":
            self._list(query)
        else:
            self._watch(query)

    def _list(self, query: Mapping[str, str]) -> None:
        api = self.server.api
        with api.lock:
            names = sorted(api.objects)
            first = int(query.get("continue", "0"))
            last = first + min(api.page, int(query["limit"]))
            more = {"continue": str(last)} if last < len(names) else {}
            metadata = {"resourceVersion": str(api.version), **more}
            items = [api.objects[name] for name in names[first:last]]
        self._answer(Refused(200, json.dumps({"metadata": metadata, "items": items}).encode()))

    # ------------------------------------------------------------ streams

    def _watch(self, query: Mapping[str, str]) -> None:
        api = self.server.api
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        if api.compressed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self._packer = zlib.compressobj(wbits=31) if api.compressed else None
        counts = "resourceVersion" in query  # not those that only prove that events arrive
        with api.lock:
            api.streams += counts
            api.lock.notify_all()
        try:
            for line in self._lines(query):
                self._send(line)
            if api.late:
                self._send(api.late)
            if api.farewell == "cut":
                self._hang_up()
                return
            if self._packer is not None:
                self._chunk(self._packer.flush())
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            with api.lock:
                api.streams -= counts
                api.lock.notify_all()

    def _lines(self, query: Mapping[str, str]) -> Iterator[bytes]:
        api = self.server.api
        with api.lock:
            epoch, mute, position = api.epoch, api.mute, int(query.get("resourceVersion", "0"))
            first = []
            if not position:
                first = [
                    o
                    for o in api.objects.values()
                    if f"metadata.name={o['metadata']['name']}," in query["fieldSelector"] + ","
                ]
            old = 0 < position < api.floor
        if old:
            yield _event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            return
        for item in first if not mute else []:
            yield _event("ADDED", item)
        position = position or api.version
        while not self._gone():
            with api.lock:
                if api.epoch != epoch:
                    return
                events = self._due(position, mute)
                if not events:
                    api.lock.wait(0.01)
            if api.noise:
                yield api.noise
            for version, kind, item in events:
                yield _event(kind, item)
                position = version
        raise ConnectionResetError

    def _gone(self) -> bool:
        """Whether the client has hung up: it never sends anything on a stream."""
        try:
            self.connection.settimeout(0)
            return self.connection.recv(1) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(5)

    def _due(self, position: int, mute: bool) -> list[tuple[int, str, Item]]:
        api = self.server.api
        return [] if mute or api.stalled else [event for event in api.history if event[0] > position]

    def _send(self, data: bytes) -> None:
        if self._packer is not None:
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        self._chunk(data)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def _event(kind: str, item: Item) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def _context(directory: Path) -> ssl.SSLContext:
    """A certificate for this machine that vouches for itself, as `ca.crt` of the directory."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "watchserver")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    (directory / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "ca.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "ca.crt", directory / "ca.key")
    return context
