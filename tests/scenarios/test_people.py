"""SEMANTICS 5, 10, 12, 15: what people order and answer, in a simulated world."""

from __future__ import annotations

from typing import Any

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Health
from gitopsd.model.orders import Peer, Request
from gitopsd.record.audit_reader import read_audit
from tests.scenarios.harness import World
from tests.scenarios.manifests import app, commit, config, job, space
from tests.scenarios.modules import shop

SETTINGS = UnitId.parse("ConfigMap/web/settings")
HOUR = 3600.0


def files(value: str, **spec: Any) -> dict[str, str]:
    return commit({"base": [space(), config("settings", {"mode": value})], "apps": [app()]}, **spec)


BROKEN = commit({"base": [space(), config("settings", {"mode": "bad"})], "apps": [app(tag="pull-error")]})
STUCK = commit({"base": [space(), config("settings", {"mode": "stuck"})], "apps": [app(tag="never-ready")]})


def mode(world: World) -> str:
    live = world.live("ConfigMap/web/settings")
    return str(live["data"]["mode"]) if live else "gone"


def said(world: World, command: str, why: str = "", **arguments: Any) -> str:
    """An order that is taken, and what the stack does then."""
    answer = world.say(command, why, **arguments)
    assert answer.ok, answer.text
    world.settle()
    return answer.text


def refused(world: World, command: str, **arguments: Any) -> str:
    answer = world.say(command, **arguments)
    assert not answer.ok, answer.text
    return answer.text


def audited(world: World, action: str) -> list[tuple[str, str, str]]:
    """(who, result, detail) of every entry of this action."""
    return [
        (e["actor"]["name"], e["result"], e["detail"]) for e in read_audit(world.state_dir) if e["action"] == action
    ]


# ---------------------------------------------------------------- suspend and resume


def test_a_suspended_stack_notes_commits_and_deploys_the_newest_when_it_goes_on(world: World) -> None:
    world.deliver(files("1"))
    assert said(world, "suspend", "migration") == "shop is suspended"
    world.deliver(files("2"))
    world.deliver(files("3"))
    assert (mode(world), world.holds) == ("1", {"suspended"})
    (hold,) = world.state.memory.holds
    assert (hold.by, hold.detail) == ("ops", "suspended by ops (migration); `gitopsd resume shop` lifts it")
    said(world, "resume")
    assert (mode(world), world.holds) == ("3", set())
    assert world.verdicts == [("deploy", "good"), ("deploy", "good")]
    assert audited(world, "suspend") == [("ops", "taken", "migration: shop is suspended")]


def test_a_suspension_ends_by_itself(world: World) -> None:
    world.deliver(files("1"))
    said(world, "suspend", seconds=2 * HOUR)
    world.deliver(files("2"))
    due = world.worker.due_in()
    assert due is not None
    assert 0 < due <= 2 * HOUR
    world.clock.seconds += due - 1
    world.settle()
    assert mode(world) == "1"
    world.clock.seconds += 1
    world.settle()
    assert (mode(world), world.holds, world.worker.due_in()) == ("2", set(), None)


def test_drift_of_a_suspended_stack_is_only_reported(world: World) -> None:
    world.deliver(files("1"))
    said(world, "suspend")
    world.cluster.edit(SETTINGS, lambda body: body["data"].update(mode="by hand"))
    world.settle(sweep=True)
    assert mode(world) == "by hand"
    assert [str(u) for u in world.worker.facts.snapshot().drifted] == ["ConfigMap/web/settings"]
    said(world, "resume")
    world.settle(sweep=True)
    assert (mode(world), world.verdicts[-1]) == ("1", ("heal", "good"))


def test_a_run_and_its_rollback_come_to_their_end_first(world: World) -> None:
    world.deliver(files("1"))
    world.when(lambda: mode(world) == "bad", lambda: assert_ok(world, "suspend"))
    world.deliver(BROKEN)
    assert world.verdicts[1:] == [("deploy", "failed"), ("rollback", "good")]
    assert (mode(world), world.holds) == ("1", {"suspended"})


