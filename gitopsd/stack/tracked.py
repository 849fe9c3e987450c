"""What a stack tracks without changing it now: units found as they should be, deletions that wait, and units that
nobody knows the state of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, LiveObject
from gitopsd.model.memory import Baseline
from gitopsd.model.plan import Plan, Postponed
from gitopsd.model.ports import Cluster
from gitopsd.model.run import Result
from gitopsd.planning.creators import is_crd, is_job
from gitopsd.planning.prune import absent_for_good
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.pipeline import Planned

UNWANTED = "the good revision does not have it; the next deploy deletes it, or says why it stays"
"""Of an object of ours of which nobody remembers why it waits: after a crash, a lost state directory, a rollback."""


class Tracked:
    """Keeps the inventory of one stack in step with what was only looked at. Never writes to a cluster."""

    def __init__(self, ledger: Ledger, cluster: Callable[[str], Cluster]) -> None:
        self.ledger, self._cluster = ledger, cluster

    def take_note(self, planned: Planned) -> None:
        """What planning found out needs no write to the cluster, but from now on we know it."""
        self._note_keys(planned)
        gone = [left.unit for left in planned.plan.forget]
        if planned.equal or gone:
            events = [self.ledger.event("forget", unit=str(f.unit), detail=f.reason) for f in planned.plan.forget]
            self.ledger.record.rebase(self.ledger.stack, planned.equal, gone)
            self.ledger.record.audit(events)

    def _note_keys(self, planned: Planned) -> None:
        """Which sealing keys opened what, for the audit log."""
        used = planned.bench.used
        if used:
            commit = planned.desired.revision.commit
            self.ledger.record.audit(
                [
                    self.ledger.event("unseal", unit=str(unit), revision=commit, after=", ".join(prints))
                    for unit, prints in sorted(used.items())
                ]
            )

    def account_for(self, units: Collection[UnitId], wanted: Collection[UnitId]) -> None:
        """Look at tracked units that nothing is done about now. What is gone and not `wanted` is forgotten; all others
        are no longer uncertain, but have to be compared before anything is said of them."""
        there: list[Baseline] = []
        gone: list[UnitId] = []
        waiting: list[Postponed] = []
        for unit, base in self.ledger.record.baselines(self.ledger.stack).items():
            if unit not in units:
                continue
            if unit.is_terraform:  # looked at when it is due again, or by the next deploy
                there.append(replace(base, certain=True, digest="", at=self.ledger.now()))
                continue
            live = self._cluster(unit.cluster).get(unit)
            same = isinstance(live, LiveObject) and live.uid == base.uid
            if unit not in wanted and not same and live is not Absence.KIND_UNSERVED:
                gone.append(unit)
                continue
            version = live.resource_version if same and isinstance(live, LiveObject) else base.resource_version
            there.append(replace(base, certain=True, digest="", resource_version=version))
            if unit not in wanted and isinstance(live, LiveObject):
                waiting.append(_orphan(unit, live) if live.terminating else Postponed(unit, UNWANTED))
        self.ledger.record.rebase(self.ledger.stack, there, gone)
        self._add(waiting)

    # ------------------------------------------------------------ deletions that wait

    def postpone(self, plan: Plan) -> None:
        """From now on the deletions of this plan are those that wait; each keeps the time at which it began to."""
        since = {p.unit: p.since for p in self.ledger.state.postponed}
        self._store(replace(p, since=since.get(p.unit, "")) for p in plan.postponed)

    def note_unwanted(self, wanted: Collection[UnitId]) -> None:
        """After a rollback: what the good revision did not want either waits again, as it did before the failed run."""
        waiting = {p.unit for p in self.ledger.state.postponed}
        tracked = self.ledger.record.baselines(self.ledger.stack)
        self._add(
            Postponed(u, UNWANTED)
            for u in tracked
            if u not in wanted and u not in waiting and not is_job(u) and not u.is_terraform
        )

    def note_orphans(self, run: str) -> None:
        """Deletions that the API server took in this run, and whose finalizers are not done, wait now."""
        record = self.ledger.record.run(run)
        outcomes = record.outcomes if record else ()
        self._add(Postponed(o.unit, o.detail) for o in outcomes if o.result is Result.TERMINATING)

    def tidy(self) -> None:
        """Forget deletions that waited for what is gone by now."""
        waiting = [p for p in self.ledger.state.postponed if not p.unit.is_terraform]
        seen = {p.unit: self._cluster(p.unit.cluster).get(p.unit) for p in waiting}
        definitions = {u for u, found in seen.items() if is_crd(u) and found is Absence.GONE}
        gone = {
            unit
            for unit, found in seen.items()
            if isinstance(found, Absence) and absent_for_good(unit, found, definitions)
        }
        if gone:
            self.ledger.record.rebase(self.ledger.stack, [], sorted(gone))
            self._store(p for p in self.ledger.state.postponed if p.unit not in gone)

    def _add(self, more: Iterable[Postponed]) -> None:
        found = {p.unit: p for p in more}
        if found:
            old = self.ledger.state.postponed
            since = {p.unit: p.since for p in old}
            added = (replace(p, since=since.get(p.unit, "")) for p in found.values())
            self._store((*(p for p in old if p.unit not in found), *added))

    def _store(self, waiting: Iterable[Postponed]) -> None:
        now = self.ledger.now()
        self.ledger.record.set_postponed(self.ledger.stack, tuple(replace(p, since=p.since or now) for p in waiting))


def _orphan(unit: UnitId, live: LiveObject) -> Postponed:
    finalizers = ", ".join(live.metadata.get("finalizers") or ()) or "none"
    return Postponed(unit, f"is being deleted; waits for its finalizers: {finalizers}")
