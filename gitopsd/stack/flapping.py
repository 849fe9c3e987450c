"""When commit after commit fails at one and the same thing that none of them changed: the next one would, too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Hold, HoldReason, Memory, Quarantined
from gitopsd.planning.fill import filled_digest
from gitopsd.stack.pipeline import Planned

ENOUGH = 3
"""Failed deploys in a row, each of another digest, after which a stack flaps: up with each commit, and down again."""

BY = "gitopsd"


def definition(planned: Planned, unit: UnitId | None) -> str:
    """What a plan asks of one unit, as a digest: with the outputs that it takes as far as they are known. "" for a unit
    that the commit does not have, and where no unit is at fault."""
    if unit is None:
        return ""
    if unit.is_terraform:
        module = planned.desired.modules.get(unit)
        return (planned.bench.inputs(module) or module.digest) if module else ""
    wanted = planned.templates.get(unit) or planned.desired.units.get(unit)
    return (filled_digest(wanted, planned.bench.outputs) or wanted.digest) if wanted else ""


def in_a_row(quarantine: Sequence[Quarantined]) -> tuple[Quarantined, ...]:
    """The newest failures that are about the same unit in the same definition, newest first. A good deploy between two
    failures ends the row, as does a failure of anything else."""
    if not quarantine or not quarantine[0].definition:
        return ()
    newest = quarantine[0]
    same = (newest.unit, newest.definition)
    return tuple(takewhile(lambda found: (found.unit, found.definition) == same, quarantine))


def flaps(memory: Memory, at: str) -> Hold | None:
    """The hold of a stack whose newest failure is one too many; None if it is not."""
    row = in_a_row(memory.quarantine)
    if len(row) < ENOUGH:
        return None
    newest = row[0]
    why = f"the last {len(row)} deploys failed at {newest.unit}, which none of their commits changed: {newest.reason}"
    advice = f"mend it or push a commit that does, then `gitopsd retry {memory.stack}` deploys the newest one"
    return Hold(HoldReason.FLAPPING, at, BY, f"{why}; nothing newer is deployed meanwhile: {advice}")
