"""Whose an object is: what is nobody's may be taken and is given back, what is somebody's is never touched unasked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gitopsd.kinds.marks import applyset_id
from tests.support.world import World, config_map, deployment


def create(world: World, space: str, manifest: dict[str, Any], manager: str = "somebody") -> dict[str, Any]:
    text = json.dumps(manifest)
    made = world.kubectl("create", "-n", space, "-f", "-", "-o", "json", "--field-manager", manager, input=text)
    created: dict[str, Any] = json.loads(made)
    return created


def marked(
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    owners: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    made = config_map("contested", {"who": "theirs"})
    made["metadata"] |= {"labels": labels or {}, "annotations": annotations or {}, "ownerReferences": owners or []}
    return made


def stack(world: World, space: str, **component: Any) -> str:
    return world.stack_file({"name": "app", "path": "app", "namespace": space, **component})


CONTROLLER = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "0", "controller": True}]
OWNERS = {
    "argocd": {"annotations": {"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:SPACE/contested"}},
    "flux": {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux"}},
    "helm": {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "SPACE"},
    },
    "applyset": {"labels": {"applyset.kubernetes.io/part-of": applyset_id("parent", "elsewhere")}},
    "controller": {"owners": CONTROLLER},
}


@pytest.mark.parametrize("owner", OWNERS)
def test_what_another_deployer_looks_after_is_refused_by_its_name(world: World, namespace: str, owner: str) -> None:
    theirs = marked(**json.loads(json.dumps(OWNERS[owner]).replace("SPACE", namespace)))
    if owner == "controller":
        boss = create(world, namespace, config_map("o", {}))
        theirs["metadata"]["ownerReferences"][0]["uid"] = boss["metadata"]["uid"]
    before = create(world, namespace, theirs)
    mark = world.mark()
    ours = config_map("contested", {"who": "ours"})
    world.push({"gitopsd.yaml": stack(world, namespace), "app/all.yaml": [ours, config_map("other", {})]})
    world.once(code=1)
    message = world.status()["message"]
    assert f"ConfigMap/{namespace}/contested" in message
    assert f"belongs to {owner}" in message
    assert "app/all.yaml:1" in message
    assert world.writes(mark) == []
    if owner != "argocd":
        return

    assert "adopt: [argocd]" in message
    fix = world.push({"gitopsd.yaml": stack(world, namespace, adopt=["argocd"])})
    assert "taken over from: argocd (Application shop)" in world.gitopsd("plan", code=2)
    world.once()
    world.wait_good(fix)
    assert world.data(namespace, "contested") == {"who": "ours"}
    after = world.get("configmap", "contested", "-n", namespace)
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    world.push({"app/all.yaml": config_map("other", {})})
    world.once()
    assert world.data(namespace, "contested") is None  # it was ours from then on


def test_what_was_nobodys_is_given_back_with_its_former_values(world: World, namespace: str) -> None:
    found = config_map("found", {"color": "blue", "theirs": "stays"})
    found["metadata"]["labels"] = {"team": "blue"}
    before = create(world, namespace, found)
    manifest = config_map("found", {"color": "red", "added": "by us"})
    manifest["metadata"]["labels"] = {"team": "red", "more": "label"}
    files = {"gitopsd.yaml": stack(world, namespace), "app/found.yaml": manifest}
    bad = deployment("web", "registry.example/app:pull-error", wave="1")
    world.push({**files, "app/web.yaml": bad})
    assert "adopt" in world.gitopsd("plan", code=2)
    mark = world.mark()
    world.once(code=1)
    assert world.verdicts() == [("deploy", "failed"), ("rollback", "good")]
    assert ("patch", "configmaps", f"{namespace}/found") in world.writes(mark)
    after = world.get("configmap", "found", "-n", namespace)
    assert after is not None
    assert after["data"] == before["data"]
    assert after["metadata"]["labels"] == {"team": "blue"}
    assert "gitopsd.io/tracking-id" not in after["metadata"].get("annotations", {})
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert world.status()["units"]["total"] == 0

    fix = world.push({"app/web.yaml": deployment("web", wave="1")})
    world.once()
    world.wait_good(fix)
    assert world.data(namespace, "found") == {"color": "red", "added": "by us", "theirs": "stays"}
    audited = [entry["action"] for entry in world.json("audit")["entries"]]
    assert "adopt" in audited


def test_an_object_of_two_stacks_is_held_and_one_that_moves_is_handed_over(world: World, namespace: str) -> None:
    """Both are held with the name of the other; the second gets the very object when the first has given it up."""
    first = stack(world, namespace)
    second = first.replace(f"name: {world.stack}\n", f"name: {world.stack}-b\n").replace("app", "side")
    one = config_map("one", {"from": "first"})
    files = {"app/a.yaml": [one, config_map("mine", {})], "side/b.yaml": config_map("theirs", {})}
    world.push({"gitopsd.yaml": f"{first}---\n{second}", **files})
    world.once()
    before = world.get("configmap", "one", "-n", namespace)
    assert before is not None
    mark = world.mark()
    world.push({"side/b.yaml": [config_map("theirs", {}), config_map("one", {"from": "second"})]})
    world.once(code=1)
    stacks = {s["name"]: s for s in world.json("status")["stacks"]}
    assert f"stack {world.stack} asks for it, too, at app/a.yaml:1" in stacks[f"{world.stack}-b"]["message"]
    assert f"stack {world.stack}-b asks for it, too, at side/b.yaml:" in stacks[world.stack]["message"]
    assert world.writes(mark) == []
    assert world.data(namespace, "one") == {"from": "first"}

    world.push({"app/a.yaml": config_map("mine", {})})
    world.once(code=(0, 1))
    world.once()
    assert [verb for verb, _, _ in world.writes(mark)] == ["patch", "patch"]
    after = world.get("configmap", "one", "-n", namespace)
    assert after is not None
    assert after["data"] == {"from": "second"}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["annotations"]["gitopsd.io/tracking-id"].startswith(f"{world.stack}-b:")
