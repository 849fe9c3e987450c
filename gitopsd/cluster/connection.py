"""Requests to one API server: timeouts, bounded repetition, renewal of credentials. It knows HTTP, not objects."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import IncompleteRead
from typing import Any, NoReturn
from urllib.parse import urlencode

import orjson
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from gitopsd.cluster.credentials import Credentials, Session
from gitopsd.cluster.settings import ClusterSettings, Limits
from gitopsd.cluster.streams import Broken, Stream
from gitopsd.model.errors import ConfigurationError, EnvironmentFault, Problem

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"

SHORT = 300
"""How much of an answer that nobody understands is shown."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. `attempts` is how often the request was sent; `elapsed` the seconds since the first time.
    `uncertain`: an earlier attempt may have had its effect although its answer was lost."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int = 1
    elapsed: float = 0.0
    uncertain: bool = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The parsed body; None if it is no JSON (the bare 404 of a kind that is not served, a proxy's page)."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    def object(self) -> dict[str, Any]:
        """The parsed body if it is a JSON object, else an empty one."""
        value = self.json()
        return value if isinstance(value, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks us to wait (RFC 9110, 10.2.3; API servers send the number form)."""
        text = self.headers.get("Retry-After", "")
        return float(text) if text.isdigit() else None


Transient = Callable[[Reply], bool]
"""Whether an answer means that the same request may succeed a moment later."""


Sleep = Callable[[float], None]
"""How the pause between two attempts is spent; may raise, if nobody wants the answer any more."""


def overloaded(reply: Reply) -> bool:
    """The API server, or something before it, is busy or down. Nothing was done if it was a 429."""
    return reply.status == 429 or reply.status >= 500


def never(_: Reply) -> bool:
    """Every answer is final."""
    return False


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `repeatable`: sending it twice does the same as once, so that a lost answer is no obstacle.
    `secret`: the server's words may quote what we sent and are kept out of every message."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Any = None
    content_type: str = JSON
    accept: str = JSON
    headers: Mapping[str, str] | None = None
    repeatable: bool = True
    transient: Transient = overloaded
    secret: bool = False

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


class Connection:
    """Requests to one API server with one identity. Safe from several threads.

    Raises EnvironmentFault when no final answer can be had within the limits, naming cluster, server and what happened;
    every other answer, refusals included, is returned.
    """

    def __init__(self, settings: ClusterSettings, limits: Limits, pool_size: int) -> None:
        self.name = settings.name
        self._limits = limits
        self._timeout = urllib3.Timeout(connect=limits.connect, read=limits.read)
        self._credentials = Credentials(settings, limits, pool_size)
        self._lock = threading.Lock()
        self._random = random.SystemRandom()
        self._session = self._credentials.load()

    @property
    def server(self) -> str:
        return self._session.server

    @property
    def user(self) -> str:
        """The credential as the kubeconfig names it: what a person has to look at after a 401."""
        return self._session.user

    def send(self, request: Request, sleep: Sleep = time.sleep) -> Reply:
        """The final answer to a request.

        Connections that break, and answers that the request calls transient, are repeated with jittered exponential
        pauses, or after the pause that the server asks for, until the budget is spent. `sleep` may raise to give up.
        """
        body = None if request.body is None else orjson.dumps(request.body)

        def once(session: Session) -> Reply:
            answer = self._ask(session, session.pool, request, body, self._timeout)
            return Reply(answer.status, answer.headers, answer.data)

        return self._repeat(request, once, sleep)

    def stream(self, request: Request, silence: float, sleep: Sleep = time.sleep) -> Stream | Reply:
        """An answer that comes in pieces, on a connection of its own; it may be silent for so many seconds. Refusals
        are answered whole. Repeated as `send` does until the answer has begun; raises Broken if it does not begin."""
        streams: list[Stream] = []
        timeout = urllib3.Timeout(connect=self._limits.connect, read=silence)

        def once(session: Session) -> Reply:
            try:
                answer = self._ask(session, session.streams, request, None, timeout, preload_content=False)
            except ReadTimeoutError as error:
                raise Broken from error
            if 200 <= answer.status < 300:
                streams.append(Stream(answer, silence))
                return Reply(answer.status, answer.headers, b"")
            return Reply(answer.status, answer.headers, answer.data)

        reply = self._repeat(request, once, sleep)
        return streams[0] if streams else reply

    def _repeat(self, request: Request, once: Callable[[Session], Reply], sleep: Sleep) -> Reply:
        started = time.monotonic()
        uncertain = False
        attempt = 0
        while True:
            attempt += 1
            try:
                reply = self._authorized(once)
            except HTTPError as error:
                untouched = _never_sent(error)
                uncertain = uncertain or not untouched
                if _permanent(error) or not (request.repeatable or untouched):
                    self._fail(request, describe_error(error))
                sleep(self._wait(request, attempt, started, None, describe_error(error)))
                continue
            if 300 <= reply.status < 400 and reply.status != 304:
                self._fail(request, f"the server redirects to {reply.headers.get('Location', 'nowhere')}: not followed")
            if not (reply.status == 429 or (request.repeatable and request.transient(reply))):
                elapsed = time.monotonic() - started
                return Reply(reply.status, reply.headers, reply.body, attempt, elapsed, uncertain)
            uncertain = uncertain or reply.status >= 500
            sleep(self._wait(request, attempt, started, reply.retry_after, self._words(request, reply)))

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their answer has come."""
        self._session.pool.clear()
        self._session.streams.clear()

    def fault(
        self, message: str, *, unit: str = "", remedy: str = "", retry_after: float | None = None
    ) -> EnvironmentFault:
        """An EnvironmentFault that names this cluster and its server."""
        text = f"cluster {self.name} ({self.server}): {message}"
        return EnvironmentFault(Problem(text, unit=unit, remedy=remedy), retry_after=retry_after)

    def _authorized(self, once: Callable[[Session], Reply]) -> Reply:
        """One attempt; a second one with new credentials when these are not accepted (expired, rotated)."""
        session = self._session
        if session.stale(time.time()):
            session = self._renew(session)
        reply = once(session)
        if reply.status != 401:
            return reply
        reply = once(self._renew(session))
        if reply.status != 401:
            return reply
        raise self.fault(
            f"the server does not accept the credentials of {self.user} (401 Unauthorized)",
            remedy="renew its token or certificate; the kubeconfig is read again at the next try",
        )

    def _renew(self, used: Session) -> Session:
        """Fresh credentials, unless another thread has just got some."""
        with self._lock:
            if self._session is used:
                try:
                    self._session = self._credentials.load()
                except ConfigurationError as error:
                    # It was right when the program started: somebody is changing it, and waiting may help.
                    raise EnvironmentFault(*error.problems) from error
            return self._session

    @staticmethod
    def _ask(
        session: Session,
        pool: urllib3.PoolManager,
        request: Request,
        body: bytes | None,
        timeout: urllib3.Timeout,
        *,
        preload_content: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": request.accept, "User-Agent": "gitopsd"}
        if body is not None:
            headers["Content-Type"] = request.content_type
        if session.authorization:
            headers["Authorization"] = session.authorization
        headers.update(request.headers or {})
        return pool.request(
            request.method,
            session.server + request.target,
            body=body,
            headers=headers,
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=preload_content,
        )

    def _wait(self, request: Request, attempt: int, started: float, asked: float | None, what: str) -> float:
        """The pause before the next attempt; raises if that would begin after the budget."""
        limits = self._limits
        usual = min(limits.most, limits.first * 2.0 ** (attempt - 1)) * self._random.uniform(0.5, 1.5)
        wait = max(asked or 0.0, usual)
        spent = time.monotonic() - started
        if spent + wait > limits.budget:
            tries = f"tried {attempt} times in {spent:.0f} s" if attempt > 1 else "not tried again"
            self._fail(request, f"{what}; {tries}", asked)
        return wait

    def _fail(self, request: Request, what: str, retry_after: float | None = None) -> NoReturn:
        raise self.fault(f"{request.method} {request.path}: {what}", retry_after=retry_after)

    @staticmethod
    def _words(request: Request, reply: Reply) -> str:
        said = "" if request.secret else str(reply.object().get("message") or "")[:SHORT]
        return f"the server answers {reply.status}" + (f": {said}" if said else "")


def _never_sent(error: HTTPError) -> bool:
    """No connection was made, so that the server cannot have seen the request."""
    return isinstance(error, (NewConnectionError, ConnectTimeoutError))


def _permanent(error: HTTPError) -> bool:
    """A certificate that does not verify, or that is not there, will not be so a second later; a cut handshake may."""
    return any(isinstance(part, (ssl.SSLCertVerificationError, *_NO_FILE)) for part in _chain(error))


_NO_FILE = (FileNotFoundError, PermissionError)
"""From the files of certificates alone: nothing else is opened to make a connection."""


_WORDS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (_NO_FILE, "a certificate or key file that the kubeconfig names cannot be read"),
    (IncompleteRead, "the connection broke in the middle of an answer"),
    (ReadTimeoutError, "the server does not answer in time"),
)


def _chain(error: BaseException) -> list[BaseException]:
    """The error with everything that it wraps: urllib3 puts the first cause into `args`."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        part = waiting.pop()
        if part not in found:
            found.append(part)
            inner = (*part.args, part.__cause__, part.__context__)
            waiting += [each for each in inner if isinstance(each, BaseException)]
    return found


def describe_error(error: HTTPError) -> str:
    """What broke, without the library's own object names."""
    parts = _chain(error)
    verification = next((p for p in parts if isinstance(p, ssl.SSLCertVerificationError)), None)
    if verification is not None:
        return (
            f"the server's certificate is not trusted: {verification.verify_message}; "
            "check certificate-authority in the kubeconfig"
        )
    known = next((text for kinds, text in _WORDS if any(isinstance(part, kinds) for part in parts)), None)
    if known is not None:
        return known
    system = next((p for p in parts if isinstance(p, OSError) and p.strerror), None)
    if system is not None:
        return str(system.strerror).lower()
    if isinstance(error, ConnectTimeoutError):
        return "no connection can be made in time"
    return f"the connection broke: {parts[-1]}"
