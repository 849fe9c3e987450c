"""The lock that a lost host left on a Terraform state, removed for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gitopsd.model.errors import NeedsPerson
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline
from gitopsd.model.ports import Module, SourceTree, Terraform
from gitopsd.planning.modules import facts_of
from gitopsd.stack.modules import Code


@dataclass(frozen=True, slots=True)
class LockLook:
    """Where the modules of a stack are found whose states may be locked."""

    stack: str
    commit: str
    baselines: Mapping[UnitId, Baseline]
    code: Code
    tree: Callable[[str], SourceTree]


def unlock(program: Terraform, look: LockLook, component: str, lock: str) -> str:
    """Remove the lock of a component's state, by its code in the commit, or else by the code that was applied last;
    whose it was. Raises GitopsdError."""
    unit = UnitId.terraform(component)
    commit, modules = look.commit, look.code(look.commit)
    if unit not in modules and unit in look.baselines:
        commit = facts_of(look.baselines[unit]).commit
        modules = look.code(commit)
    if unit not in modules:
        there = ", ".join(sorted(u.name for u in modules)) or "none"
        raise NeedsPerson(f"there is no Terraform component {component!r}; there is {there}")
    return program.unlock(Module(look.stack, modules[unit], look.tree(commit)), lock)
