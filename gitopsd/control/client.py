"""Asks the daemon of this host."""

from __future__ import annotations

import socket
from pathlib import Path

from gitopsd.control.wire import LONGEST_ANSWER, Garbled, address, read_answer, read_line, request_line, write_line
from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.orders import Answer, Request

PATIENCE = 180.0
"""Seconds for an answer: a fetch from a slow server may be part of it."""


def talk(path: Path, request: Request, *, patience: float = PATIENCE) -> Answer:
    """What the daemon answers. Raises EnvironmentFault with what to do if it does not run or does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, address(path) as place:
            connection.settimeout(patience)
            connection.connect(place)
            write_line(connection, request_line(request), patience)
            return read_answer(read_line(connection, LONGEST_ANSWER, patience))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise EnvironmentFault(
            Problem(
                f"gitopsd does not run: nobody listens at {path}",
                remedy="start it with `gitopsd run`, or let --config name its configuration",
            )
        ) from None
    except PermissionError:
        problem = Problem(f"this user may not use {path}", remedy="run this as root or as a member of the socketGroup")
        raise EnvironmentFault(problem) from None
    except TimeoutError:
        text = f"gitopsd did not answer within {patience:g} s; whether it did what was asked, `gitopsd status` shows"
        raise EnvironmentFault(Problem(text)) from None
    except (OSError, Garbled) as error:
        text = f"gitopsd ended the conversation ({error}); whether it did what was asked, `gitopsd status` shows"
        raise EnvironmentFault(Problem(text)) from None
