"""What a deploy does about each unit: create, adopt, update, make anew, leave; and what stops it, with its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitopsd.kinds.marks import PART_OF_LABEL, TRACKING_ANNOTATION, mark
from gitopsd.model.errors import CommitError, EnvironmentFault, GitopsdError
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted, LiveObject, RejectionKind
from gitopsd.model.memory import Dirty
from gitopsd.model.plan import Action, Change, Edit, FieldChange, Plan
from gitopsd.model.units import Desired, KubernetesUnit
from gitopsd.planning.select import select
from tests.unit.planning.samples import (
    STATE,
    applied,
    baseline,
    component,
    crd,
    desired,
    dry_run,
    finding,
    live_object,
    manifest,
    only,
    plan,
    refusal,
    stack,
)

SPEC = stack()
WANTED = desired(SPEC, manifest("ConfigMap", data={"a": "1"}))
UNIT = only(WANTED)


def change(found: Plan) -> Change:
    (one,) = found.changes()
    return one


def older(unit: KubernetesUnit, **body: Any) -> LiveObject:
    """The unit as an earlier commit had it."""
    return applied(replace(unit, manifest={**unit.manifest, **body}))


def test_what_is_not_there_is_created_with_what_git_says_as_its_diff() -> None:
    found = change(plan(SPEC, WANTED))
    assert (found.action, found.live_uid, found.reason) == (Action.CREATE, "", "new")
    assert FieldChange("data", Edit.ADD, after={"a": "1"}) in found.diff
    assert not any(TRACKING_ANNOTATION in str(f) for f in found.diff)
    assert found.origin == UNIT.origin
    assert found.digest == UNIT.digest


def test_what_differs_is_updated_and_the_managers_that_lose_are_named() -> None:
    live = older(UNIT, data={"a": "0"})
    entry = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}}}}
    metadata = {**live.metadata, "managedFields": [*live.managed_fields, entry]}
    live = LiveObject(live.id, {**live.body, "metadata": metadata})
    found = change(plan(SPEC, WANTED, {UNIT.id: live}))
    assert (found.action, found.live_uid) == (Action.UPDATE, "uid-1")
    assert found.diff == (FieldChange("data.a", Edit.REPLACE, "0", "1"),)
    assert found.overrides == ("kubectl",)


def test_what_is_equal_is_not_written_but_told_to_the_record() -> None:
    found = plan(SPEC, WANTED, {UNIT.id: applied(UNIT)})
    assert found.empty
    assert found.equal == (UNIT.id,)


def test_equal_values_of_another_owner_are_written_to_own_them() -> None:
    live = live_object(UNIT.id, mark(UNIT.manifest, "web", UNIT.id, applied(UNIT).labels[PART_OF_LABEL]), manager="x")
    found = change(plan(SPEC, WANTED, {UNIT.id: live}))
    assert (found.action, found.diff) == (Action.UPDATE, ())


def test_an_object_that_lost_our_marks_is_still_ours_by_its_uid() -> None:
    live = live_object(UNIT.id, UNIT.manifest)
    found = change(plan(SPEC, WANTED, {UNIT.id: live}, baselines={UNIT.id: baseline(live, certain=False)}))
    assert found.action is Action.UPDATE


def test_an_object_that_is_nobodys_is_adopted() -> None:
    found = change(plan(SPEC, WANTED, {UNIT.id: live_object(UNIT.id, UNIT.manifest)}))
    assert (found.action, found.adopted_from, found.live_uid) == (Action.ADOPT, "", "uid-1")


HELM: dict[str, Any] = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "web"},
}
CONTROLLER: dict[str, Any] = {
    "ownerReferences": [{"kind": "Operator", "name": "op", "controller": True, "apiVersion": "x/v1"}]
}
OTHER_STACK: dict[str, Any] = {
    "labels": {PART_OF_LABEL: "applyset-of-another-v1"},
    "annotations": {TRACKING_ANNOTATION: "shop:/ConfigMap:web/x"},
}


def problem(found: type[GitopsdError], *args: Any, **more: Any) -> str:
    with pytest.raises(found) as error:
        plan(*args, **more)
    assert type(error.value) is found
    return str(error.value)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (HELM, ["helm (release web/shop)", "adopt: [helm]", "component app"]),
        (CONTROLLER, ["controller (Operator op)"]),
        ({"labels": {PART_OF_LABEL: "applyset-foreign-v1"}}, ["applyset"]),
    ],
)
def test_somebody_elses_object_is_never_taken_and_waited_for(metadata: dict[str, Any], words: list[str]) -> None:
    """Its owner may give it up: then the same commit can be carried out."""
    live = live_object(UNIT.id, UNIT.manifest, **metadata)
    text = problem(EnvironmentFault, SPEC, WANTED, {UNIT.id: live}, baselines={UNIT.id: baseline(live, certain=False)})
    assert text.startswith("k8s/app/all.yaml:1: ConfigMap/web/x: ")
    assert all(word in text for word in words), text


def test_somebody_elses_object_refuses_a_commit_that_would_leave_half_of_another_waiting() -> None:
    live = live_object(UNIT.id, UNIT.manifest, **HELM)
    half = Dirty(UnitId.parse("ConfigMap/web/other"), "web-1", Action.UPDATE, (0, 0), "app")
    text = problem(CommitError, SPEC, WANTED, {UNIT.id: live}, state=replace(STATE, dirty=(half,)))
    assert "belongs to helm" in text


def test_a_heal_is_told_of_it_as_of_a_mistake_so_that_it_holds_nothing_else_up() -> None:
    live = live_object(UNIT.id, UNIT.manifest, **HELM)
    known = {UNIT.id: baseline(live, certain=False)}
    drifted = select(WANTED, known, STATE, scope={UNIT.id}, drifted={UNIT.id})
    text = problem(CommitError, SPEC, WANTED, {UNIT.id: live}, baselines=known, selection=drifted)
    assert "belongs to helm" in text


def test_adopt_takes_over_from_the_deployer_that_it_names_and_from_no_other() -> None:
    live = live_object(UNIT.id, UNIT.manifest, **HELM)
    wanted = desired(stack(component(adopt=("helm",))), UNIT.manifest)
    found = change(plan(SPEC, wanted, {UNIT.id: live}))
    assert (found.action, found.adopted_from) == (Action.ADOPT, "helm (release web/shop)")
    wanted = desired(stack(component(adopt=("argocd",))), UNIT.manifest)
    assert "adopt: [helm]" in problem(EnvironmentFault, SPEC, wanted, {UNIT.id: live})


SEALED_SECRET: dict[str, Any] = {
    "ownerReferences": [
        {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "db", "uid": "u", "controller": True}
    ]
}


@pytest.mark.parametrize("marked", [False, True], ids=["not ours yet", "killed after our marks were on it"])
def test_adoption_from_the_sealed_secrets_controller_is_not_over_before_its_reference_is_gone(marked: bool) -> None:
    """Until then the garbage collector takes the Secret with its SealedSecret, whatever marks are on it."""
    secret = manifest("Secret", "db", data={"password": "bmV3"})
    adopting = desired(stack(component(adopt=("sealed-secrets",))), secret)
    unit = only(adopting)
    before = applied(unit) if marked else live_object(unit.id, unit.manifest)
    live = LiveObject(unit.id, {**before.body, "metadata": {**before.metadata, **SEALED_SECRET}})
    known = {unit.id: baseline(before, certain=False)} if marked else {}
    found = change(plan(SPEC, adopting, {unit.id: live}, baselines=known))
    assert (found.action, found.adopted_from) == (Action.ADOPT, "sealed-secrets (SealedSecret web/db)")
    text = problem(EnvironmentFault, SPEC, desired(SPEC, secret), {unit.id: live}, baselines=known)
    assert text.startswith("k8s/app/all.yaml:1: Secret/web/db: exists already and belongs to sealed-secrets")
    assert "add `adopt: [sealed-secrets]` to component app" in text


def test_a_unit_of_another_stack_waits_until_that_one_lets_go() -> None:
    assert "stack shop has it" in problem(EnvironmentFault, SPEC, WANTED, claims={UNIT.id: "shop"})
    live = live_object(UNIT.id, UNIT.manifest, **OTHER_STACK)
    assert "stack shop" in problem(EnvironmentFault, SPEC, WANTED, {UNIT.id: live})


# ---------------------------------------------------------------- refusals


def refused(kind: RejectionKind, live: LiveObject | None = None, wanted: Desired = WANTED, **more: Any) -> Any:
    unit = only(wanted)
    return {"findings": [finding(unit, live, refusal(kind, "the server's words", "data.a"), **more)]}


@pytest.mark.parametrize("kind", [RejectionKind.SCHEMA, RejectionKind.INVALID, RejectionKind.ADMISSION])
def test_a_refused_manifest_is_the_commits_mistake_with_file_line_unit_and_field(kind: RejectionKind) -> None:
    text = problem(CommitError, SPEC, WANTED, **refused(kind))
    assert text.startswith("k8s/app/all.yaml:1: ConfigMap/web/x: data.a: ")
    assert "the server's words" in text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RejectionKind.NAMESPACE_MISSING, "namespace web does not exist"),
        (RejectionKind.KIND_UNSERVED, "does not serve v1 ConfigMap"),
        (RejectionKind.TERMINATING, "the server's words"),
        (RejectionKind.CONFLICT, "the server's words"),
    ],
)
def test_what_another_commit_would_not_mend_is_the_environments_fault(kind: RejectionKind, words: str) -> None:
    assert words in problem(EnvironmentFault, SPEC, WANTED, **refused(kind))


def test_a_full_quota_is_not_the_commits_mistake() -> None:
    full = finding(UNIT, None, refusal(RejectionKind.ADMISSION, "exceeded quota: small, requested: pods=1"))
    assert "exceeded quota" in problem(EnvironmentFault, SPEC, WANTED, findings=[full])


def test_every_mistake_is_told_at_once_and_goes_before_faults() -> None:
    wanted = desired(SPEC, *(manifest("ConfigMap", name) for name in "abc"))
    a, b, c = wanted.units.values()
    found = [
        finding(a, None, refusal(RejectionKind.SCHEMA)),
        finding(b, None, refusal(RejectionKind.TERMINATING)),
        finding(c, None, refusal(RejectionKind.INVALID)),
    ]
    with pytest.raises(CommitError) as error:
        plan(SPEC, wanted, findings=found)
    assert [p.unit for p in error.value.problems] == ["ConfigMap/web/a", "ConfigMap/web/c"]


def test_an_object_on_its_way_out_is_not_taken_for_healed() -> None:
    live = applied(UNIT, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["example.org/hold"])
    assert "example.org/hold" in problem(EnvironmentFault, SPEC, WANTED, {UNIT.id: live})


def test_a_secrets_values_are_not_in_what_is_told_of_its_refusal() -> None:
    wanted = desired(SPEC, manifest("Secret", stringData={"password": "hunter2"}))
    words = refusal(RejectionKind.INVALID, "Invalid value: hunter2", "data[password]")
    text = problem(CommitError, SPEC, wanted, findings=[finding(only(wanted), None, words)])
    assert "hunter2" not in text
    assert "data[password]" in text


# ---------------------------------------------------------------- immutable, wedged, deferred

RECREATE = manifest("ConfigMap", data={"a": "1"}, annotations={"gitopsd.io/recreate": "true"})


def test_an_immutable_field_is_an_error_that_names_the_annotation() -> None:
    text = problem(CommitError, SPEC, WANTED, **refused(RejectionKind.NEEDS_RECREATE, older(UNIT, data={"a": "0"})))
    assert "data.a" in text
    assert 'gitopsd.io/recreate: "true"' in text


def test_the_annotation_allows_to_make_it_anew_and_the_diff_shows_what_we_write() -> None:
    wanted = desired(SPEC, RECREATE)
    live = older(only(wanted), data={"a": "0"})
    found = change(plan(SPEC, wanted, **refused(RejectionKind.NEEDS_RECREATE, live, wanted)))
    assert (found.action, found.live_uid) == (Action.RECREATE, "uid-1")
    assert found.diff == (FieldChange("data.a", Edit.REPLACE, "0", "1"),)


def test_defaults_of_the_server_are_no_difference_where_only_what_we_write_is_compared() -> None:
    notes = {"name": "settings", "annotations": {"gitopsd.io/recreate": "true"}}
    app = {"name": "app", "image": "app:2", "args": ["a", "b"]}
    containers: list[dict[str, Any]] = [app, {"name": "side", "image": "side:1"}]
    wanted = desired(SPEC, manifest("Pod", metadata=notes, spec={"containers": containers}))
    body = applied(only(wanted)).body
    defaults = {"imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log"}
    there = [{**each, **defaults} for each in (*containers, {"name": "gone", "image": "x"})]
    there[0] = {**there[0], "image": "app:1"}
    live = LiveObject(only(wanted).id, {**body, "spec": {**body["spec"], "containers": there, "dnsPolicy": "Default"}})
    found = change(plan(SPEC, wanted, **refused(RejectionKind.NEEDS_RECREATE, live, wanted)))
    assert found.action is Action.RECREATE
    assert [(f.path, f.edit) for f in found.diff] == [
        ("spec.containers[app].image", Edit.REPLACE),
        ("spec.containers[gone]", Edit.REMOVE),
    ]


def test_what_is_not_ours_is_never_deleted_to_be_made_anew() -> None:
    wanted = desired(SPEC, RECREATE)
    live = live_object(only(wanted).id, {**RECREATE, "data": {"a": "0"}})
    text = problem(CommitError, SPEC, wanted, **refused(RejectionKind.NEEDS_RECREATE, live, wanted))
    assert "is not this stack's" in text


def job(*conditions: str) -> tuple[Desired, LiveObject]:
    wanted = desired(SPEC, manifest("Job", spec={"template": {"spec": {"containers": []}}}))
    body = applied(only(wanted)).body
    status = {"conditions": [{"type": c, "status": "True"} for c in conditions]}
    return wanted, LiveObject(only(wanted).id, {**body, "status": status})


@pytest.mark.parametrize("end", ["Complete", "Failed"])
def test_a_finished_job_with_another_template_is_replaced_without_annotation(end: str) -> None:
    wanted, live = job(end)
    found = change(plan(SPEC, wanted, **refused(RejectionKind.NEEDS_RECREATE, live, wanted)))
    assert found.action is Action.RECREATE


def test_a_running_job_with_another_template_blocks() -> None:
    wanted, live = job()
    text = problem(EnvironmentFault, SPEC, wanted, **refused(RejectionKind.NEEDS_RECREATE, live, wanted))
    assert "Job.batch/web/x: is running" in text


def test_a_list_that_another_writer_wedged_is_repaired_with_a_warning() -> None:
    found = change(plan(SPEC, WANTED, **refused(RejectionKind.WEDGED, older(UNIT, data={"a": "0"}))))
    assert found.action is Action.UPDATE
    assert "another writer's" in found.warnings[0]
    assert found.diff == (FieldChange("data.a", Edit.REPLACE, "0", "1"),)


@pytest.mark.parametrize("live", [None, older(UNIT, data={"a": "0"})])
def test_what_needs_another_unit_first_is_known_after_apply(live: LiveObject | None) -> None:
    told = refused(RejectionKind.KIND_UNSERVED, live, deferred="known after apply of X")
    found = change(plan(SPEC, WANTED, **told))
    assert found.action is (Action.CREATE if live is None else Action.UPDATE)
    assert found.deferred == "known after apply of X"
    assert found.diff == ()


# ---------------------------------------------------------------- pods

ACCOUNT = 'pods "x-1" is forbidden: error looking up service account web/runner: serviceaccount "runner" not found'
PRIORITY = 'pods "x-1" is forbidden: no PriorityClass with name urgent was found'
SECURITY = 'pods "x-1" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
WEBHOOK = 'admission webhook "policy.example.org" denied the request: no owner'
DEPLOYMENT = manifest("Deployment", "api", spec={"template": {"spec": {"containers": [{"name": "main"}]}}})


def with_pods(wanted: Desired, message: str, live: LiveObject | None = None) -> Plan:
    unit = next(u for u in wanted.units.values() if u.id.kind == "Deployment")
    told = finding(unit, live, pod=refusal(RejectionKind.ADMISSION, message))
    found: Plan = plan(SPEC, wanted, findings=[told])
    return found


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (ACCOUNT, "add ServiceAccount runner"),
        (PRIORITY, "add PriorityClass urgent"),
        (SECURITY, "securityContext of the pod and of its containers (main)"),
    ],
)
def test_a_workload_whose_pods_would_never_be_admitted_is_a_mistake(message: str, words: str) -> None:
    with pytest.raises(CommitError) as error:
        with_pods(desired(SPEC, DEPLOYMENT), message)
    assert words in str(error.value)
    assert "Deployment.apps/web/api" in str(error.value)


@pytest.mark.parametrize(
    ("message", "others"),
    [
        (ACCOUNT, [manifest("ServiceAccount", "runner")]),
        (ACCOUNT.replace("runner", "default"), []),
        (PRIORITY, [manifest("PriorityClass", "urgent")]),
        (SECURITY, [manifest("Namespace", "web")]),
        ("exceeded quota: small", []),
        (WEBHOOK, []),
    ],
)
def test_a_refusal_of_pods_that_this_plan_or_time_may_mend_is_a_warning(message: str, others: list[Any]) -> None:
    found = with_pods(desired(SPEC, DEPLOYMENT, *others), message)
    (api,) = [c for c in found.changes() if c.unit.kind == "Deployment"]
    assert any(message in warning for warning in api.warnings)


def test_pods_that_a_change_does_not_touch_do_not_stop_it() -> None:
    wanted = desired(SPEC, DEPLOYMENT)
    unit = only(wanted)
    scaled = with_pods(wanted, SECURITY, older(unit, spec={**unit.manifest["spec"], "replicas": 3}))
    assert scaled.empty  # a default of the server's, not ours
    live = older(unit, metadata={**unit.manifest["metadata"], "labels": {"tier": "a"}})
    relabelled = desired(SPEC, {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "labels": {"tier": "b"}}})
    assert "PodSecurity" in change(with_pods(relabelled, SECURITY, live)).warnings[0]


def test_pods_that_could_not_be_tried_out_are_a_warning() -> None:
    wanted = desired(SPEC, DEPLOYMENT)
    told = finding(only(wanted), pod_untried="403: grant create on pods")
    assert "403: grant create on pods" in change(plan(SPEC, wanted, findings=[told])).warnings[0]


def test_the_servers_warnings_are_in_the_plan() -> None:
    told = finding(UNIT)
    answer = dry_run(UNIT, told.sent, None)
    told = replace(told, dry_run=Accepted(answer.live, True, ("v1 ConfigMap is old",)))
    assert change(plan(SPEC, WANTED, findings=[told])).warnings == ("v1 ConfigMap is old",)


def test_waves_of_a_plan_hold_what_changes_alone() -> None:
    wanted = desired(SPEC, crd("Widget"), manifest("Widget.example.org", "w"), manifest("ConfigMap"))
    definition = UnitId("default", "apiextensions.k8s.io", "CustomResourceDefinition", "", "widgets.example.org")
    found = plan(SPEC, wanted, {definition: applied(wanted.units[definition])})
    assert [[str(c.unit) for c in layer.changes] for w in found.waves for layer in w.layers] == [
        ["ConfigMap/web/x"],
        ["Widget.example.org/web/w"],
    ]
    assert found.equal == (definition,)
