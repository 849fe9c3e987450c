"""Terraform root modules of a stack: which files each may read, and the digest of everything that goes into it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from gitopsd.model.errors import CommitError, EnvironmentFault, Problem, raise_if
from gitopsd.model.ids import UnitId
from gitopsd.model.ports import BlobCache
from gitopsd.model.spec import StackSpec, TerraformComponent
from gitopsd.model.units import Origin, TerraformUnit
from gitopsd.render.codefiles import files_of_module
from gitopsd.render.layout import directory_of
from gitopsd.render.sealedvars import sealed_variables
from gitopsd.render.view import Arrival, LeavesTree, TreeView

MODULES_VERSION: Final = "2"
"""To be raised whenever the same commit would be run otherwise: it is part of every module's digest."""


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What the host puts into every module: the program with its version, and a digest of the settings that can change
    what it does (environment, files of it, the program's configuration; not how fast or how long it works)."""

    version: str
    settings: str


Facts = Callable[[], ModuleFacts]
"""Asked only where there is a module, because the program has to be run for the answer."""


def once(facts: Facts) -> Facts:
    """The same facts for every module of a stack, asked for at the first one."""
    return functools.cache(facts)


def no_terraform() -> ModuleFacts:
    """The facts of a process that runs no Terraform. Raises EnvironmentFault: a module's digest cannot be told."""
    raise EnvironmentFault(Problem("this process is not set up to run Terraform"))


def module_of(
    view: TreeView, cache: BlobCache, spec: StackSpec, component: TerraformComponent, facts: Facts
) -> TerraformUnit:
    """The unit of a component. Raises CommitError with everything that keeps it from being run, as far as names in its
    code show it, and what `facts` raises."""
    root = directory_of(view, spec, component)
    var_files = _var_files(view, spec, component)
    sealed = tuple(sealed_variables(view, spec, component))
    entries = files_of_module(view, cache, root, var_files)
    known = facts()
    inputs = [
        MODULES_VERSION,
        root.path,
        component.var_files,
        component.workspace,
        component.state_key,
        sorted((variable.name, str(variable.source)) for variable in component.variables),
        [(entry.path, entry.mode, entry.oid) for entry in entries],
        known.version,
        known.settings,
        [each.digest for each in sealed],
    ]
    return TerraformUnit(
        id=UnitId.terraform(component.name),
        component=component.name,
        order=(component.wave, 0),
        origin=Origin(spec.file, component.line or 1),
        digest=hashlib.sha256(orjson.dumps(inputs)).hexdigest(),
        path=root.path,
        files=tuple(entry.path for entry in entries),
        var_files=component.var_files,
        variables=component.variables,
        workspace=component.workspace,
        state_key=component.state_key,
        approval=component.approval,
        sealed=sealed,
    )


def modules_of(view: TreeView, cache: BlobCache, spec: StackSpec, facts: Facts) -> tuple[TerraformUnit, ...]:
    """The units of all Terraform components, in their order. Raises CommitError with the problems of every one."""
    known = once(facts)
    units: list[TerraformUnit] = []
    problems: list[Problem] = []
    for component in spec.terraform:
        try:
            units.append(module_of(view, cache, spec, component, known))
        except CommitError as error:
            problems += error.problems
    raise_if(set(problems))
    return tuple(units)


def _var_files(view: TreeView, spec: StackSpec, component: TerraformComponent) -> list[Arrival]:
    found: list[Arrival] = []
    problems: list[Problem] = []
    for path in component.var_files:
        place = Problem("", spec.file, component.line, f"component {component.name}")
        try:
            arrival = view.follow(path)
        except LeavesTree:
            problems.append(_about(place, f"the variable file {path} leads out of the repository"))
            continue
        if view.file(arrival.path) is not None:
            found.append(arrival)
        elif view.exists(arrival.path):
            problems.append(_about(place, f"the variable file {path} is a directory"))
        else:
            remedy = f"varFiles are relative to {component.path or '.'}, where the module is"
            problems.append(_about(place, f"the commit has no variable file {path}", remedy))
    raise_if(problems)
    return found


def _about(place: Problem, message: str, remedy: str = "") -> Problem:
    return Problem(message, place.file, place.line, place.field, remedy=remedy)
