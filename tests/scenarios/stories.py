"""The stories that crashes, faults and losses are tried on: what was there before, and what happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.ids import UnitId
from tests.scenarios.harness import APPLYSET, STACK, World
from tests.scenarios.manifests import app, commit, config, definition, job, space, widget
from tests.scenarios.modules import code, shop
from tests.support.ssa import Body

Files = Mapping[str, str]


@dataclass(frozen=True)
class Story:
    """`before` leads to a stack at rest; `act` is what is disturbed. `ends` is what the last run must be; "" for any.

    A process that starts after `act` finds the newest commit and does what `act` did last: settle, with `sweep`.
    """

    name: str
    before: Callable[[World], None]
    act: Callable[[World], None]
    ends: tuple[str, str]
    sweep: bool = False


def bystanders(world: World) -> None:
    """What others have, also under the stack's label, which alone proves nothing."""
    world.cluster.make(space("other"))
    for name, labels in (("theirs", {}), ("copied-label", {PART_OF_LABEL: APPLYSET})):
        made = config(name, {"a": "1"})
        made["metadata"] |= {"namespace": "other", "labels": labels}
        world.cluster.make(made)
    world.cluster.tick()


def foreign(world: World, name: str = "foreign", **data: str) -> UnitId:
    """A ConfigMap of somebody else in the stack's own namespace."""
    made = config(name, data or {"a": "theirs"})
    made["metadata"]["namespace"] = "web"
    return world.cluster.make(made).id


def _nothing(world: World) -> None:
    bystanders(world)


def _deployed(files: Files) -> Callable[[World], None]:
    def before(world: World) -> None:
        bystanders(world)
        world.deliver(files)
        foreign(world)
        assert world.verdicts == [("deploy", "good")]

    return before


def _push(files: Files) -> Callable[[World], None]:
    def act(world: World) -> None:
        world.deliver(files)

    return act


def _sweep(world: World) -> None:
    world.settle(sweep=True)


BASE = [space(), config("settings", {"mode": "old"}), config("leaving", {"a": "1"})]
FIRST = commit({"base": BASE, "apps": [app(), app("second")]})

SEVERAL_WAVES = commit(
    {
        "base": [space(), definition(), config("settings", {"mode": "old"})],
        "data": [widget("one"), job()],
        "apps": [app(), app("second", tag="slow")],
    }
)
UPDATE = commit(
    {
        "base": [space(), config("settings", {"mode": "new"}), config("added", {"b": "2"})],
        "apps": [app(tag="better"), app("third")],
    }
)
BROKEN = commit(
    {
        "base": [space(), config("settings", {"mode": "new"}), config("added", {"b": "2"})],
        "apps": [app(tag="pull-error"), app("third")],
    }
)
BROKEN_FIRST = commit(
    {
        "base": [space(), definition(), config("settings", {"mode": "old"})],
        "apps": [widget("one"), app(tag="pull-error")],
    }
)
PRUNED = commit({"base": [space(), config("settings", {"mode": "old"})], "apps": [app()]})
STUCK = commit(
    {
        "base": [
            space(),
            config("settings", {"mode": "half"}),
            config("leaving", {"a": "1"}),
            config("half", {"h": "1"}),
        ],
        "apps": [app(tag="never-ready"), app("second")],
    }
)
ADOPTING = commit({"base": [*BASE, config("foreign", {"a": "ours", "more": "yes"})], "apps": [app(), app("second")]})
ADOPTING_BROKEN = commit(
    {
        "base": [*BASE, config("foreign", {"a": "ours", "more": "yes"})],
        "apps": [app(tag="pull-error"), app("second")],
    }
)
RECREATED = commit({"base": BASE, "apps": [app(label="another", recreate="true"), app("second")]})
WITH_JOB = commit({"base": BASE, "jobs": [job()], "apps": [app(), app("second")]})
WITH_NEXT_JOB = commit({"base": BASE, "jobs": [job(tag="2")], "apps": [app(tag="better"), app("second")]})
WITH_BAD_JOB = commit({"base": BASE, "jobs": [job(tag="job-fails")], "apps": [app(tag="better"), app("second")]})


def _superseded(world: World) -> None:
    """B is half applied when C comes, which fails: everything of both is undone."""
    half = UnitId.parse("ConfigMap/web/half")

    def supersede() -> None:
        world.push(BROKEN)

    world.when(lambda: half in world.server.objects, supersede)
    world.deliver(STUCK)


