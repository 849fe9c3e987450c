"""What others change is put back or only reported, and what is left to others stays with them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.world import World, config_map, deployment, wait_until


def stack(world: World, space: str, **spec: Any) -> dict[str, Any]:
    return {"gitopsd.yaml": world.stack_file({"name": "app", "path": "app", "namespace": space}, **spec)}


def edit(world: World, space: str, name: str, **data: str) -> None:
    world.kubectl("patch", "configmap", name, "-n", space, "--type=merge", "-p", json.dumps({"data": data}))


def drifted(world: World) -> set[str]:
    return {entry["unit"] for entry in world.status()["attention"] if entry["drifted"]}


def test_what_somebody_edits_deletes_or_unlabels_is_healed(world: World, namespace: str) -> None:
    maps = {f"app/{name}.yaml": config_map(name, {"v": "git"}) for name in ("edited", "deleted", "unlabelled", "quiet")}
    world.push({**stack(world, namespace), **maps, "app/web.yaml": deployment("web")})
    world.once()
    edit(world, namespace, "edited", v="by hand", theirs="stays")
    world.kubectl("delete", "configmap", "deleted", "-n", namespace)
    label = "applyset.kubernetes.io/part-of-"
    world.kubectl("label", "configmap", "unlabelled", "-n", namespace, label)
    world.kubectl("annotate", "configmap", "unlabelled", "-n", namespace, "gitopsd.io/tracking-id-")
    world.kubectl("scale", "deployment", "web", "-n", namespace, "--replicas=3")
    mark = world.mark()
    world.once()
    assert world.verdicts() == [("deploy", "good"), ("heal", "good")]
    assert world.data(namespace, "edited") == {"v": "git", "theirs": "stays"}
    assert world.data(namespace, "deleted") == {"v": "git"}
    unlabelled = world.get("configmap", "unlabelled", "-n", namespace)
    assert unlabelled is not None
    assert "gitopsd.io/tracking-id" in unlabelled["metadata"]["annotations"]
    assert "applyset.kubernetes.io/part-of" in unlabelled["metadata"]["labels"]
    web = world.get("deployment", "web", "-n", namespace)
    assert web is not None
    assert web["spec"]["replicas"] == 1
    touched = {place.rpartition("/")[2] for _, _, place in world.writes(mark)}
    assert touched == {"edited", "deleted", "unlabelled", "web"}
    shown = world.json("show", "last")
    assert {o["unit"].rpartition("/")[2] for o in shown["outcomes"]} == touched

    # What others add beside ours is not drift: nothing is written, no run is made.
    edit(world, namespace, "quiet", theirs="stays")
    world.kubectl("annotate", "deployment", "web", "-n", namespace, "example.org/note=theirs")
    mark = world.mark()
    world.once()
    assert world.writes(mark) == []
    assert len(world.verdicts()) == 2
    assert drifted(world) == set()
    world.once()
    assert world.data(namespace, "quiet") == {"v": "git", "theirs": "stays"}


def test_drift_is_only_reported_where_that_is_asked_for(world: World, namespace: str) -> None:
    files = {"app/one.yaml": config_map("one", {"v": "git"}), "app/two.yaml": config_map("two", {"v": "git"})}
    world.push({**stack(world, namespace, drift="report"), **files})
    world.once()
    edit(world, namespace, "one", v="by hand")
    world.kubectl("delete", "configmap", "two", "-n", namespace)
    both = {f"ConfigMap/{namespace}/one", f"ConfigMap/{namespace}/two"}
    mark = world.mark()
    for _ in range(2):  # it stays known over a restart
        world.once(code=(0, 1, 2))
        assert drifted(world) == both
        assert world.status()["units"]["drifted"] == 2
    messages = {entry["unit"]: entry["message"] for entry in world.status()["attention"]}
    assert "data.v" in messages[f"ConfigMap/{namespace}/one"]
    assert world.writes(mark) == []
    assert world.verdicts() == [("deploy", "good")]

    world.push({**stack(world, namespace, drift="heal")})
    world.once()
    assert world.data(namespace, "one") == {"v": "git"}
    assert world.data(namespace, "two") == {"v": "git"}
    assert drifted(world) == set()


def test_drift_is_healed_to_the_good_revision_while_a_bad_commit_waits(world: World, namespace: str) -> None:
    files = {"app/settings.yaml": config_map("settings", {"v": "good"}), "app/web.yaml": deployment("web")}
    world.push({**stack(world, namespace), **files})
    world.once()
    bad = deployment("web", "registry.example/app:pull-error")
    world.push({"app/settings.yaml": config_map("settings", {"v": "bad"}), "app/web.yaml": bad})
    world.once(code=1)
    edit(world, namespace, "settings", v="by hand")
    world.kubectl("set", "image", "deployment/web", "-n", namespace, "app=registry.example/app:9")
    world.once(code=1)
    assert world.verdicts()[-1] == ("heal", "good")
    assert world.data(namespace, "settings") == {"v": "good"}
    assert world.image(namespace, "web") == "registry.example/app:1"
    assert world.holds() == {"quarantined"}


def replicas(world: World, space: str, name: str = "web") -> int:
    found = world.get("deployment", name, "-n", space)
    assert found is not None
    return int(found["spec"]["replicas"])


def test_the_replicas_of_an_autoscaler_are_left_alone(world: World, namespace: str) -> None:
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 9,
        },
    }
    files = {"app/web.yaml": deployment("web", replicas=2), "app/hpa.yaml": autoscaler}
    world.push({**stack(world, namespace), **files})
    world.once()
    assert replicas(world, namespace) == 2
    world.kubectl("scale", "deployment", "web", "-n", namespace, "--replicas=4")
    mark = world.mark()
    world.once()
    assert replicas(world, namespace) == 4
    assert world.writes(mark) == []

    world.push({"app/web.yaml": deployment("web", "registry.example/app:2", replicas=3)})
    world.once()
    assert (world.image(namespace, "web"), replicas(world, namespace)) == ("registry.example/app:2", 4)
    world.kubectl("set", "image", "deployment/web", "-n", namespace, "app=registry.example/app:9")
    world.once()
    assert world.verdicts()[-1] == ("heal", "good")
    assert (world.image(namespace, "web"), replicas(world, namespace)) == ("registry.example/app:2", 4)
    world.push({"app/web.yaml": deployment("web", "registry.example/app:pull-error", replicas=3)})
    world.once(code=1)
    assert world.verdicts()[-1] == ("rollback", "good")
    assert (world.image(namespace, "web"), replicas(world, namespace)) == ("registry.example/app:2", 4)


def test_ignored_fields_stay_with_whoever_sets_them(world: World, namespace: str) -> None:
    settings = config_map("settings", {"ours": "1", "theirs": "start"}, ignore="data.theirs")
    web = deployment("web", ignore="spec.replicas")
    world.push({**stack(world, namespace), "app/settings.yaml": settings, "app/web.yaml": web})
    world.once()
    assert world.data(namespace, "settings") == {"ours": "1", "theirs": "start"}
    edit(world, namespace, "settings", theirs="changed")
    world.kubectl("scale", "deployment", "web", "-n", namespace, "--replicas=2")
    mark = world.mark()
    world.once()
    assert world.writes(mark) == []
    assert drifted(world) == set()

    settings = config_map("settings", {"ours": "2", "theirs": "from git"}, ignore="data.theirs")
    world.push({"app/settings.yaml": settings})
    world.once()
    assert world.data(namespace, "settings") == {"ours": "2", "theirs": "changed"}
    edit(world, namespace, "settings", ours="by hand")
    world.once()
    assert world.data(namespace, "settings") == {"ours": "2", "theirs": "changed"}
    assert replicas(world, namespace) == 2
    wait_until(lambda: world.phase() == "Synced", "all is in sync")
