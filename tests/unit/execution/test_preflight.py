"""SEMANTICS 5: what the clusters are asked before the first effect, and what their answers are taken for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, cast

import pytest

from gitopsd.execution.preflight import PROBE_NAMESPACE, preflight
from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, LiveObject, Rejection, RejectionKind
from gitopsd.model.ports import Cluster
from gitopsd.model.units import Desired, Manifest
from gitopsd.planning.findings import Finding
from tests.unit.planning.samples import (
    APPLYSET,
    APPLYSETS,
    applied,
    candidate,
    crd,
    desired,
    dry_run,
    live_object,
    manifest,
    only,
    refusal,
    stack,
)

Answer = Callable[[UnitId, Manifest], Accepted | Rejection | None]


@dataclass
class FakeCluster:
    """Answers as a cluster with these objects; `says` may answer a dry run otherwise. Counts what it was asked."""

    objects: dict[UnitId, LiveObject] = field(default_factory=dict)
    says: Answer = lambda unit, sent: None
    unserved: frozenset[tuple[str, str]] = frozenset()
    pods: Rejection | None = None
    pod_fault: EnvironmentFault | None = None
    asked: list[tuple[str, UnitId]] = field(default_factory=list)
    sent: dict[UnitId, Manifest] = field(default_factory=dict)
    faults: Mapping[str, EnvironmentFault] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def _note(self, verb: str, unit: UnitId) -> None:
        with self.lock:
            self.asked.append((verb, unit))
        if unit.name in self.faults:
            raise self.faults[unit.name]

    def get(self, unit: UnitId, api_version: str = "") -> LiveObject | Absence:
        self._note("get", unit)
        if (api_version, unit.kind) in self.unserved or ("", unit.kind) in self.unserved:
            return Absence.KIND_UNSERVED
        return self.objects.get(unit, Absence.GONE)

    def apply(self, unit: UnitId, manifest: Manifest, *, dry_run: bool = False) -> Accepted | Rejection:
        assert dry_run, "a preflight writes nothing"
        self._note("dry-run", unit)
        self.sent[unit] = manifest
        return self.says(unit, manifest) or self._accept(unit, manifest)

    def _accept(self, unit: UnitId, sent: Manifest) -> Accepted:
        return dry_run(replace(ANY, id=unit), sent, self.objects.get(unit))

    def dry_run_pod(self, unit: UnitId, pod: Manifest) -> Rejection | None:
        self._note("pod", unit)
        assert pod["kind"] == "Pod"
        if self.pod_fault is not None:
            raise self.pod_fault
        return self.pods


SPEC = stack()
ANY = only(desired(SPEC, manifest("ConfigMap")))


def ask(wanted: Desired, cluster: FakeCluster, *only_these: UnitId, **more: Any) -> dict[UnitId, Finding]:
    candidates = [candidate(u) for u in wanted.units.values() if not only_these or u.id in only_these]
    return preflight({"default": cast(Cluster, cluster)}, SPEC, wanted, candidates, APPLYSETS, **more)


def finding(wanted: Desired, cluster: FakeCluster, kind: str = "") -> Finding:
    found = ask(wanted, cluster)
    (one,) = [f for f in found.values() if not kind or f.unit.kind == kind]
    return one


def test_every_candidate_is_looked_at_and_dry_run_once_with_our_marks() -> None:
    wanted = desired(SPEC, *(manifest("ConfigMap", f"c{n}") for n in range(20)))
    cluster = FakeCluster()
    found = ask(wanted, cluster)
    assert found.keys() == wanted.units.keys()
    assert sorted(cluster.asked) == sorted((verb, u) for u in wanted.units for verb in ("get", "dry-run"))
    one = found[min(found)]
    assert (one.live, one.absence, one.deferred) == (None, Absence.GONE, "")
    assert one.sent["metadata"]["labels"][PART_OF_LABEL] == APPLYSET
    assert one.sent == cluster.sent[one.unit]
    assert isinstance(one.dry_run, Accepted)


def test_only_candidates_are_asked_about() -> None:
    wanted = desired(SPEC, manifest("ConfigMap", "a"), manifest("ConfigMap", "b"))
    cluster = FakeCluster()
    assert list(ask(wanted, cluster, max(wanted.units))) == [max(wanted.units)]
    assert {u for _, u in cluster.asked} == {max(wanted.units)}
    assert preflight({}, SPEC, wanted, [], APPLYSETS) == {}


def test_ignored_fields_are_sent_as_they_are_live() -> None:
    body = manifest("Deployment", spec={"replicas": 2}, annotations={"gitopsd.io/ignore": "spec.replicas"})
    wanted = desired(SPEC, body)
    unit = only(wanted)
    live = applied(replace(unit, manifest={**unit.manifest, "spec": {"replicas": 7}}))
    assert finding(wanted, FakeCluster({unit.id: live})).sent["spec"] == {"replicas": 7}


def test_an_autoscaler_of_the_stack_keeps_the_replicas_of_its_target_once_that_is_live() -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    scaler = manifest("HorizontalPodAutoscaler", spec={"scaleTargetRef": target})
    wanted = desired(SPEC, manifest("Deployment", "api", spec={"replicas": 2}), scaler)
    unit = next(u for u in wanted.units.values() if u.id.kind == "Deployment")
    assert finding(wanted, FakeCluster(), "Deployment").sent["spec"] == {"replicas": 2}
    live = applied(replace(unit, manifest={**unit.manifest, "spec": {"replicas": 9}}))
    assert finding(wanted, FakeCluster({unit.id: live}), "Deployment").sent["spec"] == {"replicas": 9}


def test_a_write_between_the_look_and_the_dry_run_is_not_taken_for_a_difference() -> None:
    wanted = desired(SPEC, manifest("ConfigMap", data={"a": "1"}))
    unit = only(wanted)
    first, second = applied(unit, version="1"), applied(unit, version="2", labels={"by": "someone"})
    cluster = FakeCluster({unit.id: first})

    def written_meanwhile(_: UnitId, sent: Manifest) -> Accepted:
        cluster.objects[unit.id] = second
        return dry_run(unit, sent, second)

    cluster.says = written_meanwhile
    found = finding(wanted, cluster)
    assert found.live == second
    assert [verb for verb, _ in cluster.asked] == ["get", "dry-run"] * 2


def test_an_object_that_is_written_all_the_time_does_not_keep_the_preflight_for_ever() -> None:
    wanted = desired(SPEC, manifest("ConfigMap"))
    unit = only(wanted)
    cluster = FakeCluster({unit.id: applied(unit, version="1")})
    cluster.says = lambda _, sent: dry_run(unit, sent, applied(unit, version="2"))
    assert isinstance(finding(wanted, cluster).dry_run, Accepted)


# ---------------------------------------------------------------- deferred


def missing_namespace(*, elsewhere: Rejection | None = None) -> Answer:
    def answer(unit: UnitId, _: Manifest) -> Accepted | Rejection | None:
        if unit.namespace == "web":
            return refusal(RejectionKind.NAMESPACE_MISSING, 'namespaces "web" not found')
        return elsewhere if unit.namespace == PROBE_NAMESPACE else None

    return answer


SPACE = manifest("Namespace", "web")


def test_an_object_of_a_namespace_that_this_plan_makes_is_deferred_and_tried_out_elsewhere() -> None:
    cluster = FakeCluster(says=missing_namespace())
    found = finding(desired(SPEC, SPACE, manifest("Deployment", "api")), cluster, "Deployment")
    assert found.deferred == "known after apply of Namespace/web"
    probed = next(m for u, m in cluster.sent.items() if u.namespace == PROBE_NAMESPACE)
    assert probed["metadata"]["namespace"] == PROBE_NAMESPACE
    assert found.sent["metadata"]["namespace"] == "web"
    assert "pod" not in {verb for verb, _ in cluster.asked}


@pytest.mark.parametrize("kind", [RejectionKind.SCHEMA, RejectionKind.INVALID])
def test_a_mistake_in_an_object_of_a_namespace_yet_to_be_made_is_found_before_the_first_effect(
    kind: RejectionKind,
) -> None:
    wrong = refusal(kind, "spec.x: field not declared in schema")
    cluster = FakeCluster(says=missing_namespace(elsewhere=wrong))
    found = finding(desired(SPEC, SPACE, manifest("ConfigMap")), cluster, "ConfigMap")
    assert (found.dry_run, found.deferred) == (wrong, "")


@pytest.mark.parametrize("kind", [RejectionKind.ADMISSION, RejectionKind.NEEDS_RECREATE, RejectionKind.WEDGED])
def test_what_is_about_the_probes_own_namespace_counts_for_nothing(kind: RejectionKind) -> None:
    cluster = FakeCluster(says=missing_namespace(elsewhere=refusal(kind)))
    assert finding(desired(SPEC, SPACE, manifest("ConfigMap")), cluster, "ConfigMap").deferred


def test_a_probe_that_we_may_not_make_leaves_the_answer_to_the_apply() -> None:
    def answer(unit: UnitId, sent: Manifest) -> Accepted | Rejection | None:
        if unit.namespace == PROBE_NAMESPACE:
            raise EnvironmentFault("403: may not patch configmaps in namespace default")
        return missing_namespace()(unit, sent)

    assert finding(desired(SPEC, SPACE, manifest("ConfigMap")), FakeCluster(says=answer), "ConfigMap").deferred


def test_a_namespace_that_nobody_makes_is_not_waited_for() -> None:
    cluster = FakeCluster(says=missing_namespace())
    found = finding(desired(SPEC, manifest("ConfigMap")), cluster)
    assert found.deferred == ""
    assert isinstance(found.dry_run, Rejection)
    assert PROBE_NAMESPACE not in {u.namespace for _, u in cluster.asked}


WIDGET = manifest("Widget.example.org", "w")


def about_widgets(answer: Rejection) -> Answer:
    return lambda unit, _: answer if unit.kind == "Widget" else None


def test_a_custom_resource_waits_for_a_definition_that_this_plan_makes() -> None:
    unserved = refusal(RejectionKind.KIND_UNSERVED, "404 page not found")
    cluster = FakeCluster(says=about_widgets(unserved), unserved=frozenset({("", "Widget")}))
    found = finding(desired(SPEC, crd("Widget"), WIDGET), cluster, "Widget")
    assert found.deferred == "known after apply of CustomResourceDefinition.apiextensions.k8s.io/widgets.example.org"
    assert (found.live, found.absence, found.dry_run) == (None, Absence.KIND_UNSERVED, unserved)


def test_an_object_that_is_live_in_an_older_version_is_not_taken_for_absent() -> None:
    wanted = desired(SPEC, crd("Widget"), WIDGET)
    unit = next(u for u in wanted.units.values() if u.id.kind == "Widget")
    cluster = FakeCluster(
        {unit.id: live_object(unit.id, {**WIDGET, "apiVersion": "example.org/v1alpha1"})},
        about_widgets(refusal(RejectionKind.KIND_UNSERVED)),
        frozenset({("example.org/v1", "Widget")}),
    )
    found = finding(wanted, cluster, "Widget")
    assert found.live is not None
    assert found.absence is None
    assert found.deferred


@pytest.mark.parametrize(("changes", "counts"), [(True, False), (False, True)])
def test_a_field_that_the_definition_gains_in_this_plan_is_no_mistake(changes: bool, counts: bool) -> None:
    wanted = desired(SPEC, crd("Widget"), WIDGET)
    definition, widget = sorted(wanted.units, key=lambda u: u.kind)
    wrong = refusal(RejectionKind.SCHEMA, ".spec.new: field not declared in schema")
    candidates = (definition, widget) if changes else (widget,)
    found = ask(wanted, FakeCluster(says=about_widgets(wrong)), *candidates)[widget]
    assert (found.deferred == "") is counts
    assert found.dry_run == wrong


# ---------------------------------------------------------------- pods and faults


def test_a_workloads_pods_are_tried_out_and_their_refusal_is_kept() -> None:
    body = manifest("Deployment", spec={"template": {"spec": {"containers": []}}})
    full = refusal(RejectionKind.ADMISSION, "exceeded quota")
    found = finding(desired(SPEC, body), FakeCluster(pods=full))
    assert found.pod == full
    assert isinstance(found.dry_run, Accepted)


def test_who_may_not_make_pods_may_still_apply_workloads() -> None:
    body = manifest("Deployment", "api", spec={"template": {"spec": {"containers": []}}})
    cluster = FakeCluster(pod_fault=EnvironmentFault("403: grant create on pods"))
    found = finding(desired(SPEC, body), cluster)
    assert (found.pod, found.pod_untried) == (None, "403: grant create on pods")
    assert isinstance(found.dry_run, Accepted)


def test_pods_of_a_workload_that_is_refused_itself_are_not_asked_about() -> None:
    body = manifest("Deployment", spec={"template": {"spec": {"containers": []}}})
    cluster = FakeCluster(says=lambda unit, sent: refusal(RejectionKind.SCHEMA))
    assert finding(desired(SPEC, body), cluster).pod is None
    assert "pod" not in {verb for verb, _ in cluster.asked}


def test_what_could_not_be_asked_is_a_fault_with_every_reason_and_the_longest_wait() -> None:
    wanted = desired(SPEC, manifest("ConfigMap", "a"), manifest("ConfigMap", "b"), manifest("ConfigMap", "c"))
    faults = {
        "a": EnvironmentFault("403: may not get configmaps", retry_after=2.0),
        "c": EnvironmentFault("503: busy", retry_after=7.0),
    }
    with pytest.raises(EnvironmentFault) as error:
        ask(wanted, FakeCluster(faults=faults), parallel=3)
    assert {p.message for p in error.value.problems} <= {"403: may not get configmaps", "503: busy"}
    assert error.value.retry_after in {2.0, 7.0}


def test_a_cluster_that_is_away_is_not_asked_about_every_candidate() -> None:
    names = [f"c{n}" for n in range(2000)]
    wanted = desired(SPEC, *(manifest("ConfigMap", n) for n in names))
    cluster = FakeCluster(faults={n: EnvironmentFault("cluster default does not answer") for n in names})
    with pytest.raises(EnvironmentFault) as error:
        ask(wanted, cluster, parallel=1)
    assert [p.message for p in error.value.problems] == ["cluster default does not answer"]
    assert len(cluster.asked) == 1


def test_a_bug_is_not_taken_for_a_fault() -> None:
    def broken(unit: UnitId, sent: Manifest) -> Accepted:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        ask(desired(SPEC, manifest("ConfigMap")), FakeCluster(says=broken))
