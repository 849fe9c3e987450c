"""SEMANTICS 13: a lost state directory is rebuilt from the parent without a write to any object."""

from __future__ import annotations

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Baseline
from gitopsd.model.run import Verdict
from tests.scenarios.harness import STACK, World
from tests.scenarios.manifests import app, commit, config, definition, job, space
from tests.scenarios.modules import both, code
from tests.scenarios.outcome import audit_findings, difference, members, outcome
from tests.scenarios.stories import STORIES, Story


def known(baselines: dict[object, Baseline]) -> dict[str, str]:
    return {str(unit): base.digest for unit, base in baselines.items()}


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.name)
def test_a_lost_state_directory_costs_no_write(story: Story, world: World) -> None:
    story.before(world)
    story.act(world)
    wanted, objects = outcome(world), dict(world.server.objects)
    writes = len(world.server.writes)
    world.restart(lose_state=True)
    world.settle(sweep=True)
    world.settle(sweep=True)
    assert world.server.writes[writes:] == []
    assert world.server.objects == objects
    assert {u for u in world.sqlite.baselines(STACK) if not u.is_terraform} == members(world)
    found = difference(wanted, outcome(world))
    assert not [line for line in found if not line.startswith("inventory")], found
    assert [line for line in found if "False" in line] == []
    assert audit_findings(world.state_dir) == []


def test_afterwards_an_unchanged_commit_makes_no_run_and_the_next_change_only_what_changed(world: World) -> None:
    story = STORIES[1]
    story.before(world)
    world.restart(lose_state=True)
    world.settle()
    runs, writes = len(world.runs), len(world.server.writes)
    world.settle(sweep=True)
    assert len(world.runs) == runs
    story.act(world)
    assert world.verdicts[-1] == ("deploy", "good")
    touched = {str(unit) for _, unit in world.server.writes[writes:]}
    assert touched == {
        "ConfigMap/web/settings",
        "ConfigMap/web/added",
        "ConfigMap/web/leaving",
        "Deployment.apps/web/app",
        "Deployment.apps/web/second",
        "Deployment.apps/web/third",
    }


def test_a_deletion_that_waited_is_still_listed(world: World) -> None:
    world.deliver(commit({"base": [space(), definition(), config("settings", {})], "apps": [app()]}))
    world.deliver(commit({"base": [space(), config("settings", {})], "apps": [app()]}))
    waiting = [str(p.unit) for p in world.state.postponed]
    assert waiting == ["CustomResourceDefinition.apiextensions.k8s.io/widgets.example.org"]
    world.restart(lose_state=True)
    world.settle(sweep=True)
    assert [str(p.unit) for p in world.state.postponed] == waiting
    assert all(p.since for p in world.state.postponed)


def test_a_parent_that_somebody_deleted_is_written_anew_so_that_a_lost_host_still_finds_it(world: World) -> None:
    world.deliver(commit({"apps": [space(), app()]}))
    good, writes = world.state.memory.good, len(world.server.writes)
    del world.server.memories[STACK]
    world.settle(sweep=True)
    assert world.verdicts == [("deploy", "good")]
    world.restart(lose_state=True)
    world.settle()
    assert world.state.memory.good == good
    assert world.server.writes[writes:] == []


def test_what_is_missing_when_the_state_directory_is_lost_comes_back(world: World) -> None:
    world.deliver(commit({"base": [space(), config("settings", {"a": "b"})], "apps": [app(), job("migrate")]}))
    world.server.objects.pop(UnitId.parse("Job.batch/web/migrate"))  # finished, and gone by its TTL
    world.restart(lose_state=True)
    del world.server.objects[UnitId.parse("ConfigMap/web/settings")]
    world.settle(sweep=True)
    assert world.live("ConfigMap/web/settings") is not None
    assert world.live("Job.batch/web/migrate") is None
    assert world.verdicts == [("heal", "good")]
    world.settle(sweep=True)
    assert len(world.runs) == 1


def test_a_consumer_of_a_sensitive_output_needs_no_write_after_a_lost_state_directory(world: World) -> None:
    network = code({"password": {"value": "s3cret", "sensitive": True}}, db={"size": "1"})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"p": "${password}"}}
    more = {"base": {"values": {"password": {"terraform": "network.password"}}}}
    world.deliver(both({"network": network}, {"base": [space(), secret]}, more))
    assert world.verdicts == [("deploy", "good")]
    writes = len(world.server.writes)
    world.restart(lose_state=True)
    world.settle(sweep=True)
    world.settle(sweep=True)
    assert (world.server.writes[writes:], world.holds) == ([], set())
    assert not [run for run in world.runs if run.verdict is not Verdict.GOOD]
    del world.server.objects[UnitId.parse("Secret/web/db")]
    world.settle(sweep=True)
    assert world.live("Secret/web/db") is not None
