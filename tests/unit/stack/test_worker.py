"""SEMANTICS 4, 11 and 12, one stack in a simulated world: what holds it, for how long, and what is only reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitopsd.model.errors import EnvironmentFault, NeedsPerson
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import HoldReason
from gitopsd.record.audit_reader import read_audit
from gitopsd.stack.drift import HEAL_AGAIN
from gitopsd.stack.worker import Rest
from tests.scenarios.harness import World
from tests.scenarios.manifests import commit, config, space

UNIT = UnitId.parse("ConfigMap/web/settings")


def files(value: str = "1", **spec: Any) -> dict[str, str]:
    return commit({"app": [space(), config("settings", {"a": value})]}, **spec)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def fail(world: World, verb: str, fault: Exception) -> Callable[[], None]:
    """Let every call of this verb fail until the answer is called."""
    broken = True

    def before(_number: int, called: str, _unit: UnitId | None) -> None:
        if broken and called == verb:
            raise fault

    def mend() -> None:
        nonlocal broken
        broken = False

    world.effects.before_call = before
    return mend


def actions(world: World) -> list[str]:
    return [entry["action"] for entry in read_audit(world.state_dir)]


AWAY = EnvironmentFault("cluster default does not answer")


def test_what_blocks_again_and_again_is_one_hold_with_one_beginning(world: World) -> None:
    head = world.push(files())
    mend = fail(world, "dry-run", AWAY)
    assert world.worker.settle(head) is Rest.RETRY
    (first,) = world.state.memory.holds
    for _ in range(5):
        world.clock.wait(30)
        assert world.worker.settle(head) is Rest.RETRY
    assert world.state.memory.holds == (first,)
    assert (first.reason, actions(world).count("hold"), actions(world).count("release")) == (HoldReason.BLOCKED, 1, 0)
    mend()
    assert world.worker.settle(head) is Rest.SETTLED
    assert (world.holds, world.verdicts) == (set(), [("deploy", "good")])
    assert actions(world).count("release") == 1


def test_another_instances_lease_is_one_hold_and_tried_again(world: World) -> None:
    head = world.push(files())
    mend = fail(world, "hold-lease", NeedsPerson("the instance 'there' is at work"))
    for _ in range(3):
        assert world.worker.settle(head) is Rest.RETRY
    assert (world.holds, actions(world).count("hold")) == ({"instance"}, 1)
    assert world.runs == []
    mend()
    assert world.worker.settle(head) is Rest.SETTLED
    assert world.holds == set()


def drifted(world: World, value: str = "by hand") -> None:
    world.cluster.edit(UNIT, lambda body: body["data"].update(a=value))


def test_drift_is_healed_and_no_longer_shown(world: World) -> None:
    world.deliver(files())
    drifted(world)
    world.settle(sweep=True)
    live = world.live("ConfigMap/web/settings")
    assert live is not None
    assert live["data"] == {"a": "1"}
    assert world.verdicts == [("deploy", "good"), ("heal", "good")]
    assert world.worker.facts.snapshot().drifted == {}


def test_drift_that_is_only_reported_is_shown_and_left_alone(world: World) -> None:
    world.deliver(files(drift="report"))
    drifted(world)
    writes = len(world.server.writes)
    for _ in range(2):
        assert world.settle(sweep=True) is Rest.SETTLED
        shown = world.worker.facts.snapshot().drifted
        assert [(str(u), d.detail) for u, d in shown.items()] == [("ConfigMap/web/settings", "data.a")]
    assert (len(world.server.writes), world.verdicts) == (writes, [("deploy", "good")])


def test_a_value_that_somebody_else_took_back_is_theirs_and_shown_as_such(world: World) -> None:
    world.deliver(files(drift="report"))
    drifted(world)
    world.settle(sweep=True)
    drifted(world, "1")
    world.settle(sweep=True)
    (shown,) = world.worker.facts.snapshot().drifted.values()
    assert shown.detail == "its fields are owned by others"


def test_reported_drift_is_written_over_by_the_next_commit(world: World) -> None:
    world.deliver(files(drift="report"))
    drifted(world)
    world.settle(sweep=True)
    world.deliver(commit({"app": [space(), config("settings", {"a": "1"}), config("more", {})]}, drift="report"))
    live = world.live("ConfigMap/web/settings")
    assert live is not None
    assert live["data"] == {"a": "1"}
    assert world.worker.facts.snapshot().drifted == {}


def test_what_cannot_be_healed_is_shown_and_looked_at_again(world: World) -> None:
    world.deliver(files())
    drifted(world)
    world.cluster.edit(UNIT, lambda body: body.update(immutable=True))
    assert world.settle(sweep=True) is Rest.SETTLED
    assert 0 < world.worker.vigil.due_in() <= HEAL_AGAIN
    (drift,) = world.worker.facts.snapshot().drifted.values()
    assert drift.detail.startswith("cannot be healed: ")
    assert world.verdicts == [("deploy", "good")]
    assert world.holds == set(), "a commit may well be delivered"
    world.cluster.drop(UNIT)
    assert world.settle(sweep=True) is Rest.SETTLED
    assert world.worker.facts.snapshot().drifted == {}


def test_what_cannot_be_healed_keeps_nothing_else_from_being_healed(world: World) -> None:
    world.deliver(commit({"app": [space(), config("settings", {"a": "1"}), config("more", {"a": "1"})]}))
    more = UnitId.parse("ConfigMap/web/more")
    for unit in (UNIT, more):
        world.cluster.edit(unit, lambda body: body["data"].update(a="edited"))
    world.cluster.edit(UNIT, lambda body: body.update(immutable=True))
    world.worker.settle(world.source.fetch(), sweep=True)
    live = world.live("ConfigMap/web/more")
    assert live is not None
    assert live["data"] == {"a": "1"}
    ((unit, drift),) = world.worker.facts.snapshot().drifted.items()
    assert unit == UNIT
    assert drift.detail.startswith("cannot be healed: ")


def test_what_is_on_its_way_out_keeps_nothing_else_from_being_healed(world: World) -> None:
    world.deliver(commit({"app": [space(), config("settings", {"a": "1"}), config("more", {"a": "1"})]}))
    more = UnitId.parse("ConfigMap/web/more")
    world.cluster.edit(more, lambda body: body["data"].update(a="edited"))
    world.cluster.edit(UNIT, lambda body: body["metadata"].update(finalizers=["example.org/hold"]))
    world.cluster.drop(UNIT)
    world.settle(sweep=True)
    live = world.live("ConfigMap/web/more")
    assert live is not None
    assert live["data"] == {"a": "1"}
    ((unit, drift),) = world.worker.facts.snapshot().drifted.items()
    assert unit == UNIT
    assert "being deleted" in drift.detail
    assert world.holds == set()


def test_a_commit_that_cannot_be_read_holds_and_the_next_one_releases(world: World) -> None:
    world.deliver(files())
    broken = world.push({**files("2"), "gitopsd.yaml": "kind: Nothing\n"})
    assert world.worker.settle(broken) is Rest.SETTLED
    assert world.holds == {"source"}
    world.deliver(files("3"))
    assert (world.holds, len(world.runs)) == (set(), 2)


def test_a_source_that_is_away_stays_a_hold_while_drift_is_healed(world: World) -> None:
    head = world.deliver(files())
    drifted(world)
    world.worker.trouble("git.example does not answer")
    assert world.worker.settle(head, sweep=True) is Rest.SETTLED
    assert world.verdicts[-1] == ("heal", "good")
    assert world.holds == {"source"}
    world.worker.trouble("")
    world.worker.settle(head)
    assert world.holds == set()


def test_a_good_commit_that_is_in_no_mirror_any_more_does_not_stop_the_next(world: World) -> None:
    first = world.deliver(files())
    has = world.source.has

    def lost(commit: str) -> bool:
        return commit != first and has(commit)

    world.source.has = lost  # type: ignore[method-assign]
    head = world.push(files("2"))
    assert world.worker.settle(head, sweep=True) is Rest.SETTLED
    assert world.verdicts == [("deploy", "good"), ("deploy", "good")]


def test_a_stop_is_no_rest(world: World) -> None:
    head = world.push(files())
    world.attention.stop()
    assert world.worker.settle(head) is Rest.STOPPED
    assert world.verdicts in ([("deploy", "superseded")], [("deploy", "good")])
