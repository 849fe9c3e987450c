"""Processes and ports: children that cannot outlive their parent, and ports that nobody else can take."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: the code between fork and exec should do as little as it can.
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> Callable[[], None]:
    """A preexec function: the kernel kills the child when the thread that forked it is gone, whatever ended that.

    The caller must therefore fork from a thread that lives as long as the child should."""
    parent = os.getpid()

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent was gone before the request reached the kernel
            os._exit(1)

    return prepare


def reserve_port(wanted: int = 0) -> socket.socket:
    """Bind (and never listen on) a port of 127.0.0.1; keep the socket open as long as the port is needed.

    SO_REUSEADDR is set after the bind on purpose. Linux then lets a server which sets the option too (every Go program
    does) bind and listen on the port, as this socket does not listen; but it never hands the port to somebody who asks
    for any free one, nor to an outgoing connection. So a component finds its port free after each restart."""
    reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        reservation.bind(("127.0.0.1", wanted))
    except OSError:
        reservation.close()
        if wanted:
            return reserve_port()
        raise
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return reservation


def port_of(reservation: socket.socket) -> int:
    return int(reservation.getsockname()[1])
