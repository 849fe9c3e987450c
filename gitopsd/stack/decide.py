"""What a stack does next, as one pure function of what is known. Everything else only carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gitopsd.model.memory import HoldReason, Memory
from gitopsd.model.run import RunKind
from gitopsd.model.spec import OnFailure


class Step(StrEnum):
    """What to do next."""

    REST = "rest"
    DEPLOY = "deploy"
    HEAL = "heal"
    ROLL_BACK = "roll-back"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the decision depends on.

    `digest` is what the newest commit asks. `dirty`: something was touched and not found good. `uncertain`: for some
    tracked unit nobody knows what is live (a crash, a lost state directory). `drifted`: a sweep found a difference.
    """

    memory: Memory
    digest: str
    dirty: bool = False
    uncertain: bool = False
    drifted: bool = False
    on_failure: OnFailure = OnFailure.ROLLBACK


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, and for a hold why."""

    step: Step
    hold: HoldReason | None = None


def decide(now: Situation) -> Decision:
    """The next step. Calling it again after the step was carried out leads to rest or to a hold."""
    memory = now.memory
    held = {h.reason for h in memory.holds}
    if memory.attempting is not None and memory.attempting.kind is RunKind.ROLLBACK:
        return Decision(Step.ROLL_BACK)  # a newer commit waits for its verdict
    if memory.quarantined(now.digest) is None:
        at_rest = memory.attempting is None and not now.dirty
        if at_rest and memory.good and memory.good[0].digest == now.digest:
            return _heal(now) or Decision(Step.REST)
        return Decision(Step.DEPLOY)
    return _quarantined(now, held)


def _quarantined(now: Situation, held: set[HoldReason]) -> Decision:
    """The newest commit asks what has failed already: undo what it left, then wait for another."""
    if HoldReason.ROLLBACK_FAILED in held:
        return Decision(Step.HOLD, HoldReason.ROLLBACK_FAILED)
    if now.dirty and now.on_failure is OnFailure.HOLD:
        return Decision(Step.HOLD, HoldReason.FAILED)
    if now.dirty or now.memory.attempting is not None:
        return Decision(Step.ROLL_BACK)  # the quarantine was written, the rollback not yet begun
    return _heal(now) or Decision(Step.HOLD, HoldReason.QUARANTINED)


def _heal(now: Situation) -> Decision | None:
    """Towards the good revision, if there is one: drift is healed also while a bad commit waits to be mended.

    Where drift is only reported, the step ends with the report.
    """
    return Decision(Step.HEAL) if (now.uncertain or now.drifted) and now.memory.good else None
