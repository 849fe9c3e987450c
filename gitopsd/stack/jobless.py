"""A plan without Jobs: who goes back to an older revision must not run again what has run."""

from __future__ import annotations

from dataclasses import replace

from gitopsd.model.plan import Action, Change, Layer, Leftover, Plan, Wave
from gitopsd.planning.assemble import JOB_RAN
from gitopsd.planning.creators import is_job


def without_jobs(plan: Plan) -> Plan:
    """The plan without the Jobs that it would run; they are listed as left alone. Waves that become empty go."""
    runs = [c.unit for c in plan.applies() if _runs(c)]
    if not runs:
        return plan
    waves = (replace(wave, layers=tuple(_layers(wave))) for wave in plan.waves)
    return replace(
        plan,
        waves=tuple(wave for wave in waves if wave.layers),
        leftovers=(*plan.leftovers, *(Leftover(unit, JOB_RAN) for unit in runs)),
    )


def _layers(wave: Wave) -> list[Layer]:
    kept = (replace(layer, changes=tuple(c for c in layer.changes if not _runs(c))) for layer in wave.layers)
    return [layer for layer in kept if layer.changes]


def _runs(change: Change) -> bool:
    return is_job(change.unit) and change.action is not Action.RELEASE
