"""Running the program for one module: its environment, its directory, the note it leaves, and how it is stopped."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.terraform.cache import PluginCache
from gitopsd.terraform.child import Ended, Order, run
from gitopsd.terraform.command import Command
from gitopsd.terraform.environment import Private, host_variables, program_environment, secrets_in
from gitopsd.terraform.runmark import new_mark, with_pid, write_mark
from gitopsd.terraform.settings import TerraformSettings
from gitopsd.terraform.sockets import leave, socket_dir
from gitopsd.terraform.workplace import Workplace
from gitopsd.tfplan import Scrubber

_VERSION = re.compile(r"^(Terraform|OpenTofu) v(\S+)", re.MULTILINE)
_NAMES = {"Terraform": "terraform", "OpenTofu": "tofu"}
_VERSION_TIMEOUT = 30.0
_WRITES = frozenset({"apply", "state push"})
_BEGINS = frozenset({"init", "plan"})
"""What stands at the beginning of an apply: of no use to a process that ends."""
_STOPPING = "gitopsd is stopping: no program is started any more"
_READ_PATIENCE = 10.0
"""Seconds until a command that only reads is killed: one that waits for a backend does not heed its interrupt, and
nothing is lost with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How one command is run: `name` is its subcommand, `root` the directory it starts in, `variables` what it gets as
    TF_VAR_NAME. `stop`, `line` and `inherit` as for a child; without a `timeout` the host's for plans and applies."""

    name: str
    place: Workplace
    root: Path
    arguments: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop: Callable[[], bool] = lambda: False
    line: Callable[[str], None] | None = None
    timeout: float | None = None
    inherit: tuple[int, ...] = ()


class Runner:
    """Finds the program and runs it. Safe to use from several threads."""

    def __init__(self, settings: TerraformSettings) -> None:
        self.settings = settings
        self._closed = threading.Event()
        self._stopping = threading.Event()
        self._versions: dict[tuple[str, int, int], str] = {}

    def stop(self) -> None:
        """Interrupt what is being prepared or planned, and begin no more of it."""
        self._stopping.set()

    def close(self) -> None:
        """Interrupt what runs, and start nothing any more."""
        self._closed.set()
        leave(self.settings.runtime_dir)

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def binary(self) -> str:
        """The program's path. Raises EnvironmentFault if the host has none."""
        name = self.settings.binary
        found = shutil.which(name)
        if found is None:
            help_ = "install it where gitopsd's PATH finds it, or set `terraform.binary`"
            raise EnvironmentFault(Problem(f"this host has no program {name!r}", remedy=help_))
        return os.path.abspath(found)

    def version(self) -> str:
        """The program's name and version, asked once for each file."""
        binary = self.binary()
        state = os.stat(binary)
        key = (binary, state.st_mtime_ns, state.st_size)
        if key not in self._versions:
            ended = self._start(
                Order(
                    argv=[binary, "version"],
                    directory=Path("/"),
                    environment={"PATH": os.environ.get("PATH", ""), "HOME": "/", "CHECKPOINT_DISABLE": "1"},
                    timeout=_VERSION_TIMEOUT,
                    patience=1.0,
                )
            )
            match = _VERSION.search(ended.out)
            if match is None:
                help_ = "set `terraform.binary` to Terraform or OpenTofu"
                raise EnvironmentFault(Problem("it does not tell its version", binary, remedy=help_))
            self._versions[key] = f"{_NAMES[match[1]]} {match[2]}"
        return self._versions[key]

    def secrets(self, scrubber: Scrubber) -> None:
        """Teach the host's credentials for the program to a scrubber."""
        scrubber.add(secrets_in(host_variables(self.settings)))

    def __call__(self, call: Call) -> Ended:
        """Run one command to its end. Raises EnvironmentFault if it cannot be started; how it ended is the caller's to
        judge."""
        settings, place = self.settings, call.place
        environment = {
            **program_environment(settings, host_variables(settings), self._private(call), place.data),
            "TF_PLUGIN_CACHE_DIR": str(PluginCache(settings.state_dir).directory),
            **call.variables,
        }
        if self._forbids(call):
            raise EnvironmentFault(_STOPPING)
        mark, lasts = new_mark(call.name), call.name == "apply"
        write_mark(place.mark, mark, lasts=lasts)

        def execute(argv: list[str]) -> Ended:
            return self._start(
                Order(
                    argv=argv,
                    directory=call.root,
                    environment=environment,
                    timeout=call.timeout if call.timeout is not None else settings.timeout,
                    patience=settings.patience if call.name in _WRITES else min(settings.patience, _READ_PATIENCE),
                    stop=lambda: self._forbids(call) or call.stop(),
                    line=call.line,
                    inherit=call.inherit,
                    started=lambda pid: write_mark(place.mark, with_pid(mark, pid), lasts=lasts),
                )
            )

        try:
            ended: Ended = Command(self.binary(), execute).cmd(call.name, *call.arguments, **call.options)
        except EnvironmentFault:
            place.mark.unlink(missing_ok=True)  # it was not started
            raise
        if ended.status >= 0:  # one that was killed may have left a lock: that is looked after before the next command
            place.mark.unlink(missing_ok=True)
        return ended

    def _forbids(self, call: Call) -> bool:
        """Whether this process ends, and a command of this kind with it."""
        return self.closed or (self._stopping.is_set() and call.name in _BEGINS)

    def _private(self, call: Call) -> Private:
        """Init unpacks whole providers, but starts none; what starts them needs a place for their sockets."""
        home = call.place.directory
        return Private(home / "home", home / "tmp" if call.name == "init" else socket_dir(self.settings.runtime_dir))

    def _start(self, order: Order) -> Ended:
        if self.closed:
            raise EnvironmentFault(_STOPPING)
        try:
            return run(order)
        except ChildProcessError as error:
            raise EnvironmentFault(Problem(str(error.strerror), str(error.filename))) from None
        except OSError as error:
            where = str(error.filename or order.argv[0])
            raise EnvironmentFault(Problem(f"the program cannot be started: {error.strerror}", where)) from None
