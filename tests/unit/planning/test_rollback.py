"""SEMANTICS 10: everything dirty goes back to the good revision; what this run made goes; what cannot go is listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, LiveObject, RejectionKind
from gitopsd.model.memory import Dirty
from gitopsd.model.plan import Action, Plan
from gitopsd.model.units import Desired, KubernetesUnit
from gitopsd.planning.assemble import assemble_rollback
from gitopsd.planning.findings import Finding
from tests.unit.planning.samples import (
    APPLYSETS,
    STATE,
    applied,
    component,
    crd,
    desired,
    document,
    finding,
    live_object,
    manifest,
    only,
    refusal,
    stack,
)

SPEC = stack(component("app"), component("late", wave=10))


def touched(unit: KubernetesUnit, action: Action = Action.UPDATE, **more: Any) -> Dirty:
    return Dirty(unit.id, "run-2", action, unit.order, unit.component, **more)


def made(unit: KubernetesUnit, uid: str = "uid-1") -> Dirty:
    return touched(unit, Action.CREATE, created=True, uid=uid)


def units(*bodies: Any) -> list[KubernetesUnit]:
    """Units of the failed commit, in the given order."""
    documents = [document(b, line=n) for n, b in enumerate(bodies)]
    found = desired(SPEC, *documents).units.values()
    return sorted(found, key=lambda u: u.origin.line)


def back(
    dirty: Sequence[Dirty],
    good: Desired | None = None,
    *,
    findings: Sequence[Finding] = (),
    live: Mapping[UnitId, LiveObject | Absence] | None = None,
) -> Plan:
    state = replace(STATE, dirty=tuple(dirty))
    return assemble_rollback(SPEC, good, state, {}, {f.unit: f for f in findings}, live or {}, APPLYSETS)


def test_what_the_failed_run_changed_goes_back_and_what_it_deleted_is_made_again() -> None:
    good = desired(SPEC, manifest("ConfigMap", "changed", data={"a": "1"}), manifest("ConfigMap", "deleted"))
    changed, deleted = good.units.values()
    newer = applied(replace(changed, manifest={**changed.manifest, "data": {"a": "2"}}))
    found = back(
        [touched(changed), touched(deleted, Action.DELETE)],
        good,
        findings=[finding(changed, newer), finding(deleted)],
    )
    assert [(c.unit.name, c.action) for c in found.changes()] == [
        ("changed", Action.UPDATE),
        ("deleted", Action.CREATE),
    ]
    assert (found.commit, found.digest) == (good.revision.commit, good.digest)
    assert found.leftovers == ()


def test_what_is_as_the_good_revision_wants_it_is_not_written() -> None:
    good = desired(SPEC, manifest("ConfigMap"))
    found = back([touched(only(good))], good, findings=[finding(only(good), applied(only(good)))])
    assert found.empty
    assert found.equal == (only(good).id,)


def test_a_failed_first_deploy_removes_what_it_made_in_descending_order_without_approval() -> None:
    bodies = [manifest("Namespace", "web"), crd("Widget"), *(manifest("ConfigMap", f"c{n}") for n in range(7))]
    failed = [*units(*bodies, manifest("Deployment", "api"))]
    late = replace(failed[2], order=(10, 0), component="late", id=failed[2].id._replace(name="late"))
    everything = [*failed, late]
    found = back([made(u) for u in everything], live={u.id: applied(u) for u in everything})
    assert found.waves == ()
    assert found.approvals == ()
    assert [c.unit.name for c in found.prune] == [
        "late",
        "api",
        *(f"c{n}" for n in range(7)),
        "widgets.example.org",
        "web",
    ]
    assert {c.action for c in found.prune} == {Action.DELETE}
    assert (found.commit, found.digest) == ("", "")


@pytest.mark.parametrize(
    ("mark", "metadata", "words"),
    [
        ({"uid": "uid-2"}, {}, "another object"),
        ({"uid": ""}, {}, "nobody knows"),
        ({}, {"annotations": {}}, "marks"),
        ({}, {"ownerReferences": [{"kind": "Operator", "name": "op"}]}, "Operator op"),
    ],
)
def test_only_the_very_object_that_the_failed_run_made_is_deleted(
    mark: dict[str, Any], metadata: dict[str, Any], words: str
) -> None:
    (unit,) = units(manifest("ConfigMap"))
    found = back([replace(made(unit), **mark)], live={unit.id: applied(unit, **metadata)})
    assert found.empty
    assert words in found.leftovers[0].reason


@pytest.mark.parametrize("kind", ["PersistentVolume", "PersistentVolumeClaim"])
def test_what_may_hold_data_is_never_deleted_by_a_rollback(kind: str) -> None:
    (unit,) = units(manifest(kind))
    found = back([made(unit)], live={unit.id: applied(unit)})
    assert found.empty
    assert "data" in found.leftovers[0].reason


def test_an_author_who_forbids_pruning_is_obeyed_by_a_rollback_too() -> None:
    (unit,) = units(manifest("ConfigMap", annotations={"gitopsd.io/prune": "disabled"}))
    assert back([made(unit)], live={unit.id: applied(unit)}).leftovers[0].reason == "gitopsd.io/prune: disabled"


def test_an_adopted_object_is_given_back() -> None:
    (unit,) = units(manifest("ConfigMap"))
    found = back([touched(unit, Action.ADOPT, uid="uid-1")], live={unit.id: applied(unit)})
    assert [(c.action, c.live_uid) for c in found.prune] == [(Action.RELEASE, "uid-1")]
    assert found.leftovers == ()


def test_what_is_gone_already_needs_nothing() -> None:
    (unit,) = units(manifest("ConfigMap"))
    found = back([made(unit)], live={unit.id: Absence.GONE})
    assert found.empty
    assert [left.unit for left in found.forget] == [unit.id]
    assert found.leftovers == ()


@pytest.mark.parametrize("definition_too", [True, False])
def test_an_unserved_kind_is_a_leftover_unless_its_definition_goes_too(definition_too: bool) -> None:
    definition, widget = units(crd("Widget"), manifest("Widget.example.org", "w"))
    dirty = [made(definition), made(widget)] if definition_too else [made(widget)]
    found = back(dirty, live={definition.id: applied(definition), widget.id: Absence.KIND_UNSERVED})
    assert [left.unit for left in found.leftovers] == ([] if definition_too else [widget.id])


def test_what_cannot_go_back_is_listed_and_holds_up_nothing_else() -> None:
    good = desired(SPEC, *(manifest("ConfigMap", name, data={"a": "1"}) for name in "abcd"))
    a, b, c, d = good.units.values()
    stuck = applied(replace(a, manifest={**a.manifest, "data": {"a": "2"}}))
    foreign = live_object(
        b.id,
        b.manifest,
        labels={"app.kubernetes.io/managed-by": "Helm"},
        annotations={"meta.helm.sh/release-name": "shop"},
    )
    found = back(
        [touched(u) for u in (a, b, c, d)],
        good,
        findings=[
            finding(a, stuck, refusal(RejectionKind.NEEDS_RECREATE, "field is immutable")),
            finding(b, foreign),
            finding(c, None, refusal(RejectionKind.TERMINATING, "the namespace is being deleted")),
            finding(d),
        ],
    )
    assert [left.unit for left in found.leftovers] == [a.id, b.id, c.id]
    assert "immutable" in found.leftovers[0].reason
    assert "helm" in found.leftovers[1].reason
    assert [c.unit for c in found.changes()] == [d.id]


def test_what_was_there_in_an_unknown_state_is_listed() -> None:
    (unit,) = units(manifest("ConfigMap"))
    found = back([touched(unit)], live={unit.id: applied(unit)})
    assert found.empty
    assert "former state" in found.leftovers[0].reason


def test_a_deletion_of_the_failed_run_that_the_good_revision_wants_too_is_left_to_the_next_prune() -> None:
    (unit,) = units(manifest("ConfigMap"))
    found = back([touched(unit, Action.DELETE)], live={unit.id: applied(unit)})
    assert (found.empty, found.leftovers) == (True, ())


# ---------------------------------------------------------------- jobs

JOB = manifest("Job", spec={"template": {"spec": {"containers": [{"name": "c", "image": "m:1"}]}}})


def test_a_job_of_the_failed_run_is_deleted_and_listed_for_it_has_run() -> None:
    (unit,) = units(JOB)
    found = back([made(unit)], live={unit.id: applied(unit)})
    assert [(c.unit, c.action) for c in found.prune] == [(unit.id, Action.DELETE)]
    assert "has run" in found.leftovers[0].reason
    gone = back([made(unit)], live={unit.id: Absence.GONE})
    assert gone.empty
    assert "has run" in gone.leftovers[0].reason


@pytest.mark.parametrize("there", [True, False])
def test_a_job_is_never_run_again_by_a_rollback(there: bool) -> None:
    good = desired(SPEC, JOB)
    unit = only(good)
    live = applied(replace(unit, manifest={**JOB, "spec": {}})) if there else None
    answer = refusal(RejectionKind.NEEDS_RECREATE) if there else None
    complete = {"conditions": [{"type": "Complete", "status": "True"}]}
    live = LiveObject(live.id, {**live.body, "status": complete}) if live else None
    found = back([touched(unit, Action.RECREATE)], good, findings=[finding(unit, live, answer)])
    assert found.empty
    assert "never runs a Job again" in found.leftovers[0].reason


def test_a_job_that_finished_for_the_good_revision_is_not_even_looked_at() -> None:
    good = desired(SPEC, JOB)
    found = back([touched(only(good))], good)
    assert found.empty
    assert found.leftovers == ()


def test_a_job_that_the_failed_run_made_anew_is_listed_though_it_finished_before() -> None:
    good = desired(SPEC, JOB)
    found = back([made(only(good))], good)
    assert found.empty
    assert "never runs a Job again" in found.leftovers[0].reason


def test_the_reason_of_every_change_says_that_it_goes_back() -> None:
    good = desired(SPEC, manifest("ConfigMap", "a"))
    (added,) = units(manifest("ConfigMap", "b"))
    found = back(
        [touched(only(good)), made(added)], good, findings=[finding(only(good))], live={added.id: applied(added)}
    )
    assert [c.reason for c in found.changes()] == ["back to the good revision", "made by the failed run"]
