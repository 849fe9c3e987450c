"""A proxy between a client and the API server which can be told to misbehave.

    with FaultProxy(cluster) as proxy:
        kubeconfig = proxy.kubeconfig()
        proxy.answer(429, times=3, method="PATCH", retry_after=1)

It terminates TLS with the API server's own certificate (which is valid for 127.0.0.1 on any port), and verifies the API
server in turn. Bearer tokens, bodies and watches pass through.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from sandbox import layout as files
from sandbox.cluster import Cluster

_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests"}

Action = Literal["answer", "delay", "cut", "cut-answer"]


@dataclass
class Rule:
    """Applies to `times` requests (None: until `clear`) whose method and path match; `hits` counts them."""

    action: Action
    method: re.Pattern[str]
    path: re.Pattern[str]
    times: int | None
    status: int = 0
    retry_after: int | None = None
    seconds: float = 0.0
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        used_up = self.times is not None and self.hits >= self.times
        return not used_up and bool(self.method.fullmatch(method)) and bool(self.path.search(path))


@dataclass(frozen=True)
class Seen:
    """A request that came by. `status`: what the client got (None: its connection was cut). `forwarded`: whether the
    API server got it."""

    method: str
    path: str
    status: int | None
    forwarded: bool


@dataclass
class _Book:
    """What the threads of the proxy share."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: list[Rule] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    connections: set[socket.socket] = field(default_factory=set)


class FaultProxy:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._book = cluster, _Book()
        certificates = cluster.layout.certificates("kube-apiserver")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates / "apiserver.crt", certificates / "apiserver.key")
        upstream = ssl.create_default_context(cafile=str(cluster.certificate_authority))
        self._server = _Server(context, self._book, urlsplit(cluster.server).netloc, upstream)
        self.server = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.cut_open_connections()

    def kubeconfig(self, user: str = files.ADMIN) -> Path:
        port = self._server.server_address[1]
        path = self._cluster.layout.users / f"{user.replace(':', '-')}-through-{port}.kubeconfig"
        files.write_kubeconfig(path, self.server, self._cluster.certificate_authority, user, self._cluster.token(user))
        return path

    def answer(
        self,
        status: int,
        *,
        times: int | None = 1,
        method: str = ".*",
        path: str = ".*",
        retry_after: int | None = None,
    ) -> Rule:
        """Answer in place of the API server, which does not see the request."""
        return self._add(Rule("answer", re.compile(method), re.compile(path), times, status, retry_after))

    def delay(self, seconds: float, *, times: int | None = None, method: str = ".*", path: str = ".*") -> Rule:
        """Wait before a request goes on (to other rules that match it, then to the API server)."""
        return self._add(Rule("delay", re.compile(method), re.compile(path), times, seconds=seconds))

    def cut(self, *, times: int | None = 1, method: str = ".*", path: str = ".*", after: bool = False) -> Rule:
        """End the connection in place of an answer. `after`: what was asked is done, only the answer is lost."""
        return self._add(Rule("cut-answer" if after else "cut", re.compile(method), re.compile(path), times))

    def cut_open_connections(self) -> None:
        """Also those of requests under way, such as watches."""
        with self._book.lock:
            for connection in self._book.connections:
                _hang_up(connection)

    def clear(self) -> None:
        """Pass everything through again."""
        with self._book.lock:
            self._book.rules.clear()

    @property
    def seen(self) -> list[Seen]:
        with self._book.lock:
            return list(self._book.seen)

    def _add(self, rule: Rule) -> Rule:
        with self._book.lock:
            self._book.rules.append(rule)
        return rule


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, context: ssl.SSLContext, book: _Book, upstream: str, upstream_context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context, self.book = context, book
        self.upstream, self.upstream_context = upstream, upstream_context

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        # The handshake happens at the first read, in the connection's own thread: a silent client blocks nobody else.
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what this proxy is for; no traces on stderr."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self.upstream = http.client.HTTPSConnection(self.server.upstream, context=self.server.upstream_context)
        with self.server.book.lock:
            self.server.book.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.book.lock:
            self.server.book.connections.discard(self.connection)
        self.upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle_any(self) -> None:
        body = self._body()
        terminal = self._terminal_rule()
        if terminal is not None and terminal.action == "answer":
            self._note(terminal.status, forwarded=False)
            self._answer(terminal)
        elif terminal is not None and terminal.action == "cut":
            self._note(None, forwarded=False)
            self._cut()
        else:
            self._forward(body, lose_answer=terminal is not None)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_any  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `seen`, nobody reads stderr."""

    def _terminal_rule(self) -> Rule | None:
        """The first rule that ends the matter. Delays on the way there are waited for, outside of the lock."""
        pause, found = 0.0, None
        with self.server.book.lock:
            for rule in self.server.book.rules:
                if not rule.takes(self.command, self.path):
                    continue
                rule.hits += 1
                if rule.action != "delay":
                    found = rule
                    break
                pause += rule.seconds
        time.sleep(pause)
        return found

    def _forward(self, body: bytes | None, lose_answer: bool) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP | {"host"}}
        try:
            self.upstream.request(self.command, self.path, body, headers)
            response = self.upstream.getresponse()
        except (OSError, http.client.HTTPException):
            # The API server is away: so are we.
            self.upstream.close()
            self._note(None, forwarded=True)
            self._cut()
            return
        if lose_answer:
            response.read()
            self._note(None, forwarded=True)
            self._cut()
            return
        self._note(response.status, forwarded=True)
        self._relay(response)

    def _relay(self, response: http.client.HTTPResponse) -> None:
        """Piece by piece, as a watch has no end."""
        empty = self.command == "HEAD" or response.status in (204, 304)
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        if not empty:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not empty:
            piece = response.read1(65536)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            empty = not piece
        # Without this the connection would not take the next request, although all of the answer has been read.
        response.close()

    def _answer(self, rule: Rule) -> None:
        status = {
            "apiVersion": "v1",
            "kind": "Status",
            "status": "Failure",
            "code": rule.status,
            "reason": _REASONS.get(rule.status, "InternalError" if rule.status == 500 else "ServiceUnavailable"),
            "message": "the fault proxy was told to answer this",
        }
        text = json.dumps(status).encode()
        self.send_response_only(rule.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if rule.retry_after is not None:
            self.send_header("Retry-After", str(rule.retry_after))
        self.end_headers()
        self.wfile.write(text)

    def _cut(self) -> None:
        self.close_connection = True
        _hang_up(self.connection)

    def _note(self, status: int | None, *, forwarded: bool) -> None:
        with self.server.book.lock:
            self.server.book.seen.append(Seen(self.command, self.path, status, forwarded))

    def _body(self) -> bytes | None:
        """Read whole before anything else, so that a cut or an early answer leaves no rest on the connection."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunks())
        length = int(self.headers.get("Content-Length", 0))
        return self.rfile.read(length) if length else None

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass


def _hang_up(connection: socket.socket) -> None:
    """`close` alone would wait for the file objects of the handler."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
