"""Getting a module ready to be run: its files, init where something changed, and its workspace."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gitopsd.model.errors import EnvironmentFault, NeedsPerson, Problem
from gitopsd.model.ports import Module
from gitopsd.model.units import TerraformUnit
from gitopsd.terraform.backend import local_state, secret_suffix, states_dir
from gitopsd.terraform.cache import PluginCache
from gitopsd.terraform.command import FLAG
from gitopsd.terraform.copies import newest_backup, newest_copy
from gitopsd.terraform.failures import ended_badly, failure
from gitopsd.terraform.runner import Call, Runner
from gitopsd.terraform.settings import TerraformSettings
from gitopsd.terraform.workplace import REMOVED, Laid, Workplace, var_file_options
from gitopsd.tfplan import Diagnostic, Scrubber, Stream, Trouble, read_text, trouble


@dataclass(frozen=True, slots=True)
class Ready:
    """A module of a stack that is ready to be run."""

    stack: str
    unit: TerraformUnit
    place: Workplace
    laid: Laid
    scrubber: Scrubber
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def call(self, name: str, *arguments: str, **more: Any) -> Call:
        """A command on it; `more` are options of the command but for `stop`, `line` and `timeout`."""
        how = {key: more.pop(key) for key in ("stop", "line", "timeout") if key in more}
        return Call(
            name=name,
            place=self.place,
            root=self.laid.root,
            arguments=arguments,
            options=more,
            variables=self.variables,
            **how,
        )

    @property
    def hosted(self) -> bool:
        """Whether the state is in the host's own backend."""
        return not self.laid.backend


class Preparation:
    """Brings modules to where they can be run."""

    def __init__(self, settings: TerraformSettings, runner: Runner) -> None:
        self._settings = settings
        self._runner = runner
        self._cache = PluginCache(settings.state_dir)

    def place(self, stack: str, component: str) -> Workplace:
        """The directory of one module."""
        scratch = self._settings.scratch
        return Workplace(
            scratch / stack / component if scratch else work_dir(self._settings.state_dir, stack, component)
        )

    def clear_out(self, stack: str, keep: Collection[str]) -> None:
        """Remove the directories of the stack's components that are not among `keep`, and what an earlier removal left.
        One with a state or a mark in it that is still needed stays. Raises EnvironmentFault."""
        base = self.place(stack, "").directory
        found = sorted(base.iterdir()) if base.is_dir() else []
        for directory in found:
            if directory.name.startswith(REMOVED):
                Workplace(directory.with_name(directory.name.removeprefix(REMOVED))).finish_removal()
            elif directory.name not in keep and not Workplace(directory).needed:
                Workplace(directory).remove()

    def lay_out(self, module: Module, scrubber: Scrubber, variables: Mapping[str, str]) -> Ready:
        """The module's files in place, nothing run yet."""
        settings, unit = self._settings, module.unit
        place = self.place(module.stack, unit.component)
        place.make()
        laid = place.lay_out(module, settings)
        if settings.backend == "local" and not laid.backend:
            _private_directory(local_state(settings, unit).parent, states_dir(settings))
        return Ready(module.stack, unit, place, laid, scrubber, variables)

    def initialise(self, ready: Ready, *, known: bool, anew: bool = False) -> None:
        """Run init unless nothing that it depends on changed, and select the workspace. `known`: the workspace has to
        be there; else it is made. `anew`: whatever was done before. Raises CommitError, NeedsPerson and
        EnvironmentFault as the port says."""
        key = self._key()
        if anew or not ready.place.initialised(ready.laid, key):
            with self._cache.turn(self._settings.init_timeout, lambda: self._runner.closed) as lock:
                ready.place.forget_init(ready.laid)
                self._init(ready, lock)
                ready.place.note_init(ready.laid, key)
        self._select(ready, known)

    def _init(self, ready: Ready, lock: int) -> None:
        stream = Stream()
        options: dict[str, Any] = {"json": FLAG, "input": False, "reconfigure": FLAG}
        if ready.laid.locked:
            options["lockfile"] = "readonly"
        call = ready.call(
            "init", **options, line=lambda line: _ignore(stream.feed(line)), timeout=self._settings.init_timeout
        )
        call = replace(call, inherit=(lock,))
        if not ready.laid.locked:  # without it the cache is of no use where no checksum is on record
            call = replace(call, variables={**call.variables, "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1"})
        ended = self._runner(call)
        broken = ended_badly(ended, "init", str(ready.unit.id))
        if broken is not None:
            raise broken
        if not ended.ok:
            said = read_text("\n".join((*stream.odd, ended.err)))
            raise failure(stream.diagnostics or said, ready.stack, ready.unit, ready.scrubber)

    def _select(self, ready: Ready, known: bool) -> None:
        unit = ready.unit
        if ready.place.workspace == unit.workspace:
            return
        options = {} if known else {"or_create": FLAG}
        ended = self._runner(
            ready.call("workspace select", unit.workspace, **options, timeout=self._settings.init_timeout)
        )
        broken = ended_badly(ended, "selecting the workspace", str(unit.id))
        if broken is not None:
            raise broken
        if not ended.ok:
            said = read_text(ended.err or ended.out)
            if known and any(trouble(d) is Trouble.NO_WORKSPACE for d in said):
                raise state_gone(ready, self._settings)
            raise failure(said, ready.stack, unit, ready.scrubber)

    def _key(self) -> str:
        """What of the host an init depends on."""
        settings = self._settings
        config = _content(settings.cli_config) if settings.cli_config else ""
        return f"{self._runner.version()} {config}"


