"""SEMANTICS 13: a stack of another instance, and another cluster under a known name."""

from __future__ import annotations

import pytest

from gitopsd.model.errors import NeedsPerson
from gitopsd.model.ids import UnitId
from gitopsd.record.audit_reader import read_audit
from tests.scenarios.harness import STACK, World
from tests.scenarios.manifests import app, commit, config, job, space
from tests.scenarios.modules import shop
from tests.support.simstate import ServerState

FILES = commit({"base": [space(), config("settings", {"mode": "1"})], "apps": [job("migrate"), app()]})
NEXT = commit({"base": [space(), config("settings", {"mode": "2"})], "apps": [job("migrate"), app()]})


def audited(world: World, action: str) -> list[tuple[str, str, str]]:
    return [
        (e["actor"]["name"], e["before"], e["after"])
        for e in read_audit(world.state_dir)
        if e["action"] == action and e["result"] != "taken"
    ]


def elsewhere(world: World) -> None:
    """The stack goes on in another process that has another name and none of our files."""
    world.instance = "there"
    world.restart(lose_state=True)


# ---------------------------------------------------------------- takeover


def test_another_instances_stack_is_left_alone_until_a_person_says_so(world: World) -> None:
    world.deliver(FILES)
    good, writes = world.state.memory.good, len(world.server.writes)
    elsewhere(world)
    world.push(NEXT)
    world.settle(tries=3)
    assert world.holds == {"instance"}
    assert "gitopsd takeover shop" in world.state.memory.holds[0].detail
    assert world.server.writes[writes:] == []
    assert world.say("takeover", "the old host burnt down").ok
    world.settle()
    assert (world.holds, world.verdicts[-1]) == (set(), ("deploy", "good"))
    assert world.state.memory.good[1:] == good
    assert audited(world, "takeover") == [("ops", "here", "there")]
    memory = world.cluster.load_memory(STACK)
    assert memory is not None
    assert (memory.instance, memory.generation) == ("there", world.state.memory.generation)


def test_the_instance_that_it_was_taken_from_has_no_effect_any_more(world: World) -> None:
    world.deliver(FILES)
    before = world.shot()
    elsewhere(world)
    world.settle(tries=2)
    assert world.say("takeover").ok
    world.settle()
    old = world.revived(before, world.directory / "old")
    old.server = old.cluster.state = world.server
    writes = len(world.server.writes)
    old.push(NEXT)
    old.settle(tries=3)
    assert old.holds == {"instance"}
    assert world.server.writes[writes:] == []


def test_a_renamed_instance_takes_its_own_stacks_over(world: World) -> None:
    world.deliver(FILES)
    world.instance = "renamed"
    world.restart()
    world.settle(tries=2)
    assert world.holds == {"instance"}
    assert world.say("takeover").ok
    world.settle()
    assert (world.holds, world.state.memory.instance) == (set(), "renamed")
    assert len(world.runs) == 1, "nothing had to be done"


def test_there_is_nothing_to_take_over_from_oneself(world: World) -> None:
    world.deliver(FILES)
    answer = world.say("takeover")
    assert (answer.ok, answer.text) == (False, "shop is no other instance's: there is nothing to take over")


def test_a_kill_after_any_effect_of_a_takeover_is_gone_on_from(world: World) -> None:
    world.deliver(FILES)
    elsewhere(world)
    world.settle(tries=2)
    assert world.say("takeover").ok
    number = 0
    start = world.shot()
    while True:
        there = world.revived(start, world.directory / f"kill-{number}")
        there.instance = "there"
        there.restart()
        died = there.crash(number)
        there.settle()
        assert (there.holds, there.state.memory.instance) == (set(), "there"), number
        assert there.sqlite.orders(STACK) == ()
        memory = there.cluster.load_memory(STACK)
        assert memory is not None
        assert memory.instance == "there"
        there.close()
        if not died:
            assert number > 3
            return
        number += 1


# ---------------------------------------------------------------- accept-cluster


def other(world: World) -> ServerState:
    """A new and empty cluster."""
    return ServerState(cluster_uid="uid-of-another", modules=world.server.modules)