def test_a_commit_that_comes_after_the_suspension_does_not_supersede_the_run(world: World) -> None:
    world.deliver(files("1"))
    world.when(lambda: mode(world) == "stuck", lambda: assert_ok(world, "suspend"))

    def newer() -> None:
        world.push(files("2"))

    world.when(lambda: bool(world.sqlite.orders("shop")), newer)
    world.deliver(STUCK)
    assert world.verdicts[1:] == [("deploy", "failed"), ("rollback", "good")]
    assert mode(world) == "1"


def test_at_once_stops_a_run_at_its_next_safe_point_and_resume_goes_on_with_it(world: World) -> None:
    world.deliver(files("1"))
    world.when(lambda: mode(world) == "stuck", lambda: assert_ok(world, "suspend", now=True))
    world.deliver(STUCK)
    assert world.verdicts[1:] == [("deploy", "held")]
    assert world.runs[-1].reason == "stopped at a safe point: suspended by ops"
    assert (mode(world), world.holds) == ("stuck", {"suspended"})
    world.push(files("2"))
    said(world, "resume")
    assert (mode(world), world.verdicts[-1], world.holds) == ("2", ("deploy", "good"), set())


def test_a_second_suspension_replaces_the_first_one_and_resume_lifts_it_once(world: World) -> None:
    world.deliver(files("1"))
    said(world, "suspend", seconds=HOUR)
    said(world, "suspend", "longer")
    world.clock.seconds += 2 * HOUR
    world.settle()
    assert world.holds == {"suspended"}
    said(world, "resume")
    assert refused(world, "resume") == "nobody holds shop: it is neither suspended nor pinned nor destroyed"


def test_orders_are_judged_by_what_was_ordered_before_them(world: World) -> None:
    world.deliver(files("1"))
    assert world.say("suspend").ok
    assert world.say("resume").ok, "the suspension is not carried out yet, but will be"
    assert not world.say("resume").ok
    world.settle()
    assert world.holds == set()


def assert_ok(world: World, command: str, **arguments: Any) -> None:
    answer = world.say(command, **arguments)
    assert answer.ok, answer.text


# ---------------------------------------------------------------- retry


def test_retry_tries_a_quarantined_commit_once_more(world: World) -> None:
    world.deliver(files("1"))
    bad = world.deliver(BROKEN)
    assert world.holds == {"quarantined"}
    assert f"commit {bad[:12]} is tried again; run shop-2 failed with" in said(world, "retry", "mended")
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert len(world.runs) == 5


def test_retry_of_what_has_not_failed_is_refused_and_audited(world: World) -> None:
    world.deliver(files("1"))
    text = refused(world, "retry")
    assert text == "nothing of shop has failed that could be tried again"
    assert audited(world, "retry") == [("ops", "refused", text)]


def test_retry_lifts_what_on_failure_hold_left(world: World) -> None:
    world.deliver(files("1"))
    held = commit(
        {"base": [space(), config("settings", {"mode": "bad"})], "apps": [app(tag="pull-error")]}, onFailure="hold"
    )
    world.deliver(held)
    assert world.holds == {"failed"}
    said(world, "retry")
    assert world.verdicts == [("deploy", "good"), ("deploy", "failed"), ("deploy", "failed")]


# ---------------------------------------------------------------- rollback


def three(world: World) -> list[str]:
    return [world.deliver(files(value)) for value in "123"]


def test_going_back_pins_the_revision_before_the_live_one(world: World) -> None:
    _, second, third = three(world)
    text = said(world, "rollback", "orders are lost")
    assert text == f"shop goes back to {second[:12]} and stays there until `gitopsd resume shop`"
    assert (mode(world), world.holds) == ("2", {"pinned"})
    run = world.runs[-1]
    assert (run.kind.value, run.verdict and run.verdict.value) == ("rollback", "good")
    assert (run.revision, run.author.name, run.cause and run.cause.value) == (second, "ops", "person")
    assert world.state.memory.good[0].commit == third, "the pin is no new good revision"
    world.deliver(files("4"))
    assert mode(world) == "2"


def test_again_is_one_further_back_and_then_there_is_no_more(world: World) -> None:
    three(world)
    said(world, "rollback")
    said(world, "rollback")
    assert (mode(world), world.holds) == ("1", {"pinned"})
    assert refused(world, "rollback").startswith("no older good revision of shop is remembered; good were: ")