def work_dir(state_dir: Path, stack: str, component: str) -> Path:
    """Where the daemon works on a module."""
    return state_dir / "terraform" / "work" / stack / component


def state_gone(ready: Ready, settings: TerraformSettings) -> NeedsPerson:
    """What a person is told whose state is not there any more."""
    unit = ready.unit
    abandon = f"`gitopsd abandon {ready.stack} {unit.component}`"
    anew = f"if its resources are gone, too, {abandon} lets all of it be made anew"
    bring = "bring it back"
    what = f"workspace {unit.workspace} in the module's own backend ({ready.laid.backend})"
    if ready.hosted and settings.backend == "local":
        what = str(local_state(settings, unit))
        backup = newest_backup(settings, unit)
        bring = f"copy {backup} there" if backup else bring
    elif ready.hosted and settings.cluster is not None:
        secret = f"tfstate-{unit.workspace}-{secret_suffix(unit)}"
        what = f"Secret {secret} in namespace {settings.cluster.namespace}"
    copy = newest_copy(settings, ready.stack, unit, hosted=ready.hosted)
    if copy is not None:
        which = f"{copy.stack} {copy.component} --serial {copy.state.serial}"
        bring = f"`gitopsd state restore {which} --out FILE` opens its newest copy, and says how to bring it back"
    text = (
        f"the Terraform state that was there is gone ({what}); nothing is planned, for it would make everything again"
    )
    return NeedsPerson(Problem(text, unit=str(unit.id), remedy=f"{bring}; {anew}"))


def var_files(unit: TerraformUnit) -> dict[str, Any]:
    """The option for a module's variable files."""
    return {"var_file": var_file_options(unit)} if unit.var_files else {}


def said_in(stream: Stream, err: str) -> list[Diagnostic]:
    """Everything that a command complained about."""
    if stream.diagnostics:
        return list(stream.diagnostics)
    return list(read_text("\n".join((*stream.odd, err))))


def _ignore(_text: str) -> None:
    return None


def _content(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        help_ = "check `terraform.cliConfig` of the host's configuration"
        text = f"Terraform's configuration cannot be read: {error.strerror}"
        raise EnvironmentFault(Problem(text, str(file), remedy=help_)) from None


def _private_directory(directory: Path, top: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        top.chmod(0o700)
    except OSError as error:
        raise EnvironmentFault(Problem(f"cannot be made: {error.strerror}", str(directory))) from None
