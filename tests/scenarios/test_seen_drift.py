"""DESIGN 5, SEMANTICS 11: what people are shown of drift, from the edit of a field to status, why and blame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitopsd.model.ids import UnitId
from gitopsd.model.status import DaemonInfo
from gitopsd.views.status import status_document
from tests.scenarios.harness import World
from tests.scenarios.manifests import commit, config, space
from tests.scenarios.modules import both, code

SETTINGS = UnitId.parse("ConfigMap/web/settings")
NETWORK = UnitId.terraform("network")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def stack(world: World) -> Any:
    (found,) = status_document(DaemonInfo(True), [world.worker.facts.snapshot()])["stacks"]
    return found


def files(**spec: Any) -> dict[str, str]:
    return commit({"app": [space(), config("settings", {"a": "1"})]}, **spec)


def edit(world: World, **data: str) -> None:
    world.cluster.edit(SETTINGS, lambda body: body["data"].update(data))


def test_reported_drift_has_fields_old_and_new_and_who_and_when(world: World) -> None:
    world.deliver(files(drift="report"))
    edit(world, a="by hand", b="more")
    world.settle(sweep=True)
    shown = stack(world)
    (drift,) = shown["drift"]
    assert (drift["unit"], drift["detail"], drift["contested"]) == (str(SETTINGS), "data.a", "")
    assert [(f["path"], f["before"], f["after"]) for f in drift["fields"]] == [("data.a", "by hand", "1")]
    (writer,) = drift["managers"]
    assert (writer["name"], bool(writer["at"])) == ("kubectl-edit", True)
    assert [(a["manager"], a["fields"]) for a in shown["additions"]] == [("kubectl-edit", ["data.b"])]
    assert shown["onlyReported"]


def test_a_healed_unit_keeps_what_others_have_added_and_shows_no_drift(world: World) -> None:
    world.deliver(files())
    edit(world, a="by hand", b="more")
    world.settle(sweep=True)
    shown = stack(world)
    assert (shown["drift"], shown["onlyReported"]) == ([], False)
    assert [(a["manager"], a["fields"]) for a in shown["additions"]] == [("kubectl-edit", ["data.b"])]
    live = world.live(str(SETTINGS))
    assert live is not None
    assert live["data"] == {"a": "1", "b": "more"}


def test_what_is_written_again_and_again_is_shown_with_its_fields_while_it_waits(world: World) -> None:
    world.deliver(files())
    for number in range(3):
        edit(world, a=f"by hand {number}")
        world.settle(sweep=True)
    (drift,) = stack(world)["drift"]
    assert drift["detail"].startswith("written again since it was mended: data.a")
    assert [f["path"] for f in drift["fields"]] == ["data.a"]


def test_drift_of_terraform_is_shown_by_attribute_also_while_it_waits_for_a_person(world: World) -> None:
    network = code({}, db={"kind": "small", "size": "1", "frozen": ["kind"]})
    world.deliver(both({"network": network}, {"base": [space()]}))
    resources = world.server.modules["network"].resources
    resources["sim.db"]["kind"] = "edited"
    world.server.modules["network"].serial += 1
    world.clock.seconds += 3600
    world.settle(sweep=True)
    shown = stack(world)
    assert len(shown["asks"]) == 1, "what replaces a resource needs a person"
    (drift,) = shown["drift"]
    assert drift["unit"] == str(NETWORK)
    assert [(f["path"], f["before"], f["after"]) for f in drift["fields"]] == [("sim.db.kind", "edited", "small")]
    assert drift["detail"] == "sim.db.kind; what mends it waits for approval"
