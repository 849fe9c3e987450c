"""Terraform in memory behind the `Terraform` port: real enough for what plans, rollbacks and crashes depend on.

A module is `main.tf.json` in its directory. `resource.sim.NAME` has attributes of text, in which `${var.X}` and
`${sim.OTHER.ATTRIBUTE}` are replaced; `id` is made at creation and known only then. Three attributes are instructions:
`frozen` lists attributes whose change replaces the resource, `fails` is the error of whoever creates or changes it, and
`holds` makes it stay when asked to go. `output.NAME` has a `value` and may be `sensitive`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any, Protocol

from gitopsd.model.errors import Cause, CommitError, EnvironmentFault, NeedsPerson, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.modules import (
    Edit,
    FieldChange,
    ModuleApplied,
    ModuleFailure,
    ModulePlan,
    Output,
    ResourceAction,
    ResourceChange,
    ResourceDone,
    ResourceEnd,
    StateId,
)
from gitopsd.model.ports import Module
from gitopsd.model.sensitive import Sensitive
from tests.support.simcluster import Gatekeeper
from tests.support.simstate import Resources, SimModule

INSTRUCTIONS = frozenset({"frozen", "fails", "holds"})
REFERENCE = re.compile(r"\$\{(var|sim)\.([a-z_]+)(?:\.([a-z_]+))?\}")


class _Unknown:
    """What is known after apply."""


UNKNOWN = _Unknown()


class Outside(Protocol):
    """What outlives the process."""

    modules: dict[str, SimModule]
    writes: list[tuple[str, UnitId]]
    uids: int


@dataclass
class _Saved:
    """A saved plan."""

    serial: int
    steps: list[tuple[ResourceAction, str, dict[str, Any]]]
    wanted: dict[str, Any]
    variables: Mapping[str, Any]
    destroy: bool


class SimTerraform:
    """The program. Saved plans die with it, as those in a tmpfs of a killed process are removed."""

    def __init__(self, outside: Callable[[], Outside], gatekeeper: Gatekeeper, lock: RLock) -> None:
        self._outside, self._gatekeeper, self._lock = outside, gatekeeper, lock
        self._saved: dict[str, _Saved] = {}
        self.kept: frozenset[str] | None = None
        """What the last clearing out left on the host."""
        self.started: list[str] = []
        """Every start of the program, as `plan COMPONENT`."""

    @contextmanager
    def _call(self, verb: str, unit: UnitId, *, write: bool = False) -> Iterator[None]:
        with self._lock:
            self._gatekeeper.before(verb, unit, write=write)
            yield
            self._gatekeeper.after(verb, unit, write=write)

    def version(self) -> str:
        return "terraform 0.0-simulated"

    def settle(self, stack: str, component: str) -> None:
        """A killed process leaves nothing running here."""

    def clear_out(self, stack: str, keep: Collection[str]) -> None:
        self.kept = frozenset(keep)

    def unlock(self, module: Module, lock: str = "") -> str:
        with self._call("tf-unlock", module.unit.id, write=True):
            state = self._state(module)
            if not state.lock or lock not in {"", state.lock}:
                raise NeedsPerson(Problem("its state is not locked so", unit=str(module.unit.id)))
            holder, state.lock = state.lock, ""
            return holder

    def stop(self) -> None:
        """No plan takes time here."""

    def discard(self, plans: Iterable[ModulePlan]) -> None:
        for plan in plans:
            self._saved.pop(plan.saved, None)

    def outputs(self, module: Module) -> Mapping[str, Output]:
        with self._call("tf-output", module.unit.id):
            return _outputs(self._state(module).outputs)

    def _state(self, module: Module) -> SimModule:
        return self._outside().modules.setdefault(module.unit.state_key, SimModule())

    # ------------------------------------------------------------ plan

    def plan(self, module: Module, *, destroy: bool = False, known: bool = False) -> ModulePlan:
        unit = module.unit.id
        with self._call("tf-plan", unit):
            self.started.append(f"plan {unit.name}")
            state = self._state(module)
            if known and not state.resources:
                raise NeedsPerson(Problem("its state is gone", unit=str(unit)))
            variables = {
                k: v.reveal() if isinstance(v, Sensitive) else v
                for k, v in {**module.sealed, **module.variables}.items()
            }
            code = {} if destroy else _code(module)
            steps, after = _steps(state.resources, code, variables, unit)
            outputs = {} if destroy else _planned_outputs(module, after, variables)
            token = f"plan-{len(self.started)}"
            self._saved[token] = _Saved(state.serial, steps, {} if destroy else _whole(module), variables, destroy)
            moved = {n: o for n, o in outputs.items() if o is None or o.digest != _digest(state.outputs.get(n))}
            gone = state.outputs.keys() - outputs.keys()
            return ModulePlan(
                unit=unit,
                state=StateId(state.lineage, state.serial),
                resources=tuple(
                    ResourceChange(address, action, _diff(state, address, after)) for action, address, _ in steps
                ),
                outputs=outputs,
                output_changes=tuple(FieldChange(n, Edit.REPLACE, unknown=o is None) for n, o in moved.items()),
                changes_state=bool(steps or moved or gone),
                tracked=len(state.resources),
                saved=token,
            )

    # ------------------------------------------------------------ apply

    def apply(
        self, module: Module, plan: ModulePlan, *, progress: Callable[[str], None], stop: Callable[[], bool]
    ) -> ModuleApplied | ModuleFailure:
        unit, saved = module.unit.id, self._saved.get(plan.saved)
        self.started.append(f"apply {unit.name}")
        if saved is None:
            raise AssertionError("only a saved plan may be applied")
        refusal = _refusal(self._state(module), saved)
        if refusal is not None:
            return refusal
        made: list[str] = []
        did: list[ResourceDone] = []
        for action, address, _ in saved.steps:
            if stop():
                return ModuleFailure(
                    "interrupted", Cause.ENVIRONMENT, tuple(made), interrupted=True, resources=tuple(did)
                )
            progress(f"{action} {address}")
            try:
                self._step(module, saved, action, address)
            except EnvironmentFault as fault:
                did.append(ResourceDone(address, action, ResourceEnd.FAILED))
                return ModuleFailure(str(fault), Cause.ENVIRONMENT, tuple(made), resources=tuple(did))
            except CommitError as error:
                did.append(ResourceDone(address, action, ResourceEnd.FAILED))
                return ModuleFailure(str(error), Cause.COMMIT, tuple(made), resources=tuple(did))
            did.append(ResourceDone(address, action, ResourceEnd.DONE))
            if action in {ResourceAction.CREATE, ResourceAction.REPLACE}:
                made.append(address)
        try:
            with self._call("tf-outputs", unit, write=True):
                state = self._state(module)
                state.outputs = _values(saved.wanted.get("output", {}), state.resources, saved.variables)
                _moved(self._outside(), state)
        except EnvironmentFault as fault:
            return ModuleFailure(str(fault), Cause.ENVIRONMENT, tuple(made), resources=tuple(did))
        state = self._state(module)
        return ModuleApplied(
            StateId(state.lineage, state.serial),
            _outputs(state.outputs),
            tuple(made),
            tracked=len(state.resources),
            resources=tuple(did),
        )

    def _step(self, module: Module, saved: _Saved, action: ResourceAction, address: str) -> None:
        unit = module.unit.id
        with self._call(f"tf-{action}", unit, write=True):
            outside, state = self._outside(), self._state(module)
            if action is ResourceAction.DESTROY:
                del state.resources[address]
            else:
                body = saved.wanted["resource"]["sim"][address.partition(".")[2]]
                if body.get("fails"):
                    raise CommitError(Problem(str(body["fails"]), unit=str(unit)))
                attributes = _filled(body, state.resources, saved.variables)
                identity = state.resources.get(address, {}).get("id")
                if identity is None or action is ResourceAction.REPLACE:
                    outside.uids += 1
                    identity = f"id-{outside.uids}"
                state.resources[address] = {**attributes, "id": identity}
            outside.writes.append((f"{action} {address}", unit))
            _moved(outside, state)


# ---------------------------------------------------------------- what code means


def _refusal(state: SimModule, saved: _Saved) -> ModuleFailure | None:
    if state.lock:
        return ModuleFailure(f"the state is locked by {state.lock}", Cause.ENVIRONMENT)
    if saved.serial != state.serial:
        return ModuleFailure("saved plan is stale", Cause.ENVIRONMENT, stale=True)
    return None


def _whole(module: Module) -> dict[str, Any]:
    path = f"{module.unit.path}/main.tf.json"
    entries = [entry for entry in module.tree.files(module.unit.path) if entry.path == path]
    try:
        code: dict[str, Any] = json.loads(module.tree.read(entries)[path])
    except (KeyError, ValueError):
        raise CommitError(Problem("this is no module", file=path, line=1)) from None
    return code


def _code(module: Module) -> dict[str, dict[str, Any]]:
    return {f"sim.{name}": body for name, body in _whole(module).get("resource", {}).get("sim", {}).items()}


def _steps(
    live: Resources, code: Mapping[str, dict[str, Any]], variables: Mapping[str, Any], unit: UnitId
) -> tuple[list[tuple[ResourceAction, str, dict[str, Any]]], Resources]:
    """What leads from the state to the code, and what the resources are afterwards, as far as that is known."""
    steps: list[tuple[ResourceAction, str, dict[str, Any]]] = []
    after: Resources = {}
    for address, body in code.items():  # in their order: later ones may refer to earlier ones
        try:
            wanted = _filled(body, after, variables)
        except KeyError as missing:
            raise CommitError(
                Problem(f"{address} refers to {missing}, which is not declared", unit=str(unit))
            ) from None
        old = live.get(address)
        changed = {k for k, v in wanted.items() if old is None or old.get(k) != v}
        gone = (old or {}).keys() - wanted.keys() - {"id"}
        action = None
        if old is None:
            action = ResourceAction.CREATE
        elif changed & set(body.get("frozen", ())):
            action = ResourceAction.REPLACE
        elif changed or gone:
            action = ResourceAction.UPDATE
        kept = old["id"] if old is not None and action is not ResourceAction.REPLACE else UNKNOWN
        after[address] = {**wanted, "id": kept}
        if action is not None:
            steps.append((action, address, wanted))
    steps += [(ResourceAction.DESTROY, address, {}) for address in sorted(live.keys() - code.keys(), reverse=True)]
    return steps, after


def _filled(body: Mapping[str, Any], resources: Resources, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _text(v, resources, variables) for k, v in body.items() if k not in INSTRUCTIONS}


def _text(template: Any, resources: Resources, variables: Mapping[str, Any]) -> Any:
    """A text with its references replaced; UNKNOWN if one of them is."""
    if not isinstance(template, str):
        return template
    found = [variables[m[2]] if m[1] == "var" else resources[f"sim.{m[2]}"][m[3]] for m in REFERENCE.finditer(template)]
    if any(value is UNKNOWN for value in found):
        return UNKNOWN
    values = iter(found)
    return REFERENCE.sub(lambda _: str(next(values)), template)


def _values(
    outputs: Mapping[str, Any], resources: Resources, variables: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": _text(o["value"], resources, variables), "sensitive": bool(o.get("sensitive"))}
        for name, o in outputs.items()
    }


def _planned_outputs(module: Module, after: Resources, variables: Mapping[str, Any]) -> dict[str, Output | None]:
    planned = _values(_whole(module).get("output", {}), after, variables)
    return {
        name: None
        if o["value"] is UNKNOWN
        else Output(_digest(o), None if o["sensitive"] else o["value"], o["sensitive"])
        for name, o in planned.items()
    }


def _outputs(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Output]:
    return {
        name: Output(_digest(o), Sensitive(o["value"]) if o["sensitive"] else o["value"], o["sensitive"])
        for name, o in outputs.items()
    }


def _digest(output: Mapping[str, Any] | None) -> str:
    return hashlib.sha256(json.dumps(output["value"]).encode()).hexdigest() if output else ""


def _diff(state: SimModule, address: str, after: Resources) -> tuple[FieldChange, ...]:
    old, new = state.resources.get(address, {}), after.get(address, {})
    return tuple(
        FieldChange(
            key,
            Edit.REPLACE if key in old and key in new else Edit.ADD if key in new else Edit.REMOVE,
            old.get(key),
            None if new.get(key) is UNKNOWN else new.get(key),
            unknown=new.get(key) is UNKNOWN,
        )
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )


def _moved(outside: Outside, state: SimModule) -> None:
    state.serial += 1
    if not state.lineage:
        outside.uids += 1
        state.lineage = f"lineage-{outside.uids}"


class NoTerraform:
    """For stacks that have none: nobody may start it."""

    def version(self) -> str:
        raise AssertionError("Terraform was asked for its version")

    def plan(self, module: Module, *, destroy: bool = False, known: bool = False) -> ModulePlan:
        raise AssertionError(f"Terraform was started for {module.unit.id}")

    def apply(
        self, module: Module, plan: ModulePlan, *, progress: Callable[[str], None], stop: Callable[[], bool]
    ) -> ModuleApplied | ModuleFailure:
        raise AssertionError(f"Terraform was started for {module.unit.id}")

    def outputs(self, module: Module) -> Mapping[str, Output]:
        raise AssertionError(f"Terraform was started for {module.unit.id}")

    def discard(self, plans: Iterable[ModulePlan]) -> None:
        assert not list(plans)

    def settle(self, stack: str, component: str) -> None:
        """Nothing was ever started."""

    def clear_out(self, stack: str, keep: Collection[str]) -> None:
        assert not keep

    def unlock(self, module: Module, lock: str = "") -> str:
        raise AssertionError(f"Terraform was started for {module.unit.id}")

    def stop(self) -> None:
        """Nothing runs."""
