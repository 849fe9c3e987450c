"""Objects of the mirror, asked for in a conversation that goes on: a process for each question would cost more than all
answers."""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gitopsd.git.process import LOCAL_TIMEOUT, Git

FEW = 32
"""Questions asked at once: they fit into a pipe, so that git need not be read while it is still being asked."""

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class GitObject:
    """An object as git has it; `data` is empty where only its head was asked for."""

    oid: str
    kind: str
    size: int
    data: bytes = b""


class Silent(Exception):
    """git does not answer as it should: ask another one, which says why."""


class Reader:
    """Two `git cat-file` that stay: one tells heads, one whole objects. Each is started at the first question, and
    anew after a failure. Safe to use from several threads."""

    def __init__(self, git: Git) -> None:
        self._heads = _Conversation(git, "--batch-check", whole=False)
        self._objects = _Conversation(git, "--batch", whole=True)

    def heads(self, names: Sequence[str]) -> dict[str, GitObject]:
        """Kind and size by name (an id or a ref); what is not there is left out. At most `FEW` names. Raises Silent."""
        return self._heads.ask(names)

    def objects(self, names: Sequence[str]) -> dict[str, GitObject]:
        """The same with their data. Raises Silent."""
        return self._objects.ask(names)

    def close(self) -> None:
        """End both; the next question starts them again."""
        self._heads.close()
        self._objects.close()


class _Conversation:
    def __init__(self, git: Git, option: str, *, whole: bool) -> None:
        self._git, self._option, self._whole = git, option, whole
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def ask(self, names: Sequence[str]) -> dict[str, GitObject]:
        with self._lock:
            try:
                return self._ask(names)
            except (OSError, ValueError) as error:
                self._end()
                raise Silent(str(error)) from error
            except BaseException:
                self._end()  # what it was asked would be the answer to the next question
                raise

    def close(self) -> None:
        with self._lock:
            self._end()

    def _ask(self, names: Sequence[str]) -> dict[str, GitObject]:
        if self._process is None:
            self._process = self._git.start("cat-file", self._option)
            self._rest = b""
        process = self._process
        if process.stdin is None or process.stderr is None:
            raise ValueError("git was started without its streams")
        deadline = time.monotonic() + LOCAL_TIMEOUT
        os.write(process.stdin.fileno(), "".join(f"{name}\n" for name in names).encode())
        found: dict[str, GitObject] = {}
        for name in names:
            head = self._until_newline(deadline).decode(errors="replace").rsplit(" ", 2)
            if len(head) != 3 or not head[2].isdecimal():  # "NAME missing"
                continue
            oid, kind, size = head[0], head[1], int(head[2])
            data = self._exactly(size + 1, deadline)[:-1] if self._whole else b""
            found[name] = GitObject(oid, kind, size, data)
        _drain(process.stderr.fileno())
        return found

    def _until_newline(self, deadline: float) -> bytes:
        while b"\n" not in self._rest:
            self._rest += self._some(deadline)
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _exactly(self, size: int, deadline: float) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < size:
            parts.append(self._some(deadline))
            have += len(parts[-1])
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]

    def _some(self, deadline: float) -> bytes:
        process = self._process
        if process is None or process.stdout is None:
            raise ValueError("git was started without its streams")
        waiting = select.poll()
        waiting.register(process.stdout.fileno(), select.POLLIN)
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise ValueError("git did not answer in time")
        data = os.read(process.stdout.fileno(), _CHUNK)
        if not data:
            raise ValueError("git ended")
        return data

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._git.end(process)


def _drain(descriptor: int) -> None:
    """Take what git says to people: nobody reads it here, and it would stop at a full pipe."""
    os.set_blocking(descriptor, False)
    try:
        while os.read(descriptor, _CHUNK):
            pass
    except BlockingIOError:
        return
