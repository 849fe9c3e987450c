"""SEMANTICS 14: sealing keys that are lost, refused or late, in a simulated world: what is told, and who waits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gitopsd.model.errors import Cause, EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Health
from gitopsd.record.audit_reader import read_audit
from gitopsd.stack.vigil import Topic
from gitopsd.views.status import stack_status
from gitopsd.views.why import WhyFacts, why_document
from tests.scenarios.harness import SOURCE, STACK, World
from tests.scenarios.manifests import app, config
from tests.scenarios.test_sealed import DB, files, module, password, value
from tests.support.seals import bring_key, fingerprint_of, sealed, take_key


@pytest.fixture
def keyed(world: World) -> World:
    bring_key(world.key_dir)
    return world


# ---------------------------------------------------------------- a key that is there and not used


def test_a_key_that_others_can_read_is_named_in_the_hold_with_the_command_that_mends_it(world: World) -> None:
    bring_key(world.key_dir)
    file = world.key_dir / "key0.key"
    file.chmod(0o644)
    world.push(files(sealed("db", {"password": "s3cret"})))
    world.settle(tries=2)
    (hold,) = world.state.memory.holds
    assert f"{file}: is open to everybody (mode 0644) (chmod 600 {file})" in hold.detail
    file.chmod(0o600)
    world.settle()
    assert (value(world), world.holds) == ("s3cret", set())


def test_a_key_that_others_can_read_by_now_is_named_in_the_status_and_in_why(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "s3cret"})))
    file = keyed.key_dir / "key0.key"
    file.chmod(0o644)
    keyed.settle(sweep=True)
    status = stack_status(keyed.worker.facts.snapshot())
    (entry,) = status["attention"]
    assert f"chmod 600 {file}" in entry["message"]
    unit = UnitId.parse(DB)
    why = why_document(WhyFacts(unit, STACK, daemon_running=True, status=status, state=keyed.state))
    assert any(f"chmod 600 {file}" in wait["detail"] for wait in why["waitsFor"])


# ---------------------------------------------------------------- what is told is what is so


def test_a_secret_that_is_sealed_anew_is_no_more_said_to_be_locked(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "a"})))
    take_key(keyed.key_dir)
    bring_key(keyed.key_dir, 1)
    keyed.settle(sweep=True)
    assert [e["reason"] for e in stack_status(keyed.worker.facts.snapshot())["attention"]] == ["no key opens it"]
    keyed.deliver(files(sealed("db", {"password": "b"}, key=1)))
    shown = stack_status(keyed.worker.facts.snapshot())
    assert (shown["attention"], shown["sealingKeys"]) == ([], {fingerprint_of(1): 1})


def test_a_key_that_goes_or_comes_is_told_without_a_sweep(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "a"})))
    assert stack_status(keyed.worker.facts.snapshot())["sealingKeys"] == {fingerprint_of(0): 1}
    take_key(keyed.key_dir)
    keyed.settle()
    assert [e["reason"] for e in stack_status(keyed.worker.facts.snapshot())["attention"]] == ["no key opens it"]
    bring_key(keyed.key_dir)
    keyed.settle()
    assert stack_status(keyed.worker.facts.snapshot())["attention"] == []


def test_a_secret_that_was_deleted_and_that_no_key_opens_is_missing_and_not_healthy(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "a"})))
    take_key(keyed.key_dir)
    keyed.cluster.drop(UnitId.parse(DB))
    keyed.settle(sweep=True)
    shown = stack_status(keyed.worker.facts.snapshot())
    counts = shown["units"]
    assert (counts[Health.MISSING], counts[Health.HEALTHY]) == (1, counts["total"] - 1)
    (entry,) = shown["attention"]
    assert (entry["unit"], entry["health"]) == (DB, Health.MISSING)
    assert "no key opens" in entry["message"]
    bring_key(keyed.key_dir)
    keyed.settle(sweep=True)
    shown = stack_status(keyed.worker.facts.snapshot())
    assert (value(keyed), shown["attention"], shown["units"][Health.MISSING]) == ("a", [], 0)


def test_a_secret_that_is_watched_is_healed_as_soon_as_its_key_comes(keyed: World) -> None:
    """No sweep looks at what a watch tells of, and the watch has told of the edit already."""
    keyed.deliver(files(sealed("db", {"password": "s3cret"})))
    take_key(keyed.key_dir)
    keyed.cluster.edit(UnitId.parse(DB), lambda body: body["data"].update(password="aGFja2Vk"))
    keyed.settle(sweep=True)
    keyed.worker.vigil.expect([Topic("default", "", "Secret")])
    keyed.settle(sweep=True)
    assert value(keyed) == "hacked"
    bring_key(keyed.key_dir)
    keyed.settle(sweep=True)
    assert (value(keyed), keyed.verdicts[-1]) == ("s3cret", ("heal", "good"))


# ---------------------------------------------------------------- a person goes back over a lost key


def back_without_key(world: World, **arguments: Any) -> str:
    """Two good commits, each with a key of its own; the first key is gone, and a person goes back to the first."""
    first = world.deliver(files(sealed("db", {"password": "old"})))
    bring_key(world.key_dir, 1)
    world.deliver(files(sealed("db", {"password": "new"}, key=1), mode="2"))
    take_key(world.key_dir)
    answer = world.say("rollback", "orders are lost", **arguments)
    assert answer.ok, answer.text
    world.settle()
    return first


def mode(world: World) -> str:
    live = world.live("ConfigMap/web/settings")
    assert live is not None
    return str(live["data"]["mode"])


def test_a_rollback_of_a_person_without_the_old_key_brings_everything_else_back_and_goes_on_with_it(
    keyed: World,
) -> None:
    first = back_without_key(keyed)
    assert (mode(keyed), value(keyed)) == ("1", "new")
    run = keyed.runs[-1]
    assert (keyed.verdicts[-1], run.cause) == (("rollback", "failed"), Cause.ENVIRONMENT)
    assert [str(item.unit) for item in run.leftovers] == [DB]
    assert keyed.holds == {"rollback-failed"}
    (hold,) = keyed.state.memory.holds
    assert f"the rollback to {first[:12]} (run shop-3) waits for a key" in hold.detail
    assert DB in hold.detail
    assert fingerprint_of(0) in hold.detail, "the key that it waits for"
    assert "`gitopsd resume shop` gives it up and deploys the newest commit" in hold.detail
    runs = len(keyed.runs)
    for _ in range(2):
        keyed.settle(sweep=True)
    assert len(keyed.runs) == runs, "it is not tried again and again"
    bring_key(keyed.key_dir)
    keyed.settle()
    assert (value(keyed), keyed.verdicts[-1], keyed.holds) == ("old", ("rollback", "good"), {"pinned"})
    assert keyed.state.dirty == ()


def test_a_commit_that_comes_while_a_rollback_waits_for_a_key_is_told_what_lets_it_pass(keyed: World) -> None:
    back_without_key(keyed)
    keyed.deliver(files(sealed("db", {"password": "newer"}, key=1), mode="3"))
    assert mode(keyed) == "1"
    (hold,) = keyed.state.memory.holds
    assert "newer commits wait" in hold.detail
    answer = keyed.say("resume")
    assert answer.ok
    keyed.settle()
    assert (mode(keyed), value(keyed), keyed.holds) == ("3", "newer", set())


def test_a_commit_lifts_a_rollback_until_newer_that_waits_for_a_key(keyed: World) -> None:
    back_without_key(keyed, untilNewer=True)
    (hold,) = keyed.state.memory.holds
    assert "newer commits wait" not in hold.detail
    keyed.deliver(files(sealed("db", {"password": "newer"}, key=1), mode="3"))
    assert (mode(keyed), value(keyed), keyed.holds) == ("3", "newer", set())


def test_after_a_restart_a_rollback_that_waits_for_a_key_is_tried_once_more(keyed: World) -> None:
    back_without_key(keyed)
    runs = len(keyed.runs)
    keyed.restart()
    keyed.settle()
    keyed.settle(sweep=True)
    assert (len(keyed.runs), keyed.holds) == (runs + 1, {"rollback-failed"})
    keyed.restart()
    bring_key(keyed.key_dir)
    keyed.settle()
    assert (value(keyed), keyed.holds) == ("old", {"pinned"})


def test_a_secret_that_has_to_come_back_and_cannot_is_listed_too(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "old"})))
    keyed.deliver(files(mode="2"))
    assert keyed.live(DB) is None
    take_key(keyed.key_dir)
    assert keyed.say("rollback").ok
    keyed.settle()
    assert (mode(keyed), keyed.live(DB)) == ("1", None)
    assert [str(item.unit) for item in keyed.runs[-1].leftovers] == [DB]
    bring_key(keyed.key_dir)
    keyed.settle()
    assert (value(keyed), keyed.holds) == ("old", {"pinned"})


def test_a_module_whose_variables_no_key_opens_waits_while_the_rest_goes_back(keyed: World) -> None:
    def more(text: str) -> dict[str, str]:
        return {"base/other.yaml": json.dumps(config("other", {"a": text}))}

    keyed.deliver(module(password="old") | more("1"))
    bring_key(keyed.key_dir, 1)
    network = module(password="x") | {"vars/db.yaml": json.dumps(sealed("vars", {"password": "new"}, key=1))}
    keyed.deliver(network | more("2"))
    assert (password(keyed), keyed.verdicts[-1]) == ("new", ("deploy", "good"))
    take_key(keyed.key_dir)
    assert keyed.say("rollback").ok
    keyed.settle()
    live = keyed.live("ConfigMap/web/other")
    assert live is not None
    assert (live["data"]["a"], password(keyed)) == ("1", "new")
    assert [str(item.unit) for item in keyed.runs[-1].leftovers] == ["terraform/network"]
    (hold,) = keyed.state.memory.holds
    assert "terraform/network" in hold.detail
    assert fingerprint_of(0) in hold.detail
    bring_key(keyed.key_dir)
    keyed.settle()
    assert (password(keyed), keyed.verdicts[-1], keyed.holds) == ("old", ("rollback", "good"), {"pinned"})


def test_an_automatic_rollback_that_lacks_a_key_says_that_it_waits_and_for_which_key(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "old"})))
    bring_key(keyed.key_dir, 1)
    take_key(keyed.key_dir)
    keyed.deliver(files(sealed("db", {"password": "new"}, key=1), mode="2", tag="pull-error"))
    (hold,) = (h for h in keyed.state.memory.holds if h.reason.value == "rollback-failed")
    assert keyed.runs[-1].cause is Cause.ENVIRONMENT
    assert "waits for a key" in hold.detail
    assert fingerprint_of(0) in hold.detail
    assert "push a fix" in hold.detail


def test_an_automatic_rollback_leaves_a_module_whose_variables_no_key_opens_and_goes_on_with_it(keyed: World) -> None:
    keyed.deliver(module(password="old"))
    bring_key(keyed.key_dir, 1)
    take_key(keyed.key_dir)
    bad = module(password="x") | {"vars/db.yaml": json.dumps(sealed("vars", {"password": "new"}, key=1))}
    keyed.deliver(bad | {"base/app.yaml": json.dumps(app(tag="pull-error"))})
    assert (password(keyed), keyed.verdicts[-2:]) == ("new", [("deploy", "failed"), ("rollback", "failed")])
    assert [(str(item.unit), item.environment) for item in keyed.runs[-1].leftovers] == [("terraform/network", True)]
    (hold,) = keyed.state.memory.holds
    assert (hold.reason.value, "terraform/network" in hold.detail) == ("rollback-failed", True)
    bring_key(keyed.key_dir)
    keyed.settle()
    assert (password(keyed), keyed.verdicts[-1], keyed.holds) == ("old", ("rollback", "good"), {"quarantined"})


# ---------------------------------------------------------------- hundreds of them


def test_a_hold_over_many_secrets_names_the_first_and_says_how_many_there_are(world: World) -> None:
    many = [sealed(f"s{number:02}", {"password": "x"}) for number in range(40)]
    world.push(files(*many))
    world.settle(tries=2)
    (hold,) = world.state.memory.holds
    assert hold.detail.endswith("and 31 more: `gitopsd plan` shows them all"), "40 items and the missing directory"
    assert hold.detail.count("bring the key it was sealed for") == 1
    assert len(hold.detail) < 4000
    audited = [e["detail"] for e in read_audit(world.state_dir) if e["action"] == "hold"]
    assert audited == [hold.detail]
    ask = world.pipeline.ask(SOURCE, STACK, world.source.fetch())
    with pytest.raises(EnvironmentFault) as caught:
        world.pipeline.plan(ask, world.state, at="")
    assert len(caught.value.problems) == 41


def test_a_commit_with_hundreds_of_mistakes_is_refused_in_a_few_words(keyed: World) -> None:
    broken = [
        {**sealed(f"s{number:03}", {"password": "x"}), "spec": {"encryptedData": {"a": "%"}}} for number in range(200)
    ]
    keyed.deliver(files(*broken))
    run = keyed.runs[-1]
    assert run.reason.startswith("refused before the first effect: ")
    assert run.reason.endswith("and 190 more: `gitopsd plan` shows them all")
    texts = [
        run.reason,
        *(h.detail for h in keyed.state.memory.holds),
        *(q.reason for q in keyed.state.memory.quarantine),
    ]
    texts += [e["detail"] for e in read_audit(keyed.state_dir)]
    assert max(map(len, texts)) < 4000
