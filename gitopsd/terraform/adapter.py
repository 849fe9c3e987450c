"""The port `Terraform` on the real program."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import structlog

from gitopsd.model.errors import Cause, CommitError, EnvironmentFault, GitopsdError, Problem
from gitopsd.model.modules import ModuleApplied, ModuleFailure, ModulePlan, Output
from gitopsd.model.ports import Module
from gitopsd.model.sensitive import Sensitive
from gitopsd.terraform.backend import lock_away
from gitopsd.terraform.care import Care, Unprepared
from gitopsd.terraform.child import Ended
from gitopsd.terraform.command import FLAG
from gitopsd.terraform.copies import Copies
from gitopsd.terraform.environment import module_variables
from gitopsd.terraform.failures import ended_badly, failure
from gitopsd.terraform.plans import SavedPlans, state_in, whole
from gitopsd.terraform.preparation import Preparation, Ready, said_in, state_gone, var_files
from gitopsd.terraform.runner import Runner
from gitopsd.terraform.settings import TerraformSettings
from gitopsd.tfplan import (
    Scrubber,
    Seal,
    State,
    Stream,
    Trouble,
    errors,
    read_plan,
    read_state,
    read_text,
    trouble,
    warning_texts,
)

log = structlog.get_logger("gitopsd.terraform")


def open_terraform(settings: TerraformSettings) -> RealTerraform:
    """Terraform on this host. Removes saved plans that processes which are gone have left. Raises EnvironmentFault if
    the runtime directory cannot be used; whether there is a program at all shows when it is needed."""
    plans = SavedPlans(settings.runtime_dir)
    plans.open()
    return RealTerraform(settings, plans)


class RealTerraform:
    """See the port. Every text that leaves it was scrubbed of the sensitive values that are known of the module."""

    def __init__(self, settings: TerraformSettings, plans: SavedPlans) -> None:
        self._settings = settings
        self._plans = plans
        self._runner = Runner(settings)
        self._preparation = Preparation(settings, self._runner)
        self._care = Care(settings, self._runner)
        self._copies = Copies(settings)
        self._seal = Seal(settings.digest_key)
        self._scrubbers: dict[tuple[str, str], Scrubber] = {}
        self._lock = Lock()

    def close(self) -> None:
        """Interrupt what runs, so that it gives its lock back, and remove our saved plans. Whoever waits for a program
        gets an EnvironmentFault, or an interrupted ModuleFailure."""
        self._runner.close()
        self._plans.close()

    def stop(self) -> None:
        self._runner.stop()

    def version(self) -> str:
        return self._runner.version()

    def plan(self, module: Module, *, destroy: bool = False, known: bool = False) -> ModulePlan:
        ready = self._ready(module, known=known)
        saved = self._plans.fresh()
        try:
            stream = self._plan(ready, str(saved), destroy)
            return self._read(ready, module, stream, saved, known=known)
        except BaseException:
            self._plans.remove(saved.name)
            raise

    def apply(
        self, module: Module, plan: ModulePlan, *, progress: Callable[[str], None], stop: Callable[[], bool]
    ) -> ModuleApplied | ModuleFailure:
        saved = self._plans.find(plan.saved) if plan.saved else None
        if saved is None:
            return ModuleFailure("the saved plan is gone; it has to be made again", Cause.ENVIRONMENT, stale=True)
        if stop():
            return ModuleFailure("it was not begun: gitopsd is stopping", Cause.ENVIRONMENT, interrupted=True)
        ready = self._ready(module, known=bool(plan.state.lineage))
        local = ready.hosted and self._settings.backend == "local"
        if local:
            self._copies.before(ready.stack, ready.unit)
        if self._copies.sealed:
            ready.place.owe_copy()
        stream = Stream()

        def follow(line: str) -> None:
            if told := stream.feed(line):
                progress(ready.scrubber.text(told))

        call = ready.call(
            "apply",
            str(saved),
            json=FLAG,
            input=False,
            lock_timeout=self._settings.lock_wait,
            parallelism=self._settings.parallelism,
            line=follow,
            stop=stop,
        )
        try:
            ended = self._runner(call)
        finally:
            ready.place.rescue()
            if local:
                lock_away(self._settings, module.unit, copied=self._copies.sealed)
        return self._applied(ready, ended, stream) if ended.ok else self._failed(ready, ended, stream)

    def outputs(self, module: Module) -> Mapping[str, Output]:
        return self._pull(self._ready(module, known=True)).outputs

    def discard(self, plans: Iterable[ModulePlan]) -> None:
        for plan in plans:
            self._plans.remove(plan.saved)

    def settle(self, stack: str, component: str) -> None:
        place = self._preparation.place(stack, component)
        self._care.end(place)
        self._plans.open()  # not sooner: until its end a plan that goes on without us may write its file
        with contextlib.suppress(Unprepared):  # it died in init: what it left is looked after when init is through
            self._care.finish(place, component, self._scrubber(stack, component))

    def clear_out(self, stack: str, keep: Collection[str]) -> None:
        """Remove the working directories of a stack's components but those in `keep`: of what is destroyed or abandoned
        and on nobody's record any more. Called while nothing of the stack is at work. Raises EnvironmentFault."""
        self._preparation.clear_out(stack, keep)
        if self._settings.scratch is None:
            self._copies.seal_rest()

    def unlock(self, module: Module, lock: str = "") -> str:
        return str(self._care.unlock(self._ready(module, known=False, settled=False), lock))

    def _scrubber(self, stack: str, component: str) -> Scrubber:
        with self._lock:
            return self._scrubbers.setdefault((stack, component), Scrubber())

    def _ready(self, module: Module, *, known: bool, settled: bool = True) -> Ready:
        scrubber = self._scrubber(module.stack, module.unit.component)
        self._runner.secrets(scrubber)
        given = {**module.sealed, **module.variables}
        scrubber.add(value for value in given.values() if isinstance(value, Sensitive))
        if self._care.end(self._preparation.place(module.stack, module.unit.component)):
            self._plans.open()
        ready = self._preparation.lay_out(module, scrubber, module_variables(given))
        self._preparation.initialise(ready, known=known)
        if settled:
            self._care.finish(ready.place, module.unit.component, scrubber)
        if self._settings.scratch is None:  # who plans beside the daemon writes nothing of its
            if ready.place.owes_copy:
                self._copy(ready)
            if ready.hosted and self._settings.backend == "local":
                self._copies.seal_backups(ready.stack, ready.unit)
        return ready

    def _copy(self, ready: Ready, state: str | None = None) -> tuple[str, ...]:
        """Keep a copy of the state as it is now, be it one that the backend did not take; what a person should know of
        that. What did not work is made up for as soon as the module is looked at again."""
        if not self._copies.sealed:
            ready.place.pay_copy()
            return ()
        try:
            if ready.place.errored.is_file():
                content = ready.place.errored.read_bytes()
            else:
                content = (self._pulled(ready) if state is None else state).encode()
            self._copies.after(ready.stack, ready.unit, content, hosted=ready.hosted)
        except (GitopsdError, OSError) as error:
            if self._runner.closed:  # the next process does it
                return ()
            told = ready.scrubber.text(str(error))
            log.warning("no copy of a state", stack=ready.stack, unit=str(ready.unit.id), why=told)
            return (told,)
        ready.place.pay_copy()
        return ()

    def _plan(self, ready: Ready, saved: str, destroy: bool, *, again: bool = False) -> Stream:
        stream = Stream()

        def follow(line: str) -> None:
            stream.feed(line)

        options: dict[str, Any] = {"destroy": FLAG} if destroy else {}
        call = ready.call(
            "plan",
            json=FLAG,
            input=False,
            lock=False,
            out=saved,
            parallelism=self._settings.parallelism,
            **options,
            **var_files(ready.unit),
            line=follow,
        )
        ended = self._runner(call)
        broken = ended_badly(ended, "the plan", str(ready.unit.id))
        if broken is not None:
            raise broken
        if ended.ok:
            return stream
        said = said_in(stream, ended.err)
        if not again and any(trouble(d) is Trouble.UNPREPARED for d in errors(said)):
            self._preparation.initialise(ready, known=False, anew=True)
            return self._plan(ready, saved, destroy, again=True)
        self._learn(ready)
        raise failure(said, ready.stack, ready.unit, ready.scrubber)

    def _read(self, ready: Ready, module: Module, stream: Stream, saved: Path, *, known: bool) -> ModulePlan:
        """What a plan that was made says."""
        shown = self._show(ready, str(saved))
        raw = state_in(saved)
        try:
            document = json.loads(shown)
            state = self._pull(ready) if raw is None else self._state(ready, raw)
            if known and state.blank and (not state.exists or document.get("resource_changes")):
                raise state_gone(ready, self._settings)
            _refuse_undeclared(module, document)
            return read_plan(
                document,
                module.unit.id,
                state=state.id,
                saved=saved.name,
                warnings=warning_texts(stream.diagnostics, module.unit.path, ready.scrubber),
                seal=self._seal,
                scrubber=ready.scrubber,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(module, error) from None

    def _show(self, ready: Ready, saved: str) -> str:
        ended = self._runner(ready.call("show", saved, json=FLAG))
        if ended.status > 0 and not whole(Path(saved)):  # the program does not notice that it could not write it
            help_ = "check the space in the runtime directory (that of `socket`)"
            text = "the saved plan was not written whole"
            raise EnvironmentFault(Problem(text, saved, unit=str(ready.unit.id), remedy=help_))
        self._refuse(ready, ended, "reading the plan")
        return ended.out

    def _pulled(self, ready: Ready) -> str:
        ended = self._runner(ready.call("state pull", timeout=self._settings.init_timeout))
        self._refuse(ready, ended, "reading the state")
        return ended.out

    def _pull(self, ready: Ready) -> State:
        return self._parsed(ready, self._pulled(ready))

    def _parsed(self, ready: Ready, pulled: str) -> State:
        try:
            return self._state(ready, json.loads(pulled or "{}"))
        except (ValueError, KeyError, TypeError) as error:
            text = f"the state cannot be understood: {type(error).__name__}"
            raise EnvironmentFault(Problem(text, unit=str(ready.unit.id))) from None

    def _state(self, ready: Ready, raw: Mapping[str, Any]) -> State:
        return read_state(raw, self._seal, ready.scrubber)

    def _refuse(self, ready: Ready, ended: Ended, doing: str) -> None:
        broken = ended_badly(ended, doing, str(ready.unit.id))
        if broken is not None:
            raise broken
        if not ended.ok:
            self._learn(ready)
            raise failure(read_text(ended.err), ready.stack, ready.unit, ready.scrubber)

    def _learn(self, ready: Ready) -> None:
        """Learn what is sensitive in the state, before an error is shown that may quote it. If the state cannot be
        read, its values are in no error either."""
        if self._runner.closed:
            return
        ended = self._runner(ready.call("show", json=FLAG, timeout=self._settings.init_timeout))
        if ended.ok:
            with contextlib.suppress(ValueError):
                ready.scrubber.learn_state(json.loads(ended.out))

    def _applied(self, ready: Ready, ended: Ended, stream: Stream) -> ModuleApplied | ModuleFailure:
        warnings = warning_texts(stream.diagnostics, ready.unit.path, ready.scrubber)
        try:
            pulled = self._pulled(ready)
            state = self._parsed(ready, pulled)
        except EnvironmentFault as error:
            text = f"it was applied, but its outputs cannot be read: {error}"
            return _spoiled(text, stream, interrupted=ended.interrupted)
        warnings = (*warnings, *self._copy(ready, pulled))
        return ModuleApplied(state.id, state.outputs, stream.created, warnings, state.tracked, stream.resources)

    def _failed(self, ready: Ready, ended: Ended, stream: Stream) -> ModuleFailure:
        said = said_in(stream, ended.err)
        if any(trouble(d) is Trouble.STALE for d in errors(said)):
            return ModuleFailure("the state moved since the plan was made", Cause.ENVIRONMENT, stale=True)
        self._learn(ready)
        broken = ended_badly(ended, "the apply", str(ready.unit.id))
        found = failure(said, ready.stack, ready.unit, ready.scrubber, applying=True)
        untold = "".join(f"; {told}" for told in self._copy(ready))
        if broken is None:
            return ModuleFailure(f"{found}{untold}", found.cause, stream.created, resources=stream.resources)
        text = f"{broken}; {found}" if errors(said) and not ended.interrupted else str(broken)
        return _spoiled(text + untold, stream, interrupted=ended.interrupted)


def _spoiled(text: str, stream: Stream, *, interrupted: bool) -> ModuleFailure:
    """An apply that the environment ended, or kept from being read."""
    return ModuleFailure(text, Cause.ENVIRONMENT, stream.created, interrupted=interrupted, resources=stream.resources)


def _refuse_undeclared(module: Module, document: Mapping[str, Any]) -> None:
    """Terraform passes over a variable in its environment that the module does not have."""
    root = (document.get("configuration") or {}).get("root_module") or {}
    missing = sorted(module.variables.keys() - (root.get("variables") or {}).keys())
    unit = module.unit
    if missing:
        text = f"varsFrom sets {', '.join(missing)}, which the module in {unit.path or '.'} does not declare"
        raise CommitError(Problem(text, unit.origin.file, unit.origin.line, unit=str(unit.id)))


def _unreadable(module: Module, error: Exception) -> EnvironmentFault:
    told = str(error) if type(error) is ValueError else type(error).__name__
    help_ = "this version of the program may be newer than gitopsd knows"
    return EnvironmentFault(Problem(f"its plan cannot be understood: {told}", unit=str(module.unit.id), remedy=help_))
