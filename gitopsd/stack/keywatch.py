"""What the sealing keys of this host mean for one stack at work: what is told of them, and which rollback they let go
on."""

from __future__ import annotations

import structlog

from gitopsd.model.errors import Cause, GitopsdError
from gitopsd.model.memory import HoldReason
from gitopsd.model.ports import Vault
from gitopsd.model.run import RunKind, RunRecord
from gitopsd.stack import remember
from gitopsd.stack.facts import Facts
from gitopsd.stack.good import GoodRevision
from gitopsd.stack.keyuse import key_use
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.pipeline import Pipeline

log = structlog.get_logger("gitopsd.stack")

LISTED = 5
"""Units that wait for a key which are named."""

LOOKED_BACK = 20
"""Runs among which the rollback is looked for that waits: commits that were refused may have come after it."""


class KeyWatch:
    """The sealing keys as one stack has seen them last."""

    def __init__(self, ledger: Ledger, pipeline: Pipeline, target: GoodRevision, facts: Facts) -> None:
        self._ledger, self._pipeline, self._target, self._facts = ledger, pipeline, target, facts
        self._then = ""  # when a rollback was planned
        self._told = ("", "")  # the live revision and the keys that the facts are of

    @property
    def _vault(self) -> Vault:
        return self._pipeline.vault

    # ------------------------------------------------------------ what is told

    def tell(self) -> None:
        """Say anew which keys the live revision depends on, if it or the keys are not those of the last time."""
        try:
            target = self._target.ask()
            if target is None or self._told == (now := (target.digest, self._vault.digest())):
                return
            self._facts.use_keys(key_use(self._vault, self._pipeline.desired(target)))
        except GitopsdError as error:  # a sweep, or the next settling, tells it
            log.info("not known now which keys open what", stack=self._ledger.stack, error=str(error))
        else:
            self._told = now

    # ------------------------------------------------------------ rollbacks that lack a key

    def note(self) -> None:
        """A rollback is about to be planned, with the keys of now."""
        self._then = self._vault.digest()

    def resume(self) -> None:
        """Let a rollback go on that had to leave something as it was, because no key opened what that was before, when
        the keys change. After a restart nobody knows which keys there were: it is tried once."""
        memory = self._ledger.memory
        if memory.held(HoldReason.ROLLBACK_FAILED) is None or memory.attempting is not None or memory.destruction:
            return
        if not self._lacked_key():
            return
        before = self._then
        self.note()
        if before == self._then:
            return
        if memory.pin is not None:  # on its way again
            self._ledger.lift(HoldReason.ROLLBACK_FAILED)
        else:
            self._ledger.record.save_memory(remember.rolling_back_again(memory, self._ledger.now()))

    def _lacked_key(self) -> bool:
        record = self._ledger.record
        newest = record.runs(self._ledger.stack, limit=LOOKED_BACK)
        last = next((run for run in newest if run.kind is RunKind.ROLLBACK), None)
        whole = record.run(last.id) if last is not None else None
        return whole is not None and any(left.environment for left in whole.leftovers)


def why_not_back(run: RunRecord, target: str) -> str:
    """Why a rollback to the commit `target` (or, with "", to before the first deploy) is not whole."""
    lacking = [left for left in run.leftovers if left.environment]
    if not lacking:
        return f"run {run.id}: {run.why}"
    listed = ", ".join(str(left.unit) for left in lacking[:LISTED])
    listed += f" and {len(lacking) - LISTED} more" if len(lacking) > LISTED else ""
    where = f"to {target[:12]}" if target else "of the first deploy"
    rest = "everything else is back" if run.cause is Cause.ENVIRONMENT else f"nor can {run.why}"
    return (
        f"the rollback {where} (run {run.id}) waits for a key and goes on by itself when that is there: "
        f"{listed} cannot go back without, {rest}: {lacking[0].reason}"
    )