def test_another_cluster_under_a_known_name_is_not_touched_until_it_is_accepted(world: World) -> None:
    world.deliver(FILES)
    world.move(other(world))
    world.push(NEXT)
    world.settle(tries=3, sweep=True)
    assert world.holds == {"cluster"}
    (hold,) = world.state.memory.holds
    assert "uid-of-another, not uid-of-kube-system" in hold.detail
    assert "gitopsd accept-cluster default" in hold.detail
    assert (world.server.writes, world.server.memories) == ([], {})
    assert world.say("accept-cluster", stack="", cluster="default").ok
    world.settle()
    assert (world.holds, world.verdicts[-1]) == (set(), ("deploy", "good"))
    assert world.live("Deployment.apps/web/app") is not None
    assert world.server.created[UnitId.parse("Job.batch/web/migrate")] == 1, "it has to run there as well"
    assert audited(world, "accept-cluster") == [("ops", "", "uid-of-another")]


def test_the_live_revision_itself_is_deployed_as_new(world: World) -> None:
    world.deliver(FILES)
    world.move(other(world))
    world.settle(tries=2)
    assert world.say("accept-cluster", stack="", cluster="default").ok
    world.settle()
    assert world.verdicts == [("deploy", "good"), ("deploy", "good")]
    assert world.live("ConfigMap/web/settings") is not None
    assert len(world.state.memory.good) == 1


def test_a_quarantined_head_is_not_tried_there_but_the_good_revision_is(world: World) -> None:
    world.deliver(FILES)
    world.deliver(commit({"base": [space()], "apps": [job("migrate"), app(tag="pull-error")]}))
    world.move(other(world))
    world.settle(tries=2)
    assert world.say("accept-cluster", stack="", cluster="default").ok
    world.settle(sweep=True)
    assert world.holds == {"quarantined"}
    live = world.live("Deployment.apps/web/app")
    assert live is not None
    assert "pull-error" not in str(live)


def test_terraform_states_that_were_lost_with_the_cluster_are_made_anew_once_a_person_says_so(world: World) -> None:
    world.deliver(shop())
    world.move(ServerState(cluster_uid="uid-of-another"))
    world.settle(tries=2)
    assert world.say("accept-cluster", stack="", cluster="default").ok
    world.settle(tries=3)
    assert world.holds == {"blocked"}, "what is over is not held any more"
    assert "its state is gone" in world.state.memory.holds[0].detail
    answer = world.say("abandon", units=["network"])
    assert "git asks for it still, so that it is made anew" in answer.text
    world.settle()
    assert (world.holds, world.verdicts[-1]) == (set(), ("deploy", "good"))
    assert world.server.modules["network"].resources
    live = world.live("ConfigMap/web/settings")
    assert live is not None
    assert "db" in str(live["data"])


def test_a_cluster_that_is_swapped_under_a_running_daemon_is_noticed_by_the_next_look(world: World) -> None:
    world.deliver(FILES)
    world.server.cluster_uid = "uid-of-another"
    world.settle(tries=2, sweep=True)
    assert world.holds == {"cluster"}
    world.server.cluster_uid = "uid-of-kube-system"
    world.settle(sweep=True)
    assert world.holds == set()


def test_nobody_accepts_what_nobody_asks_for(world: World) -> None:
    world.deliver(FILES)
    answer = world.say("accept-cluster", stack="", cluster="default")
    assert not answer.ok
    assert "no stack waits for a cluster to be accepted" in answer.text


def test_a_kill_after_any_effect_of_a_move_is_gone_on_from(world: World) -> None:
    world.deliver(FILES)
    world.move(other(world))
    world.settle(tries=2)
    assert world.say("accept-cluster", stack="", cluster="default").ok
    number, start = 0, world.shot()
    while True:
        there = world.revived(start, world.directory / f"kill-{number}")
        died = there.crash(number)
        there.settle(sweep=True)
        assert there.holds == set(), number
        assert there.sqlite.orders(STACK) == ()
        assert there.live("Deployment.apps/web/app") is not None
        assert there.server.created[UnitId.parse("Job.batch/web/migrate")] == 1, number
        there.close()
        if not died:
            assert number > 3
            return
        number += 1


@pytest.mark.parametrize("over", ["", "elsewhere"])
def test_a_parent_is_replaced_over_the_named_instance_only(world: World, over: str) -> None:
    world.deliver(FILES)
    memory = world.state.memory
    stranger = type(memory)(STACK, "there", "main", generation=99)
    with pytest.raises(NeedsPerson):
        world.cluster.save_memory(stranger, over=over)
