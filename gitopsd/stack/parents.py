"""What a stack's clusters remember of it: read once a process, tended at each look, taken over from another instance,
begun anew in another cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.errors import NeedsPerson, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.model.memory import AuditHead, Baseline, HoldReason, Memory
from gitopsd.model.orders import Order, OrderKind
from gitopsd.model.ports import Cluster
from gitopsd.model.units import KubernetesUnit
from gitopsd.planning.creators import is_job
from gitopsd.planning.inventory import baseline_of
from gitopsd.planning.modules import remembered_baseline
from gitopsd.stack import remember
from gitopsd.stack.ledger import Ledger
from gitopsd.stack.rebuild import members, ungated

log = structlog.get_logger("gitopsd.stack")

Wanted = Callable[[Memory], Mapping[UnitId, KubernetesUnit]]
"""The units that the good revision of a memory asks for; none if there is no such revision."""


class OtherCluster(NeedsPerson):
    """Another cluster answers under a known name: nothing may be taken for gone, and nothing made, by mistake."""


class Parents:
    """The parents of one stack, and what the host learns from them. `states_in` is the cluster that holds the states of
    Terraform modules without a backend of their own, "" if none does."""

    def __init__(self, ledger: Ledger, states_in: str = "") -> None:
        self.ledger, self._states_in = ledger, states_in
        self._read: Mapping[str, Cluster] = {}  # the clusters that were asked; another connection may lead elsewhere

    def read(self, clusters: Mapping[str, Cluster], applysets: Mapping[str, str], wanted: Wanted) -> None:
        """Once a process: learn what the clusters remember. The highest generation wins.

        If that is a cluster's (the state directory was lost, or an old copy of it was put back), everything tracked is
        uncertain until it has been looked at, and if a run was under way also dirty; `wanted` tells what the good
        revision of that memory asks for. Raises NeedsPerson if the stack is another instance's and nobody ordered to
        take it over, OtherCluster if a cluster is not the one that it was and nobody accepted it.
        """
        if clusters and all(self._read.get(name) is cluster for name, cluster in clusters.items()):
            return
        ledger = self.ledger
        uids = {name: cluster.uid() for name, cluster in clusters.items()}
        found = {name: cluster.load_memory(ledger.stack) for name, cluster in clusters.items()}
        known = ledger.memory
        newest = max((p for p in found.values() if p is not None), key=lambda p: p.generation, default=known)
        newer = newest.generation > known.generation
        truth = newest if newer else known
        orders = ledger.record.orders(ledger.stack)
        moved = _moved(truth, uids)
        if moved and newer:  # of a lost host: it has to know what it waits for a person for
            ledger.record.adopt_memory(replace(known, clusters=truth.clusters))
        self._require_accepted(truth, moved, orders)
        rival = self._rival(found.values(), orders)
        if newer:
            log.info("memory taken from the cluster", stack=ledger.stack, generation=newest.generation)
            self._rebuild(clusters, applysets, replace(newest, instance=ledger.instance), wanted)
        elif rival:
            ledger.record.adopt_memory(replace(known, instance=ledger.instance))
        if rival:
            for cluster in clusters.values():
                cluster.save_memory(ledger.memory, over=rival)
        if moved:
            self._begin_anew(moved)
        self._end(orders, rival, moved)
        self._note_clusters(uids, clusters)
        self._read = {**self._read, **clusters}
        ledger.lift(HoldReason.INSTANCE, HoldReason.CLUSTER)
        behind = {n for n, p in found.items() if p is not None and p.generation < ledger.memory.generation}
        ledger.spread({name: clusters[name] for name in behind})  # a crash came between host and cluster

    def tend(self, clusters: Mapping[str, Cluster]) -> None:
        """Write the parents anew that somebody deleted or changed: without them a lost host forgets what is good and
        what failed. Raises EnvironmentFault, or NeedsPerson if one has become another process's, or OtherCluster."""
        ledger, memory = self.ledger, self.ledger.memory
        if not memory.runs:
            return  # nothing of it was written yet
        moved = _moved(memory, {name: cluster.uid() for name, cluster in clusters.items()})
        if moved:
            self._read = {}
            self._require_accepted(memory, moved, ())
        for name, cluster in clusters.items():
            found = cluster.load_memory(ledger.stack)
            if found is not None and _witness(found) == _witness(memory):
                continue
            cluster.save_memory(memory)
            what = _what_became_of(found, memory)
            detail = f"the parent in cluster {name} {what}; written anew as of generation {memory.generation}"
            ledger.record.audit([ledger.event("parent", detail=detail)])
            log.warning("parent written anew", stack=ledger.stack, cluster=name, why=what)

    # ------------------------------------------------------------ whose it is

    def _rival(self, parents: Iterable[Memory | None], orders: Sequence[Order]) -> str:
        """The instance that the stack is taken over from; "" if it is ours. Raises NeedsPerson without an order."""
        ledger = self.ledger
        there = [p.instance for p in parents if p is not None]
        there += [ledger.memory.instance] if ledger.memory.generation else []  # this host was called otherwise then
        rival = next((name for name in there if name != ledger.instance), "")
        if rival and not any(order.kind is OrderKind.TAKEOVER for order in orders):
            raise NeedsPerson(
                Problem(
                    f"the stack belongs to the instance {rival!r}",
                    unit=ledger.stack,
                    remedy=f"stop that one, then run `gitopsd takeover {ledger.stack}` here",
                )
            )
        return rival

    def _end(self, orders: Sequence[Order], rival: str, moved: Mapping[str, str]) -> None:
        """Orders about parents are carried out: once each, also if a crash came just before this."""
        ours = [o for o in orders if o.kind in {OrderKind.TAKEOVER, OrderKind.ACCEPT_CLUSTER}]
        if not ours:
            return
        ledger, events = self.ledger, list[AuditEvent]()
        for order in ours:
            actor = Actor(ActorKind.USER, order.by)
            if order.kind is OrderKind.TAKEOVER and rival:
                events.append(ledger.event("takeover", actor=actor, before=rival, after=ledger.instance))
            if order.target in moved:
                after = moved[order.target]
                detail = f"cluster {order.target}: the stack is deployed there as new"
                events.append(ledger.event("accept-cluster", actor=actor, after=after, detail=detail))
        ledger.record.obey(ledger.memory, ours, events)
        log.info("carried out", stack=ledger.stack, orders=[o.kind.value for o in ours])

    # ------------------------------------------------------------ which clusters they are

    def _require_accepted(self, memory: Memory, moved: Mapping[str, str], orders: Iterable[Order]) -> None:
        accepted = {order.target for order in orders if order.kind is OrderKind.ACCEPT_CLUSTER}
        strange = sorted(moved.keys() - accepted)
        if not strange:
            return
        name = strange[0]
        raise OtherCluster(
            Problem(
                f"another cluster answers under the name {name!r}: its kube-system has the uid {moved[name]}, "
                f"not {memory.clusters[name]}; nothing is deleted, adopted or made there",
                unit=self.ledger.stack,
                remedy=f"mend its kubeconfig; or, if it takes the old one's place, run `gitopsd accept-cluster {name}`",
            )
        )

    def _begin_anew(self, moved: Mapping[str, str]) -> None:
        """Nothing that was known of the objects of a cluster is true of another one under its name. Safe to repeat: the
        memory comes last."""
        ledger, memory = self.ledger, self.ledger.memory
        states = self._states_in in moved
        known = ledger.record.baselines(ledger.stack).values()
        there = [b for b in known if b.unit.cluster in moved or (states and b.unit.is_terraform)]
        ledger.record.rebase(ledger.stack, [replace(b, certain=False, digest="") for b in there])
        ledger.record.clean(ledger.stack, [d.unit for d in ledger.state.dirty if d.unit.cluster in moved])
        waiting = [p for p in ledger.state.postponed if p.unit.cluster not in moved]
        ledger.record.set_postponed(ledger.stack, waiting)
        ledger.record.adopt_memory(remember.moved(memory, moved, ledger.now()))

    def _note_clusters(self, uids: Mapping[str, str], clusters: Mapping[str, Cluster]) -> None:
        """Which cluster each name stands for, from now on."""
        ledger, memory = self.ledger, self.ledger.memory
        if all(memory.clusters.get(name) == uid for name, uid in uids.items()):
            return
        noted = replace(memory, clusters={**memory.clusters, **uids})
        if memory.generation:
            ledger.remember(noted, clusters)
        else:  # no parent was written yet: what a cluster may still bring is not to be forestalled
            ledger.record.adopt_memory(noted)

    # ------------------------------------------------------------ a lost host

    def _rebuild(
        self, clusters: Mapping[str, Cluster], applysets: Mapping[str, str], memory: Memory, wanted: Wanted
    ) -> None:
        """Make the inventory from what is live and carries our marks. The memory comes last: until it is stored, the
        next try begins anew."""
        ledger = self.ledger
        record, stack, now = ledger.record, ledger.stack, ledger.now()
        found = members(clusters, applysets, memory)
        known = record.baselines(stack)
        lost = [live for live in found if live.id not in known]
        made = (baseline_of(live, component="", order=(0, 0), digest="", at=now) for live in lost)
        modules = (remembered_baseline(m, now) for m in memory.modules)
        roots = (base for base in modules if base.unit not in known)
        asked = wanted(memory)
        missing = (_missing(unit, now) for u, unit in asked.items() if u not in known and _lacks(u, found, clusters))
        record.rebase(stack, [replace(b, certain=False) for b in (*known.values(), *made, *roots, *missing)])
        if memory.attempting is not None:
            marked = {d.unit for d in ledger.state.dirty}
            marks = ungated(memory.attempting, found, asked, memory.modules)
            record.soil(stack, [mark for mark in marks if mark.unit not in marked])
        record.adopt_memory(memory)
        record.audit([ledger.event("rebuild", detail=f"memory of generation {memory.generation} was read back")])


def _lacks(unit: UnitId, found: Collection[LiveObject], clusters: Collection[str]) -> bool:
    """Whether the good revision has an object that is not live any more, or no longer ours. Jobs go by themselves."""
    return unit.cluster in clusters and not is_job(unit) and all(live.id != unit for live in found)


def _missing(unit: KubernetesUnit, at: str) -> Baseline:
    """The inventory's entry of an object that somebody deleted while nobody looked: it has to be looked at."""
    return Baseline(unit.id, unit.component, unit.order, "", "", "", unit.api_version, at, certain=False)


def _moved(memory: Memory, uids: Mapping[str, str]) -> dict[str, str]:
    """The names under which another cluster answers than the memory knows, with the uid of that."""
    return {name: uid for name, uid in uids.items() if memory.clusters.get(name, uid) != uid}


def _witness(memory: Memory) -> Memory:
    """The part of a memory that its parents have for certain: holds and the audit's head change in between."""
    return replace(memory, holds=(), audit=AuditHead())


def _what_became_of(found: Memory | None, memory: Memory) -> str:
    if found is None:
        return "was deleted"
    behind = found.generation < memory.generation  # ours could not be written then, or an old copy was put back
    return f"was behind, at generation {found.generation}" if behind else "was changed by somebody"