def test_a_named_revision_is_gone_back_to_and_an_unknown_one_refused_with_a_list(world: World) -> None:
    first, _, third = three(world)
    said(world, "rollback", to=first)
    assert mode(world) == "1"
    said(world, "rollback", to=third)
    assert mode(world) == "3"
    assert "is none of the good revisions of shop; good were: " in refused(world, "rollback", to="feedbeef")
    assert "is the beginning of more than one" in refused(world, "rollback", to="0000")


def test_drift_is_healed_to_the_pin(world: World) -> None:
    three(world)
    said(world, "rollback")
    world.cluster.edit(SETTINGS, lambda body: body["data"].update(mode="by hand"))
    world.settle(sweep=True)
    assert (mode(world), world.verdicts[-1]) == ("2", ("heal", "good"))


def test_resume_makes_the_pin_the_live_revision_and_deploys_the_head(world: World) -> None:
    _, second, third = three(world)
    said(world, "rollback")
    said(world, "resume")
    assert (mode(world), world.holds, world.verdicts[-1]) == ("3", set(), ("deploy", "good"))
    assert [g.commit for g in world.state.memory.good][:2] == [third, second]
    assert world.state.memory.pin is None


def test_resume_of_a_pin_keeps_a_quarantined_head_away(world: World) -> None:
    three(world)
    world.deliver(BROKEN)
    said(world, "rollback")
    assert mode(world) == "2"
    said(world, "resume")
    assert (mode(world), world.holds) == ("2", {"quarantined"})


def test_a_newer_commit_lifts_a_pin_that_was_to_last_so_long(world: World) -> None:
    three(world)
    said(world, "rollback", untilNewer=True)
    assert (mode(world), world.holds) == ("2", {"pinned"})
    world.deliver(files("4"))
    assert (mode(world), world.holds) == ("4", set())


def test_going_back_supersedes_a_deploy_that_goes_on(world: World) -> None:
    first = world.deliver(files("1"))
    world.when(lambda: mode(world) == "stuck", lambda: assert_ok(world, "rollback"))
    world.deliver(STUCK)
    assert world.verdicts[1:] == [("deploy", "superseded"), ("rollback", "good")]
    assert (mode(world), world.holds) == ("1", {"pinned"})
    assert world.state.dirty == ()
    assert world.runs[-1].revision == first


def test_what_came_after_the_revision_is_deleted_and_what_went_comes_back(world: World) -> None:
    world.deliver(commit({"base": [space(), config("old", {}), config("settings", {"mode": "1"})]}))
    world.deliver(commit({"base": [space(), config("new", {}), config("settings", {"mode": "2"})]}))
    said(world, "rollback")
    assert world.live("ConfigMap/web/new") is None
    assert world.live("ConfigMap/web/old") is not None


def test_a_job_of_the_older_revision_does_not_run_again(world: World) -> None:
    world.deliver(commit({"base": [space()], "jobs": [job(tag="1")], "apps": [app()]}))
    world.deliver(commit({"base": [space()], "jobs": [job(tag="2")], "apps": [app(tag="better")]}))
    before = world.live("Job.batch/web/migrate")
    said(world, "rollback")
    assert world.live("Job.batch/web/migrate") == before
    assert (world.holds, world.verdicts[-1]) == ({"pinned"}, ("rollback", "good"))


def test_a_revision_that_is_not_healthy_any_more_fails_the_way_back_and_retry_goes_on(world: World) -> None:
    gate = {"timeout": "1m", "checks": [{"http": {"url": "http://shop.example/"}}]}
    for value in "12":
        world.deliver(files(value, gate=gate))

    def sick_once_it_is_applied(_number: int) -> None:
        if mode(world) == "1":
            world.checks["http://shop.example/"] = Health.PROGRESSING

    world.effects.after_write = sick_once_it_is_applied
    said(world, "rollback")
    world.effects.after_write = lambda _number: None
    assert (world.holds, world.verdicts[-1]) == ({"rollback-failed"}, ("rollback", "failed"))
    assert "`gitopsd resume shop` deploys the newest commit" in world.state.memory.holds[0].detail
    world.checks.clear()
    said(world, "retry")
    assert (mode(world), world.holds, world.verdicts[-1]) == ("1", {"pinned"}, ("rollback", "good"))


