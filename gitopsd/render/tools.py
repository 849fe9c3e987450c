"""The programs that render: found on PATH, run without network, plugins, configuration or an end of patience."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gitopsd.model.errors import EnvironmentFault, Problem

_TIMEOUT: Final = 120.0
_VERSION_TIMEOUT: Final = 20.0
_NOWHERE: Final = "http://127.0.0.1:9"
"""A proxy that never answers: what slips through the checks of a kustomization still finds no network."""
_KLOG: Final = re.compile(r'"command failed" err=("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class Kustomize:
    """A program that builds kustomizations; `version` is that of kustomize, also inside kubectl."""

    command: tuple[str, ...]
    version: str


class BuildFailed(Exception):
    """The program refused the kustomization; the text is its own."""


class Tools:
    """Finds and runs the programs of one host. `search` replaces $PATH. Safe to use from several threads."""

    def __init__(self, search: str | None = None) -> None:
        self._search = search
        self._versions: dict[tuple[str, int, int], str] = {}

    def kustomize(self) -> Kustomize:
        """`kustomize`, else `kubectl kustomize`. Raises EnvironmentFault if the host has neither."""
        for name, build, version in (
            ("kustomize", ("build",), ("version",)),
            ("kubectl", ("kustomize",), ("version", "--client", "-o", "json")),
        ):
            found = shutil.which(name, path=self._search)
            if found:
                program = os.path.abspath(found)
                return Kustomize((program, *build), self._version(program, version))
        remedy = "install one of them where gitopsd's PATH finds it"
        raise EnvironmentFault(Problem("this host has neither kustomize nor kubectl", remedy=remedy))

    def build(self, kustomize: Kustomize, directory: Path, scratch: Path) -> bytes:
        """The manifests that the kustomization in `directory` makes. `scratch` is an empty directory for the program's
        own use. Raises BuildFailed with the program's words, EnvironmentFault if it does not end."""
        code, out, err = _run((*kustomize.command, str(directory)), scratch, _TIMEOUT)
        if code < 0:
            name = Path(kustomize.command[0]).name
            raise EnvironmentFault(Problem(f"{name} was ended by signal {-code}", remedy="check the host's memory"))
        if code != 0:
            raise BuildFailed(_reason(err))
        return out

    def _version(self, program: str, arguments: tuple[str, ...]) -> str:
        try:
            state = os.stat(program)
        except OSError as error:
            raise EnvironmentFault(Problem(f"cannot be used: {error.strerror}", file=program)) from None
        key = (program, state.st_mtime_ns, state.st_size)
        if key not in self._versions:
            code, out, err = _run((program, *arguments), Path("/"), _VERSION_TIMEOUT)
            if code != 0:
                raise EnvironmentFault(Problem(f"does not tell its version: {_reason(err)}", file=program))
            self._versions[key] = _version_text(out)
        return self._versions[key]


def _version_text(output: bytes) -> str:
    text = output.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["kustomizeVersion"])
    except (ValueError, KeyError, TypeError):
        return text


def _run(command: tuple[str, ...], home: Path, timeout: float) -> tuple[int, bytes, str]:
    """(exit code, output, errors) of a program that gets nothing of our environment."""
    proxies = {name: _NOWHERE for proxy in ("http_proxy", "https_proxy") for name in (proxy, proxy.upper())}
    environment = {**proxies, "PATH": "/nonexistent", "HOME": str(home), "LC_ALL": "C", "TMPDIR": str(home)}
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise EnvironmentFault(Problem(f"cannot be run: {error.strerror}", file=command[0])) from None
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise EnvironmentFault(Problem(f"{name} did not end within {timeout:g} s")) from None
    return process.returncode, out, err.decode(errors="replace")


def _reason(errors: str) -> str:
    """What a program printed last, without the marks of its logger."""
    if match := _KLOG.search(errors):
        return str(json.loads(match.group(1)))
    lines = [line for line in errors.strip().splitlines() if line and not line.startswith("#")]
    return re.sub(r"^[Ee]rror: ", "", "\n".join(lines)) or "it gave no reason"
