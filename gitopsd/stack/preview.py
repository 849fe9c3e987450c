"""What a reconcile would do now, for people who only ask: every stack of a source, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import structlog

from gitopsd.execution.sweep import suspicious
from gitopsd.model.errors import EnvironmentFault, GitopsdError, UsageError
from gitopsd.model.ids import UnitId, clusters_of
from gitopsd.model.memory import Memory, StackState
from gitopsd.model.plan import Plan
from gitopsd.model.ports import Source
from gitopsd.model.spec import DriftMode
from gitopsd.stack.pipeline import Ask, Inventories, Pipeline, Preview

log = structlog.get_logger("gitopsd.daemon")


@dataclass(frozen=True, slots=True)
class Previewed:
    """What came of one stack; without a name, what is wrong with the source as a whole."""

    source: str
    stack: str
    result: Plan | GitopsdError


class Known(Inventories, Protocol):
    """What is on record, of which nothing is changed."""

    def state(self, _stack: str) -> StackState | None: ...


class Previews:
    """Plans of all stacks. `at` is now (ISO 8601, UTC)."""

    def __init__(self, pipeline: Pipeline, record: Known, instance: str, at: str, how: Preview) -> None:
        self.pipeline, self.record, self.instance, self.at, self.how = pipeline, record, instance, at, how

    def of(self, source: str, ref: str | None, only: str | None = None) -> Iterator[Previewed]:
        """Every stack that `ref` (default: the branch's head) has or no longer has, or `only` one of them. Never raises
        GitopsdError: what is wrong with the source stands beside what can be told all the same."""
        try:
            commit, trouble = self._commit(self.pipeline.source(source), ref)
            if trouble is not None:
                yield Previewed(source, "", trouble)
            names = [spec.name for spec in self.pipeline.specs(source, commit)]
        except GitopsdError as error:
            yield Previewed(source, "", error)
            return
        for name in dict.fromkeys((*names, *self._delivered(source))):
            if only in {None, name}:
                yield Previewed(source, name, self._plan(source, name, commit))

    def _commit(self, source: Source, ref: str | None) -> tuple[str, EnvironmentFault | None]:
        """What is planned, and why that may not be the newest there is."""
        trouble: EnvironmentFault | None = None
        try:
            head = source.fetch()
        except EnvironmentFault as fault:
            known = source.head()
            if known is None:
                raise
            log.warning("source not fetched; the last known commits are used", source=source.name, error=str(fault))
            head, trouble = known, fault
        if ref is None:
            return head, trouble
        try:
            return source.resolve(ref), trouble
        except UsageError:
            return source.fetch_ref(ref), trouble  # a branch that nobody delivers from is not in the mirror

    def _delivered(self, source: str) -> Iterator[str]:
        """Stacks that something was delivered of: a commit that drops one is told of it."""
        for name in self.record.stacks():
            state = self.record.state(name)
            if state is not None and state.memory.source == source and self.record.baselines(name):
                yield name

    def _plan(self, source: str, name: str, commit: str) -> Plan | GitopsdError:
        state = self.record.state(name) or StackState(Memory(name, self.instance, source))
        try:
            ask = self.pipeline.ask(source, name, commit)
            self.pipeline.claims.check(ask)
            planned = self.pipeline.plan(ask, state, at=self.at, drifted=self._drifted(ask), preview=self.how)
        except GitopsdError as error:
            return error
        planned.bench.discard()
        return planned.plan

    def _drifted(self, ask: Ask) -> frozenset[UnitId]:
        """What a sweep would have looked at more closely: a reconcile begins with one. Raises EnvironmentFault."""
        baselines = {u: b for u, b in self.record.baselines(ask.spec.name).items() if not u.is_terraform}
        if not baselines or ask.spec.drift is DriftMode.REPORT:
            return frozenset()
        clusters = self.pipeline.clusters(clusters_of(baselines))
        return suspicious(clusters, self.pipeline.applysets(ask.spec.name, clusters), baselines)
