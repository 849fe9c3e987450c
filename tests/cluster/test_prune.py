"""What leaves git leaves the cluster: last, in order, never more than was meant, and never what is not ours."""

from __future__ import annotations

import json
from typing import Any

from sandbox.faults import FaultProxy
from tests.support.world import World, config_map, deployment, wait_until


def one(world: World, space: str, **spec: Any) -> str:
    return world.stack_file({"name": "app", "path": "app", "namespace": space}, **spec)


def maps(*names: str, **annotations: str) -> dict[str, Any]:
    return {f"app/{name}.yaml": config_map(name, {"a": "b"}, **annotations) for name in names}


def gone(world: World, space: str, *names: str) -> bool:
    left = world.kubectl("get", "configmaps", "-n", space, "-o", "name")
    return not any(f"configmap/{name}\n" in left for name in names)


def test_what_leaves_git_is_deleted_last_in_descending_order(world: World, namespace: str) -> None:
    stack = world.stack_file(
        {"name": "base", "path": "base", "namespace": namespace},
        {"name": "app", "path": "app", "namespace": namespace, "wave": 10},
    )
    base = {"base/low.yaml": config_map("low", {}, wave="-1"), "base/high.yaml": config_map("high", {}, wave="3")}
    keep = {"base/keep.yaml": config_map("keep", {"v": "1"}), "app/web.yaml": deployment("web")}
    world.push({"gitopsd.yaml": stack, **base, **keep, "app/late.yaml": config_map("late", {})})
    world.once()
    mark = world.mark()
    changed = {"base/keep.yaml": config_map("keep", {"v": "2"}), "app/web.yaml": deployment("web", replicas=2)}
    world.push({"base/low.yaml": None, "base/high.yaml": None, "app/late.yaml": None, **changed})
    world.once()
    assert [(verb, place.rpartition("/")[2]) for verb, _, place in world.writes(mark)] == [
        ("patch", "keep"),
        ("patch", "web"),
        ("delete", "late"),
        ("delete", "high"),
        ("delete", "low"),
    ]
    assert world.status()["units"]["total"] == 2


def test_nothing_is_pruned_by_a_run_that_fails(world: World, namespace: str) -> None:
    files = {"gitopsd.yaml": one(world, namespace), "app/web.yaml": deployment("web"), **maps("obsolete")}
    world.push(files)
    world.once()
    mark = world.mark()
    world.push({"app/web.yaml": deployment("web", "registry.example/app:pull-error"), "app/obsolete.yaml": None})
    world.once(code=1)
    assert world.data(namespace, "obsolete") == {"a": "b"}
    assert [w for w in world.writes(mark) if w[0] == "delete"] == []


def test_an_emptied_directory_and_a_great_many_deletions_wait_for_a_person(world: World, namespace: str) -> None:
    names = [f"item-{number}" for number in range(7)]
    two = world.stack_file(
        {"name": "app", "path": "app", "namespace": namespace},
        {"name": "side", "path": "side", "namespace": namespace},
    )
    world.push({"gitopsd.yaml": two, **maps(*names), "side/one.yaml": config_map("one", {"a": "b"})})
    world.once()
    good = world.git("rev-parse", "HEAD").strip()
    mark = world.mark()

    world.push({"side/one.yaml": None, "side/README.md": "nothing here\n"}, "empty one component")
    world.once(code=(0, 1))
    assert world.holds() == {"approval"}
    assert world.phase() == "Held"
    assert "component side renders nothing" in world.status()["message"]
    assert "ConfigMap/" in world.gitopsd("plan", code=2)

    world.push({"side/one.yaml": config_map("one", {"a": "b"}), **{f"app/{name}.yaml": None for name in names[:6]}})
    world.once(code=(0, 1))
    assert world.holds() == {"approval"}
    assert "6 of 8 objects" in world.status()["message"]
    assert world.writes(mark) == []

    world.git("checkout", "-q", good, "--", ".")
    world.push(message="put it all back")
    world.once()
    assert world.holds() == set()
    assert world.phase() == "Synced"
    assert world.writes(mark) == []

    world.push({f"app/{name}.yaml": None for name in names[:5]}, "five are always allowed")
    world.once()
    assert gone(world, namespace, *names[:5])
    assert not gone(world, namespace, names[5])