def test_there_is_nothing_to_go_back_to_before_the_first_good_revision(world: World) -> None:
    world.deliver(BROKEN)
    assert refused(world, "rollback") == "no revision of shop was good yet: there is nothing to go back to"


# ---------------------------------------------------------------- approvals of deletions


MANY = commit({"base": [space(), config("settings", {"mode": "1"}), *(config(f"c{n}", {}) for n in range(8))]})
FEW = commit({"base": [space(), config("settings", {"mode": "2"})]})


def test_a_directory_emptied_by_mistake_waits_and_says_for_whom_and_how(world: World) -> None:
    world.deliver(MANY)
    bad = world.deliver(FEW)
    (hold,) = world.state.memory.holds
    (question,) = world.state.questions
    assert hold.detail.startswith(f"commit {bad[:12]}: 8 of 10 objects would be deleted")
    assert f"root may say `gitopsd approve shop {question.approval.digest[:12]}`" in hold.detail
    assert hold.until == question.until
    assert mode(world) == "1"


def test_what_was_allowed_is_done_and_the_answer_is_used_up(world: World) -> None:
    world.deliver(MANY)
    world.deliver(FEW)
    assert said(world, "approve", "moved away").startswith("approved: 8 of 10 objects")
    assert (mode(world), world.holds, world.state.questions, world.state.grants) == ("2", set(), (), ())
    assert world.live("ConfigMap/web/c0") is None
    assert audited(world, "approve")[0][:2] == ("ops", "taken")
    assert "moved away" in audited(world, "approve")[0][2]


def test_what_was_rejected_has_failed_with_the_persons_reason(world: World) -> None:
    world.deliver(MANY)
    bad = world.deliver(FEW)
    said(world, "reject", "a mistake")
    assert (mode(world), world.holds) == ("1", {"quarantined"})
    assert world.state.memory.quarantine[0].commit == bad
    run = world.runs[-1]
    assert (run.verdict and run.verdict.value, run.cause and run.cause.value) == ("failed", "person")
    assert "ops rejected it (a mistake)" in run.reason
    assert world.state.questions == ()
    said(world, "retry")
    assert world.holds == {"approval"}


def test_nobody_answering_in_time_is_a_no(world: World) -> None:
    world.deliver(MANY)
    world.deliver(FEW)
    due = world.worker.due_in()
    assert due is not None
    world.clock.seconds += due - 1
    world.settle()
    assert world.holds == {"approval"}
    world.clock.seconds += 1
    world.settle()
    assert world.holds == {"quarantined"}
    assert "nobody approved it between" in world.runs[-1].reason
    assert world.worker.due_in() is None


def test_time_goes_on_while_nobody_is_there(world: World) -> None:
    world.deliver(MANY)
    world.deliver(FEW)
    world.clock.seconds += 2 * HOUR
    world.restart()
    world.settle()
    assert world.holds == {"quarantined"}


def test_a_commit_that_asks_for_something_else_ends_the_question(world: World) -> None:
    world.deliver(MANY)
    world.deliver(FEW)
    world.deliver(MANY)
    assert (world.holds, world.state.questions) == (set(), ())
    assert refused(world, "approve") == "shop waits for no approval"


def test_an_answer_to_another_question_allows_nothing(world: World) -> None:
    world.deliver(MANY)
    world.deliver(FEW)
    first = world.state.questions[0].approval.digest
    other = commit({"base": [space(), config("settings", {"mode": "3"}), config("c0", {})]})
    world.push(other)
    assert world.say("approve", digest=first[:12]).ok
    world.settle()
    assert (mode(world), world.holds) == ("1", {"approval"})
    assert world.state.grants == ()
    assert "no approval begins with 'ffff'" in refused(world, "approve", digest="ffff")


def test_two_questions_need_two_answers(world: World) -> None:
    world.deliver(commit({"base": [space()], "a": [config("a", {})], "b": [config("b", {})]}))
    world.deliver(commit({"base": [space()], "a": [], "b": []}))
    assert len(world.state.questions) == 2
    assert "several approvals wait, so name one or say --all" in refused(world, "approve")
    said(world, "approve", digest=world.state.questions[0].approval.digest)
    assert world.holds == {"approval"}
    said(world, "approve", all=True)
    assert world.holds == set()
    assert world.live("ConfigMap/web/a") is None


