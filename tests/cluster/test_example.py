"""The example of the repository is what it says: it deploys unchanged, in order, and then costs nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sandbox import SandboxError
from tests.support.world import World

EXAMPLE = Path(__file__).parents[2] / "manifests-example"

UNSAFE = """\
apiVersion: v1
kind: Pod
metadata: {name: unsafe, namespace: shop}
spec: {containers: [{name: app, image: registry.example/app}]}
"""


def test_the_example_deploys_unchanged_in_wave_order_and_stays_quiet(own_world: World) -> None:
    world = own_world
    world.stack = "example"
    shutil.copytree(EXAMPLE, world.clone, dirs_exist_ok=True)
    commit = world.push(message="the example as it is")
    mark = world.mark()
    world.once()
    world.wait_good(commit)
    assert world.phase() == "Synced"

    order = [f"{resource} {place}" for _, resource, place in world.writes(mark)]
    milestones = [
        "namespaces shop/shop",
        "customresourcedefinitions backups.example.gitopsd.io",
        "backups data/nightly",
        "configmaps shop/shop",
        "jobs shop/migrate",
        "deployments shop/shop",
        "deployments web-staging/web",
        "deployments web-production/web",
    ]
    places = [order.index(milestone) for milestone in milestones]
    assert places == sorted(places)

    with pytest.raises(SandboxError, match="violates PodSecurity"):
        world.kubectl("create", "-f", "-", input=UNSAFE)

    mark = world.mark()
    world.once()
    assert world.writes(mark, own=True) == []
    assert len(world.verdicts()) == 1

    overlay = world.clone / "web/overlays/production/kustomization.yaml"
    changed = overlay.read_text().replace("newTag: 2.0.0", "newTag: 2.0.1")
    assert changed != overlay.read_text()
    fix = world.push({"web/overlays/production/kustomization.yaml": changed})
    world.once()
    world.wait_good(fix)
    assert world.writes(mark) == [("patch", "deployments", "web-production/web")]
    assert world.image("web-production", "web") == "registry.example/web:2.0.1"
    assert world.image("web-staging", "web") == "registry.example/web:2.0.0"
