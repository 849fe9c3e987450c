"""SEMANTICS 6, 7, 9 and 10: each action against a cluster that also changes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gitopsd.execution.actuate import DELETE_PATIENCE, DELETE_TRIES, actuate, former_values
from gitopsd.execution.session import Interrupted
from gitopsd.kinds.marks import PART_OF_LABEL, TRACKING_ANNOTATION
from gitopsd.kinds.overridden import admission_warning
from gitopsd.model.codec import to_plain
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, Deletion, LiveObject, RejectionKind, Resource
from gitopsd.model.memory import Dirty
from gitopsd.model.modules import Edit, FieldChange
from gitopsd.model.plan import Action
from gitopsd.model.ports import Interrupt
from gitopsd.model.run import Result, RunKind
from gitopsd.model.units import Desired, KubernetesUnit
from tests.unit.execution.fakes import FakeCluster, Run, change, removal, run_of
from tests.unit.planning.samples import applied, baseline, crd, desired, live_object, manifest, only, refusal, stack

SPEC = stack()
CONFIG = desired(SPEC, manifest("ConfigMap", data={"a": "1"}))
UNIT = only(CONFIG)
THERE = applied(UNIT)


def with_metadata(live: LiveObject, **more: Any) -> LiveObject:
    return LiveObject(live.id, {**live.body, "metadata": {**live.metadata, **more}})


@pytest.fixture
def run() -> Iterator[Run]:
    with run_of(SPEC, CONFIG) as made:
        yield made


def have(run: Run, live: LiveObject) -> None:
    run.cluster.objects[live.id] = live


# ---------------------------------------------------------------- apply


def test_what_was_made_is_known_as_ours_with_its_uid(run: Run) -> None:
    effect = actuate(run.session, change(CONFIG, UNIT.id))
    assert (effect.outcome.result, effect.outcome.created, effect.outcome.uid) == (Result.APPLIED, True, "made-1")
    assert effect.dirty == Dirty(UNIT.id, "web-1", Action.CREATE, UNIT.order, "app", created=True, uid="made-1")
    assert effect.baseline is not None
    assert (effect.baseline.digest, effect.baseline.uid, effect.baseline.certain) == (UNIT.digest, "made-1", True)
    metadata = run.cluster.sent[UNIT.id]["metadata"]
    assert PART_OF_LABEL in metadata["labels"]
    assert TRACKING_ANNOTATION in metadata["annotations"]


def test_what_was_there_is_not_called_created(run: Run) -> None:
    have(run, THERE)
    effect = actuate(run.session, change(CONFIG, UNIT.id, Action.UPDATE, live_uid="uid-1"))
    assert effect.dirty is not None
    assert (effect.outcome.created, effect.dirty.created, effect.dirty.uid) == (False, False, "uid-1")


def test_a_heal_makes_nothing_dirty() -> None:
    with run_of(SPEC, CONFIG, kind=RunKind.HEAL) as run:
        effect = actuate(run.session, change(CONFIG, UNIT.id))
        assert effect.dirty is None
        assert effect.baseline is not None


OVERRIDDEN = admission_warning(["data.a"])


def mutated(run: Run) -> None:
    """The next answer is what a policy made of the manifest."""
    live = LiveObject(UNIT.id, {**THERE.body, "data": {"a": "mutated"}})
    run.cluster.replies["x"] = [Accepted(live, created=False)]


def test_what_admission_made_of_our_fields_is_a_warning_and_nothing_is_written_again(run: Run) -> None:
    mutated(run)
    effect = actuate(run.session, change(CONFIG, UNIT.id, Action.UPDATE, live_uid="uid-1"))
    assert (effect.outcome.result, effect.outcome.warnings) == (Result.APPLIED, (OVERRIDDEN,))
    assert effect.baseline is not None
    assert run.cluster.verbs() == ["apply"]


DIFF = (FieldChange("data.a", Edit.REPLACE, "1", "mutated"),)


@pytest.mark.parametrize(
    ("digest", "diff", "expected"),
    [
        pytest.param(UNIT.digest, (), (), id="the same wish again"),
        pytest.param(UNIT.digest, (FieldChange("data.b", Edit.ADD, after="1"),), (), id="mended for another field"),
        pytest.param(UNIT.digest, DIFF, (OVERRIDDEN,), id="a policy that is new"),
        pytest.param("another", (), (OVERRIDDEN,), id="another wish"),
        pytest.param("", (), (OVERRIDDEN,), id="a lost state directory"),
    ],
)
def test_an_override_is_told_once_for_a_wish(
    run: Run, digest: str, diff: tuple[FieldChange, ...], expected: tuple[str, ...]
) -> None:
    mutated(run)
    run.journal.known[UNIT.id] = replace(baseline(THERE, UNIT), digest=digest)
    effect = actuate(run.session, change(CONFIG, UNIT.id, Action.UPDATE, live_uid="uid-1", diff=diff))
    assert effect.outcome.warnings == expected


def test_a_refusal_is_an_outcome_without_a_baseline(run: Run) -> None:
    run.cluster.replies["x"] = [refusal(RejectionKind.ADMISSION, "denied by policy")]
    effect = actuate(run.session, change(CONFIG, UNIT.id))
    assert (effect.outcome.result, effect.outcome.detail) == (Result.REFUSED, "denied by policy")
    assert (effect.baseline, effect.dirty, effect.forget) == (None, None, False)


@pytest.mark.parametrize("kind", [RejectionKind.TERMINATING, RejectionKind.CONFLICT])
def test_a_refusal_that_ends_by_itself_is_no_mistake_of_the_commit(run: Run, kind: RejectionKind) -> None:
    run.cluster.replies["x"] = [refusal(kind, "object is being deleted")]
    with pytest.raises(EnvironmentFault, match="ConfigMap/web/x"):
        actuate(run.session, change(CONFIG, UNIT.id))


def test_what_a_lost_answer_made_is_ours_to_remove(run: Run) -> None:
    have(run, THERE)
    run.session.unanswered.add(UNIT.id)
    effect = actuate(run.session, change(CONFIG, UNIT.id))
    assert effect.dirty is not None
    assert (effect.dirty.created, effect.dirty.uid) == (True, "uid-1")


def test_what_somebody_else_made_meanwhile_is_not(run: Run) -> None:
    have(run, live_object(UNIT.id, UNIT.manifest, manager="kubectl"))
    run.session.unanswered.add(UNIT.id)
    effect = actuate(run.session, change(CONFIG, UNIT.id))
    assert effect.dirty is not None
    assert not effect.dirty.created


def test_fields_left_to_others_are_sent_as_they_are_live() -> None:
    body = manifest("Deployment", "api", spec={"replicas": 2}, annotations={"gitopsd.io/ignore": "spec.replicas"})
    wanted = desired(SPEC, body)
    unit = only(wanted)
    with run_of(SPEC, wanted) as run:
        have(run, applied(replace(unit, manifest={**unit.manifest, "spec": {"replicas": 7}})))
        actuate(run.session, change(wanted, unit.id, Action.UPDATE))
        assert run.cluster.sent[unit.id]["spec"] == {"replicas": 7}


def test_nobody_is_asked_before_an_apply_that_leaves_no_field_to_others(run: Run) -> None:
    actuate(run.session, change(CONFIG, UNIT.id))
    assert run.cluster.verbs() == ["apply"]


# ---------------------------------------------------------------- the wedge

PORTS = [{"port": 80, "name": "http"}]
SERVICE = desired(SPEC, manifest("Service", "api", spec={"ports": PORTS, "selector": {"app": "api"}}))


def test_a_foreign_element_that_wedges_our_list_is_replaced_and_then_applied() -> None:
    unit = only(SERVICE)
    foreign = {**unit.manifest, "spec": {"ports": [*PORTS, {"port": 81}], "selector": {"app": "api"}}}
    with run_of(SPEC, SERVICE) as run:
        have(run, live_object(unit.id, foreign, version="7"))
        run.cluster.replies["api"] = [refusal(RejectionKind.WEDGED)]
        effect = actuate(run.session, change(SERVICE, unit.id, Action.UPDATE, live_uid="uid-1"))
        assert effect.outcome.result is Result.APPLIED
        assert run.cluster.patches == [
            [
                {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "replace", "path": "/spec/ports", "value": PORTS},
            ]
        ]


def test_an_object_that_stays_wedged_is_refused_not_tried_for_ever() -> None:
    unit = only(SERVICE)
    with run_of(SPEC, SERVICE) as run:
        have(run, live_object(unit.id, unit.manifest))
        run.cluster.replies["api"] = [refusal(RejectionKind.WEDGED), refusal(RejectionKind.WEDGED, "still")]
        effect = actuate(run.session, change(SERVICE, unit.id, Action.UPDATE))
        assert (effect.outcome.result, effect.outcome.detail) == (Result.REFUSED, "still")


# ---------------------------------------------------------------- recreate

RECREATE = change(CONFIG, UNIT.id, Action.RECREATE, live_uid="uid-1")


def test_a_recreate_deletes_the_planned_object_and_makes_another(run: Run) -> None:
    have(run, THERE)
    effect = actuate(run.session, RECREATE)
    assert "delete" in run.cluster.verbs()
    assert (effect.outcome.created, effect.outcome.uid) == (True, "made-1")


def test_a_recreate_that_was_begun_before_does_not_delete_again(run: Run) -> None:
    have(run, applied(UNIT, uid="newer"))
    actuate(run.session, RECREATE)
    assert "delete" not in run.cluster.verbs()


def test_a_controller_that_writes_in_between_does_not_stall_a_recreate(run: Run) -> None:
    have(run, THERE)
    run.cluster.deletions = [Deletion.CHANGED, Deletion.CHANGED]
    actuate(run.session, RECREATE)
    assert run.cluster.verbs().count("delete") == 3
    assert run.time.waits == []


def test_a_recreate_waits_for_a_finalizer_and_then_says_whose(run: Run) -> None:
    have(run, with_metadata(THERE, finalizers=["example.org/backup"]))
    run.cluster.deletions = [Deletion.TERMINATING]
    with pytest.raises(EnvironmentFault, match=r"example\.org/backup"):
        actuate(run.session, RECREATE)
    assert run.time.seconds >= DELETE_PATIENCE
    assert "apply" not in run.cluster.verbs()


def test_the_end_of_the_process_ends_the_wait_for_a_finalizer(run: Run) -> None:
    have(run, with_metadata(THERE, finalizers=["x/y"], deletionTimestamp="2030-01-01T00:00:00Z"))
    run.time.interrupts = lambda _: Interrupt()
    with pytest.raises(Interrupted):
        actuate(run.session, RECREATE)


# ---------------------------------------------------------------- delete


def test_what_is_ours_is_deleted_and_forgotten(run: Run) -> None:
    have(run, THERE)
    effect = actuate(run.session, removal(UNIT.id))
    assert (effect.outcome.result, effect.forget) == (Result.DELETED, True)
    assert UNIT.id not in run.cluster.objects


def test_what_is_gone_already_counts_as_deleted(run: Run) -> None:
    effect = actuate(run.session, removal(UNIT.id))
    assert (effect.outcome.result, effect.forget) == (Result.DELETED, True)
    assert "delete" not in run.cluster.verbs()


@pytest.mark.parametrize("action", [Action.DELETE, Action.RELEASE])
def test_an_unserved_kind_is_not_taken_for_absence(run: Run, action: Action) -> None:
    run.cluster.unserved = frozenset({"ConfigMap"})
    with pytest.raises(EnvironmentFault, match="not served"):
        actuate(run.session, removal(UNIT.id, action=action))


KEPT = {
    "another object has the name": (applied(UNIT, uid="other"), "another object has its name"),
    "only the label was copied": (
        live_object(UNIT.id, {**UNIT.manifest, "metadata": {**UNIT.manifest["metadata"], "labels": THERE.labels}}),
        "no longer this stack's",
    ),
    "the marks were taken off": (live_object(UNIT.id, UNIT.manifest), "no longer this stack's"),
    "somebody owns it now": (
        with_metadata(THERE, ownerReferences=[{"kind": "Parent", "name": "p"}]),
        "Parent p owns it",
    ),
}


@pytest.mark.parametrize("row", KEPT)
def test_nothing_is_deleted_that_is_not_surely_ours(run: Run, row: str) -> None:
    live, reason = KEPT[row]
    have(run, live)
    effect = actuate(run.session, removal(UNIT.id))
    assert effect.outcome.result is Result.KEPT
    assert effect.forget is (row != "somebody owns it now"), "what carries our marks stays in the inventory"
    assert reason in effect.outcome.detail
    assert [left.unit for left in run.session.leftovers] == [UNIT.id]
    assert run.cluster.verbs() == ["get"]


def test_a_write_between_the_look_and_the_delete_is_looked_at_again(run: Run) -> None:
    have(run, THERE)
    run.cluster.deletions = [Deletion.CHANGED]

    def taken_over(unit: UnitId) -> None:
        run.cluster.objects[unit] = live_object(unit, UNIT.manifest, version="9")

    run.cluster.on_delete = taken_over
    effect = actuate(run.session, removal(UNIT.id))
    assert effect.outcome.result is Result.KEPT
    assert run.cluster.verbs().count("delete") == 1


def test_what_is_written_all_the_time_is_a_fault_of_the_environment(run: Run) -> None:
    have(run, THERE)
    run.cluster.deletions = [Deletion.CHANGED] * DELETE_TRIES
    with pytest.raises(EnvironmentFault, match="faster than it can be deleted"):
        actuate(run.session, removal(UNIT.id))


def test_a_deletion_that_ends_in_time_is_one(run: Run) -> None:
    have(run, THERE)
    run.cluster.deletions = [Deletion.TERMINATING]
    run.time.meanwhile = lambda: run.cluster.objects.clear() if run.time.seconds > 1 else None
    assert actuate(run.session, removal(UNIT.id)).outcome.result is Result.DELETED


def test_a_finalizer_that_is_not_done_leaves_an_orphan_and_is_never_stripped(run: Run) -> None:
    have(run, with_metadata(THERE, finalizers=["example.org/backup"]))
    run.cluster.deletions = [Deletion.TERMINATING]
    effect = actuate(run.session, removal(UNIT.id))
    assert effect.outcome.result is Result.TERMINATING
    assert "example.org/backup" in effect.outcome.detail
    assert (effect.forget, run.cluster.patches) == (False, [])
    assert "apply" not in run.cluster.verbs()


def test_what_is_being_deleted_already_is_not_deleted_again(run: Run) -> None:
    have(run, with_metadata(THERE, finalizers=["x/y"], deletionTimestamp="2030-01-01T00:00:00Z"))
    assert actuate(run.session, removal(UNIT.id)).outcome.result is Result.TERMINATING
    assert "delete" not in run.cluster.verbs()


# ---------------------------------------------------------------- delete in a rollback: what it would take along

SPACE = desired(SPEC, manifest("Namespace", "web"))


def test_a_rollback_keeps_a_namespace_with_something_foreign_inside() -> None:
    space = applied(only(SPACE))
    foreign = live_object(UnitId.parse("Secret/web/theirs"), manifest("Secret", "theirs"), manager="kubectl")
    cluster = FakeCluster(
        {space.id: space, foreign.id: foreign},
        kinds=(Resource("", "Secret", "secrets", True, ("v1",), frozenset({"list"})),),
    )
    with run_of(SPEC, SPACE, cluster, kind=RunKind.ROLLBACK) as run:
        effect = actuate(run.session, removal(space.id))
        assert effect.outcome.result is Result.KEPT
        assert "Secret/web/theirs" in effect.outcome.detail


def test_a_rollback_keeps_a_definition_with_somebody_elses_objects() -> None:
    wanted = desired(SPEC, crd("Widget"))
    definition = applied(only(wanted))
    theirs = UnitId("default", "example.org", "Widget", "web", "theirs")
    cluster = FakeCluster({definition.id: definition, theirs: live_object(theirs, manifest("Widget.example.org"))})
    with run_of(SPEC, wanted, cluster, kind=RunKind.ROLLBACK) as run:
        assert actuate(run.session, removal(definition.id)).outcome.result is Result.KEPT
        del cluster.objects[theirs]
        assert actuate(run.session, removal(definition.id)).outcome.result is Result.DELETED


# ---------------------------------------------------------------- release

RELEASE = removal(UNIT.id, action=Action.RELEASE)


def test_an_adopted_object_gets_its_former_values_back() -> None:
    before = {**UNIT.manifest, "data": {"a": "old"}}
    mark = Dirty(UNIT.id, "web-0", Action.ADOPT, (0, 0), "app", before=before)
    with run_of(SPEC, CONFIG, kind=RunKind.ROLLBACK, dirty=[mark]) as run:
        have(run, THERE)
        effect = actuate(run.session, RELEASE)
        assert (effect.outcome.result, effect.forget) == (Result.KEPT, True)
        assert run.cluster.sent[UNIT.id] == before


@pytest.mark.parametrize("kind", [RunKind.DEPLOY, RunKind.ROLLBACK])
def test_without_former_values_our_marks_come_off_by_uid_alone(kind: RunKind) -> None:
    with run_of(SPEC, CONFIG, kind=kind) as run:
        have(run, THERE)
        effect = actuate(run.session, RELEASE)
        (operations,) = run.cluster.patches
        assert [o["op"] for o in operations] == ["test", "remove", "remove"]
        assert operations[0] == {"op": "test", "path": "/metadata/uid", "value": "uid-1"}
        assert (effect.outcome.result, effect.forget) == (Result.KEPT, True)
        assert bool(run.session.leftovers) is (kind is RunKind.ROLLBACK), "only a rollback owes the former values"


def test_what_was_never_taken_over_is_not_written_to_when_it_is_released() -> None:
    mark = Dirty(UNIT.id, "web-0", Action.ADOPT, (0, 0), "app", before=UNIT.manifest)
    with run_of(SPEC, CONFIG, kind=RunKind.ROLLBACK, dirty=[mark]) as run:
        have(run, live_object(UNIT.id, UNIT.manifest, manager="kubectl"))
        effect = actuate(run.session, RELEASE)
        assert (effect.outcome.result, effect.forget) == (Result.KEPT, True)
        assert run.cluster.verbs() == ["get"]


# ---------------------------------------------------------------- what the journal may know


def adopted(unit: KubernetesUnit, wanted: Desired, live: LiveObject) -> Dirty | None:
    with run_of(SPEC, wanted) as run:
        have(run, live)
        return former_values(run.session, change(wanted, unit.id, Action.ADOPT))


def test_only_the_fields_that_we_will_set_are_kept_of_an_adopted_object() -> None:
    live = live_object(UNIT.id, {**UNIT.manifest, "data": {"a": "old", "theirs": "x"}}, manager="kubectl")
    mark = adopted(UNIT, CONFIG, live)
    assert mark is not None
    assert mark.before is not None
    assert mark.before["data"] == {"a": "old"}
    assert (mark.created, mark.uid) == (False, "uid-1")


def test_a_secrets_values_never_reach_the_journal() -> None:
    wanted = desired(SPEC, manifest("Secret", "s", data={"password": "bmV3"}))
    unit = only(wanted)
    live = live_object(unit.id, {**unit.manifest, "data": {"password": "b2xk"}}, manager="kubectl")
    mark = adopted(unit, wanted, live)
    assert mark is not None
    with run_of(SPEC, wanted) as run:
        have(run, live)
        adopt = change(wanted, unit.id, Action.ADOPT, live_uid="uid-1")
        effect = actuate(run.session, adopt)
        run.session.intend([adopt], {unit.id: mark})
        run.session.conclude([adopt], [effect])
        written = str(to_plain([mark, *run.journal.intents, *run.journal.effects, *run.journal.events]))
    assert "b2xk" not in written
    assert "bmV3" not in written


def test_an_object_that_is_gone_before_its_adoption_has_no_former_values(run: Run) -> None:
    assert former_values(run.session, change(CONFIG, UNIT.id, Action.ADOPT)) is None
    assert run.cluster.get(UNIT.id) is Absence.GONE
