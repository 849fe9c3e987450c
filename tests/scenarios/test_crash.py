"""SEMANTICS 13: after a kill at any instant the next start re-observes and re-plans, and comes to the same end.

Each story runs once undisturbed; after each of its effects (a write to the cluster, a transaction of the record, from
whatever thread) everything that would survive a `kill -9` is put aside. Then the next start is made on each of these.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gitopsd.model.ids import UnitId
from tests.scenarios.harness import Shot, World
from tests.scenarios.outcome import audit_findings, difference, outcome, written
from tests.scenarios.stories import ORDERED, STORIES, Story
from tests.support.ssa import Body


def told(world: World, story: Story) -> list[Shot]:
    """Run the story; what a kill after each of its effects would leave."""
    shots: list[Shot] = []
    story.before(world)
    shots.append(world.shot())
    world.effects.after_write = lambda _number: shots.append(world.shot())
    story.act(world)
    world.effects.after_write = lambda _number: None
    assert world.verdicts[-1] == story.ends, world.runs[-1].reason
    return shots


def others(shot: Shot) -> dict[UnitId, Body]:
    """What is not the stack's, nor made of it by a controller, before the story."""
    ours = {unit for _, unit in shot.server.writes}
    return {u: b for u, b in shot.server.objects.items() if u not in ours and not b["metadata"].get("ownerReferences")}


@pytest.mark.parametrize("story", [*STORIES, *ORDERED], ids=lambda s: s.name)
def test_a_kill_after_any_effect_changes_nothing_of_the_end(story: Story, world: World, tmp_path: Path) -> None:
    shots = told(world, story)
    wanted, written_then = outcome(world), written(world)
    own = {unit for _, unit in written_then}
    theirs = {u: b for u, b in others(shots[0]).items() if u not in own}
    wrong: list[str] = []
    for number, shot in enumerate(shots):
        revived = world.revived(shot, tmp_path / f"after-{number}")
        try:
            in_flight = {i.unit for i in revived.state.intents}
            revived.settle(sweep=story.sweep)
            found = difference(wanted, outcome(revived))
            found += [f"writes {unit}" for _, unit in written(revived) if unit not in own]
            for (verb, unit), count in written(revived).items():
                allowed = written_then[verb, unit] + (unit in in_flight)
                if count > allowed:
                    found.append(f"{count} times {verb} {unit}, {allowed} are allowed")
            found += [f"touches {u} of others" for u, b in theirs.items() if revived.server.objects.get(u) is not b]
            found += audit_findings(revived.state_dir)
        finally:
            revived.close()
        wrong += [f"killed after effect {number}, {shot.effect}: {line}" for line in found]
    assert not wrong, "\n".join(wrong)
