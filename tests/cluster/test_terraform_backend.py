"""Terraform's states in a cluster: where they are, who holds them, and what a crash leaves there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitopsd.model.errors import Cause, EnvironmentFault, NeedsPerson
from gitopsd.model.modules import ModuleFailure, ResourceAction
from gitopsd.terraform import KubeBackend
from gitopsd.terraform.processes import running_in
from sandbox import Cluster
from tests.unit.terraform.bench import Bench

DATA = 'resource "terraform_data" "%s" {\n  input = %s\n}\n'
HELD = """
resource "terraform_data" "first" {
  input = 1
}
resource "terraform_data" "held" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "echo at it > %(sign)s; while [ ! -e %(go)s ]; do sleep 0.05; done"
  }
}
"""


@pytest.fixture
def key() -> str:
    return f"net-{uuid.uuid4().hex[:8]}x"


@pytest.fixture
def bench(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, {"backend": "kubernetes", "cluster": KubeBackend(cluster.kubeconfig, namespace=namespace)})
    yield made
    made.terraform.close()


def wait_for(what: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def lease(cluster: Cluster, namespace: str, key: str) -> str:
    """Who holds the lock, "" if nobody."""
    name = f"lease/lock-tfstate-default-{key}"
    found = cluster.kubectl("get", "-n", namespace, name, "--ignore-not-found", "-o", "json")
    return str(json.loads(found)["spec"].get("holderIdentity") or "") if found.strip() else ""


def test_the_state_is_a_secret_under_its_key(bench: Bench, cluster: Cluster, namespace: str, key: str) -> None:
    module = bench.module(DATA % ("a", "1"), state_key=key)
    plan = bench.terraform.plan(module)
    assert plan.resources[0].action is ResourceAction.CREATE
    done = bench.deploy(module)
    assert not bench.terraform.plan(module, known=True).changes_state
    cluster.kubectl("get", "-n", namespace, f"secret/tfstate-default-{key}")
    assert lease(cluster, namespace, key) == ""
    assert done.tracked == 1
    numbered = bench.module(DATA % ("a", "1"), state_key=f"{key}-1")  # the backend itself refuses such a name
    bench.deploy(numbered)
    cluster.kubectl("get", "-n", namespace, f"secret/tfstate-default-{key}-1-gitopsd")
    blue = bench.module(DATA % ("a", "1"), state_key=key, workspace="blue")
    bench.deploy(blue)
    cluster.kubectl("get", "-n", namespace, f"secret/tfstate-blue-{key}")


def test_a_lost_secret_asks_a_person(bench: Bench, cluster: Cluster, namespace: str, key: str) -> None:
    module = bench.module(DATA % ("a", "1"), state_key=key)
    bench.deploy(module)
    cluster.kubectl("delete", "-n", namespace, f"secret/tfstate-default-{key}")
    for _ in range(2):  # the backend makes an empty one when it is first asked: that is no state either
        with pytest.raises(NeedsPerson, match=f"Secret tfstate-default-{key} in namespace {namespace}"):
            bench.terraform.plan(module, known=True)


def test_an_unreachable_cluster_is_the_environments(bench: Bench, key: str) -> None:
    module = bench.module(DATA % ("a", "1"), state_key=key)
    bench.deploy(module)
    broken = bench.directory / "broken.yaml"
    config = json.loads(bench.settings.cluster.kubeconfig.read_text())  # type: ignore[union-attr]
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    broken.write_text(json.dumps(config))
    bench.changes["cluster"] = KubeBackend(broken, namespace=bench.settings.cluster.namespace)  # type: ignore[union-attr]
    bench.restart()
    with pytest.raises(EnvironmentFault, match="connection refused"):
        bench.terraform.plan(module)


def test_the_lock_of_another_host_is_respected_and_its_owner_named(
    bench: Bench, cluster: Cluster, namespace: str, key: str
) -> None:
    module = bench.module(DATA % ("a", "1"), state_key=key)
    bench.deploy(module)
    lock(cluster, namespace, key, "root@other-host", "2026-11-22T22:00:00.5Z")
    changed = bench.module(DATA % ("a", "2"), state_key=key)
    failed = bench.apply(changed, bench.terraform.plan(changed))
    assert isinstance(failed, ModuleFailure)
    assert failed.cause is Cause.ENVIRONMENT
    assert "root@other-host since 2026-11-22 22:00:00 UTC" in failed.message
    assert "gitopsd unlock web net" in failed.message
    assert bench.terraform.unlock(changed).startswith("root@other-host since ")
    assert lease(cluster, namespace, key) == ""
    with pytest.raises(NeedsPerson, match="not locked"):
        bench.terraform.unlock(changed)
    bench.deploy(changed)


def lock(cluster: Cluster, namespace: str, key: str, who: str, created: str) -> None:
    """Take the lock as another program would."""
    info = {"ID": str(uuid.uuid4()), "Operation": "OperationTypeApply", "Who": who, "Version": "1.11.4"}
    info |= {"Created": created, "Path": "", "Info": ""}
    patch = {
        "metadata": {"annotations": {"app.terraform.io/lock-info": json.dumps(info)}},
        "spec": {"holderIdentity": info["ID"]},
    }
    cluster.kubectl(
        "patch", "-n", namespace, f"lease/lock-tfstate-default-{key}", "--type=merge", "-p", json.dumps(patch)
    )


# ---------------------------------------------------------------- crashes


CHILD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from gitopsd.terraform import KubeBackend
    from tests.unit.terraform.bench import Bench

    directory, code, kubeconfig, namespace, key = sys.argv[1:]
    backend = KubeBackend(Path(kubeconfig), namespace=namespace)
    bench = Bench(Path(directory), {"backend": "kubernetes", "cluster": backend})
    module = bench.module(Path(code).read_text(), state_key=key)
    bench.apply(module, bench.terraform.plan(module))
    """
)


