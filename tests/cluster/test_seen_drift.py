"""What people are shown of drift on a real cluster: fields, who and when, others' additions, blame, a policy's will."""

from __future__ import annotations

import json
from typing import Any

from tests.support.world import World, config_map, wait_until


def stack(world: World, space: str, **spec: Any) -> dict[str, Any]:
    return {"gitopsd.yaml": world.stack_file({"name": "app", "path": "app", "namespace": space}, **spec)}


def secret(name: str, value: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": value}}


def patch(world: World, space: str, what: str, change: dict[str, Any], manager: str = "kubectl-patch") -> None:
    body = json.dumps(change)
    world.kubectl("patch", *what.split("/"), "-n", space, "--type=merge", "-p", body, f"--field-manager={manager}")


def test_reported_drift_has_fields_old_and_new_and_who_and_never_a_secret(world: World, namespace: str) -> None:
    files = {"app/one.yaml": config_map("one", {"v": "git"}), "app/db.yaml": secret("db", "out-of-git")}
    world.push({**stack(world, namespace, drift="report"), **files})
    world.once()
    patch(world, namespace, "configmap/one", {"data": {"v": "by hand", "theirs": "more"}}, "night-shift")
    patch(world, namespace, "secret/db", {"stringData": {"password": "seen-by-nobody"}})
    world.once(code=(0, 1, 2))
    drift = {entry["unit"].rpartition("/")[2]: entry for entry in world.status()["drift"]}
    (field,) = drift["one"]["fields"]
    assert (field["path"], field["before"], field["after"]) == ("data.v", "by hand", "git")
    assert [(m["name"], bool(m["at"])) for m in drift["one"]["managers"]] == [("night-shift", True)]
    assert [(f["path"], f["masked"]) for f in drift["db"]["fields"]] == [("data.password", True)]
    added = [(a["manager"], a["fields"]) for a in world.status()["additions"]]
    assert added == [("night-shift", ["data.theirs"])]
    shown = world.gitopsd("status", "--drift", code=2)
    assert '~ data.v: "by hand" -> "git"' in shown
    assert "by: night-shift (" in shown
    assert "data.theirs" in shown
    why = world.gitopsd("why", "configmap/one")
    assert '~ data.v: "by hand" -> "git"' in why
    assert "added by night-shift" in why
    told = "".join((shown, why, world.gitopsd("why", "secret/db"), world.gitopsd("blame", "secret/db")))
    told += json.dumps(world.status()) + world.gitopsd("show", "last", "--plan", "--json")
    assert not any(value in told for value in ("seen-by-nobody", "out-of-git", "c2Vlbi1ieS1ub2JvZHk="))


def test_blame_names_the_deploy_then_the_heal_and_what_was_added_since(world: World, namespace: str) -> None:
    commit = world.push({**stack(world, namespace), "app/one.yaml": config_map("one", {"v": "git"})}, "Add one")
    world.once()
    unit = f"ConfigMap/{namespace}/one"
    first = world.json("blame", unit)
    assert (first["last"]["kind"], first["last"]["action"], first["last"]["revision"]) == ("deploy", "create", commit)
    assert (first["wish"]["revision"], first["wish"]["orEarlier"]) == (commit, False)
    patch(world, namespace, "configmap/one", {"data": {"v": "by hand", "theirs": "more"}})
    world.once()
    healed = world.json("blame", unit)
    last = healed["last"]
    assert (last["kind"], last["author"], last["overrides"]) == ("heal", "gitopsd", ["kubectl-patch"])
    assert [(f["path"], f["before"], f["after"]) for f in last["fields"]] == [("data.v", "by hand", "git")]
    assert healed["wish"] == first["wish"]
    assert healed["drift"] is None
    assert [a["fields"] for a in healed["additions"]] == [["data.theirs"]]
    text = world.gitopsd("blame", unit)
    assert "updated" in text
    assert "overrode fields of: kubectl-patch" in text
    assert f"as git asks since commit {commit[:12]} Add one" in text


def test_a_mutating_policy_that_overrides_us_is_a_warning_and_no_fight(world: World, namespace: str) -> None:
    api = "admissionregistration.k8s.io/v1"
    name = f"override-{namespace}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
    expression = 'Object{data: {"mode": "strict"}}'
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "resourceRules": [rule],
        },
        "matchConditions": [{"name": "ours", "expression": "object.metadata.name == 'settings'"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    policy = {"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    binding = {
        "apiVersion": api,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    for each in (policy, binding):
        world.kubectl("apply", "-f", "-", input=json.dumps(each))

    def mutated() -> bool:
        probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": namespace}}
        made = world.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(probe))
        return "strict" in made

    try:
        wait_until(mutated, "the policy is at work")
        settings = config_map("settings", {"mode": "easy", "v": "1"})
        world.push({**stack(world, namespace), "app/settings.yaml": settings})
        world.once()
        assert world.data(namespace, "settings") == {"mode": "strict", "v": "1"}
        (outcome,) = world.json("show", "last")["outcomes"]
        assert [w.partition(" (")[0] for w in outcome["warnings"]] == ["overridden by admission: data.mode"]
        mark = world.mark()
        for _ in range(2):
            world.once()
        assert world.writes(mark) == []
        assert world.verdicts() == [("deploy", "good")]
        patch(world, namespace, "configmap/settings", {"data": {"v": "by hand"}})
        world.once()
        assert world.verdicts() == [("deploy", "good"), ("heal", "good")]
        (outcome,) = world.json("show", "last")["outcomes"]
        assert outcome["warnings"] == [], "said once"
    finally:
        for each in (binding, policy):
            world.kubectl("delete", "--wait=false", str(each["kind"]), name)
