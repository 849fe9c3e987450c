"""The daemon's end of the socket. A slow or mad client holds up nobody but itself."""

from __future__ import annotations

import select
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from threading import BoundedSemaphore, Lock, Thread, current_thread

import structlog

from gitopsd.control.peers import peer_of
from gitopsd.control.wire import (
    LONGEST_REQUEST,
    Garbled,
    address,
    answer_line,
    read_line,
    read_request,
    write_line,
)
from gitopsd.model.errors import EnvironmentFault, GitopsdError, Problem
from gitopsd.model.orders import Answer, Peer, Request

log = structlog.get_logger("gitopsd.control")

Handler = Callable[[Peer, Request], Answer]

REQUEST_TIMEOUT = 5.0
"""Seconds that a client has for its line, and for taking the answer."""

TALKS = 16
"""Conversations at the same time with those who may order."""

STRANGERS = 4
"""And with everybody else: they can only be refused, and must not keep the others waiting."""

MODE = 0o666
"""Everybody may connect, to be refused in words and on record. Who may order is decided by the peer's credentials."""

PATIENCE = 5.0
"""Seconds for what is being answered when the server ends."""


class ControlServer:
    """Listens at `path` from `start` to `close`. `handler` is called in a thread of its own for each conversation."""

    def __init__(self, path: Path, group: str, handler: Handler) -> None:
        self.path, self.group, self._handler = path, group, handler
        self._talks, self._strangers = BoundedSemaphore(TALKS), BoundedSemaphore(STRANGERS)
        self._threads: set[Thread] = set()
        self._lock = Lock()
        self._listener: socket.socket | None = None
        self._inode = 0
        self._wake, self._waker = socket.socketpair()
        self._thread = Thread(target=self._accept, name="control")

    def start(self) -> None:
        """Raises EnvironmentFault if somebody else listens there, or nobody can."""
        try:
            with address(self.path) as place:
                _make_way(self.path, place)
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    listener.bind(place)
                    self.path.chmod(MODE)  # nobody can connect before it listens
                    listener.listen(TALKS)
                except OSError:
                    listener.close()
                    raise
            self._inode = self.path.stat().st_ino
        except OSError as error:
            remedy = "set `socket` to a path in a directory that the user of gitopsd may write to"
            problem = Problem(f"cannot be listened at: {error.strerror or error}", str(self.path), remedy=remedy)
            raise EnvironmentFault(problem) from error
        self._listener = listener
        self._thread.start()

    def close(self) -> None:
        """Listen no more, and wait a little for what is being answered; idempotent."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._waker.send(b"x")
        self._thread.join()
        listener.close()
        self._remove()
        with self._lock:
            talking = list(self._threads)
        for thread in talking:
            thread.join(PATIENCE)
        self._wake.close()
        self._waker.close()

    def _remove(self) -> None:
        """Take the file away, unless it is another daemon's by now."""
        try:
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        except OSError as error:
            log.warning("socket not removed", path=str(self.path), error=str(error))

    # ------------------------------------------------------------ conversations

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None:
            ready, _, _ = select.select([listener, self._wake], [], [])
            if self._wake in ready:
                return
            try:
                connection, _ = listener.accept()
            except OSError as error:  # the client is gone already, or the host is out of descriptors for a moment
                log.warning("nobody there", error=str(error))
                select.select([self._wake], [], [], 0.1)
                continue
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        thread = Thread(target=self._talk, args=(connection,), name="control-talk", daemon=True)
        with self._lock:
            crowded = len(self._threads) >= TALKS + 2 * STRANGERS
            if not crowded:
                self._threads.add(thread)
        if crowded:
            connection.close()
        else:
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                peer = peer_of(connection, self.group)
                room = self._talks if peer.permitted else self._strangers
                if not room.acquire(blocking=False):
                    self._say(connection, Answer(False, "gitopsd is busy with other requests; try again"))
                    return
                try:
                    self._say(connection, self._answer(connection, peer))
                finally:
                    room.release()
        except OSError as error:
            log.info("a client left", error=str(error))
        finally:
            with self._lock:
                self._threads.discard(current_thread())

    def _answer(self, connection: socket.socket, peer: Peer) -> Answer:
        try:
            request = read_request(read_line(connection, LONGEST_REQUEST, REQUEST_TIMEOUT))
        except Garbled as error:
            return Answer(False, f"this is not understood: {error}")
        except TimeoutError:
            return Answer(False, f"nothing was asked within {REQUEST_TIMEOUT:g} s")
        try:
            return self._handler(peer, request)
        except GitopsdError as error:  # the host's record fails: nothing was ordered
            log.error("not answered", command=request.command, error=str(error))
            return Answer(False, str(error))
        except Exception:
            log.exception("a fault of gitopsd itself", command=request.command)
            return Answer(False, "a fault of gitopsd itself; its log has the details")

    def _say(self, connection: socket.socket, answer: Answer) -> None:
        write_line(connection, answer_line(answer), REQUEST_TIMEOUT)


def _make_way(path: Path, place: str) -> None:
    """Remove what a dead daemon left. Raises EnvironmentFault for a live one, and for what is no socket."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        problem = Problem("is in the way: it is no socket", str(path), remedy="remove it, or set another `socket`")
        raise EnvironmentFault(problem)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(REQUEST_TIMEOUT)
        try:
            probe.connect(place)
        except ConnectionRefusedError:
            path.unlink()
            return
    problem = Problem("another gitopsd listens here", str(path), remedy="stop that one, or set another `socket`")
    raise EnvironmentFault(problem)
