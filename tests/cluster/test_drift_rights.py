"""An account that may do everything but watch: drift is found later, and that is said."""

from __future__ import annotations

import json
from pathlib import Path

from sandbox import Cluster
from tests.support.world import World, config_map, wait_until


def test_without_the_right_to_watch_drift_is_found_by_looking_and_with_it_at_once(
    sandbox_cluster: Cluster, tmp_path: Path, namespace: str
) -> None:
    verbs = ["get", "list", "create", "update", "patch", "delete"]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": namespace},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": verbs}],
    }
    account = sandbox_cluster.add_user()
    user = sandbox_cluster.user_of(account)
    world = World(tmp_path / "world", sandbox_cluster, namespace, kubeconfig=account)
    world.kubectl("apply", "-f", "-", input=json.dumps(role))
    world.kubectl("create", "clusterrolebinding", namespace, f"--clusterrole={namespace}", f"--user={user}")
    try:
        stack = world.stack_file({"name": "app", "path": "app", "namespace": namespace})
        world.push({"gitopsd.yaml": stack, "app/one.yaml": config_map("one", {"v": "git"})})
        world.start()
        world.wait_phase("Synced")
        (blind,) = wait_until(lambda: world.status()["unwatched"], "it says what it does not see")
        assert blind["kind"] == "ConfigMap in cluster default"
        assert "may not watch configmaps in all namespaces (grant: " in blind["why"]
        assert "not watched now ConfigMap" in world.gitopsd("status")

        _edit(world, namespace)
        world.gitopsd("sync", world.stack, "--wait")
        assert world.data(namespace, "one") == {"v": "git"}, "who asks for it has it looked at now"

        role["rules"] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": [*verbs, "watch"]}]
        world.kubectl("apply", "-f", "-", input=json.dumps(role))
        wait_until(lambda: world.status()["unwatched"] == [], "it watches as soon as it may")
        _edit(world, namespace)
        wait_until(lambda: world.data(namespace, "one") == {"v": "git"}, "it is healed by itself")
    finally:
        world.close()
        for kind in ("clusterrolebinding", "clusterrole"):
            world.kubectl("delete", kind, namespace)


def _edit(world: World, namespace: str) -> None:
    change = '{"data":{"v":"by hand"}}'
    world.kubectl("patch", "configmap", "one", "-n", namespace, "--type=merge", "-p", change)
