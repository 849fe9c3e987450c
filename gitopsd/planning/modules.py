"""Terraform root modules in a plan: whether one has to be run, what its plan means, and what is kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter

from gitopsd.model.codec import from_plain, to_plain
from gitopsd.model.ids import UnitId, modules_of
from gitopsd.model.memory import Baseline, ModuleMemory
from gitopsd.model.modules import (
    Output,
    OutputRef,
    Outputs,
    StateId,
)
from gitopsd.model.units import TerraformUnit

NEW = "new"
"""Why a module is looked at that nobody has applied yet."""


@dataclass(frozen=True, slots=True)
class TrackedModule:
    """What the inventory keeps of a module beside its digest: where its state and its code are, and its outputs."""

    path: str
    workspace: str
    state_key: str
    commit: str
    tracked: int
    outputs: Mapping[str, Output]


@dataclass(frozen=True, slots=True)
class ModuleCandidate:
    """A module that may have to be run, and why. `inputs` is the digest of all that goes in, "" while an output of
    another module is not known; then `waits_for` names it."""

    unit: TerraformUnit
    reason: str
    inputs: str
    waits_for: tuple[OutputRef, ...] = ()


# ---------------------------------------------------------------- inputs


def module_order(modules: Mapping[UnitId, TerraformUnit]) -> tuple[tuple[TerraformUnit, ...], ...]:
    """The modules level by level: each uses outputs of lower levels alone. `check_order` has refused circles."""
    graph = {
        u: {UnitId.terraform(v.source.component) for v in m.variables} & modules.keys() for u, m in modules.items()
    }
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    levels = []
    while sorter.is_active():
        ready = sorter.get_ready()
        levels.append(tuple(modules[u] for u in sorted(ready)))
        sorter.done(*ready)
    return tuple(levels)


def input_digest(unit: TerraformUnit, outputs: Outputs) -> str:
    """SHA-256 of everything that goes into a module; "" if an output that it takes is not known."""
    taken = {v.name: outputs.get(v.source) for v in unit.variables}
    if None in taken.values():
        return ""
    lines = [unit.digest, *(f"{name}={output.digest}" for name, output in sorted(taken.items()) if output)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def candidate(
    unit: TerraformUnit,
    outputs: Outputs,
    baseline: Baseline | None,
    *,
    drifted: bool = False,
) -> ModuleCandidate | None:
    """Whether a run has to look at a module; None if nothing of it changed. Terraform is not started to find out."""
    inputs = input_digest(unit, outputs)
    missing = tuple(v.source for v in unit.variables if v.source not in outputs)
    reason = _why(unit, baseline, inputs, missing)
    reason = reason or ("drifted" if drifted else "")
    return ModuleCandidate(unit, reason, inputs, missing) if reason else None


def _why(unit: TerraformUnit, baseline: Baseline | None, inputs: str, missing: Sequence[OutputRef]) -> str:
    if baseline is None:
        return NEW
    if not baseline.digest or not baseline.certain:
        return "unknown outcome" if baseline.digest else "to be compared"
    if missing:
        return f"takes {missing[0]}, which changes"
    if (baseline.digest, baseline.order) != (inputs, unit.order):
        return "changed"
    return ""


# ---------------------------------------------------------------- the inventory


def module_baseline(
    unit: TerraformUnit,
    *,
    inputs: str,
    state: StateId,
    outputs: Mapping[str, Output],
    commit: str,
    tracked: int,
    at: str,
) -> Baseline:
    """The inventory's entry for a module. Values of sensitive outputs stay out of it."""
    kept = {name: replace(o, value=None) if o.sensitive else o for name, o in outputs.items()}
    facts = TrackedModule(unit.path, unit.workspace, unit.state_key, commit, tracked, kept)
    return Baseline(
        unit=unit.id,
        component=unit.component,
        order=unit.order,
        digest=inputs,
        uid=state.lineage,
        resource_version=str(state.serial),
        api_version="",
        at=at,
        metadata=to_plain(facts),
    )


def facts_of(baseline: Baseline) -> TrackedModule:
    """What is kept of a module. Of one that is known from the cluster's memory alone there are no outputs."""
    return from_plain(TrackedModule, baseline.metadata)


def recorded_outputs(baselines: Mapping[UnitId, Baseline]) -> dict[OutputRef, Output]:
    """The outputs of all modules as they were when each was last applied or found equal."""
    return {
        OutputRef(unit.name, name): output
        for unit in modules_of(baselines)
        if (baseline := baselines[unit]).certain and baseline.digest
        for name, output in facts_of(baseline).outputs.items()
    }


def shared_outputs(outputs: Outputs, uses: Iterable[OutputRef]) -> dict[str, Output]:
    """What a good revision keeps: the outputs that its components use, without those that are sensitive."""
    used = sorted({ref for ref in uses if ref in outputs})
    return {str(ref): outputs[ref] for ref in used if not outputs[ref].sensitive}


def module_memories(baselines: Mapping[UnitId, Baseline]) -> tuple[ModuleMemory, ...]:
    """The modules of an inventory, as the parent keeps them."""
    found = [(unit, facts_of(baselines[unit])) for unit in modules_of(baselines)]
    return tuple(ModuleMemory(u.name, f.path, f.workspace, f.state_key, f.commit) for u, f in found)


def remembered_modules(
    before: Iterable[ModuleMemory], baselines: Mapping[UnitId, Baseline], dirty: Collection[UnitId]
) -> tuple[ModuleMemory, ...]:
    """What the parent keeps after a run: the modules of the inventory, and those that were touched without anybody
    hearing how it ended."""
    touched = {m.component: m for m in before if UnitId.terraform(m.component) in dirty}
    tracked = {m.component: m for m in module_memories(baselines)}
    return tuple(sorted({**touched, **tracked}.values(), key=lambda m: m.component))


def remembered_module(unit: TerraformUnit, commit: str) -> ModuleMemory:
    """What the parent keeps of a module that is about to be applied for the first time."""
    return ModuleMemory(unit.component, unit.path, unit.workspace, unit.state_key, commit)


def remembered_baseline(memory: ModuleMemory, at: str) -> Baseline:
    """The inventory's entry for a module of which only the parent knows: to be compared before anything is said."""
    facts = TrackedModule(memory.path, memory.workspace, memory.state_key, memory.commit, 0, {})
    unit = UnitId.terraform(memory.component)
    return Baseline(unit, memory.component, (0, 0), "", "", "", "", at, to_plain(facts), certain=False)
