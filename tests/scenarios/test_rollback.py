"""SEMANTICS 10: what a rollback takes back, what it leaves, and what it says about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Health
from gitopsd.model.plan import Action
from gitopsd.model.run import RunRecord
from tests.scenarios.harness import World
from tests.scenarios.manifests import app, claim, commit, config, database, definition, job, space, widget
from tests.scenarios.stories import (
    ADOPTING_BROKEN,
    BASE,
    BROKEN,
    BROKEN_FIRST,
    FIRST,
    STUCK,
    UPDATE,
    bystanders,
    foreign,
)
from tests.support.ssa import Body

BAD = app(tag="pull-error")


def leftovers(run: RunRecord) -> dict[str, str]:
    return {str(left.unit): left.reason for left in run.leftovers}


def deployed(world: World, files: Mapping[str, str] = FIRST) -> None:
    bystanders(world)
    world.deliver(files)
    assert world.verdicts == [("deploy", "good")]


def test_everything_goes_back_and_what_was_added_is_removed(world: World) -> None:
    deployed(world)
    world.deliver(BROKEN)
    deploy, rollback = world.runs[-2:]
    assert (deploy.verdict, deploy.failing) == ("failed", UnitId.parse("Deployment.apps/web/app"))
    assert "ImagePullBackOff" in deploy.reason
    assert (rollback.verdict, rollback.undoes, rollback.leftovers) == ("good", deploy.id, ())
    settings, pod = world.live("ConfigMap/web/settings"), world.live("Deployment.apps/web/app")
    assert settings is not None
    assert settings["data"] == {"mode": "old"}
    assert pod is not None
    assert pod["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":good")
    assert world.live("ConfigMap/web/added") is None
    assert world.live("Deployment.apps/web/third") is None
    assert world.live("ConfigMap/web/leaving") is not None
    assert world.holds == {"quarantined"}


def test_a_newer_commit_that_asks_the_same_is_held_and_a_fix_is_deployed(world: World) -> None:
    deployed(world)
    world.deliver(BROKEN)
    writes, runs = len(world.server.writes), len(world.runs)
    world.deliver({**BROKEN, "docs/README.md": "nothing of the stack"})
    assert (len(world.server.writes), len(world.runs)) == (writes, runs)
    assert world.holds == {"quarantined"}
    world.deliver(UPDATE)
    assert world.verdicts[-1] == ("deploy", "good")
    assert world.holds == set()


def test_a_failed_first_deploy_leaves_the_cluster_as_it_was(world: World) -> None:
    bystanders(world)
    before = dict(world.server.objects)
    world.deliver(BROKEN_FIRST)
    assert world.verdicts == [("deploy", "failed"), ("rollback", "good")]
    assert world.server.objects == before


def test_a_created_namespace_stays_when_others_have_put_something_into_it(world: World) -> None:
    bystanders(world)
    web = UnitId.parse("Namespace/web")
    made: list[UnitId] = []
    world.when(lambda: web in world.server.objects, lambda: made.append(foreign(world)))
    world.deliver(commit({"base": [space(), config("settings", {})], "apps": [BAD]}))
    rollback = world.runs[-1]
    assert world.live("Namespace/web") is not None
    assert world.live("ConfigMap/web/settings") is None
    assert world.live("Deployment.apps/web/app") is None
    assert world.server.objects[made[0]]["data"] == {"a": "theirs"}
    assert "ConfigMap/web/foreign" in leftovers(rollback)["Namespace/web"]
    assert UnitId.parse("Namespace/web") in world.sqlite.baselines("shop"), "it is still this stack's"


def test_a_created_definition_stays_when_others_have_made_objects_of_it(world: World) -> None:
    bystanders(world)
    crd = UnitId.parse("CustomResourceDefinition.apiextensions.k8s.io/widgets.example.org")

    def theirs() -> None:
        made = widget("theirs")
        made["metadata"]["namespace"] = "other"
        world.cluster.make(made)

    world.when(lambda: bool(world.server.objects.get(crd, {}).get("status")), theirs)
    world.deliver(commit({"base": [space(), definition()], "apps": [widget("one"), BAD]}))
    assert world.live("Widget.example.org/other/theirs") is not None
    assert world.live("Widget.example.org/web/one") is None
    assert "Widget.example.org/other/theirs" in leftovers(world.runs[-1])[str(crd)]


def test_an_adopted_object_gets_its_former_values_and_is_nobodys_again(world: World) -> None:
    deployed(world)
    unit = foreign(world, a="theirs", beside="stays")
    before = world.server.objects[unit]
    world.deliver(ADOPTING_BROKEN)
    adopting = world.runs[-2]
    assert [o.action for o in adopting.outcomes if o.unit == unit] == [Action.ADOPT]
    after = world.server.objects[unit]
    assert after["data"] == {"a": "theirs", "beside": "stays"}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert not after["metadata"].get("labels")
    assert not after["metadata"].get("annotations")
    assert unit not in world.sqlite.baselines("shop")
    assert world.verdicts[-1] == ("rollback", "good")


@pytest.mark.parametrize("after_a_good_one", [True, False])
def test_a_claim_that_the_failed_run_made_is_kept_and_listed(world: World, after_a_good_one: bool) -> None:
    if after_a_good_one:
        deployed(world)
    world.deliver(commit({"base": [*BASE, claim("data")], "apps": [BAD, app("second")]}))
    assert world.live("PersistentVolumeClaim/web/data") is not None
    assert "may hold data" in leftovers(world.runs[-1])["PersistentVolumeClaim/web/data"]
    assert world.runs[-1].kind == "rollback"
    if not after_a_good_one:
        assert world.live("Namespace/web") is not None, "the claim is in it"


def test_what_cannot_go_back_is_listed_and_the_rest_goes_back(world: World) -> None:
    """The good revision's ConfigMap was made immutable and changed by the failed one's author: no way back in place."""
    deployed(world)
    frozen: dict[str, Any] = {**config("settings", {"mode": "new"}), "immutable": True}
    world.deliver(
        commit({"base": [space(), frozen, config("leaving", {"a": "2"})], "apps": [BAD, app("second", tag="next")]})
    )
    rollback = world.runs[-1]
    assert (rollback.kind, rollback.verdict) == ("rollback", "failed")
    assert "cannot be changed in place" in leftovers(rollback)["ConfigMap/web/settings"]
    leaving, second = world.live("ConfigMap/web/leaving"), world.live("Deployment.apps/web/second")
    assert leaving is not None
    assert leaving["data"] == {"a": "1"}
    assert second is not None
    assert second["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":good")
    assert world.holds == {"rollback-failed"}
    hold = world.state.memory.holds[0]
    assert "ConfigMap" in hold.detail or "immutable" in hold.detail


def test_a_fix_lifts_a_failed_rollback(world: World) -> None:
    test_what_cannot_go_back_is_listed_and_the_rest_goes_back(world)
    frozen: dict[str, Any] = {**config("settings", {"mode": "new"}), "immutable": True}
    world.deliver(commit({"base": [space(), frozen], "apps": [app(), app("second")]}))
    assert world.verdicts[-1] == ("deploy", "good")
    assert world.holds == set()
    assert world.state.dirty == ()


def test_half_of_a_superseded_commit_is_undone_with_the_one_that_failed_after_it(world: World) -> None:
    deployed(world)
    half = UnitId.parse("ConfigMap/web/half")

    def supersede() -> None:
        world.push(BROKEN)

    world.when(lambda: half in world.server.objects, supersede)
    world.deliver(STUCK)
    assert [v for _, v in world.verdicts[-3:]] == ["superseded", "failed", "good"]
    assert world.live("ConfigMap/web/half") is None
    assert world.live("ConfigMap/web/added") is None
    assert world.state.dirty == ()


def test_on_failure_hold_leaves_it_as_it_is(world: World) -> None:
    deployed(world)
    world.deliver(commit({"base": BASE, "apps": [BAD, app("second")]}, onFailure="hold"))
    assert world.verdicts[-1] == ("deploy", "failed")
    assert world.holds == {"failed"}
    assert [str(d.unit) for d in world.state.dirty] == ["Deployment.apps/web/app"]
    world.deliver(FIRST)
    assert world.verdicts[-1] == ("deploy", "good")
    assert (world.holds, world.state.dirty) == (set(), ())


def test_a_job_that_finished_is_never_run_again(world: World) -> None:
    deployed(world, commit({"base": BASE, "jobs": [job(ttl=5)], "apps": [app(), app("second")]}))
    unit = UnitId.parse("Job.batch/web/migrate")
    world.clock.wait(60)
    assert unit not in world.server.objects, "gone by its time to live"
    world.settle(sweep=True)
    world.deliver(commit({"base": BASE, "jobs": [job(ttl=5)], "apps": [BAD, app("second")]}))
    world.restart()
    world.settle(sweep=True)
    world.restart(lose_state=True)
    world.settle(sweep=True)
    assert world.server.created[unit] == 1
    assert (world.holds, world.state.dirty) == ({"quarantined"}, ())


def test_a_stuck_finalizer_is_reported_and_does_not_fail_the_run(world: World) -> None:
    deployed(world)
    unit = UnitId.parse("ConfigMap/web/leaving")

    def hold(body: Body) -> None:
        body["metadata"]["finalizers"] = ["example.org/never"]

    def release(body: Body) -> None:
        body["metadata"]["finalizers"] = []

    world.cluster.edit(unit, hold)
    world.deliver(UPDATE)
    assert world.verdicts[-1] == ("deploy", "good")
    assert [(str(p.unit), p.since != "") for p in world.state.postponed] == [("ConfigMap/web/leaving", True)]
    assert "example.org/never" in world.state.postponed[0].reason
    since = world.state.postponed[0].since
    world.settle(sweep=True)
    assert [p.since for p in world.state.postponed] == [since]
    world.cluster.edit(unit, release)
    world.server.remove(unit)
    world.settle(sweep=True)
    assert world.state.postponed == ()
    assert unit not in world.sqlite.baselines("shop")


def test_a_deletion_that_waited_waits_again_after_a_rollback_that_asked_for_the_object(world: World) -> None:
    crd = UnitId.parse("CustomResourceDefinition.apiextensions.k8s.io/widgets.example.org")
    deployed(world, commit({"base": [space(), definition()], "apps": [app()]}))
    world.deliver(commit({"base": [space()], "apps": [app()]}))
    assert [p.unit for p in world.state.postponed] == [crd]
    world.deliver(commit({"base": [space(), definition()], "apps": [BAD]}))
    assert world.verdicts[-1] == ("rollback", "good")
    assert [p.unit for p in world.state.postponed] == [crd]


def test_what_somebody_did_to_a_dirty_unit_does_not_fail_the_commit_that_supersedes(world: World) -> None:
    deployed(world)
    half = UnitId.parse("ConfigMap/web/half")

    def interfere() -> None:
        world.cluster.drop(half)
        world.cluster.drop(UnitId.parse("Deployment.apps/web/second"))
        world.push(STUCK | {"apps/deployment-app.yaml": json.dumps(app(tag="mended"))})

    world.when(lambda: half in world.server.objects, interfere)
    world.deliver(STUCK | {"apps/deployment-second.yaml": json.dumps(app("second", tag="slow"))})
    assert world.verdicts[-2:] == [("deploy", "superseded"), ("deploy", "good")]
    assert world.live("ConfigMap/web/half") is not None
    assert world.live("Deployment.apps/web/second") is not None


# ---------------------------------------------------------------- StatefulSets


def databases(tag: str) -> dict[str, str]:
    return commit({"base": [space()], "apps": [database(tag)]}, gate={"timeout": "60s"})


def pod_tags(world: World) -> list[str]:
    pods = [b for u, b in sorted(world.server.objects.items()) if u.kind == "Pod"]
    return [p["metadata"]["labels"]["tag"] for p in pods]


@pytest.mark.parametrize("bad", ["crash-loop", "never-ready"])
def test_a_stateful_set_whose_new_pod_is_broken_goes_back(world: World, bad: str) -> None:
    world.deliver(databases("good"))
    assert pod_tags(world) == ["good", "good"]
    world.deliver(databases(bad))
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert pod_tags(world) == ["good", "good"]
    assert world.holds == {"quarantined"}


def test_a_stateful_set_that_is_left_broken_takes_a_fix(world: World) -> None:
    for tag in ("good", "crash-loop", "better"):
        objects = {"base": [space()], "apps": [database(tag)]}
        world.deliver(commit(objects, gate={"timeout": "60s"}, onFailure="hold"))
    assert world.verdicts == [("deploy", "good"), ("deploy", "failed"), ("deploy", "good")]
    assert pod_tags(world) == ["better", "better"]
    deleted = [unit for verb, unit in world.server.writes if verb == "delete"]
    assert [unit.kind for unit in deleted] == ["Pod"], "only the broken one; the controller replaces the others"


# ---------------------------------------------------------------- checks

URL = "http://web.example/healthz"


def checked(value: str, tag: str = "good") -> dict[str, str]:
    gate = {"timeout": "60s", "checks": [{"http": {"url": URL, "status": 200}}]}
    return commit({"base": [space(), config("settings", {"mode": value}), app(tag=tag)]}, gate=gate)


def test_a_check_that_failed_before_an_unrelated_commit_does_not_fail_it(world: World) -> None:
    world.deliver(checked("1"))
    world.checks[URL] = Health.PROGRESSING
    world.deliver(checked("2"))
    assert world.verdicts == [("deploy", "good"), ("deploy", "good")]


def test_a_rollback_is_not_failed_by_a_check_that_failed_before_it_all(world: World) -> None:
    world.deliver(checked("1"))
    world.checks[URL] = Health.PROGRESSING
    world.deliver(checked("2", tag="pull-error"))
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert "ImagePullBackOff" in world.runs[-2].reason


def test_a_first_delivery_has_to_make_its_checks_good(world: World) -> None:
    world.checks[URL] = Health.PROGRESSING
    world.deliver(checked("1"))
    assert world.verdicts[0] == ("deploy", "failed")


def test_a_commit_that_brings_a_check_has_to_make_it_good(world: World) -> None:
    """What fails now is why it was written: nobody knew of it before, so that it is no old trouble."""
    world.deliver(commit({"base": [space(), config("settings", {"mode": "1"}), app()]}))
    world.checks[URL] = Health.PROGRESSING
    world.deliver(checked("2"))
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert URL in world.runs[-2].reason


def test_a_commit_that_breaks_a_check_is_taken_back(world: World) -> None:
    world.deliver(checked("1"))

    def follow(_write: int) -> None:
        settings = world.live("ConfigMap/web/settings")
        world.checks[URL] = Health.HEALTHY if settings and settings["data"]["mode"] == "1" else Health.PROGRESSING

    world.effects.after_write = follow
    world.deliver(checked("2"))
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert URL in world.runs[-2].reason


def test_a_rollback_that_failed_at_a_check_alone_ends_when_the_check_is_good(world: World) -> None:
    world.deliver(checked("1"))
    broken = [False]

    def follow(_write: int) -> None:
        settings = world.live("ConfigMap/web/settings")
        broken[0] = broken[0] or bool(settings and settings["data"]["mode"] == "2")
        world.checks[URL] = Health.PROGRESSING if broken[0] else Health.HEALTHY

    world.effects.after_write = follow
    world.deliver(checked("2"))
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "failed")]
    world.settle(sweep=True)
    assert world.holds == {"rollback-failed"}
    world.effects.after_write = lambda _write: None
    world.checks[URL] = Health.HEALTHY
    world.settle(sweep=True)
    assert world.verdicts[-1] == ("rollback", "good")
    assert world.holds == {"quarantined"}
    assert world.state.dirty == ()


# ---------------------------------------------------------------- what holds and health say


def test_a_hold_after_a_failure_names_the_unit_and_what_else_has_failed_before(world: World) -> None:
    world.deliver(BASE_APP)
    world.deliver(commit({"apps": [space(), app(tag="pull-error")]}, onFailure="hold"))
    (hold,) = [h for h in world.state.memory.holds if h.reason.value == "failed"]
    assert "Deployment.apps/web/app: ImagePullBackOff" in hold.detail
    world.deliver(commit({"apps": [space(), app(tag="crash-loop")]}, onFailure="hold"))
    again = world.deliver(commit({"apps": [space(), app(tag="pull-error")]}, onFailure="hold"))
    for _ in range(2):
        (hold,) = [h for h in world.state.memory.holds if h.reason.value == "failed"]
        assert "CrashLoopBackOff" in hold.detail
        assert hold.detail.endswith(f"; the newest commit {again[:12]} asks what failed before, in run shop-2")
        world.settle(sweep=True)


def test_a_stack_that_is_left_broken_shows_how_its_units_are(world: World) -> None:
    world.deliver(BASE_APP)
    world.deliver(commit({"apps": [space(), app(tag="never-ready")]}, gate={"timeout": "30s"}, onFailure="hold"))
    world.restart()
    facts = world.worker.facts
    unit = UnitId.parse("Deployment.apps/web/app")
    assert facts.snapshot().health[unit].assessment.health is Health.UNKNOWN
    world.settle(sweep=True)
    assert facts.snapshot().health[unit].assessment.health is Health.PROGRESSING


BASE_APP = commit({"apps": [space(), app()]}, onFailure="hold")