def definition(plural: str) -> dict[str, Any]:
    kind = plural.capitalize()
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.prune.example"},
        "spec": {
            "group": "prune.example",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def test_what_takes_others_along_and_what_says_so_is_kept_and_shown(world: World, namespace: str) -> None:
    plural, space = f"k{world.stack}", f"space-{world.stack}"
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    custom = {"apiVersion": "prune.example/v1", "kind": plural.capitalize(), "metadata": {"name": "one"}, "spec": {}}
    made: dict[str, Any] = {
        "app/space.yaml": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}},
        "app/crd.yaml": definition(plural),
        "app/claim.yaml": claim,
        **maps("kept", prune="disabled"),
    }
    stays = {"app/stays.yaml": config_map("stays", {"a": "b"}), "app/custom.yaml": custom}
    world.push({"gitopsd.yaml": one(world, namespace), **made, **stays})
    world.once()
    assert world.phase() == "Synced"
    mark = world.mark()
    world.push(dict.fromkeys([*made, "app/custom.yaml"]))
    world.once()
    status = world.status()
    assert status["phase"] == "Synced"
    waiting = {item["unit"]: item for item in status["pendingPrune"]}
    assert set(waiting) == {
        f"Namespace/{space}",
        f"CustomResourceDefinition.apiextensions.k8s.io/{plural}.prune.example",
        f"PersistentVolumeClaim/{namespace}/data",
        f"ConfigMap/{namespace}/kept",
    }
    assert all(item["since"] and item["reason"] for item in waiting.values())
    assert "disabled" in waiting[f"ConfigMap/{namespace}/kept"]["reason"]
    assert world.writes(mark) == [("delete", plural, f"{namespace}/one")]

    since = waiting[f"Namespace/{space}"]["since"]
    world.kubectl("delete", "crd", f"{plural}.prune.example")
    world.push({"app/stays.yaml": config_map("stays", {"a": "c"})})
    world.once()
    waiting = {item["unit"]: item for item in world.status()["pendingPrune"]}
    assert waiting[f"Namespace/{space}"]["since"] == since
    assert f"CustomResourceDefinition.apiextensions.k8s.io/{plural}.prune.example" not in waiting
    world.kubectl("delete", "namespace", space, "--wait=false")


def service(name: str, port: int | None = None, **annotations: str) -> dict[str, Any]:
    entry = {"port": 80, **({"nodePort": port} if port else {})}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": {f"gitopsd.io/{k}": v for k, v in annotations.items()}},
        "spec": {"type": "NodePort", "selector": {"app": name}, "ports": [entry]},
    }


def test_a_node_port_moves_from_one_service_to_another_in_one_commit(world: World, namespace: str) -> None:
    world.push({"gitopsd.yaml": one(world, namespace), "app/svc.yaml": service("old", prune="first"), **maps("stays")})
    world.once()
    live = world.get("service", "old", "-n", namespace)
    assert live is not None
    port = live["spec"]["ports"][0]["nodePort"]
    mark = world.mark()
    world.push({"app/svc.yaml": service("new", port, prune="first")})
    world.once()
    assert world.writes(mark) == [("delete", "services", f"{namespace}/old"), ("patch", "services", f"{namespace}/new")]
    live = world.get("service", "new", "-n", namespace)
    assert live is not None
    assert live["spec"]["ports"][0]["nodePort"] == port
    assert world.phase() == "Synced"

    world.push(
        {
            "app/svc.yaml": service("newest", port, prune="first"),
            "app/bad.yaml": deployment("bad", "registry.example/app:pull-error"),
        }
    )
    world.once(code=1)
    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]
    live = world.get("service", "new", "-n", namespace)
    assert live is not None
    assert live["spec"]["ports"][0]["nodePort"] == port


def test_a_stuck_finalizer_is_an_orphan_with_its_age_until_it_is_released(world: World, namespace: str) -> None:
    stuck = config_map("stuck", {"a": "b"})
    stuck["metadata"]["finalizers"] = ["example.org/never"]
    world.push({"gitopsd.yaml": one(world, namespace), "app/stuck.yaml": stuck, **maps("stays")})
    world.once()
    world.push({"app/stuck.yaml": None})
    world.once(code=(0, 1))
    assert world.verdicts() == [("deploy", "good"), ("deploy", "good")]
    status = world.status()
    assert status["phase"] == "Synced"
    unit = f"ConfigMap/{namespace}/stuck"
    (orphan,) = status["orphans"]
    assert orphan["unit"] == unit
    assert "example.org/never" in orphan["reason"]
    assert [entry["reason"] for entry in status["attention"] if entry["unit"] == unit] == ["orphan"]
    live = world.get("configmap", "stuck", "-n", namespace)
    assert live is not None
    assert live["metadata"]["finalizers"] == ["example.org/never"]

    world.once(code=(0, 1))
    assert world.status()["orphans"][0]["since"] == orphan["since"]

    world.kubectl(
        "patch", "configmap", "stuck", "-n", namespace, "--type=json", "-p",
        json.dumps([{"op": "remove", "path": "/metadata/finalizers"}]),
    )  # fmt: skip
    wait_until(lambda: world.data(namespace, "stuck") is None, "the finalizer's owner is done")
    world.once()
    status = world.status()
    assert status["orphans"] == []
    assert status["attention"] == []
    assert status["units"]["total"] == 1


