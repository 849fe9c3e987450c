"""SEMANTICS 14: sealed secrets through deploy, rollback, drift and lost keys, in a simulated world."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gitopsd.model.errors import Cause
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import HoldReason
from gitopsd.record.audit_reader import read_audit
from gitopsd.sealed.document import Scope
from gitopsd.views.status import stack_status
from tests.scenarios.harness import STACK, World
from tests.scenarios.manifests import app, commit, config, space
from tests.scenarios.modules import both, code
from tests.scenarios.test_people import said
from tests.support.seals import bring_key, fingerprint_of, sealed, take_key

DB = "Secret/web/db"


def files(*secrets: dict[str, Any], mode: str = "1", tag: str = "good") -> dict[str, str]:
    return commit({"base": [space(), config("settings", {"mode": mode}), *secrets], "apps": [app(tag=tag)]})


def value(world: World, key: str = "password", unit: str = DB) -> str | None:
    live = world.live(unit)
    return base64.b64decode(live["data"][key]).decode() if live and key in live.get("data", {}) else None


@pytest.fixture
def keyed(world: World) -> World:
    bring_key(world.key_dir)
    return world


@pytest.mark.parametrize("scope", list(Scope))
def test_a_sealed_secret_becomes_a_secret_like_any_other(keyed: World, scope: Scope) -> None:
    template = {
        "type": "example.org/login",
        "metadata": {"labels": {"app": "db"}},
        "data": {"url": "db:{{ .password }}"},
    }
    keyed.deliver(files(sealed("db", {"password": "s3cret"}, scope=scope, template=template)))
    assert keyed.verdicts == [("deploy", "good")]
    live = keyed.live(DB)
    assert live is not None
    assert (live["type"], live["metadata"]["labels"]["app"]) == ("example.org/login", "db")
    assert (value(keyed), value(keyed, "url")) == ("s3cret", "db:s3cret")
    assert keyed.live("SealedSecret.bitnami.com/web/db") is None
    keyed.deliver(files(mode="2"))
    assert keyed.live(DB) is None, "what leaves git is pruned"


def test_an_unchanged_sealed_text_needs_no_key_not_even_after_a_restart(keyed: World) -> None:
    secret = sealed("db", {"password": "s3cret"})
    keyed.deliver(files(secret))
    take_key(keyed.key_dir)
    keyed.deliver(files(secret, mode="2"))
    keyed.restart()
    keyed.settle(sweep=True)
    keyed.deliver(files(secret, mode="3"))
    assert (keyed.verdicts[-1], keyed.holds) == (("deploy", "good"), set())


def test_the_same_value_sealed_again_is_no_write(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "s3cret"})))
    writes = len(keyed.server.writes)
    keyed.deliver(files(sealed("db", {"password": "s3cret"})))
    assert keyed.server.writes[writes:] == []
    assert len(keyed.state.memory.good) == 2


@pytest.mark.parametrize("missing", ["no directory", "another key"])
def test_a_secret_that_no_key_opens_blocks_before_the_first_effect_until_the_key_comes(
    world: World, missing: str
) -> None:
    if missing == "another key":
        bring_key(world.key_dir, 1)
    world.push(files(sealed("db", {"password": "s3cret"}), sealed("other", {"token": "t"}, key=1)))
    world.settle(tries=3)
    assert world.holds == {"blocked"}
    (hold,) = world.state.memory.holds
    assert "Secret/" in hold.detail
    assert "spec.encryptedData.password" in hold.detail
    assert "base/sealedsecret-db.yaml:1" in hold.detail
    assert (fingerprint_of(1) in hold.detail) == (missing == "another key")
    assert (world.server.objects, world.runs, world.state.memory.quarantine) == ({}, [], ())
    bring_key(world.key_dir)
    bring_key(world.key_dir, 1)
    world.settle()
    assert (world.holds, world.verdicts) == (set(), [("deploy", "good")])
    assert value(world) == "s3cret"


def forged(kind: str) -> list[dict[str, Any]]:
    """SealedSecrets whose texts were sealed for another place."""
    strict = sealed("db", {"password": "s3cret", "user": "ann"})
    wide = sealed("db", {"password": "s3cret"}, scope=Scope.NAMESPACE_WIDE)
    metadata = strict["metadata"]
    if kind == "another name":
        return [{**strict, "metadata": {**metadata, "name": "stolen"}}]
    if kind == "another namespace":
        return [{**strict, "metadata": {**metadata, "namespace": "other"}}, space("other")]
    if kind == "another namespace of a namespace-wide one":
        return [{**wide, "metadata": {**wide["metadata"], "namespace": "other"}}, space("other")]
    if kind == "scope annotation forged":
        return [{**strict, "metadata": {**metadata, "annotations": {"sealedsecrets.bitnami.com/cluster-wide": "true"}}}]
    text = base64.b64decode(strict["spec"]["encryptedData"]["password"])
    if kind == "bit flipped":
        text = text[:-20] + bytes([text[-20] ^ 1]) + text[-19:]
    elif kind == "truncated":
        text = text[:-1]
    items = {"password": base64.b64encode(text).decode()}
    return [{**strict, "spec": {"encryptedData": items}}]


@pytest.mark.parametrize(
    "kind",
    [
        "another name",
        "another namespace",
        "another namespace of a namespace-wide one",
        "scope annotation forged",
        "bit flipped",
        "truncated",
    ],
)
def test_what_was_sealed_for_another_place_or_changed_is_refused_before_any_effect(keyed: World, kind: str) -> None:
    keyed.deliver(files())
    writes = len(keyed.server.writes)
    keyed.push(files(*forged(kind), mode="2"))
    keyed.settle(tries=2)
    assert keyed.server.writes[writes:] == []
    assert keyed.holds == {"blocked"}
    assert any("password" in e["detail"] for e in read_audit(keyed.state_dir) if e["action"] == "hold")
    assert "s3cret" not in keyed.state.memory.holds[0].detail


def test_a_rollback_brings_the_old_value_back_with_the_old_key(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "old"})))
    bring_key(keyed.key_dir, 1)
    keyed.deliver(files(sealed("db", {"password": "new"}, key=1), tag="pull-error"))
    assert keyed.verdicts[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert value(keyed) == "old"


def test_a_rollback_whose_key_is_gone_brings_everything_else_back_and_lists_that_secret(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "old"})))
    bring_key(keyed.key_dir, 1)
    take_key(keyed.key_dir)
    keyed.deliver(files(sealed("db", {"password": "new"}, key=1), mode="2", tag="pull-error"))
    assert keyed.verdicts[-2:] == [("deploy", "failed"), ("rollback", "failed")]
    live = keyed.live("ConfigMap/web/settings")
    assert live is not None
    assert live["data"]["mode"] == "1"
    assert value(keyed) == "new"
    assert keyed.holds == {"rollback-failed"}
    left = {str(item.unit): item.reason for item in keyed.runs[-1].leftovers}
    assert "no key opens this item" in left[DB]
    assert keyed.runs[-1].cause is Cause.ENVIRONMENT
    runs = len(keyed.runs)
    keyed.settle(sweep=True)
    assert len(keyed.runs) == runs, "it is not tried again and again"
    bring_key(keyed.key_dir)
    keyed.settle()
    assert (value(keyed), keyed.verdicts[-1], keyed.holds) == ("old", ("rollback", "good"), {"quarantined"})


def test_a_rollback_by_hand_whose_key_is_gone_does_the_rest_and_goes_on_when_the_key_comes(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "old"})))
    bring_key(keyed.key_dir, 1)
    keyed.deliver(files(sealed("db", {"password": "new"}, key=1), mode="2"))
    take_key(keyed.key_dir)
    said(keyed, "rollback")
    keyed.settle()
    live = keyed.live("ConfigMap/web/settings")
    assert live is not None
    assert (live["data"]["mode"], value(keyed)) == ("1", "new")
    held = keyed.state.memory.held(HoldReason.ROLLBACK_FAILED)
    assert held is not None
    assert DB in held.detail
    assert "no key opens this item" in held.detail
    assert f"gitopsd resume {STACK}" in held.detail
    runs = len(keyed.runs)
    keyed.settle(sweep=True)
    assert len(keyed.runs) == runs, "it is not tried again and again"
    bring_key(keyed.key_dir)
    keyed.settle()
    assert (value(keyed), keyed.holds) == ("old", {"pinned"})


def test_a_fix_goes_forward_past_a_secret_that_could_not_go_back(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "old"})))
    bring_key(keyed.key_dir, 1)
    take_key(keyed.key_dir)
    keyed.deliver(files(sealed("db", {"password": "new"}, key=1), mode="2", tag="pull-error"))
    keyed.deliver(files(sealed("db", {"password": "newer"}, key=1), mode="3"))
    assert (value(keyed), keyed.verdicts[-1], keyed.holds) == ("newer", ("deploy", "good"), set())


def test_drift_of_a_secret_that_no_key_opens_is_told_and_keeps_nothing_else(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "s3cret"})))
    take_key(keyed.key_dir)
    keyed.cluster.edit(UnitId.parse(DB), lambda body: body["data"].update(password="aGFja2Vk"))
    keyed.cluster.edit(UnitId.parse("ConfigMap/web/settings"), lambda body: body["data"].update(mode="hacked"))
    for _ in range(3):
        keyed.settle(sweep=True)
    live = keyed.live("ConfigMap/web/settings")
    assert live is not None
    assert live["data"]["mode"] == "1"
    drifted = keyed.worker.facts.snapshot().drifted
    assert [str(unit) for unit in drifted] == [DB]
    assert "no key opens this item" in drifted[UnitId.parse(DB)].detail
    keyed.deliver(files(sealed("db", {"password": "s3cret"}), mode="2"))
    assert keyed.holds == {"blocked"}
    bring_key(keyed.key_dir)
    keyed.settle(sweep=True)
    assert (value(keyed), keyed.holds) == ("s3cret", set())


def test_each_use_of_a_key_is_audited(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "s3cret"})))
    used = [(e["unit"], e["after"]) for e in read_audit(keyed.state_dir) if e["action"] == "unseal"]
    assert used == [(DB, fingerprint_of())]


def test_an_edit_of_the_live_secret_is_healed(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "s3cret"})))
    keyed.cluster.edit(UnitId.parse(DB), lambda body: body["data"].update(password="aGFja2Vk"))
    keyed.settle(sweep=True)
    assert value(keyed) == "s3cret"
    assert keyed.verdicts[-1] == ("heal", "good")


def test_the_wave_and_the_policy_of_a_sealed_secret_are_those_of_its_secret(keyed: World) -> None:
    noted = {"gitopsd.io/prune": "disabled", "gitopsd.io/wave": "3", "example.org/mine": "stays"}
    keyed.deliver(files(sealed("db", {"password": "s3cret"}, annotations=noted)))
    live = keyed.live(DB)
    assert live is not None
    assert live["metadata"]["annotations"]["gitopsd.io/prune"] == "disabled"
    assert "example.org/mine" not in live["metadata"]["annotations"]
    assert keyed.sqlite.baselines(STACK)[UnitId.parse(DB)].order == (0, 3)
    keyed.deliver(files())
    assert [str(p.unit) for p in keyed.state.postponed] == [DB]


def test_no_value_is_in_what_is_kept(keyed: World) -> None:
    marker = "correct-horse-battery-staple"
    keyed.deliver(files(sealed("db", {"password": marker})))
    keyed.deliver(files(sealed("db", {"password": f"{marker}-2"}), tag="pull-error"))
    forms = [marker.encode(), base64.b64encode(marker.encode())[:-4]]
    for path in keyed.state_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [form for form in forms if form in content], path


# ---------------------------------------------------------------- variables of Terraform


def module(**items: str) -> dict[str, str]:
    """A database whose password is sealed."""
    network = code({"host": "${sim.db.size}"}, db={"size": "1", "password": "${var.password}"})
    more = {"network": {"terraform": {"varsFrom": [{"sealedSecret": "vars/db.yaml"}]}}}
    made = both({"network": network}, {"base": [space()]}, more)
    return {**made, "vars/db.yaml": json.dumps(sealed("vars", items))}


def password(world: World) -> Any:
    return world.server.modules["network"].resources["sim.db"]["password"]


def test_sealed_items_are_variables_and_a_new_text_is_a_new_input(keyed: World) -> None:
    files = module(password="s3cret", unused="x")
    keyed.deliver(files)
    assert (keyed.verdicts, password(keyed)) == ([("deploy", "good")], "s3cret")
    started = len(keyed.terraform.started)
    keyed.deliver({**files, "base/other.yaml": json.dumps(config("other", {"a": "b"}))})
    assert keyed.terraform.started[started:] == [], "an unchanged text starts nothing"
    keyed.deliver(module(password="other"))
    assert password(keyed) == "other"
    used = {e["unit"] for e in read_audit(keyed.state_dir) if e["action"] == "unseal"}
    assert used == {"terraform/network"}


def test_variables_that_no_key_opens_block_before_anything_is_planned(world: World) -> None:
    bring_key(world.key_dir, 1)
    world.push(module(password="s3cret"))
    world.settle(tries=2)
    assert world.holds == {"blocked"}
    assert "vars/db.yaml:1: SealedSecret/vars" in world.state.memory.holds[0].detail
    assert (world.terraform.started, world.server.objects) == ([], {})
    bring_key(world.key_dir)
    world.settle()
    assert (world.holds, password(world)) == (set(), "s3cret")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "the commit has no sealed file vars/db.yaml"),
        ("", "there is no SealedSecret in this file"),
        (json.dumps(config("a", {})), "this is no SealedSecret"),
        (json.dumps(sealed("vars", {"no.variable": "x"})), "no variable of Terraform can have this name"),
        (
            json.dumps(sealed("vars", {"a": "x"}, template={"data": {"url": "db:{{ .a }}"}})),
            "spec.template.data.url: sets no variable",
        ),
        (
            json.dumps(sealed("vars", {"a": "x"}, template={"data": {"a": None}})),
            "spec.template.data.a: sets no variable",
        ),
        (
            json.dumps(sealed("vars", {"a": "x"})) + "\n---\n" + json.dumps(sealed("v2", {"a": "x"})),
            "is already set by",
        ),
    ],
)
def test_what_is_wrong_with_a_file_of_variables_is_the_commits(keyed: World, text: str | None, why: str) -> None:
    files = module(password="s3cret")
    if text is None:
        del files["vars/db.yaml"]
    else:
        files["vars/db.yaml"] = text
    keyed.deliver(files)
    assert keyed.holds == {"quarantined"}
    assert why in keyed.runs[-1].reason
    assert keyed.terraform.started == []


# ---------------------------------------------------------------- which key opens what


def test_a_key_that_is_taken_away_is_missed_at_the_next_look_and_nothing_else_happens(keyed: World) -> None:
    bring_key(keyed.key_dir, 1)
    keyed.deliver(files(sealed("db", {"password": "a"}), sealed("two", {"b": "c"}, key=1), sealed("six", {"d": "e"})))
    keyed.settle(sweep=True)
    shown = stack_status(keyed.worker.facts.snapshot())
    assert shown["sealingKeys"] == {fingerprint_of(0): 2, fingerprint_of(1): 1}
    assert shown["attention"] == []
    take_key(keyed.key_dir)
    keyed.restart()
    keyed.settle(sweep=True)
    shown = stack_status(keyed.worker.facts.snapshot())
    assert [(e["unit"], e["reason"]) for e in shown["attention"]] == [
        ("Secret/web/db", "no key opens it"),
        ("Secret/web/six", "no key opens it"),
    ]
    assert f"the key {fingerprint_of(0)} that opened db is gone" in shown["attention"][0]["message"]
    assert (shown["phase"], value(keyed), len(keyed.runs)) == ("Synced", "a", 1)
    bring_key(keyed.key_dir)
    keyed.settle(sweep=True)
    assert stack_status(keyed.worker.facts.snapshot())["attention"] == []


def test_what_is_sealed_for_a_key_that_is_here_is_no_longer_told_to_be_lost(keyed: World) -> None:
    """The answer to a lost key is another text; that it helped has to show with the run, not at the next sweep."""
    keyed.deliver(files(sealed("db", {"password": "a"})))
    bring_key(keyed.key_dir, 1)
    take_key(keyed.key_dir)
    keyed.settle(sweep=True)
    assert stack_status(keyed.worker.facts.snapshot())["attention"] != []
    keyed.deliver(files(sealed("db", {"password": "b"}, key=1)))
    shown = stack_status(keyed.worker.facts.snapshot())
    assert (shown["attention"], shown["sealingKeys"]) == ([], {fingerprint_of(1): 1})


def test_a_secret_that_is_gone_and_whose_key_is_gone_is_told_to_be_missing(keyed: World) -> None:
    keyed.deliver(files(sealed("db", {"password": "a"})))
    take_key(keyed.key_dir)
    keyed.cluster.drop(UnitId.parse(DB))
    keyed.settle(sweep=True)
    (entry,) = stack_status(keyed.worker.facts.snapshot())["attention"]
    assert (entry["unit"], entry["health"]) == (DB, "missing")
    assert "is gone" in entry["message"]
    bring_key(keyed.key_dir)
    keyed.settle(sweep=True)
    assert value(keyed) == "a"
    assert stack_status(keyed.worker.facts.snapshot())["attention"] == []
