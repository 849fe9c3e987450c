"""SEMANTICS 4: what the environment does never quarantines and never starts a rollback; the run goes on afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from tests.scenarios.harness import Effects, Shot, World
from tests.scenarios.manifests import config
from tests.scenarios.outcome import audit_findings, difference, outcome, written
from tests.scenarios.stories import FIRST, STORIES, Story, bystanders

AWHILE = 6
"""Calls in a row that fail when something is away for a while."""

EFFECTIVE = ("apply", "delete", "patch", "save-memory", "hold-lease", "record.conclude")

TRIED = [
    s for s in STORIES if s.name in {"update with adds and removes", "failing deploy", "failing adoption", "recreate"}
]

Spoil = Callable[[Effects, int], None]


def _nothing(_effects: Effects, _number: int) -> None:
    """All goes well."""


def _unanswered(effects: Effects, number: int) -> None:
    """The request never arrives."""

    def before(call: int, verb: str, _unit: UnitId | None) -> None:
        if call == number:
            raise EnvironmentFault(f"{verb}: connection refused")

    effects.before_call = before


def _answer_lost(effects: Effects, number: int) -> None:
    """The request is served, and its answer gets lost."""

    def after(call: int, verb: str) -> None:
        if call == number:
            raise EnvironmentFault(f"{verb}: connection reset")

    effects.after_call = after


def _away_for_a_while(effects: Effects, number: int) -> None:
    def before(call: int, verb: str, _unit: UnitId | None) -> None:
        if number <= call < number + AWHILE:
            raise EnvironmentFault(f"{verb}: 503 Service Unavailable")

    effects.before_call = before


def spoiled(world: World, story: Story, start: Shot, directory: Path, *, spoil: Spoil, number: int) -> World:
    """The story from its beginning, with something amiss at one of its calls."""
    revived = world.revived(start, directory)
    spoil(revived.effects, number)
    story.act(revived)
    return revived


@pytest.mark.parametrize("story", TRIED, ids=lambda s: s.name)
def test_a_fault_at_any_call_changes_nothing_of_the_end(story: Story, world: World, tmp_path: Path) -> None:
    story.before(world)
    start = world.shot()
    calm = spoiled(world, story, start, tmp_path / "calm", spoil=_nothing, number=0)
    wanted, calls = outcome(calm), list(calm.effects.calls)
    own = {unit for _, unit in written(calm)}
    calm.close()
    tries: list[tuple[int, Spoil]] = [(number, _unanswered) for number in range(len(calls))]
    tries += [(number, _answer_lost) for number, call in enumerate(calls) if call.startswith(EFFECTIVE)]
    tries += [(number, _away_for_a_while) for number in range(0, len(calls), AWHILE - 1)]
    wrong: list[str] = []
    for place, (number, spoil) in enumerate(tries):
        tried = spoiled(world, story, start, tmp_path / f"try-{place}", spoil=spoil, number=number)
        try:
            found = difference(wanted, outcome(tried))
            found += [f"writes {unit}" for _, unit in written(tried) if unit not in own]
            found += audit_findings(tried.state_dir)
        finally:
            tried.close()
        wrong += [f"{spoil.__name__} at call {number}, {calls[number]}: {line}" for line in found]
    assert not wrong, "\n".join(wrong)


def helms(world: World) -> UnitId:
    """What a release of Helm has, under a name that the stack will ask for."""
    made = config("contested", {"a": "theirs"})
    made["metadata"] |= {
        "namespace": "web",
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "web"},
    }
    return world.cluster.make(made).id


def test_a_commit_waits_for_what_another_deployer_has_and_goes_on_when_it_is_given_up(world: World) -> None:
    bystanders(world)
    world.deliver(FIRST)
    theirs, writes = helms(world), len(world.server.writes)
    wanted = {**FIRST, "base/contested.yaml": json.dumps(config("contested", {"a": "ours"}))}
    world.push(wanted)
    world.settle(tries=2)
    assert world.holds == {"blocked"}
    assert "belongs to helm" in world.state.memory.holds[0].detail
    assert world.state.memory.quarantine == ()
    assert world.server.writes[writes:] == []
    world.cluster.drop(theirs)
    world.settle()
    assert world.verdicts[-1] == ("deploy", "good")
    assert world.holds == set()
