"""Terraform and Kubernetes in one run: SEMANTICS 5, 8, 10 and 11, on a simulated Terraform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.run import Result
from gitopsd.record.audit_reader import read_audit
from tests.scenarios.harness import World
from tests.scenarios.manifests import app, config, space
from tests.scenarios.modules import both, code, shop

NETWORK = UnitId.terraform("network")


def resources(world: World, key: str = "network") -> dict[str, dict[str, Any]]:
    return world.server.modules[key].resources


def settings(world: World) -> Any:
    live = world.live("ConfigMap/web/settings")
    assert live is not None
    return live["data"]


def test_an_output_lands_in_a_manifest_in_the_same_run(world: World) -> None:
    world.deliver(shop())
    assert world.verdicts == [("deploy", "good")]
    assert settings(world) == {"host": "db-1", "other": "${kept}"}
    world.deliver(shop(size="2"))
    assert world.verdicts == [("deploy", "good")] * 2
    assert settings(world) == {"host": "db-2", "other": "${kept}"}
    assert resources(world)["sim.db"]["size"] == "2"


def test_a_component_whose_inputs_did_not_change_is_not_started(world: World) -> None:
    world.deliver(shop())
    world.terraform.started.clear()
    world.deliver(shop(tag="better"))
    assert world.verdicts == [("deploy", "good")] * 2
    assert world.terraform.started == []


def test_a_failed_gate_brings_both_worlds_back(world: World) -> None:
    world.deliver(shop())
    world.deliver(shop(size="2", tag="pull-error"))
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert resources(world)["sim.db"]["size"] == "1"
    assert settings(world)["host"] == "db-1"
    assert world.holds == {"quarantined"}


def test_a_failed_first_deploy_destroys_what_it_made(world: World) -> None:
    world.deliver(shop(tag="pull-error"))
    assert world.verdicts == [("deploy", "failed"), ("rollback", "good")]
    assert resources(world) == {}
    assert world.live("ConfigMap/web/settings") is None
    assert NETWORK not in world.sqlite.baselines("shop")


def test_a_resource_that_fails_brings_objects_of_an_earlier_wave_back(world: World) -> None:
    def late(size: str, **instructions: str) -> dict[str, str]:
        files = {"late": code({}, one={"size": size}, two={"size": size, **instructions})}
        objects = {"base": [space(), config("settings", {"size": size})]}
        return both(files, objects, {"late": {"wave": 30}})

    world.deliver(late("1"))
    world.deliver(late("2", fails="quota of the cloud"))
    assert world.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert "quota of the cloud" in world.runs[-2].reason
    assert {r["size"] for r in resources(world, "late").values()} == {"1"}
    assert settings(world) == {"size": "1"}


def test_a_sensitive_output_reaches_a_secret_and_nothing_else(world: World) -> None:
    def commit(size: str) -> dict[str, str]:
        network = code({"password": {"value": f"hunter-{size}-${{sim.db.id}}", "sensitive": True}}, db={"size": size})
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "db"},
            "stringData": {"password": "${password}"},
        }
        uses = {"base": {"values": {"password": {"terraform": "network.password"}}}}
        return both({"network": network}, {"base": [space(), secret], "apps": [app()]}, uses)

    world.deliver(commit("1"))
    world.deliver(commit("2"))
    assert world.verdicts == [("deploy", "good")] * 2
    assert world.live("Secret/web/db") is not None
    world.close()
    kept = b"".join(path.read_bytes() for path in world.state_dir.rglob("*") if path.is_file())
    assert b"hunter" not in kept
    assert b"hunter" not in b"".join(world.server.memories.values())


def test_what_somebody_did_behind_terraforms_back_is_healed_when_it_is_due(world: World) -> None:
    world.deliver(shop())
    resources(world)["sim.db"]["size"] = "edited"
    world.server.modules["network"].serial += 1
    world.settle(sweep=True)
    assert resources(world)["sim.db"]["size"] == "edited", "not due yet"
    world.clock.seconds += 3600
    world.settle(sweep=True)
    assert resources(world)["sim.db"]["size"] == "1"
    assert world.verdicts[-1] == ("heal", "good")


def test_a_missing_output_is_named_before_the_first_effect(world: World) -> None:
    files = shop()
    files["network/main.tf.json"] = files["network/main.tf.json"].replace('"host"', '"hots"', 1)
    world.deliver(files)
    assert world.verdicts == [("deploy", "failed")]
    assert "network.host" in world.runs[-1].reason
    assert resources(world) == {}


def test_terraform_that_does_not_answer_blocks_and_blames_nobody(world: World) -> None:
    from gitopsd.model.errors import EnvironmentFault

    away = {"left": 5}

    def before(_number: int, verb: str, _unit: UnitId | None) -> None:
        if verb == "tf-plan" and away["left"]:
            away["left"] -= 1
            raise EnvironmentFault("the backend does not answer")

    world.effects.before_call = before
    world.deliver(shop())
    assert world.verdicts == [("deploy", "good")]
    assert not world.holds


def test_what_took_an_output_that_came_back_otherwise_follows(world: World) -> None:
    """A replaced resource comes back with another name: who used the old one is healed, also another module."""

    def commit(kind: str, tag: str) -> dict[str, str]:
        network = code({"host": "${sim.db.id}"}, db={"kind": kind, "frozen": ["kind"]})
        store = code({}, bucket={"owner": "${var.host}"})
        objects = {"base": [space(), config("settings", {"host": "${host}"})], "apps": [app(tag=tag)]}
        more: dict[str, dict[str, Any]] = {
            "network": {"approval": "never"},
            "store": {"wave": 20, "terraform": {"varsFrom": [{"terraform": "network.host"}]}},
            "base": {"values": {"host": {"terraform": "network.host"}}},
        }
        return both({"network": network, "store": store}, objects, more)

    world.deliver(commit("small", "good"))
    before = resources(world)["sim.db"]["id"]
    world.deliver(commit("large", "pull-error"))
    assert ("rollback", "good") in world.verdicts
    back = resources(world)["sim.db"]["id"]
    assert back != before
    assert settings(world) == {"host": back}
    assert resources(world, "store")["sim.bucket"]["owner"] == back


def test_a_run_and_its_audit_name_the_resources_that_an_apply_touched(world: World) -> None:
    def three(size: str, **two: Any) -> dict[str, str]:
        return both({"network": code({}, one={"size": size}, two={"size": size, **two})}, {"base": [space()]})

    def audited() -> list[Mapping[str, Any]]:
        return [e for e in read_audit(world.state_dir) if e["unit"] == "terraform/network"]

    world.deliver(three("1"))
    (outcome,) = (o for o in world.runs[0].outcomes if o.unit == NETWORK)
    assert [(r.address, r.action.value) for r in outcome.resources] == [
        ("sim.one", "create"), ("sim.two", "create"),
    ]  # fmt: skip
    assert audited()[-1]["detail"].endswith("created sim.one, sim.two")

    world.deliver(three("2", fails="quota"))
    failed = next(o for o in world.runs[1].outcomes if o.unit == NETWORK)
    assert failed.result is Result.REFUSED
    assert ("sim.one", "done") in {(r.address, r.end.value) for r in failed.resources}
    assert ("sim.two", "failed") in {(r.address, r.end.value) for r in failed.resources}
    (entry,) = (e for e in audited() if e["result"] == "refused")
    assert "changed sim.one" in entry["detail"]
    assert "failed to update sim.two" not in entry["detail"], "in words"
    assert "failed to change sim.two" in entry["detail"]


def test_what_an_apply_did_before_the_environment_failed_it_is_on_record_at_once(world: World) -> None:
    def two(size: str) -> dict[str, str]:
        return both({"network": code({}, one={"size": size}, two={"size": size})}, {"base": [space()]})

    world.deliver(two("1"))
    tries: list[str] = []

    def spoil(_number: int, verb: str, unit: UnitId | None) -> None:
        if verb == "tf-update" and unit == NETWORK:
            tries.append(verb)
            if len(tries) == 2:
                raise EnvironmentFault("the cloud is away")

    world.effects.before_call = spoil
    world.deliver(two("2"))
    assert world.verdicts[-1] == ("deploy", "good")
    results = [(e["result"], e["detail"]) for e in read_audit(world.state_dir) if e["unit"] == "terraform/network"]
    assert results[-2][0] == "unfinished"
    assert results[-2][1].endswith("changed sim.one; failed to change sim.two")
    assert results[-1][0] == "applied"
    outcome = next(o for o in world.runs[-1].outcomes if o.unit == NETWORK)
    assert [(r.address, r.end.value) for r in outcome.resources] == [
        ("sim.one", "done"), ("sim.two", "failed"), ("sim.two", "done"),
    ]  # fmt: skip
