"""What cannot be done as it stands is refused before the first effect, with its place, and keeps nothing else."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.world import World, config_map, deployment, namespace, wait_until

HUNDRED = {
    f"app/many/{number:03}.yaml": config_map(f"many-{number:03}", {"number": str(number)}) for number in range(100)
}


def app(world: World, space: str, **component: Any) -> dict[str, Any]:
    """A stack of one component, with a Deployment and a ConfigMap."""
    return {
        "gitopsd.yaml": world.stack_file({"name": "app", "path": "app", "namespace": space, **component}),
        "app/web.yaml": deployment("web"),
        "app/settings.yaml": config_map("settings", {"greeting": "hello"}),
        "app/obsolete.yaml": config_map("obsolete", {"a": "b"}),
    }


def told_everywhere(world: World, commit: str, *words: str) -> None:
    """`status`, `show` and `plan` name every word; the run is a failed one in which nothing was touched."""
    status = world.status()
    assert status["phase"] == "Held"
    assert status["revision"]["quarantined"][0] == commit
    shown = world.json("show", "last")
    assert (shown["revision"], shown["verdict"], shown["cause"], shown["outcomes"]) == (commit, "failed", "commit", [])
    plan = world.gitopsd("plan", code=1)
    for word in words:
        assert word in status["message"], f"status does not tell {word!r}: {status['message']}"
        assert word in shown["reason"]
        assert word in plan


def selector(app: str) -> dict[str, Any]:
    made = deployment("web")
    made["spec"]["selector"]["matchLabels"] = {"app": app}
    made["spec"]["template"]["metadata"]["labels"] = {"app": app}
    return made


def with_spec(**spec: Any) -> dict[str, Any]:
    made = deployment("web")
    return {**made, "spec": {**made["spec"], **spec}}


BROKEN = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: broken\ndata:\n  a: [1, 2\n"

MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "broken YAML": ({"app/many/050.yaml": BROKEN}, ("app/many/050.yaml:7",)),
    "an unknown field": ({"app/web.yaml": with_spec(replica=2)}, ("app/web.yaml:", "spec.replica")),
    "a wrong type": ({"app/web.yaml": with_spec(replicas="three")}, ("app/web.yaml:", "spec.replicas")),
    "an invalid value": ({"app/web.yaml": with_spec(replicas=-1)}, ("app/web.yaml:", "spec.replicas")),
    "a duplicate object": (
        {"app/many/copy.yaml": config_map("many-007", {"a": "b"})},
        ("app/many/copy.yaml:1", "app/many/007.yaml:1", "twice"),
    ),
    "an immutable field": (
        {"app/web.yaml": selector("other")},
        ("app/web.yaml:", "spec.selector", "gitopsd.io/recreate"),
    ),
    "an unknown annotation of ours": (
        {"app/settings.yaml": config_map("settings", {}, ignored="data.a")},
        ("app/settings.yaml:1", "gitopsd.io/ignored"),
    ),
}


def test_a_mistake_among_a_hundred_files_is_refused_with_its_place(world: World, namespace: str) -> None:
    """With each mistake comes a good change, a new object and a removed one: none of them happens."""
    world.push({**HUNDRED, **app(world, namespace)})
    world.once()
    assert world.phase() == "Synced"
    before = world.mark()
    good = world.git("rev-parse", "HEAD").strip()
    for number, (what, (files, words)) in enumerate(MISTAKES.items()):
        world.git("reset", "-q", "--hard", good)
        change = {
            "app/settings.yaml": config_map("settings", {"greeting": f"bad day {number}"}),
            "app/added.yaml": config_map("added", {"a": "b"}),
            "app/obsolete.yaml": None,
        }
        bad = world.push({**change, **files}, what)
        world.once(code=1)
        told_everywhere(world, bad, *words)
    assert world.writes(before) == []
    assert world.verdicts() == [("deploy", "good")] + [("deploy", "failed")] * len(MISTAKES)

    world.git("reset", "-q", "--hard", good)
    fix = world.push({"app/obsolete.yaml": None, "app/settings.yaml": config_map("settings", {"greeting": "good"})})
    world.once()
    world.wait_good(fix)
    assert world.data(namespace, "settings") == {"greeting": "good"}
    assert world.data(namespace, "obsolete") is None
    assert world.data(namespace, "many-050") == {"number": "50"}


def test_an_order_that_cannot_be_is_refused_with_its_lines(world: World, namespace: str) -> None:
    files = app(world, namespace)
    world.push(files)
    world.once()
    mark = world.mark()
    two = {
        "other/one.yaml": config_map("one", {"a": "b"}),
        "gitopsd.yaml": world.stack_file(
            {"name": "app", "path": "app", "namespace": namespace, "dependsOn": ["other"]},
            {"name": "other", "path": "other", "namespace": namespace, "dependsOn": ["app"]},
        ),
    }
    world.push(two)
    world.once(code=1)
    status, plan = world.status(), world.run("plan")
    assert status["phase"] == "Held"
    assert plan.returncode == 1
    for told in (status["message"], plan.stderr):
        assert "gitopsd.yaml:" in told
        assert "in a circle: app -> other -> app" in told

    late = world.push(
        {
            "gitopsd.yaml": world.stack_file(
                {"name": "app", "path": "app", "namespace": namespace},
                {"name": "other", "path": "other", "namespace": namespace, "wave": 10},
            ),
            "other/one.yaml": [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{world.stack}-late"}},
            ],
            "app/inside.yaml": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "inside", "namespace": f"{world.stack}-late"},
            },
        }
    )
    world.once(code=1)
    told_everywhere(world, late, "app/inside.yaml:1", f"Namespace/{world.stack}-late (other/one.yaml:1)", "wave 10")
    assert world.writes(mark) == []

    greeting = config_map("settings", {"greeting": "good day"})
    fix = world.push({"gitopsd.yaml": files["gitopsd.yaml"], "app/inside.yaml": None, "app/settings.yaml": greeting})
    world.once()
    world.wait_good(fix)


def test_a_stack_file_with_a_mistake_holds_the_stack_and_prunes_nothing(world: World, namespace: str) -> None:
    files = app(world, namespace)
    world.push(files)
    world.once()
    mark = world.mark()
    world.push({"gitopsd.yaml": files["gitopsd.yaml"].replace("components:", "component:"), "app/obsolete.yaml": None})
    world.once(code=1)
    status = world.status()
    assert status["phase"] == "Held"
    assert {hold["reason"] for hold in status["holds"]} == {"source"}
    assert "gitopsd.yaml:" in status["message"]
    assert "component" in status["message"]
    assert "gitopsd.yaml:" in world.run("plan").stderr
    world.push({"gitopsd.yaml": None})
    world.once(code=(0, 1))
    assert world.data(namespace, "settings") == {"greeting": "hello"}
    assert [w for w in world.writes(mark) if w[0] == "delete"] == []


def test_an_immutable_field_is_changed_with_its_authors_leave(world: World, namespace: str) -> None:
    world.push(app(world, namespace))
    world.once()
    before = world.get("deployment", "web", "-n", namespace)
    made = selector("other")
    made["metadata"]["annotations"] = {"gitopsd.io/recreate": "true"}
    world.push({"app/web.yaml": made})
    assert "recreate" in world.gitopsd("plan", code=2)
    world.once()
    after = world.get("deployment", "web", "-n", namespace)
    assert before is not None
    assert after is not None
    assert after["spec"]["selector"]["matchLabels"] == {"app": "other"}
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert world.phase() == "Synced"


@pytest.mark.parametrize("spec", [{"replicas": -1}, {"replica": 1}], ids=["invalid", "unknown"])
def test_a_first_deploy_into_a_new_namespace_is_refused_whole(world: World, spec: dict[str, Any]) -> None:
    space = f"new-{uuid.uuid4().hex[:8]}"
    mark = world.mark()
    files = app(world, space)
    bad = world.push({**files, "app/namespace.yaml": namespace(space), "app/web.yaml": with_spec(**spec)})
    world.once(code=1)
    told_everywhere(world, bad, "app/web.yaml:", f"spec.{next(iter(spec))}")
    assert world.writes(mark) == []
    assert world.get("namespace", space) is None
    fix = world.push({"app/web.yaml": deployment("web")})
    world.once()
    world.wait_good(fix)
    world.kubectl("delete", "namespace", space, "--wait=false")


def test_a_refused_stack_leaves_the_good_one_beside_it_alone(world: World, namespace: str) -> None:
    """Two stacks of one source: the mistake of one does not keep the other from being delivered."""
    neighbour = f"{world.stack}-b"
    first = app(world, namespace)
    second = first["gitopsd.yaml"].replace(f"name: {world.stack}\n", f"name: {neighbour}\n").replace("app", "side")
    files = {
        **first,
        "gitopsd.yaml": f"{first['gitopsd.yaml']}---\n{second}",
        "side/a.yaml": config_map("a", {"v": "1"}),
    }
    world.push(files)
    world.once()
    mark = world.mark()
    world.push({"app/web.yaml": with_spec(replicas="x"), "side/a.yaml": config_map("a", {"v": "2"})})
    world.once(code=1)
    assert world.data(namespace, "a") == {"v": "2"}
    assert {place for _, _, place in world.writes(mark)} == {f"{namespace}/a"}
    phases = {s["name"]: s["phase"] for s in world.json("status")["stacks"]}
    assert phases == {world.stack: "Held", neighbour: "Synced"}
    wait_until(lambda: world.get("deployment", "web", "-n", namespace), "the good Deployment is still there")
