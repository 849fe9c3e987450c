"""Fixtures for tests on a real control plane.

Each pytest-xdist worker has a sandbox of its own, started by its first test that asks for it. With KUBECONFIG and
GITOPSD_TEST_USE_KUBECONFIG=1 the tests use that (throw-away!) cluster; those that need to reach behind its API server
are skipped then.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Cluster, terraform_cli_config, tool
from sandbox.faults import FaultProxy
from tests.support.world import World

_OURS = {"cluster", "sandbox_cluster", "own_cluster"}


def _external() -> Path | None:
    wanted = os.environ.get("GITOPSD_TEST_USE_KUBECONFIG") == "1"
    return Path(os.environ["KUBECONFIG"]) if wanted and os.environ.get("KUBECONFIG") else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build missing programs here: it takes minutes, which inside a test would count against the test's time limit."""
    if session.config.option.collectonly:
        return
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if _OURS & asked and _external() is None:
        tool("kube-apiserver")
    if "terraform_host" in asked:
        tool("tofu")
        terraform_cli_config()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Shared by the tests of one worker: use a `namespace`, and stop nothing."""
    external = _external()
    if external is not None:
        yield Cluster.external(external)
        return
    with Cluster.start(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def sandbox_cluster(cluster: Cluster) -> Cluster:
    """The shared cluster for tests that need more than its API: audit log, users, simulated pods."""
    if not cluster.is_sandbox:
        pytest.skip("needs a sandbox; KUBECONFIG names another cluster")
    return cluster


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """For tests that stop parts of it, or that need it empty."""
    if _external() is not None:
        pytest.skip("needs a sandbox of its own; KUBECONFIG names another cluster")
    with Cluster.start(tmp_path / "cluster") as started:
        yield started


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new namespace; its name begins with the test's, so that leftovers tell where they come from."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:40].strip("-")
    name = f"{stem}-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="session")
def terraform_host() -> dict[str, str]:
    """Keys of the host's section `terraform`: a real program, and real providers without a registry."""
    return {"binary": str(tool("terraform")), "cliConfig": str(terraform_cli_config())}


@pytest.fixture
def faults(sandbox_cluster: Cluster) -> Iterator[FaultProxy]:
    """A proxy to the shared cluster that can be told to misbehave."""
    with FaultProxy(sandbox_cluster) as proxy:
        yield proxy


@pytest.fixture
def world(sandbox_cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    """A repository, a host configuration and gitopsd on the shared cluster, for a stack of a unique name."""
    made = World(tmp_path / "world", sandbox_cluster, f"s{uuid.uuid4().hex[:8]}")
    yield made
    made.close()


@pytest.fixture
def own_world(own_cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    """The same on a cluster of its own, for tests that break it or need it empty."""
    made = World(tmp_path / "world", own_cluster, f"s{uuid.uuid4().hex[:8]}")
    yield made
    made.close()
