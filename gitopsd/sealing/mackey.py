"""The key of keyed digests: what is remembered of secret values must not help a thief of the memory to guess them."""

from __future__ import annotations

import hashlib
import hmac
import os
import shlex
import threading
from pathlib import Path
from typing import Final

from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.model.sensitive import Sensitive
from gitopsd.sealing.custody import file_problem
from gitopsd.sealing.files import write_new

FILE: Final = "digest.key"
_SIZE: Final = 32
_MAKE_IT: Final = f"head -c {_SIZE} /dev/urandom > {FILE}"


class MacKey:
    """The key in one key directory, read or made when it is first needed, and kept from then on. For any thread."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._lock = threading.Lock()
        self._key: Sensitive | None = None
        self._name = ""

    def mac(self, data: bytes) -> str:
        """`NAME:HEX`: the HMAC-SHA256 of the data, and the name of the key, so that another key is not taken for
        another value. Raises EnvironmentFault if there is no key and none can be made."""
        with self._lock:
            if self._key is None:
                self._key = Sensitive(self._read() or self._make())
                self._name = hmac.new(self._key.reveal(), b"name of this key", hashlib.sha256).hexdigest()[:8]
            key = self._key
        return f"{self._name}:{hmac.new(key.reveal(), b'data:' + data, hashlib.sha256).hexdigest()}"

    def problem(self) -> Problem | None:
        """What is wrong with the key that is there; None also while there is none."""
        try:
            self._read()
        except EnvironmentFault as fault:
            return fault.problems[0]
        return None

    def _read(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                problem = file_problem(self._path, os.fstat(file.fileno()))
                data = file.read(_SIZE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            remedy = f"chown {os.geteuid()} {shlex.quote(str(self._path))}"
            raise _fault(self._path, f"cannot be read: {error.strerror}", remedy) from None
        if problem is not None:
            raise EnvironmentFault(problem)
        if len(data) != _SIZE:
            raise _fault(self._path, f"has not {_SIZE} bytes", f"restore it, or make another one: {_MAKE_IT}")
        return data

    def _make(self) -> bytes:
        key = os.urandom(_SIZE)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_new(self._path, key, 0o600)
        except FileExistsError:  # somebody else was faster
            return self._read() or key
        except OSError as error:
            remedy = f"let the user of gitopsd write there, or make it yourself: {_MAKE_IT}"
            raise _fault(self._path, f"cannot be made: {error.strerror}", remedy) from None
        return key


def _fault(path: Path, message: str, remedy: str) -> EnvironmentFault:
    return EnvironmentFault(Problem(message, str(path), remedy=remedy))
