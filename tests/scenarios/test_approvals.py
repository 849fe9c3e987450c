"""What Terraform would take away waits for a person: SEMANTICS 5 and 10."""

from __future__ import annotations

import json
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.memory import HoldReason
from gitopsd.model.orders import Grant
from tests.scenarios.harness import STACK, World
from tests.scenarios.manifests import app, config, space
from tests.scenarios.modules import both, code, shop

HOUR = 3600.0


def resources(world: World, key: str = "network") -> dict[str, dict[str, Any]]:
    return world.server.modules[key].resources


def asked(world: World) -> list[str]:
    return [q.approval.digest for q in world.state.questions]


def answer(world: World, *, allowed: bool) -> None:
    """A person answers all that is asked, and the stack hears of it."""
    for digest in asked(world):
        world.record.grant(STACK, Grant(digest, allowed, "ops", "2030-01-01T00:00:00.000Z"))
    world.settle()


def test_a_replacement_waits_and_exactly_it_is_applied_once_allowed(world: World) -> None:
    world.deliver(shop())
    before = resources(world)["sim.db"]
    world.deliver(shop(kind="large"))
    assert world.holds == {"approval"}
    assert resources(world)["sim.db"] == before
    (question,) = world.state.questions
    assert question.approval.details == ("replace sim.db",)
    answer(world, allowed=True)
    assert world.verdicts[-1] == ("deploy", "good")
    assert resources(world)["sim.db"]["kind"] == "large"
    assert resources(world)["sim.db"]["id"] != before["id"]
    assert not world.holds
    assert not asked(world)


def test_an_unrelated_newer_commit_keeps_the_question_and_its_answer(world: World) -> None:
    world.deliver(shop())
    world.deliver(shop(kind="large"))
    first = asked(world)
    world.deliver(shop(kind="large", tag="better"))
    assert asked(world) == first
    answer(world, allowed=True)
    assert world.verdicts[-1] == ("deploy", "good")
    assert resources(world)["sim.db"]["kind"] == "large"


def test_a_state_that_moved_in_between_asks_anew(world: World) -> None:
    world.deliver(shop())
    world.deliver(shop(kind="large"))
    first = asked(world)
    resources(world)["sim.db"]["size"] = "by another run"
    world.server.modules["network"].serial += 1
    answer(world, allowed=True)
    assert world.holds == {"approval"}
    assert asked(world)
    assert asked(world) != first
    assert resources(world)["sim.db"]["kind"] == "small"
    answer(world, allowed=True)
    assert resources(world)["sim.db"]["kind"] == "large"


def test_a_no_quarantines_and_nothing_was_touched(world: World) -> None:
    world.deliver(shop())
    world.deliver(shop(kind="large", size="2"))
    answer(world, allowed=False)
    assert world.verdicts[-1] == ("deploy", "failed")
    assert "rejected" in world.runs[-1].reason
    assert world.holds == {"quarantined"}
    assert resources(world)["sim.db"]["size"] == "1"


def test_nobody_answering_in_time_fails_the_commit(world: World) -> None:
    world.deliver(shop())
    world.deliver(shop(kind="large"))
    world.clock.seconds += HOUR + 1
    world.settle()
    assert world.verdicts[-1] == ("deploy", "failed")
    assert "nobody" in world.runs[-1].reason
    assert world.holds == {"quarantined"}


def test_a_component_that_vanished_is_destroyed_once_allowed(world: World) -> None:
    world.deliver(shop())
    objects = {"base": [space(), config("settings", {"host": "none"})], "apps": [app()]}
    world.deliver(both({}, objects))
    assert world.holds == {"approval"}
    assert resources(world)
    answer(world, allowed=True)
    assert world.verdicts[-1] == ("deploy", "good")
    assert resources(world) == {}
    assert UnitId.terraform("network") not in world.sqlite.baselines(STACK)


def test_a_component_that_vanished_may_be_abandoned_with_its_state(world: World) -> None:
    world.deliver(shop())
    before = resources(world)
    objects = {"base": [space(), config("settings", {"host": "none"})], "apps": [app()]}
    world.deliver(both({}, objects))
    assert world.holds == {"approval"}
    assert world.say("abandon", units=["network"]).ok
    world.settle()
    assert (world.verdicts[-1], world.holds) == (("deploy", "good"), set())
    assert resources(world) == before
    assert UnitId.terraform("network") not in world.sqlite.baselines(STACK)
    assert world.state.memory.modules == ()
    assert world.terraform.kept is None
    world.settle(sweep=True)
    assert world.terraform.kept == frozenset()


def test_a_component_whose_code_is_lost_waits_until_it_is_abandoned(world: World) -> None:
    world.deliver(shop())
    first = world.state.memory.good[0].commit
    objects = {"base": [space(), config("settings", {"host": "none"})], "apps": [app()]}
    world.source.empty(first)
    world.deliver(both({}, objects))
    assert "gitopsd abandon shop network" in world.state.postponed[0].reason
    assert world.say("abandon", units=["terraform/network"]).ok
    world.settle()
    assert world.state.postponed == ()
    assert UnitId.terraform("network") not in world.sqlite.baselines(STACK)


def test_a_renamed_component_asks_for_its_state_key_and_goes_on_with_it(world: World) -> None:
    network = code({}, db={"size": "1"})
    world.deliver(both({"network": network}, {"base": [space()]}))
    before = resources(world)["sim.db"]
    renamed = both({"network": network}, {"base": [space()]})
    renamed["gitopsd.yaml"] = renamed["gitopsd.yaml"].replace("name: network", "name: backbone")
    world.deliver(renamed)
    assert world.verdicts[-1] == ("deploy", "failed")
    assert "stateKey: network" in world.runs[-1].reason
    kept = dict(renamed)
    kept["gitopsd.yaml"] = kept["gitopsd.yaml"].replace("path: network", "path: network\n      stateKey: network")
    world.deliver(kept)
    assert world.verdicts[-1] == ("deploy", "good"), world.runs[-1].reason
    assert resources(world)["sim.db"] == before
    assert {u.name for u in world.sqlite.baselines(STACK) if u.is_terraform} == {"backbone"}


def test_what_the_failed_run_made_goes_without_asking(world: World) -> None:
    world.deliver(shop())
    world.deliver(shop(size="2", tag="never-ready") | {"network/main.tf.json": _with_added()})
    world.settle(tries=1)
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert set(resources(world)) == {"sim.db"}


def _with_added() -> str:
    body = code({"host": "db-${sim.db.size}"}, db={"size": "2", "kind": "small"}, added={"size": "1"})
    return json.dumps(body)


def test_a_rollback_that_would_replace_waits_for_a_person_while_the_rest_is_back(world: World) -> None:
    world.deliver(shop())
    network = code({"host": "db-${sim.db.size}"}, db={"size": "2", "kind": "small"}, found={"size": "1"})
    files = shop(size="2", tag="never-ready") | {"network/main.tf.json": json.dumps(network)}

    def import_it() -> None:
        resources(world)["sim.found"] = {"size": "1", "id": "older-than-us"}

    import_it()
    world.server.modules["network"].serial += 1
    world.deliver(files)
    assert ("deploy", "failed") in world.verdicts
    assert world.verdicts[-1] == ("rollback", "held")
    assert HoldReason.APPROVAL.value in world.holds
    live = world.live("Deployment.apps/web/app")
    assert live is not None
    assert live["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":good")
    assert "sim.found" in resources(world)
    answer(world, allowed=True)
    assert world.verdicts[-1] == ("rollback", "good")
    assert set(resources(world)) == {"sim.db"}
    assert world.holds == {"quarantined"}
