"""The good revision of a stack that is live: what it asks for, and that it can still be read when it is needed."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from gitopsd.model.audit import AuditEvent
from gitopsd.model.errors import CommitError, NeedsPerson, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Memory
from gitopsd.model.spec import HttpCheck
from gitopsd.model.units import KubernetesUnit
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.pipeline import Ask, Pipeline, good_ask

log = structlog.get_logger("gitopsd.stack")


class GoodRevision:
    """The target of rollbacks and heals of a stack: its newest good revision, or the older one that a person chose."""

    def __init__(self, ledger: Ledger, pipeline: Pipeline) -> None:
        self.ledger, self.pipeline = ledger, pipeline

    def ask(self, memory: Memory | None = None) -> Ask | None:
        """What it asks (of `memory`, or the stored one); None before the first good run. Raises CommitError or
        NeedsPerson if that cannot be read any more."""
        good, source = (memory or self.ledger.memory).live, self.ledger.source
        if good is None:
            return None
        if not self.pipeline.source(source).has(good.commit):  # lost with the disk, and gone from the branch
            lost = f"the good commit {good.commit[:12]} is neither in the mirror nor in the branch"
            raise NeedsPerson(Problem(lost, f"source {source}", remedy="push a commit that is to be good"))
        return good_ask(self.pipeline, source, self.ledger.stack, good)

    def units(self, memory: Memory) -> Mapping[UnitId, KubernetesUnit]:
        """The units that it asks for; none if there is none, or none that can be read."""
        try:
            ask = self.ask(memory)
            return self.pipeline.desired(ask).units if ask else {}
        except (CommitError, NeedsPerson) as error:
            log.warning("the good revision cannot be read", stack=self.ledger.stack, error=str(error))
            return {}

    def checks(self) -> frozenset[HttpCheck]:
        """The checks that it makes; none if there is none, or none that can be read."""
        try:
            ask = self.ask()
        except (CommitError, NeedsPerson) as error:
            log.warning("the good revision cannot be read", stack=self.ledger.stack, error=str(error))
            return frozenset()
        return frozenset(check for c in ask.spec.components for check in c.gate.checks) if ask else frozenset()

    def moved_to(self, ask: Ask) -> AuditEvent | None:
        """The event of its becoming another commit: its own is gone (the mirror lost, the branch rewritten), and this
        one asks the same. None if nothing of the kind has happened."""
        good, source = self.ledger.memory.good, self.pipeline.source(self.ledger.source)
        if not good or good[0].digest != ask.digest or source.has(good[0].commit):
            return None
        text = f"asks the same as {good[0].commit[:12]}, which was good and is gone from the repository"
        return self.ledger.event("good", revision=ask.commit, after=ask.digest, detail=text)

    def keep(self) -> None:
        """Hold the commits of all good revisions in the mirror, whatever becomes of the branch."""
        source = self.pipeline.source(self.ledger.source)
        source.keep(self.ledger.stack, [g.commit for g in self.ledger.memory.good if source.has(g.commit)])