# ---------------------------------------------------------------- prune


def test_a_namespace_that_waits_for_a_person_is_deleted_when_allowed(world: World) -> None:
    world.deliver(commit({"base": [space(), space("old"), config("settings", {"mode": "1"})]}))
    world.deliver(files("1"))
    assert [str(p.unit) for p in world.state.postponed] == ["Namespace/old"]
    said(world, "prune")
    assert world.live("Namespace/old") is None
    assert (world.state.postponed, world.state.grants) == ((), ())


def test_prune_of_what_does_not_wait_is_refused(world: World) -> None:
    world.deliver(files("1"))
    assert "nothing of shop waits" in refused(world, "prune")
    assert "does not wait to be deleted" in refused(world, "prune", units=["Namespace/web"])


# ---------------------------------------------------------------- abandon


def test_an_abandoned_object_stays_as_it_is_without_our_marks_and_is_forgotten(world: World) -> None:
    world.deliver(commit({"base": [space(), space("old"), config("settings", {"mode": "1"})]}))
    world.deliver(files("1"))
    before = world.live("Namespace/old")
    assert before is not None
    assert "left as it is and forgotten: Namespace/old" in said(world, "abandon", units=["Namespace/old"])
    left = world.live("Namespace/old")
    assert left is not None
    assert left["metadata"]["uid"] == before["metadata"]["uid"]
    assert "gitopsd" not in str(left["metadata"].get("annotations")) + str(left["metadata"].get("labels"))
    assert UnitId.parse("Namespace/old") not in world.sqlite.baselines("shop")
    assert (world.state.postponed, world.state.grants, world.holds) == ((), (), set())
    assert audited(world, "abandon") == [("ops", "taken", "is left as it is and forgotten")]


def test_what_would_be_deleted_with_an_approval_may_be_abandoned_by_component(world: World) -> None:
    world.deliver(files("1"))
    world.deliver(commit({"base": [space(), config("settings", {"mode": "1"})], "apps": []}))
    assert world.holds == {"approval"}
    said(world, "abandon", units=["apps"])
    assert world.holds == set()
    assert world.live("Deployment.apps/web/app") is not None
    assert not any(u.kind == "Deployment" for u in world.sqlite.baselines("shop"))


def test_what_git_asks_for_or_nobody_tracks_cannot_be_abandoned(world: World) -> None:
    world.deliver(files("1"))
    assert "git asks for it still" in refused(world, "abandon", units=["Namespace/web"])
    assert "nothing tracked is called" in refused(world, "abandon", units=["Namespace/nowhere"])
    assert "name what is to be forgotten" in refused(world, "abandon")


def test_an_abandoned_object_that_git_asks_for_again_is_adopted(world: World) -> None:
    both = commit({"base": [space(), space("old"), config("settings", {"mode": "1"})]})
    world.deliver(both)
    world.deliver(files("1"))
    said(world, "abandon", units=["Namespace/old"])
    world.deliver(both)
    assert world.verdicts[-1] == ("deploy", "good")
    assert UnitId.parse("Namespace/old") in world.sqlite.baselines("shop")


# ---------------------------------------------------------------- destroy


def everything(**arguments: Any) -> dict[str, Any]:
    return {"confirm": "shop", **arguments}


def test_destroy_deletes_what_is_tracked_but_what_may_hold_data_and_then_waits(world: World) -> None:
    world.deliver(files("1"))
    text = said(world, "destroy", "moved to another team", **everything())
    assert text == "shop is destroyed; what may hold data stays"
    assert (mode(world), world.live("Deployment.apps/web/app"), world.holds) == ("gone", None, {"destroyed"})
    assert world.live("Namespace/web") is not None
    assert [str(p.unit) for p in world.state.postponed] == ["Namespace/web"]
    run = world.runs[-1]
    assert (run.kind.value, run.author.name, run.verdict and run.verdict.value) == ("deploy", "ops", "good")
    world.deliver(files("2"))
    assert mode(world) == "gone"
    said(world, "resume")
    assert (mode(world), world.holds) == ("2", set())


def test_destroy_with_data_takes_the_namespace_along(world: World) -> None:
    world.deliver(files("1"))
    said(world, "destroy", **everything(withData=True))
    assert world.live("Namespace/web") is None
    assert world.sqlite.baselines("shop") == {}
    assert world.state.memory.good == ()