@pytest.fixture
def killed(bench: Bench, cluster: Cluster, namespace: str, key: str, tmp_path: Path) -> Iterator[str]:
    """A module whose apply, and the process that started it, were killed while the state was locked."""
    sign, code = tmp_path / "sign", tmp_path / "code.tf"
    text = HELD % {"sign": sign, "go": tmp_path / "go"}
    code.write_text(text)
    command = [sys.executable, "-c", CHILD, str(bench.directory), str(code), str(cluster.kubeconfig), namespace, key]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True) as process:
        try:
            wait_for(sign.exists)
            process.kill()
            process.wait()
            for pid in running_in(bench.work / "data"):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not running_in(bench.work / "data"))
            assert lease(cluster, namespace, key)
            yield text
        finally:
            process.kill()
            for pid in running_in(bench.work / "data"):
                os.kill(pid, signal.SIGKILL)


def test_the_lock_of_our_dead_child_is_removed(
    bench: Bench, killed: str, cluster: Cluster, namespace: str, key: str
) -> None:
    bench.restart()
    bench.terraform.settle("web", "net")
    assert lease(cluster, namespace, key) == ""
    (bench.directory / "go").touch()
    done = bench.deploy(bench.module(killed, state_key=key))
    assert done.tracked == 2


def test_the_lock_stays_while_another_program_of_this_host_may_hold_it(
    bench: Bench, killed: str, cluster: Cluster, namespace: str, key: str
) -> None:
    other = bench.directory / "terraform"
    other.symlink_to("/bin/sleep")
    shutil.copytree(bench.work / "data", bench.directory / "theirs", symlinks=True)
    bench.restart()
    with subprocess.Popen([str(other), "600"], env={"TF_DATA_DIR": str(bench.directory / "theirs")}) as process:
        try:
            bench.terraform.settle("web", "net")
            assert lease(cluster, namespace, key)
        finally:
            process.kill()
    bench.terraform.settle("web", "net")
    assert lease(cluster, namespace, key) == ""


def test_a_lock_of_this_host_that_is_older_than_our_child_stays(
    bench: Bench, killed: str, cluster: Cluster, namespace: str, key: str
) -> None:
    lock(cluster, namespace, key, f"root@{socket.gethostname()}", "2020-01-01T00:00:00Z")
    held = lease(cluster, namespace, key)
    bench.restart()
    bench.terraform.settle("web", "net")
    assert lease(cluster, namespace, key) == held
