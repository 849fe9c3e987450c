"""Running git: bounded in time, deaf to the host's own settings, and leaving no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from gitopsd.model.errors import EnvironmentFault, Problem

LOCAL_TIMEOUT = 60.0
"""Seconds for a command that only touches this host's disk."""

OLDEST_GIT = (2, 32)
"""The first version that obeys GIT_CONFIG_GLOBAL; an older one would silently read the user's settings."""

_TERM_GRACE = 2.0
_KEPT_VARIABLES = frozenset({"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_EXEC_PATH"})
_FIXED = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C",
    "LANGUAGE": "C",
}


@dataclass(frozen=True, slots=True)
class Finished:
    """How a git command ended. `timed_out` is the limit in seconds if it was ended for it."""

    status: int
    out: bytes
    err: str
    timed_out: float | None = None

    @property
    def ok(self) -> bool:
        return self.status == 0 and self.timed_out is None


class Git:
    """git commands on one repository. Safe to use from several threads: every command has its own GitPython wrapper and
    its own process group, and no process outlives its command."""

    def __init__(self, directory: Path, settings_file: Path) -> None:
        self._directory = directory
        self._environment = {**_FIXED, "GIT_CONFIG_GLOBAL": str(settings_file)}
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        timeout: float = LOCAL_TIMEOUT,
        environment: Mapping[str, str] | None = None,
        inherit: Sequence[int] = (),
        directory: Path | None = None,
    ) -> Finished:
        """Run `git ARGUMENTS` to its end, or to the end of `timeout` seconds. `inherit` are file descriptors that git
        and its children hold open as long as they live; `directory` is another repository than the usual one.
        Raises EnvironmentFault if git cannot be started."""
        where = {"GIT_DIR": str(directory or self._directory)}
        process = self._start(arguments, {**self._environment, **where, **(environment or {})}, inherit)
        try:
            return self._converse(process, stdin, timeout)
        finally:
            with self._lock:
                self._running.discard(process)
            end_group(process)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `git ARGUMENTS` for a conversation; `end` has to be called in the end. Raises EnvironmentFault if git
        cannot be started."""
        return self._start(arguments, {**self._environment, "GIT_DIR": str(self._directory)}, ())

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a command that was started for a conversation."""
        with self._lock:
            self._running.discard(process)
        if process.stdin is not None:
            process.stdin.close()  # it ends by itself, unless it hangs
            process.stdin = None
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TERM_GRACE)
        end_group(process)

    def close(self) -> None:
        """End what still runs; whoever waits for it gets an EnvironmentFault, as does whoever asks afterwards."""
        with self._lock:
            self._closed = True
            running = tuple(self._running)
        for process in running:
            _signal_group(process, signal.SIGTERM)

    def _start(
        self, arguments: Sequence[str], environment: Mapping[str, str], inherit: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        wrapper = _gitpython().Git(str(self._directory))
        command = [*_without_strays(environment), wrapper.GIT_PYTHON_GIT_EXECUTABLE, *arguments]
        with self._lock:
            if self._closed:
                raise EnvironmentFault("the mirror is closed: gitopsd is stopping")
            try:
                handle = wrapper.execute(
                    command,
                    as_process=True,
                    istream=subprocess.PIPE,
                    env=dict(environment),
                    start_new_session=True,
                    pass_fds=tuple(inherit),
                )
            except (_gitpython().GitCommandNotFound, OSError) as error:
                raise EnvironmentFault(
                    Problem(f"git cannot be started: {_reason(error)}", remedy="install git and put it on PATH")
                ) from None
            process: subprocess.Popen[bytes] = handle.proc
            handle.proc = None  # from here on the process is ended by `run`, not when the wrapper is collected
            self._running.add(process)
        return process

    def _converse(self, process: subprocess.Popen[bytes], stdin: bytes, timeout: float) -> Finished:
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            end_group(process)
            return Finished(process.returncode if process.returncode is not None else -1, b"", "", timed_out=timeout)
        if process.returncode != 0 and self._closed:
            raise EnvironmentFault("a git command was ended: gitopsd is stopping")
        return Finished(process.returncode, out, err.decode(errors="replace"))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a command and everything that it started: asked first, so that git removes its lock files, then forced."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None and not _streams_open(process):
            return
        _signal_group(process, number)
        try:
            process.communicate(timeout=_TERM_GRACE)
        except subprocess.TimeoutExpired:
            continue
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _streams_open(process: subprocess.Popen[bytes]) -> bool:
    return any(stream is not None and not stream.closed for stream in (process.stdout, process.stderr))


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return  # it ended by itself in between


def _without_strays(environment: Mapping[str, str]) -> list[str]:
    """GitPython hands the whole environment down; variables of ours replace those there, others must be taken out:
    a GIT_DIR, GIT_SSH_COMMAND or GIT_CONFIG_COUNT of the caller would otherwise steer git."""
    known = environment.keys() | _KEPT_VARIABLES
    strays = sorted(name for name in os.environ if name.startswith("GIT_") and name not in known)
    return ["env", *(part for name in strays for part in ("-u", name))] if strays else []


@cache
def _gitpython() -> ModuleType:
    """GitPython, loaded when it is first needed: it starts git to see whether there is one."""
    try:
        import git
    except ImportError as error:
        raise EnvironmentFault(
            Problem(f"git cannot be started: {_reason(error)}", remedy="install git and put it on PATH")
        ) from None
    found = git.Git().version_info
    if found < OLDEST_GIT:
        wanted, have = (".".join(map(str, version)) for version in (OLDEST_GIT, found))
        raise EnvironmentFault(Problem(f"git {have} is too old", remedy=f"install git {wanted} or newer"))
    return git


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