def test_destroy_wants_the_name_twice_and_happens_once(world: World) -> None:
    world.deliver(files("1"))
    assert "say its name again" in refused(world, "destroy", confirm="shpo")
    said(world, "destroy", **everything())
    assert "is destroyed already" in refused(world, "destroy", **everything())
    assert mode(world) == "gone"


def test_more_deletions_than_prune_allows_are_no_question_for_who_said_destroy(world: World) -> None:
    world.deliver(MANY)
    said(world, "destroy", **everything())
    assert world.live("ConfigMap/web/c0") is None
    assert world.holds == {"destroyed"}


def test_destroy_takes_terraform_along(world: World) -> None:
    world.deliver(shop())
    said(world, "destroy", **everything())
    assert world.server.modules["network"].resources == {}
    assert world.holds == {"destroyed"}


# ---------------------------------------------------------------- unlock


def locked(world: World, **arguments: Any) -> Any:
    """A lost host holds the state and a change of it waits, until somebody says `unlock`; the number of that order."""
    world.deliver(shop())
    state = world.server.modules["network"]
    state.lock = "root@lost"
    world.push(shop("2"))
    orders: list[Any] = []

    def ordered() -> None:
        answer = world.say("unlock", "it burnt down", **arguments)
        assert answer.ok, answer.text
        assert outcome(world, answer.data["order"]) is None
        orders.append(answer.data["order"])

    started = world.clock.seconds
    world.when(lambda: world.clock.seconds > started + 60, ordered)
    world.when(lambda: world.clock.seconds > started + 2 * HOUR, lambda: setattr(state, "lock", ""))
    world.settle()
    assert world.verdicts[-1] == ("deploy", "good")
    assert (world.holds, world.sqlite.orders("shop")) == (set(), ())
    return outcome(world, orders[0]), world.clock.seconds - started


def outcome(world: World, number: Any) -> Any:
    return world.say("looked", look=1, order=number).data.get("outcome")


def test_the_lock_of_a_lost_host_is_removed_and_the_run_that_waits_for_it_goes_on(world: World) -> None:
    came, took = locked(world, component="network")
    assert came == {"ok": True, "text": "the lock of root@lost was removed"}
    assert took < HOUR
    assert ("ops", "done", "the lock of root@lost was removed") in audited(world, "unlock")


def test_a_lock_of_another_than_the_named_one_stays(world: World) -> None:
    came, took = locked(world, component="terraform/network", lock="root@elsewhere")
    assert came["ok"] is False
    assert took > HOUR


def test_unlock_of_what_is_no_component_is_refused_with_those_there_are(world: World) -> None:
    world.deliver(shop())
    told = refused(world, "unlock", component="app")
    assert told == "shop has no Terraform component 'app'; these have a state: network"
    assert world.sqlite.orders("shop") == ()


def test_an_order_to_unlock_that_nobody_could_carry_out_in_time_counts_no_longer(world: World) -> None:
    world.deliver(shop())
    world.server.modules["network"].lock = "root@lost"
    answer = world.say("unlock", component="network")
    world.clock.wait(HOUR)
    world.settle()
    assert "may be another by now" in outcome(world, answer.data["order"])["text"]
    assert world.server.modules["network"].lock == "root@lost"


# ---------------------------------------------------------------- strangers and nonsense


def test_a_stranger_is_refused_and_audited_once_a_minute(world: World) -> None:
    world.deliver(files("1"))
    stranger = Peer(65534, "nobody", permitted=False)
    for _ in range(5):
        answer = world.reception.handle(stranger, Request("suspend", "shop"))
        assert (answer.ok, answer.text) == (False, "nobody may not order: only root may")
    assert audited(world, "suspend") == [("nobody", "refused", "nobody may not order: only root may")]
    world.settle()
    assert world.holds == set()


@pytest.mark.parametrize("command", ["", "nonsense", "__init__"])
def test_an_unknown_command_is_a_sentence(world: World, command: str) -> None:
    assert "knows no command" in refused(world, command)


def test_an_unknown_stack_is_refused_with_those_there_are(world: World) -> None:
    assert refused(world, "suspend", stack="shpo") == "there is no stack 'shpo'; there is shop"
