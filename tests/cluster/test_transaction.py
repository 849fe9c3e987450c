"""A push goes live, a bad push comes back: the main promise, seen through the API server's own log."""

from __future__ import annotations

from tests.support.world import World, config_map, deployment, namespace, wait_until


def two_waves(world: World, space: str, greeting: str, image: str, **extra: object) -> dict[str, object]:
    """A ConfigMap in wave 0 and a Deployment in wave 10."""
    return {
        "gitopsd.yaml": world.stack_file(
            {"name": "base", "path": "base", "namespace": space},
            {"name": "app", "path": "app", "namespace": space, "wave": 10},
        ),
        "base/config.yaml": config_map("settings", {"greeting": greeting}),
        "app/web.yaml": deployment("web", image),
        **extra,
    }


def test_a_push_goes_live_and_is_recorded_with_its_author(world: World, namespace: str) -> None:
    first = world.push(two_waves(world, namespace, "hello", "registry.example/app:1"))
    world.once()
    assert world.data(namespace, "settings") == {"greeting": "hello"}
    run = world.wait_good(first)
    assert (run["kind"], run["stack"]) == ("deploy", world.stack)
    assert "Dana" in run["author"]
    assert run["started"] <= run["finished"]

    changed = two_waves(world, namespace, "good day", "registry.example/app:2")
    changed["app/web.yaml"] = deployment("web", "registry.example/app:2", replicas=3)
    second = world.push(changed)
    world.once()
    world.wait_good(second)
    assert world.data(namespace, "settings") == {"greeting": "good day"}
    live = world.get("deployment", "web", "-n", namespace)
    assert live is not None
    assert live["spec"]["replicas"] == 3
    assert world.image(namespace, "web") == "registry.example/app:2"
    assert world.verdicts() == [("deploy", "good"), ("deploy", "good")]
    assert world.phase() == "Synced"


def test_a_commit_that_touches_nothing_of_the_stack_makes_no_run(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "hello", "registry.example/app:1"))
    world.once()
    mark = world.mark()
    readme = world.push({"README.md": "nothing of this concerns the cluster\n"})
    world.once()
    assert world.verdicts() == [("deploy", "good")]
    assert world.writes(mark, own=True) == []
    assert world.status()["revision"]["desired"] == readme
    assert world.phase() == "Synced"


def test_a_bad_commit_is_undone_whole_and_not_tried_again(world: World, namespace: str) -> None:
    good = two_waves(world, namespace, "hello", "registry.example/app:1", **{"app/other.yaml": deployment("other")})
    world.push(good)
    world.once()
    mark = world.mark()

    world.push(
        {
            "base/config.yaml": config_map("settings", {"greeting": "bad day"}),
            "app/web.yaml": deployment("web", "registry.example/app:pull-error"),
            "app/added.yaml": deployment("added"),
        }
    )
    world.once(code=1)

    assert world.verdicts() == [("deploy", "good"), ("deploy", "failed"), ("rollback", "good")]
    failed = world.json("show", world.history()[1]["id"])
    assert "ImagePullBackOff" in failed["reason"] or "ErrImagePull" in failed["reason"]
    assert failed["cause"] == "commit"
    assert world.data(namespace, "settings") == {"greeting": "hello"}
    assert world.image(namespace, "web") == "registry.example/app:1"
    wait_until(lambda: world.get("deployment", "added", "-n", namespace) is None, "the added Deployment is gone")
    touched = {(resource, place) for _, resource, place in world.writes(mark)}
    assert touched == {
        ("configmaps", f"{namespace}/settings"),
        ("deployments", f"{namespace}/web"),
        ("deployments", f"{namespace}/added"),
    }
    assert world.phase() == "Held"
    assert world.holds() == {"quarantined"}

    mark = world.mark()
    world.push({"README.md": "a commit on top that asks the same\n"})
    world.once(code=1)
    assert world.writes(mark, own=True) == []
    assert len(world.verdicts()) == 3

    fix = world.push({"app/web.yaml": deployment("web", "registry.example/app:3")})
    world.once()
    world.wait_good(fix)
    assert world.data(namespace, "settings") == {"greeting": "bad day"}
    assert world.image(namespace, "web") == "registry.example/app:3"
    assert world.phase() == "Synced"


def test_waves_are_applied_in_order(world: World, namespace: str) -> None:
    names = {"third": "20", "first": "-5", "second": "0"}
    files = {f"app/{name}.yaml": deployment(name, wave=wave) for name, wave in names.items()}
    world.push({"gitopsd.yaml": world.stack_file({"name": "app", "path": "app", "namespace": namespace}), **files})
    mark = world.mark()
    world.once()
    applied = [place.rpartition("/")[2] for verb, resource, place in world.writes(mark) if resource == "deployments"]
    assert applied == ["first", "second", "third"]


WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.example"},
    "spec": {
        "group": "test.example",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
                    }
                },
            }
        ],
    },
}
WIDGET = {"apiVersion": "test.example/v1", "kind": "Widget", "metadata": {"name": "one", "namespace": "brand-new"}}


def test_a_definition_a_namespace_and_a_custom_resource_in_one_commit_on_an_empty_cluster(own_world: World) -> None:
    world = own_world
    world.push({"all.yaml": [{**WIDGET, "spec": {"size": 3}}, namespace("brand-new"), WIDGETS]})
    world.stack = "main"  # without a stack file the source is one stack of its own name
    world.once()
    assert world.verdicts() == [("deploy", "good")]
    found = world.get("widgets", "one", "-n", "brand-new")
    assert found is not None
    assert found["spec"] == {"size": 3}


def test_a_failed_first_deploy_leaves_the_cluster_as_it_was(own_world: World) -> None:
    world = own_world
    kinds = "namespaces,customresourcedefinitions,deployments.apps,configmaps,serviceaccounts,replicasets.apps"

    def everything() -> set[str]:
        listed = world.kubectl("get", kinds, "-A", "-o", "name", "--ignore-not-found").split()
        return {name for name in listed if "gitopsd" not in name}

    before = everything()
    world.push(
        {
            "gitopsd.yaml": world.stack_file(
                {"name": "base", "path": "base"}, {"name": "app", "path": "app", "namespace": "brand-new", "wave": 10}
            ),
            "base/all.yaml": [namespace("brand-new"), WIDGETS],
            "base/widget.yaml": {**WIDGET, "spec": {"size": 3}},
            "app/app.yaml": [deployment("web", "registry.example/app:crash-loop"), config_map("settings", {"a": "b"})],
        }
    )
    world.once(code=1)
    assert world.verdicts() == [("deploy", "failed"), ("rollback", "good")]
    wait_until(lambda: everything() - {f"configmap/gitopsd-{world.stack}"} <= before, "all that was created is gone")
    assert world.holds() == {"quarantined"}


def test_what_a_superseded_commit_left_is_undone_with_the_one_that_failed(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "hello", "registry.example/app:1"))
    world.start()
    wait_until(lambda: world.verdicts() == [("deploy", "good")], "the first commit is live")

    world.push(
        {
            "base/config.yaml": config_map("settings", {"greeting": "from b"}),
            "base/added.yaml": config_map("added-by-b", {"a": "b"}),
            "app/web.yaml": deployment("web", "registry.example/app:never-ready"),
        },
        "b",
    )
    wait_until(lambda: world.image(namespace, "web") == "registry.example/app:never-ready", "b is in its last gate")
    world.push(
        {
            "base/added.yaml": None,
            "base/config.yaml": config_map("settings", {"greeting": "hello"}),
            "app/web.yaml": deployment("web", "registry.example/app:pull-error"),
            "app/added.yaml": config_map("added-by-c", {"c": "d"}),
        },
        "c",
    )
    wait_until(lambda: ("rollback", "good") in world.verdicts(), "c is rolled back")
    assert world.verdicts() == [
        ("deploy", "good"),
        ("deploy", "superseded"),
        ("deploy", "failed"),
        ("rollback", "good"),
    ]
    assert world.data(namespace, "settings") == {"greeting": "hello"}
    assert world.image(namespace, "web") == "registry.example/app:1"
    assert world.data(namespace, "added-by-b") is None
    assert world.data(namespace, "added-by-c") is None


def test_a_rollback_needs_no_git_server(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "hello", "registry.example/app:1"))
    world.start()
    wait_until(lambda: world.verdicts() == [("deploy", "good")], "the first commit is live")
    world.push({"app/web.yaml": deployment("web", "registry.example/app:pull-error")})
    wait_until(lambda: world.image(namespace, "web") == "registry.example/app:pull-error", "the bad commit is fetched")
    world.repository.rename(world.repository.with_suffix(".away"))
    wait_until(lambda: ("rollback", "good") in world.verdicts(), "it is rolled back without the server")
    assert world.image(namespace, "web") == "registry.example/app:1"


def test_on_failure_hold_leaves_everything_as_it_is(world: World, namespace: str) -> None:
    files = two_waves(world, namespace, "hello", "registry.example/app:1")
    files["gitopsd.yaml"] = world.stack_file({"name": "app", "path": "app", "namespace": namespace}, onFailure="hold")
    world.push(files)
    world.once()
    world.push({"app/web.yaml": deployment("web", "registry.example/app:pull-error")})
    world.once(code=1)
    assert world.verdicts() == [("deploy", "good"), ("deploy", "failed")]
    assert world.image(namespace, "web") == "registry.example/app:pull-error"
    assert world.phase() == "Failed"
    fix = world.push({"app/web.yaml": deployment("web", "registry.example/app:2")})
    world.once()
    world.wait_good(fix)
    assert world.phase() == "Synced"