def test_a_copied_label_or_mark_makes_nothing_ours(world: World, namespace: str) -> None:
    world.push({"gitopsd.yaml": one(world, namespace), **maps("mine", "stays")})
    world.once()
    live = world.get("configmap", "mine", "-n", namespace)
    assert live is not None
    labels, annotations = live["metadata"]["labels"], live["metadata"]["annotations"]
    copies = {
        "label-alone": {"labels": labels},
        "whole-copy": {"labels": labels, "annotations": annotations},
    }
    for name, metadata in copies.items():
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}
        world.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(manifest))
    mark = world.mark()
    world.lose_state()
    world.once()
    world.push({"app/mine.yaml": None})
    world.once()
    assert world.writes(mark) == [("delete", "configmaps", f"{namespace}/mine")]
    assert world.status()["units"]["total"] == 1
    assert not gone(world, namespace, "label-alone")
    assert not gone(world, namespace, "whole-copy")


def test_an_object_that_somebody_took_or_owns_is_never_deleted(world: World, namespace: str) -> None:
    """Taken: our marks are off. Owned: an ownerReference came. Anew: another uid under the same name."""
    world.push({"gitopsd.yaml": one(world, namespace), **maps("taken", "owned", "anew", "owner", "plain")})
    world.once()
    world.kubectl("annotate", "configmap", "taken", "-n", namespace, "gitopsd.io/tracking-id-")
    owner = world.get("configmap", "owner", "-n", namespace)
    anew = world.get("configmap", "anew", "-n", namespace)
    assert owner is not None
    assert anew is not None
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    patch = json.dumps({"metadata": {"ownerReferences": [reference]}})
    world.kubectl("patch", "configmap", "owned", "-n", namespace, "--type=merge", "-p", patch)
    world.kubectl("delete", "configmap", "anew", "-n", namespace)
    kept = {"labels": anew["metadata"]["labels"], "annotations": anew["metadata"]["annotations"], "name": "anew"}
    again = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept}
    world.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(again))
    mark = world.mark()
    world.push(dict.fromkeys([f"app/{name}.yaml" for name in ("taken", "owned", "anew", "plain")]))
    world.once(code=(0, 1))
    assert [w for w in world.writes(mark) if w[0] == "delete"] == [("delete", "configmaps", f"{namespace}/plain")]
    for name in ("taken", "owned", "anew"):
        assert not gone(world, namespace, name)
    pending = {item["unit"]: item["reason"] for item in world.status()["pendingPrune"]}
    assert "ConfigMap owner owns it" in pending[f"ConfigMap/{namespace}/owned"]
    assert "anew" in pending[f"ConfigMap/{namespace}/anew"]


def test_what_cannot_be_observed_is_never_taken_for_gone(world: World, namespace: str, faults: FaultProxy) -> None:
    """A kind that is not served now, and an API server that does not answer for one object."""
    world.kubeconfig = faults.kubeconfig()
    world.configure()
    plural = f"u{world.stack}"
    world.kubectl("create", "-f", "-", input=json.dumps(definition(plural)))
    world.kubectl("wait", "--for=condition=Established", f"crd/{plural}.prune.example", "--timeout=30s")
    custom = {"apiVersion": "prune.example/v1", "kind": plural.capitalize(), "metadata": {"name": "one"}, "spec": {}}
    world.push({"gitopsd.yaml": one(world, namespace), "app/custom.yaml": custom, **maps("removed", "stays")})
    world.once()
    mark = world.mark()

    faults.answer(403, times=None, method="GET", path="/configmaps/removed")
    world.push({"app/removed.yaml": None})
    world.once(code=1)
    assert world.holds() == {"blocked"}
    assert world.writes(mark) == []
    faults.clear()
    world.once()
    assert world.writes(mark) == [("delete", "configmaps", f"{namespace}/removed")]

    world.kubectl("delete", "crd", f"{plural}.prune.example")
    mark = world.mark()
    world.push({"app/custom.yaml": None, "app/stays.yaml": config_map("stays", {"a": "c"})})
    world.once(code=(0, 1))
    assert world.data(namespace, "stays") == {"a": "c"}
    unit = f"{plural.capitalize()}.prune.example/{namespace}/one"
    for _ in range(2):
        assert {item["unit"]: item["reason"] for item in world.status()["pendingPrune"]}[unit].startswith("its kind is")
        world.once(code=(0, 1))
    assert [w for w in world.writes(mark) if w[0] == "delete"] == []
