"""SEMANTICS 3 and 12: commits that fail one after the other at something that none of them changed."""

from __future__ import annotations

from typing import Any

import pytest

from gitopsd.record.audit_reader import read_audit
from tests.scenarios.harness import World
from tests.scenarios.manifests import app, commit, config, space
from tests.scenarios.modules import both, code


def files(value: str, tag: str = "pull-error", replicas: int = 1, **spec: Any) -> dict[str, str]:
    base = [space(), config("settings", {"mode": value})]
    return commit({"base": base, "apps": [app(tag=tag, replicas=replicas)]}, **spec)


def mode(world: World) -> str:
    live = world.live("ConfigMap/web/settings")
    return str(live["data"]["mode"]) if live else "gone"


def flapping(world: World) -> None:
    """A good revision, and three commits after it that fail at the same Deployment."""
    world.deliver(files("good", tag="good"))
    for number in "123":
        world.deliver(files(number))


def order(world: World, command: str) -> None:
    answer = world.say(command)
    assert answer.ok, answer.text
    world.settle()


def test_the_fourth_commit_is_not_tried_until_a_person_says_so(world: World) -> None:
    flapping(world)
    assert "flapping" in world.holds
    runs = len(world.runs)
    writes = len(world.effects.writes)
    world.deliver(files("4"))
    assert (len(world.runs), mode(world)) == (runs, "good")
    assert not [w for w in world.effects.writes[writes:] if w.startswith("apply")], "nothing is applied"
    (hold,) = (h for h in world.state.memory.holds if h.reason.value == "flapping")
    assert hold.detail.startswith(
        "the last 3 deploys failed at Deployment.apps/web/app, which none of their commits changed"
    )
    assert "`gitopsd retry shop`" in hold.detail
    order(world, "retry")
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert "flapping" in world.holds, "it failed at the same again"
    holds = [e for e in read_audit(world.state_dir) if (e["action"], e["result"]) == ("hold", "flapping")]
    assert len(holds) == 2, "once each time"


def test_a_fix_is_deployed_once_a_person_says_so_and_the_next_failure_is_a_first_one(world: World) -> None:
    flapping(world)
    world.deliver(files("4", tag="good"))
    assert mode(world) == "good"
    order(world, "retry")
    assert (mode(world), world.holds, world.verdicts[-1]) == ("4", set(), ("deploy", "good"))
    world.deliver(files("5"))
    assert world.holds == {"quarantined"}


def test_a_commit_that_changes_what_fails_begins_a_new_row(world: World) -> None:
    world.deliver(files("good", tag="good"))
    for number in (1, 2, 3, 4):
        world.deliver(files(str(number), replicas=number))
    assert world.holds == {"quarantined"}


def test_going_back_in_git_rests_and_drift_is_healed_meanwhile(world: World) -> None:
    flapping(world)
    world.deliver(files("good", tag="good"))
    runs = len(world.runs)
    assert "flapping" in world.holds
    world.cluster.edit(
        next(u for u in world.server.objects if u.kind == "ConfigMap" and u.name == "settings"),
        lambda body: body["data"].update(mode="by hand"),
    )
    world.settle(sweep=True)
    assert (mode(world), world.verdicts[runs:]) == ("good", [("heal", "good")])


def test_where_nothing_is_rolled_back_nothing_flaps(world: World) -> None:
    world.deliver(files("good", tag="good", onFailure="hold"))
    for number in "1234":
        world.deliver(files(number, onFailure="hold"))
    assert (world.holds, mode(world)) == ({"failed"}, "4")


@pytest.mark.parametrize("lose_state", [False, True], ids=["restart", "lost host"])
def test_the_row_outlives_the_process(world: World, *, lose_state: bool) -> None:
    world.deliver(files("good", tag="good"))
    for number in "123":
        world.deliver(files(number))
        world.restart(lose_state=lose_state)
    world.deliver(files("4"))
    assert "flapping" in world.holds
    assert mode(world) == "good"


def test_a_module_that_fails_unchanged_flaps_too(world: World) -> None:
    def files(tag: str, size: str = "2", **broken: Any) -> dict[str, str]:
        network = code({}, db={"size": size, **broken})
        return both({"network": network}, {"apps": [space(), config("settings", {"mode": tag}), app(tag=tag)]})

    world.deliver(files("good", size="1"))
    for tag in ("one", "two", "three"):
        world.deliver(files(tag, fails="quota"))
    (hold,) = (h.detail for h in world.state.memory.holds if h.reason.value == "flapping")
    assert "failed at terraform/network" in hold


@pytest.mark.parametrize("sizes", ["222", "234"], ids=["the same each time", "another each time"])
def test_an_object_is_what_its_values_of_terraform_make_it(world: World, sizes: str) -> None:
    def files(size: str, mode: str, tag: str) -> dict[str, str]:
        network = code({"host": "db-${sim.db.size}"}, db={"size": size})
        made = app(tag=tag)
        made["spec"]["template"]["metadata"]["annotations"] = {"host": "${host}"}
        objects = {"base": [space(), config("settings", {"mode": mode})], "apps": [made]}
        return both({"network": network}, objects, {"apps": {"values": {"host": {"terraform": "network.host"}}}})

    world.deliver(files("1", "good", "good"))
    for number, size in enumerate(sizes):
        world.deliver(files(size, str(number), "pull-error"))
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert ("flapping" in world.holds) is (sizes == "222")
