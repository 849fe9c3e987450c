"""Build programs from pinned Go modules, once, into a cache.

A tool set is a directory `toolsets/NAME` with a go.mod (its `tool` lines say what is built) and a go.sum, and an entry
in `TOOL_SETS`. Sets are apart from one another because their requirements clash.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.common import SandboxError, cache_dir, locked, say
from sandbox.golang import Go, build_environment, find_go

KUBERNETES_VERSION = "1.36.3"
OLDEST_TERRAFORM = (1, 5)
"""The version that OpenTofu began from: what one of them understands from there on, the other does too."""


def _kubernetes_ldflags() -> str:
    """Without these the programs report v0.0.0-master, which kubectl refuses to compare."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


@dataclass(frozen=True)
class ToolSet:
    """`tools` maps our name of a program to the name that `go install` gives it."""

    name: str
    tools: dict[str, str]
    ldflags: str = ""

    @property
    def source(self) -> Path:
        return Path(__file__).parent / "toolsets" / self.name

    @property
    def linker_flags(self) -> str:
        return f"-s -w {self.ldflags}".strip()

    def go(self) -> Go:
        declared = re.search(r"^go (\S+)$", (self.source / "go.mod").read_text(), re.MULTILINE)
        return find_go(tuple(int(part) for part in declared.group(1).split(".")) if declared else (1,))

    def directory(self, go: Go) -> Path:
        digest = hashlib.sha256()
        for part in ((self.source / "go.mod").read_bytes(), (self.source / "go.sum").read_bytes()):
            digest.update(hashlib.sha256(part).digest())
        digest.update(f"{go.identity}\n{self.linker_flags}".encode())
        return cache_dir() / "tools" / f"{self.name}-{digest.hexdigest()[:16]}"


TOOL_SETS = (
    ToolSet(
        "kubernetes",
        {
            "etcd": "server",
            "helm": "helm",
            "kube-apiserver": "kube-apiserver",
            "kube-controller-manager": "kube-controller-manager",
            "kube-scheduler": "kube-scheduler",
            "kubectl": "kubectl",
            "kubeseal": "kubeseal",
            "kwok": "kwok",
            "sealed-secrets-controller": "controller",
        },
        _kubernetes_ldflags(),
    ),
    # Without the flag it calls itself a development version, which version constraints may refuse.
    ToolSet("opentofu", {"tofu": "tofu"}, "-X github.com/opentofu/opentofu/version.dev=no"),
    ToolSet(
        "terraform-providers",
        {f"terraform-provider-{name}": f"terraform-provider-{name}" for name in ("local", "null", "random", "tls")},
    ),
    ToolSet("terraform-provider-time", {"terraform-provider-time": "terraform-provider-time"}),
)


def tool(name: str) -> Path:
    """The path of a program, built first when it is not in the cache.

    `terraform` is the exception: it is the one on PATH or else `tofu`, since no open source of it is kept up."""
    if name == "terraform":
        return _usable_terraform(shutil.which("terraform")) or tool("tofu")
    for tool_set in TOOL_SETS:
        if name in tool_set.tools:
            return ensure(tool_set) / name
    known = ", ".join(sorted(["terraform", *(each for tool_set in TOOL_SETS for each in tool_set.tools)]))
    raise SandboxError(f"no tool is named {name!r}; known: {known}")