def _superseded_shop(world: World) -> None:
    """A larger database is there when a commit comes that makes it larger still, adds one, and fails."""
    larger = shop(size="2", tag="never-ready")
    broken = shop(size="3", tag="pull-error")
    broken["network/main.tf.json"] = json.dumps(
        code({"host": "db-${sim.db.size}"}, db={"size": "3", "kind": "small"}, added={"size": "1"})
    )

    def supersede() -> None:
        world.push(broken)

    world.when(lambda: world.server.modules["network"].resources["sim.db"]["size"] == "2", supersede)
    world.deliver(larger)


def _drift(world: World) -> None:
    _deployed(FIRST)(world)
    _sweep(world)

    def change(body: Body) -> None:
        body["data"]["mode"] = "by hand"

    world.cluster.edit(UnitId.parse("ConfigMap/web/settings"), change)
    world.cluster.drop(UnitId.parse("Deployment.apps/web/second"))
    world.cluster.tick()


STORIES = (
    Story("first deploy over several waves", _nothing, _push(SEVERAL_WAVES), ("deploy", "good")),
    Story("update with adds and removes", _deployed(FIRST), _push(UPDATE), ("deploy", "good")),
    Story("failing deploy", _deployed(FIRST), _push(BROKEN), ("rollback", "good")),
    Story("failing first deploy", _nothing, _push(BROKEN_FIRST), ("rollback", "good")),
    Story("superseded, then failed", _deployed(FIRST), _superseded, ("rollback", "good")),
    Story("prune", _deployed(FIRST), _push(PRUNED), ("deploy", "good")),
    Story("adoption", _deployed(FIRST), _push(ADOPTING), ("deploy", "good")),
    Story("failing adoption", _deployed(FIRST), _push(ADOPTING_BROKEN), ("rollback", "good")),
    Story("recreate", _deployed(FIRST), _push(RECREATED), ("deploy", "good")),
    Story("job", _deployed(FIRST), _push(WITH_JOB), ("deploy", "good")),
    Story("job with another template", _deployed(WITH_JOB), _push(WITH_NEXT_JOB), ("deploy", "good")),
    Story("failing job", _deployed(WITH_JOB), _push(WITH_BAD_JOB), ("rollback", "good")),
    Story("heal of drift", _drift, _sweep, ("heal", "good"), sweep=True),
    Story("first deploy of both worlds", _nothing, _push(shop()), ("deploy", "good")),
    Story("update of both worlds", _deployed(shop()), _push(shop(size="2")), ("deploy", "good")),
    Story("failing both worlds", _deployed(shop()), _push(shop(size="2", tag="pull-error")), ("rollback", "good")),
    Story("failing first deploy of both worlds", _nothing, _push(shop(tag="pull-error")), ("rollback", "good")),
    Story("superseded in both worlds", _deployed(shop()), _superseded_shop, ("rollback", "good")),
)


def _ordered(command: str, *deliveries: Files, **arguments: Any) -> Callable[[World], None]:
    """A stack at rest after these deliveries, with an order on record that it has not heard of yet."""

    def before(world: World) -> None:
        bystanders(world)
        for number, files in enumerate(deliveries):
            world.deliver(files)
            if not number:
                foreign(world)
        _order(world, command, **arguments)

    return before


def _order(world: World, command: str, **arguments: Any) -> None:
    answer = world.say(command, "a story", **arguments)
    assert answer.ok, answer.text


def _resumed(world: World) -> None:
    _ordered("rollback", FIRST, UPDATE)(world)
    world.settle()
    _order(world, "resume")


def _settle(world: World) -> None:
    world.settle()


MANY = commit({"base": [space(), *(config(f"many-{n}", {"a": "1"}) for n in range(8))], "apps": [app()]})
FEW = commit({"base": [space()], "apps": [app()]})

ORDERED = (
    Story("going back", _ordered("rollback", FIRST, UPDATE), _settle, ("rollback", "good")),
    Story("going on from an older revision", _resumed, _settle, ("deploy", "good")),
    Story("suspended", _ordered("suspend", FIRST), _push(UPDATE), ("deploy", "good")),
    Story("tried again", _ordered("retry", FIRST, BROKEN), _settle, ("rollback", "good")),
    Story("destroyed", _ordered("destroy", FIRST, confirm=STACK), _settle, ("deploy", "good")),
    Story("allowed", _ordered("approve", MANY, FEW), _settle, ("deploy", "good")),
    Story("rejected", _ordered("reject", MANY, FEW), _settle, ("deploy", "failed")),
)
"""Orders and answers of people: on record when the story begins, carried out in it."""
