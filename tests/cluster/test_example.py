"""The example of the repository is what it says: it deploys unchanged, in order, and then costs nothing."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

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


def terraform_state(world: World, key: str) -> dict[str, Any]:
    """The state that Terraform keeps in the cluster, read without Terraform and without gitopsd."""
    secret = world.get("secret", f"tfstate-default-{key}", "-n", "gitopsd-system")
    assert secret is not None
    state: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(secret["data"]["tfstate"])))
    return state


def pictures(world: World) -> str:
    """The host of the shop's pictures, which the cluster and the Terraform state have to agree on."""
    host = str(terraform_state(world, "infra")["outputs"]["pictures_host"]["value"])
    data = world.data("shop", "shop")
    assert data is not None
    assert data["pictures.url"] == f"https://{host}"
    return host


def test_the_example_deploys_unchanged_in_wave_order_and_stays_quiet(
    own_world: World, terraform_host: dict[str, str]
) -> None:
    world = own_world
    world.stack = "example"
    world.configure(terraform=terraform_host)
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
    first = pictures(world)
    assert first.endswith(".pictures.example.org")

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

    variables = world.clone / "infra/production.tfvars"
    mark = world.mark()
    moved = world.push({"infra/production.tfvars": variables.read_text().replace("pictures.", "media.")})
    world.once()
    world.wait_good(moved)
    assert pictures(world) == first.replace(".pictures.", ".media.")
    assert world.writes(mark) == [("patch", "configmaps", "shop/shop")]
