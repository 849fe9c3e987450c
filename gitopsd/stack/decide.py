"""What a stack does next, as one pure function of what is known. Everything else only carries it out.

The table is data: a row for what the stack is, a column for what the newest commit asks, and beside it what is done
about drift. Orders of people change the row before anything is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gitopsd.model.memory import Hold, HoldReason, Memory
from gitopsd.model.run import RunKind
from gitopsd.model.spec import OnFailure


class Step(StrEnum):
    """What to do next."""

    REST = "rest"
    DEPLOY = "deploy"
    HEAL = "heal"
    REPORT = "report"  # say what has drifted, and leave it
    ROLL_BACK = "roll-back"
    GO_BACK = "go-back"  # to the revision that a person chose
    DESTROY = "destroy"
    HOLD = "hold"


class Standing(StrEnum):
    """What a stack is: a row of the table. Of those that are true the first counts."""

    SUSPENDED = "suspended"
    ROLLING_BACK = "rolling back"
    ROLLBACK_ASKS = "rolled back but for what waits for a person"
    DESTROY_FAILED = "not destroyed"
    DESTROYED = "destroyed"
    DESTROYING = "being destroyed"
    GOING_BACK_FAILED = "not at the revision that a person chose"
    PINNED = "pinned"
    GOING_BACK = "on its way to the revision that a person chose"
    ROLLBACK_FAILED = "rollback failed"
    FAILED = "failed and left as it is"
    APPLYING = "applying"
    FLAPPING = "flapping"
    AT_REST = "at rest"


class Asks(StrEnum):
    """What the newest commit asks of it: a column of the table."""

    SAME = "what is live"
    NEW = "something new"
    BAD = "what has failed"


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the decision depends on.

    `digest` is what the newest commit asks. `dirty`: something was touched and not found good. `uncertain`: for some
    tracked unit nobody knows what is live (a crash, a lost state directory). `drifted`: a sweep found a difference.
    `open`: a question to people has no answer yet. `allowed`: a person allowed deletions that wait.
    """

    memory: Memory
    digest: str
    dirty: bool = False
    uncertain: bool = False
    drifted: bool = False
    on_failure: OnFailure = OnFailure.ROLLBACK
    open: bool = False
    allowed: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, and for a hold why."""

    step: Step
    hold: HoldReason | None = None


def _hold(reason: HoldReason) -> Decision:
    return Decision(Step.HOLD, reason)


def _always(decision: Decision) -> Mapping[Asks, Decision]:
    return dict.fromkeys(Asks, decision)


_REST, _DEPLOY, _ROLL_BACK = Decision(Step.REST), Decision(Step.DEPLOY), Decision(Step.ROLL_BACK)

TABLE: Mapping[Standing, Mapping[Asks, Decision]] = {
    # a run and its rollback come to their end first, unless the person wants it stopped at once
    Standing.SUSPENDED: _always(_hold(HoldReason.SUSPENDED)),
    # a newer commit waits for the verdict
    Standing.ROLLING_BACK: _always(_ROLL_BACK),
    # fix forward: a newer commit need not wait for the person whom only the way back needs
    Standing.ROLLBACK_ASKS: {
        Asks.SAME: _hold(HoldReason.APPROVAL),
        Asks.NEW: _DEPLOY,
        Asks.BAD: _hold(HoldReason.APPROVAL),
    },
    Standing.DESTROY_FAILED: _always(_hold(HoldReason.FAILED)),
    Standing.DESTROYED: _always(_hold(HoldReason.DESTROYED)),
    Standing.DESTROYING: _always(Decision(Step.DESTROY)),
    Standing.GOING_BACK_FAILED: _always(_hold(HoldReason.ROLLBACK_FAILED)),
    Standing.PINNED: _always(_hold(HoldReason.PINNED)),
    Standing.GOING_BACK: _always(Decision(Step.GO_BACK)),
    Standing.ROLLBACK_FAILED: {
        Asks.SAME: _DEPLOY,
        Asks.NEW: _DEPLOY,
        Asks.BAD: _hold(HoldReason.ROLLBACK_FAILED),
    },
    Standing.FAILED: {Asks.SAME: _DEPLOY, Asks.NEW: _DEPLOY, Asks.BAD: _hold(HoldReason.FAILED)},
    # an interrupted deploy goes on; what is dirty has to be gated, also on the way back to what was good;
    # after a quarantine only the rollback was not begun yet
    Standing.APPLYING: {Asks.SAME: _DEPLOY, Asks.NEW: _DEPLOY, Asks.BAD: _ROLL_BACK},
    Standing.FLAPPING: {
        Asks.SAME: _REST,
        Asks.NEW: _hold(HoldReason.FLAPPING),
        Asks.BAD: _hold(HoldReason.FLAPPING),
    },
    Standing.AT_REST: {Asks.SAME: _REST, Asks.NEW: _DEPLOY, Asks.BAD: _hold(HoldReason.QUARANTINED)},
}

DRIFT: Mapping[Standing, Step] = {
    Standing.SUSPENDED: Step.REPORT,
    Standing.PINNED: Step.HEAL,
    Standing.ROLLBACK_FAILED: Step.REPORT,
    Standing.FLAPPING: Step.HEAL,
    Standing.AT_REST: Step.HEAL,
}
"""What is done about drift where the table lets the stack rest or wait; in the other rows a run comes first. Also while
a bad commit waits to be mended, drift is healed towards the good revision."""


def decide(now: Situation) -> Decision:
    """The next step. Calling it again after the step was carried out leads to rest or to a hold."""
    row = standing(now)
    decision = TABLE[row][asks(now)]
    if decision.step in {Step.REST, Step.HOLD}:
        return _about_drift(row, now) or decision
    return decision


def standing(now: Situation) -> Standing:
    """The row: the first standing that is true."""
    memory = now.memory
    true = {
        Standing.SUSPENDED: _waits_for_a_person(memory),
        Standing.ROLLING_BACK: rolls_back(memory) and not _rollback_asks(now),
        Standing.ROLLBACK_ASKS: rolls_back(memory),
        Standing.DESTROY_FAILED: memory.destruction is not None and memory.held(HoldReason.FAILED) is not None,
        Standing.DESTROYED: memory.destruction is not None and memory.destruction.done,
        Standing.DESTROYING: memory.destruction is not None,
        Standing.GOING_BACK_FAILED: memory.pin is not None and memory.held(HoldReason.ROLLBACK_FAILED) is not None,
        Standing.PINNED: memory.pin is not None and memory.pin.live and not now.dirty and memory.attempting is None,
        Standing.GOING_BACK: memory.pin is not None,
        Standing.ROLLBACK_FAILED: memory.held(HoldReason.ROLLBACK_FAILED) is not None,
        Standing.FAILED: now.dirty and now.on_failure is OnFailure.HOLD,
        Standing.APPLYING: now.dirty or memory.attempting is not None,
        Standing.FLAPPING: memory.held(HoldReason.FLAPPING) is not None,
        Standing.AT_REST: True,
    }
    return next(row for row in Standing if true[row])


def asks(now: Situation) -> Asks:
    """The column. A deletion that a person allowed now is something new to do for the same commit."""
    if now.memory.quarantined(now.digest) is not None:
        return Asks.BAD
    good = now.memory.good
    same = bool(good) and good[0].digest == now.digest
    return Asks.SAME if same and not now.allowed else Asks.NEW


def rolls_back(memory: Memory) -> bool:
    """Whether a rollback of its own is under way, and not the way to the revision that a person chose."""
    attempt, pin = memory.attempting, memory.pin
    if attempt is None or attempt.kind is not RunKind.ROLLBACK:
        return False
    return pin is None or attempt.digest != pin.digest


def _waits_for_a_person(memory: Memory) -> bool:
    """Suspended, with nothing under way that is let come to its end."""
    hold: Hold | None = memory.held(HoldReason.SUSPENDED)
    return hold is not None and (hold.now or memory.attempting is None)


def _rollback_asks(now: Situation) -> bool:
    return now.open and now.memory.held(HoldReason.APPROVAL) is not None


def _about_drift(row: Standing, now: Situation) -> Decision | None:
    """Towards the revision that is live, if there is one. Who only reports says nothing of what nobody is sure of."""
    step = DRIFT.get(row)
    if step is None or now.memory.live is None:
        return None
    return Decision(step) if now.drifted or (now.uncertain and step is Step.HEAL) else None
