"""Talk to the supervisor of a sandbox directory."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from typing import Any

from sandbox.common import SandboxError
from sandbox.layout import Layout


def request(layout: Layout, do: str, component: str | None = None, timeout: float = 30) -> dict[str, Any]:
    """One request, one answer. By way of /proc, as the address of a Unix socket is too short for many paths."""
    directory = os.open(layout.control.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(f"/proc/self/fd/{directory}/{layout.control.name}")
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps({"do": do, "component": component}).encode() + b"\n")
                stream.flush()
                line = stream.readline()
    finally:
        os.close(directory)
    if not line:
        raise SandboxError(f"the supervisor of {layout.directory} ended before it answered")
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise SandboxError(f"{do} {component or ''}: {answer['error']}")
    return answer


def try_lock(layout: Layout) -> int | None:
    """The supervisor holds this lock as long as it lives. None: it lives."""
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