@functools.cache
def _usable_terraform(found: str | None) -> Path | None:
    """`found` if it works (version managers leave stubs that do not) and is new enough; else says that tofu is used."""
    if found is None:
        say("no terraform on PATH: tofu takes its place")
        return None
    # A user's settings could name a missing file or other arguments; they have no say in a question for the version.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    environment["CHECKPOINT_DISABLE"] = "1"
    done = subprocess.run(
        [found, "version"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    version = re.match(r"Terraform v(\d+)\.(\d+)", done.stdout)
    if version is None or tuple(int(part) for part in version.groups()) < OLDEST_TERRAFORM:
        oldest = ".".join(str(part) for part in OLDEST_TERRAFORM)
        say(f"{found} is not a working Terraform of version {oldest} or newer: tofu takes its place")
        return None
    return Path(found)


def ensure(tool_set: ToolSet) -> Path:
    """The directory with the programs of a set. It appears when all of them are there (built aside, then renamed)."""
    go = tool_set.go()
    directory = tool_set.directory(go)
    if directory.is_dir():
        return directory
    lock = cache_dir() / "locks" / f"{tool_set.name}.lock"
    with locked(lock, f"another process builds the {tool_set.name} tools; waiting for it"):
        if not directory.is_dir():
            _build(tool_set, go, directory)
    return directory


def _build(tool_set: ToolSet, go: Go, directory: Path) -> None:
    program = go.installed()
    directory.parent.mkdir(parents=True, exist_ok=True)
    for leftover in directory.parent.glob(f".{tool_set.name}-*"):
        # Gigabytes of a build that was killed: nobody else builds this set while we hold its lock.
        shutil.rmtree(leftover, ignore_errors=True)
    started = time.monotonic()
    say(f"building the {tool_set.name} tools with {go.identity} (once; minutes of CPU; kept in {directory})")
    with tempfile.TemporaryDirectory(prefix=f".{tool_set.name}-", dir=directory.parent) as scratch:
        binaries, tail = Path(scratch) / "bin", collections.deque[str](maxlen=25)
        environment = build_environment(program) | {"GOBIN": str(binaries)}
        if go.program is None or cache_dir() in program.parents:
            # Nobody else uses this toolchain: its gigabytes of intermediate results can go when the programs are there.
            environment["GOCACHE"] = str(Path(scratch) / "cache")
        command = [str(program), "install", "-v", "-trimpath", f"-ldflags={tool_set.linker_flags}", "tool"]
        status = _run_with_progress(command, tool_set, environment, tail)
        if status != 0:
            shown = "\n  ".join(tail)
            raise SandboxError(
                f"building the {tool_set.name} tools failed (exit {status}). The last lines:\n  {shown}\n"
                "A build needs the Go module proxy and about 5 GB of free space. To try it by hand: "
                f"(cd {tool_set.source} && GOFLAGS=-mod=readonly CGO_ENABLED=0 go install tool)"
            )
        for name, built_as in tool_set.tools.items():
            # `name` may be the file name of another program of the set, hence the second directory.
            (Path(scratch) / "named").mkdir(exist_ok=True)
            shutil.move(binaries / built_as, Path(scratch) / "named" / name)
        (Path(scratch) / "named").rename(directory)
    say(f"the {tool_set.name} tools are ready after {_minutes(time.monotonic() - started)}")


def _run_with_progress(
    command: list[str], tool_set: ToolSet, environment: dict[str, str], tail: collections.deque[str]
) -> int:
    """Run the build; every few seconds say how far it is. `go install -v` names each package it compiles."""
    total = _count_packages(command[0], tool_set, environment)
    with subprocess.Popen(
        command, cwd=tool_set.source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker: stdout is a pipe
        done, started, finished = [0], time.monotonic(), threading.Event()

        def report() -> None:
            while not finished.wait(5 if sys.stderr.isatty() else 15):
                now = tail[-1] if tail else "reading modules"
                spent = _minutes(time.monotonic() - started)
                say(f"{tool_set.name}: {spent}, {done[0]} of at most {total} packages, {now}")

        reporter = threading.Thread(target=report, daemon=True)
        reporter.start()
        try:
            for line in process.stdout:
                tail.append(line.rstrip())
                done[0] += not line.startswith("go: ")
        except BaseException:
            process.kill()
            raise
        finally:
            finished.set()
            reporter.join()
    return process.returncode


def _count_packages(go: str, tool_set: ToolSet, environment: dict[str, str]) -> int:
    """Also the step that downloads missing modules; it can take a minute on a fresh machine."""
    say(f"{tool_set.name}: reading the modules (the first time they are downloaded)")
    command = [go, "list", "-deps", "-f", "{{.ImportPath}}", "tool"]
    done = subprocess.run(command, cwd=tool_set.source, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n  ".join(done.stderr.strip().splitlines()[-15:])
        raise SandboxError(
            f"the modules of the {tool_set.name} tools cannot be read:\n  {last}\n"
            f"Check that the Go module proxy is reachable (GOPROXY={os.environ.get('GOPROXY', 'default')})."
        )
    return len(done.stdout.splitlines())


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s" if seconds >= 60 else f"{seconds:.0f} s"
