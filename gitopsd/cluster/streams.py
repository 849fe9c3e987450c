"""An HTTP answer that comes line by line and has no end by itself. It knows bytes, not objects."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

LONGEST = 8 << 20
"""Bytes of one line. etcd takes no object above 1.5 MiB; as JSON it may be some times as long."""

_PIECE = 1 << 16


class Broken(Exception):
    """The answer broke off. `error` says how; None: nothing came for so long that nothing is expected any more."""

    def __init__(self, error: HTTPError | None = None) -> None:
        super().__init__(error)
        self.error = error


class Overlong(Exception):
    """A line has no end: this is no answer of an API server."""


class Stream:
    """One answer, read by one thread; another one may `shut` it."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, silence: float) -> None:
        self._answer, self._silence = answer, silence

    def lines(self) -> Iterator[bytes]:
        """Every whole line as soon as it is there, until the server ends the answer. Raises Broken, Overlong."""
        pieces: list[bytes] = []
        size = 0
        heard = time.monotonic()
        while piece := self._read():
            *whole, rest = piece.split(b"\n")
            if whole:
                whole[0] = b"".join((*pieces, whole[0]))
                pieces, size = [], 0
                for line in filter(bytes.strip, whole):
                    yield line
                    heard = time.monotonic()
            pieces.append(rest)
            size += len(rest)
            if size > LONGEST:
                raise Overlong
            if time.monotonic() - heard > self._silence:
                raise Broken  # drops, but never a whole line

    def _read(self) -> bytes:
        try:
            return self._answer.read1(_PIECE)
        except ReadTimeoutError as error:
            raise Broken from error
        except HTTPError as error:
            raise Broken(error) from error
        except (ValueError, AttributeError) as error:
            # `shut` takes the TLS layer away from a socket that is about to be read: the ssl module notices so.
            raise Broken(HTTPError(str(error))) from error

    def shut(self) -> None:
        """End a read that waits, from any thread."""
        # Nothing to shut: the answer has come to its end meanwhile (RuntimeError), the peer hung up (OSError), or the
        # connection cannot do it (ValueError: TLS inside of TLS, by way of a proxy), and ends with its next line.
        with contextlib.suppress(RuntimeError, OSError, ValueError):
            self._answer.shutdown()

    def close(self) -> None:
        """Close the connection, unless the answer was read to its end: then it is free for the next one."""
        self._answer.close()
