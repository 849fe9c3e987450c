"""The two lines of one conversation, with a limit on their length and on the time that they may take."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gitopsd.model.orders import Answer, Request

LONGEST_REQUEST = 64 * 1024
LONGEST_ANSWER = 4 * 1024 * 1024
"""Bytes of a line, its end included."""


class Garbled(Exception):
    """A line that is too long, cut, or no JSON of the expected shape; the text says which."""


def read_line(connection: socket.socket, longest: int, seconds: float) -> bytes:
    """One line, without its end. `seconds` are for the whole of it: somebody who sends a byte now and then gets no more
    time. Raises Garbled, TimeoutError or OSError."""
    deadline = time.monotonic() + seconds
    data = b""
    while b"\n" not in data:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(65536)
        if not part:
            raise Garbled("the line ends in the middle" if data else "nothing was said")
        data += part
        if len(data) > longest:
            raise Garbled(f"the line is longer than {longest} bytes")
    return data.split(b"\n", 1)[0]


def write_line(connection: socket.socket, line: bytes, seconds: float) -> None:
    connection.settimeout(seconds)
    connection.sendall(line + b"\n")


def request_line(request: Request) -> bytes:
    return _line(
        {
            "command": request.command,
            "stack": request.stack,
            "why": request.why,
            "arguments": dict(request.arguments),
        }
    )


def read_request(line: bytes) -> Request:
    value = _object(line)
    arguments = value.get("arguments", {})
    if not isinstance(arguments, dict):
        raise Garbled("`arguments` is no object")
    texts = [value.get(name, "") for name in ("command", "stack", "why")]
    if not all(isinstance(text, str) for text in texts) or not texts[0]:
        raise Garbled("`command`, `stack` and `why` have to be texts, and there has to be a command")
    command, stack, why = texts
    return Request(command, stack, why, arguments)


def answer_line(answer: Answer) -> bytes:
    return _line({"ok": answer.ok, "text": answer.text, "data": dict(answer.data)})


def read_answer(line: bytes) -> Answer:
    value = _object(line)
    data = value.get("data", {})
    if not isinstance(value.get("ok"), bool) or not isinstance(value.get("text"), str) or not isinstance(data, dict):
        raise Garbled("an answer without `ok` and `text`")
    return Answer(value["ok"], value["text"], data)


@contextmanager
def address(path: Path) -> Iterator[str]:
    """The path in a form that fits into the 108 bytes of a socket's address, however long it is. Raises OSError."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise Garbled("the line is no JSON") from None
    if not isinstance(value, dict):
        raise Garbled("the line is no JSON object")
    return value
