"""SEMANTICS 6: Secrets of a sealed-secrets controller are taken over so that they stay when everything of it goes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitopsd.model.ids import UnitId
from gitopsd.record.audit_reader import read_audit
from gitopsd.stack.worker import Rest
from tests.scenarios.harness import World
from tests.scenarios.manifests import app, commit, config, space
from tests.scenarios.outcome import audit_findings, difference, members, outcome, written
from tests.scenarios.stories import Story, bystanders
from tests.scenarios.test_crash import others, told
from tests.support.seals import bring_key, sealed

DB, THEIRS = UnitId.parse("Secret/web/db"), UnitId.parse("SealedSecret.bitnami.com/web/db")
SEALED = sealed("db", {"password": "s3cret"}, template={"metadata": {"labels": {"app": "shop"}}})
CONTROLLER = "controller"


def files(*secrets: dict[str, Any], adopt: bool = False, mode: str = "1", tag: str = "good") -> dict[str, str]:
    made = commit({"base": [space(), config("settings", {"mode": mode}), *secrets], "apps": [app(tag=tag)]})
    if adopt:
        stack = yaml.safe_load(made["gitopsd.yaml"])
        stack["spec"]["components"][0]["adopt"] = ["sealed-secrets"]
        made["gitopsd.yaml"] = yaml.safe_dump(stack)
    return made


def controlled(world: World, value: str = "s3cret") -> None:
    """What the controller has in a namespace: the SealedSecret that somebody applied, and the Secret that it made."""
    owner = world.cluster.make(SEALED).uid
    reference = {**{k: SEALED[k] for k in ("apiVersion", "kind")}, "name": "db", "uid": owner, "controller": True}
    world.cluster.make(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "db",
                "namespace": "web",
                "labels": {"app": "shop"},
                "ownerReferences": [reference],
            },
            "type": "Opaque",
            "data": {"password": base64.b64encode(value.encode()).decode()},
        },
        CONTROLLER,
    )


def left_behind(world: World) -> None:
    """The last step: the SealedSecrets go, and the collector looks for what belonged to them."""
    world.cluster.drop(THEIRS)
    world.cluster.tick()


def before(world: World) -> None:
    bring_key(world.key_dir)
    bystanders(world)
    world.deliver(files())
    controlled(world)
    world.cluster.tick()


@pytest.fixture
def taken_on(world: World) -> World:
    before(world)
    return world


def live(world: World) -> Mapping[str, Any]:
    found = world.server.objects.get(DB)
    assert found is not None, "the Secret is gone"
    return found


def owners(world: World) -> Any:
    return live(world)["metadata"].get("ownerReferences", [])


def test_it_is_the_same_secret_and_nobody_owns_it(taken_on: World) -> None:
    was = live(taken_on)
    owner = was["metadata"]["ownerReferences"][0]["uid"]
    taken_on.deliver(files(SEALED, adopt=True))
    assert taken_on.verdicts[-1] == ("deploy", "good")
    now = live(taken_on)
    assert (now["metadata"]["uid"], now["data"]) == (was["metadata"]["uid"], was["data"])
    assert owners(taken_on) == []
    (entry,) = [e for e in read_audit(taken_on.state_dir) if e["unit"] == str(DB) and e["action"] == "adopt"]
    assert (entry["before"], entry["result"]) == (owner, "applied")
    assert "adopted from SealedSecret web/db" in entry["detail"]
    left_behind(taken_on)
    assert live(taken_on) == now
    assert DB in members(taken_on)


def test_a_secret_that_is_not_adopted_goes_with_its_sealed_secret(taken_on: World) -> None:
    """What the others guard against; the collector here does what the real one does."""
    left_behind(taken_on)
    assert DB not in taken_on.server.objects


def test_the_plan_names_the_controller(taken_on: World) -> None:
    taken_on.deliver(files(SEALED, adopt=True))
    plan = taken_on.runs[-1].plan
    assert plan is not None
    (change,) = [c for c in plan.changes() if c.unit == DB]
    assert (change.action.value, change.adopted_from) == ("adopt", "sealed-secrets (SealedSecret web/db)")


def test_without_leave_it_waits_with_the_words_to_write_and_touches_nothing(taken_on: World) -> None:
    was, writes = live(taken_on), len(taken_on.server.writes)
    taken_on.push(files(SEALED, mode="2"))
    taken_on.settle(tries=2)
    assert taken_on.holds == {"blocked"}
    (hold,) = taken_on.state.memory.holds
    assert "base/sealedsecret-db.yaml:1" in hold.detail
    assert "add `adopt: [sealed-secrets]` to component base" in hold.detail
    assert (live(taken_on), taken_on.server.writes[writes:]) == (was, [])
    assert taken_on.state.memory.quarantine == ()
    taken_on.deliver(files(SEALED, adopt=True))
    assert (taken_on.holds, owners(taken_on)) == (set(), [])


def test_what_failed_after_the_adoption_gives_the_secret_back_and_says_what_it_cannot(taken_on: World) -> None:
    value = live(taken_on)["data"]
    taken_on.deliver(files(SEALED, adopt=True, tag="pull-error"))
    assert taken_on.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert DB not in members(taken_on)
    assert (live(taken_on)["data"], owners(taken_on)) == (value, [])
    (outcome_of,) = [o for o in taken_on.runs[-1].outcomes if o.unit == DB]
    assert "SealedSecret web/db does not own it any more" in outcome_of.detail


def test_a_controller_that_takes_it_back_loses_it_again_at_the_next_look(taken_on: World) -> None:
    """It does so with Secrets that are annotated as managed, whenever somebody changes their SealedSecret."""
    taken_on.deliver(files(SEALED, adopt=True))
    reference = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "db", "controller": True}
    owner = taken_on.server.objects[THEIRS]["metadata"]["uid"]
    taken_on.cluster.edit(
        DB, lambda body: body["metadata"].update(ownerReferences=[{**reference, "uid": owner}]), CONTROLLER
    )
    assert taken_on.settle(sweep=True) is Rest.SETTLED
    assert (taken_on.verdicts[-1], owners(taken_on)) == (("heal", "good"), [])
    left_behind(taken_on)
    assert DB in members(taken_on)


STORIES = (
    Story("adoption", before, lambda world: _push(world, "good"), ("deploy", "good")),
    Story("failing adoption", before, lambda world: _push(world, "pull-error"), ("rollback", "good")),
)


def _push(world: World, tag: str) -> None:
    world.deliver(files(SEALED, adopt=True, mode="2", tag=tag))


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.name)
def test_a_kill_after_any_effect_leaves_no_secret_with_its_former_owner(
    story: Story, world: World, tmp_path: Path
) -> None:
    """Above all after our marks are on it, and before the reference is off."""
    shots = told(world, story)
    between = [s for s in shots if _marked(s.server.objects) and s.server.objects[DB]["metadata"]["ownerReferences"]]
    assert between, "there is a moment between the two writes"
    wanted, written_then = outcome(world), written(world)
    theirs = others(shots[0])
    wrong: list[str] = []
    for number, shot in enumerate(shots):
        revived = world.revived(shot, tmp_path / f"after-{number}")
        try:
            bring_key(revived.key_dir)
            in_flight = {i.unit for i in revived.state.intents}
            revived.settle()
            found = difference(wanted, outcome(revived))
            for (verb, unit), count in written(revived).items():
                if count > written_then[verb, unit] + (unit in in_flight):
                    found.append(f"{count} times {verb} {unit}")
            found += [f"touches {u}" for u, b in theirs.items() if revived.server.objects.get(u) is not b]
            found += audit_findings(revived.state_dir)
            left_behind(revived)
            found += [] if DB in revived.server.objects else ["the Secret is gone"]
        finally:
            revived.close()
        wrong += [f"killed after effect {number}, {shot.effect}: {line}" for line in found]
    assert not wrong, "\n".join(wrong)


def _marked(objects: Mapping[UnitId, Mapping[str, Any]]) -> bool:
    metadata = objects[DB]["metadata"] if DB in objects else {}
    return "gitopsd.io/tracking-id" in metadata.get("annotations", {}) and "ownerReferences" in metadata
