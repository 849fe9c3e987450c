"""Asks the clusters about every candidate before the first effect: what is live, and what they say to what we send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event

from gitopsd.kinds.pods import pod_of
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, LiveObject, Rejection, RejectionKind
from gitopsd.model.ports import Cluster
from gitopsd.model.spec import StackSpec
from gitopsd.model.units import Desired, KubernetesUnit, Manifest
from gitopsd.planning.creators import Creators
from gitopsd.planning.findings import SHAPE, Finding
from gitopsd.planning.select import Candidate
from gitopsd.planning.send import Targets, autoscaled_targets, manifest_to_send

PROBE_NAMESPACE = "default"
"""Where an object of a namespace that is yet to be made is tried out; every cluster has it."""

LOOKS = 4
"""Tries to see an object and its dry run at one resourceVersion, while somebody else writes it."""


def preflight(
    clusters: Mapping[str, Cluster],
    spec: StackSpec,
    desired: Desired,
    candidates: Sequence[Candidate],
    applysets: Mapping[str, str],
    *,
    waiting: Mapping[UnitId, str] | None = None,
    parallel: int = 8,
) -> dict[UnitId, Finding]:
    """A finding for each candidate; `applysets` are the stack's ApplySet ids by cluster. `waiting` are candidates that
    cannot be tried out yet, and why.

    Writes nothing. Raises EnvironmentFault with everything that could not be asked; after the first such fault no
    further candidate is asked about.
    """
    if not candidates:
        return {}
    asker = _Asker(
        clusters,
        spec.name,
        applysets,
        Creators.among(desired.units.values()),
        frozenset(c.unit.id for c in candidates),
        autoscaled_targets(desired),
        waiting or {},
    )
    broken = Event()

    def ask(unit: KubernetesUnit) -> Finding | None:
        """None once something before it has failed."""
        try:
            return None if broken.is_set() else asker.ask(unit)
        except BaseException:
            broken.set()
            raise

    with ThreadPoolExecutor(min(parallel, len(candidates)), "preflight") as pool:
        asked = {c.unit.id: pool.submit(ask, c.unit) for c in candidates}
    return _gathered(asked)


def _same_spec(live: LiveObject | None, answer: Accepted) -> bool:
    """Whether nothing comes of it that would make other pods."""
    return live is not None and live.body.get("spec") == answer.live.body.get("spec")


def _gathered(asked: Mapping[UnitId, Future[Finding | None]]) -> dict[UnitId, Finding]:
    """The findings. Raises one EnvironmentFault for all faults; a bug's exception passes as it is."""
    found: dict[UnitId, Finding] = {}
    faults: list[EnvironmentFault] = []
    for unit, future in asked.items():
        try:
            finding = future.result()
        except EnvironmentFault as fault:
            faults.append(fault)
        else:
            if finding is not None:
                found[unit] = finding
    if faults:
        problems = dict.fromkeys(problem for fault in faults for problem in fault.problems)
        waits = [fault.retry_after for fault in faults if fault.retry_after is not None]
        raise EnvironmentFault(*problems, retry_after=max(waits, default=None))
    return found


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks about one unit at a time; used by several threads."""

    clusters: Mapping[str, Cluster]
    stack: str
    applysets: Mapping[str, str]
    creators: Creators
    changing: frozenset[UnitId]
    scaled: Targets
    waiting: Mapping[UnitId, str]

    def ask(self, unit: KubernetesUnit) -> Finding:
        if unit.id in self.waiting:
            return self._wait(unit, self.waiting[unit.id])
        finding = self._look(unit)
        answer = finding.dry_run
        if isinstance(answer, Accepted):
            return finding if _same_spec(finding.live, answer) else self._try_pods(unit, finding)
        deferred = self._why_deferred(unit.id, answer)
        if deferred and answer.kind is RejectionKind.NAMESPACE_MISSING:
            wrong = self._probe(unit, finding.sent)
            if wrong is not None:
                return replace(finding, dry_run=wrong)
        return replace(finding, deferred=deferred)

    def _wait(self, unit: KubernetesUnit, reason: str) -> Finding:
        """Only whose the live object is can be found out."""
        seen = self.clusters[unit.id.cluster].get(unit.id, unit.api_version)
        live = seen if isinstance(seen, LiveObject) else None
        absence = seen if isinstance(seen, Absence) else None
        return Finding(unit.id, live, absence, Rejection(RejectionKind.INVALID, reason), deferred=reason)

    def _look(self, unit: KubernetesUnit) -> Finding:
        """The live object and the dry run on it. Both have to be of one moment, or others' writes look like ours."""
        cluster = self.clusters[unit.id.cluster]
        for _ in range(LOOKS):
            seen = cluster.get(unit.id, unit.api_version)
            if seen is Absence.KIND_UNSERVED:
                seen = cluster.get(unit.id)  # it may be live in a version that is served today
            live = seen if isinstance(seen, LiveObject) else None
            sent = manifest_to_send(unit, live, self.stack, self.applysets[unit.id.cluster], self.scaled)
            answer = cluster.apply(unit.id, sent, dry_run=True)
            absence = seen if isinstance(seen, Absence) else None
            if not isinstance(answer, Accepted) or _one_moment(live, answer):
                break
        return Finding(unit.id, live, absence, answer, sent=sent)

    def _try_pods(self, unit: KubernetesUnit, finding: Finding) -> Finding:
        """With what the cluster says to a pod of this workload. Who may apply it need not be allowed to make pods."""
        pod = pod_of(unit.manifest)
        if pod is None:
            return finding
        try:
            return replace(finding, pod=self.clusters[unit.id.cluster].dry_run_pod(unit.id, pod))
        except EnvironmentFault as fault:
            return replace(finding, pod_untried=str(fault))

    def _why_deferred(self, unit: UnitId, answer: Rejection) -> str:
        """Which unit of this plan has to be there before the answer counts; "" if it counts now."""
        definition, namespace = self.creators.kind_of(unit), self.creators.namespace_of(unit)
        if answer.kind is RejectionKind.NAMESPACE_MISSING and namespace is not None:
            return f"known after apply of {namespace}"
        changes_kind = definition is not None and definition in self.changing
        if definition is not None and (
            answer.kind is RejectionKind.KIND_UNSERVED or (changes_kind and answer.kind in SHAPE)
        ):
            return f"known after apply of {definition}"
        return ""

    def _probe(self, unit: KubernetesUnit, sent: Manifest) -> Rejection | None:
        """What is wrong with the manifest itself, tried out in a namespace that exists.

        Refusals that may be about that namespace or what is in it count for nothing; nor does one that we may not ask.
        """
        metadata = {**sent["metadata"], "namespace": PROBE_NAMESPACE}
        elsewhere = unit.id._replace(namespace=PROBE_NAMESPACE)
        try:
            answer = self.clusters[unit.id.cluster].apply(elsewhere, {**sent, "metadata": metadata}, dry_run=True)
        except EnvironmentFault:
            return None  # rights may end at the stack's own namespaces: the answer comes with the namespace
        return answer if isinstance(answer, Rejection) and answer.kind in SHAPE else None


def _one_moment(live: LiveObject | None, answer: Accepted) -> bool:
    """Whether nobody wrote the object between the look and the dry run, which answers with the live resourceVersion."""
    return answer.created if live is None else live.resource_version == answer.live.resource_version
