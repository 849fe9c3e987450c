"""What a new cluster contains: nodes and a default storage class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.client import Client
from sandbox.toolsets import KUBERNETES_VERSION

# A stage of the simulated nodes (stages/volumes.yaml) plays the provisioner of this name.
PROVISIONER = "gitopsd.dev/sandbox"


def objects(nodes: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in range(1, nodes + 1):
        yield "/api/v1/nodes", _node(number)
    yield (
        "/apis/storage.k8s.io/v1/storageclasses",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    )


def _node(number: int) -> dict[str, Any]:
    name = f"node-{number}"
    resources = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": "10000"}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node-role.kubernetes.io/worker": "",
    }
    info = {
        "architecture": "amd64",
        "operatingSystem": "linux",
        "kubeletVersion": f"v{KUBERNETES_VERSION}",
        "osImage": "gitopsd sandbox (simulated)",
        "containerRuntimeVersion": "kwok://simulated",
        **dict.fromkeys(("kernelVersion", "kubeProxyVersion", "bootID", "machineID", "systemUUID"), ""),
    }
    # Addresses out of the block that is kept for tests of networks: nobody answers there.
    addresses = [
        {"type": "InternalIP", "address": f"198.18.{number // 250}.{number % 250 + 1}"},
        {"type": "Hostname", "address": name},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": resources, "allocatable": resources, "addresses": addresses, "nodeInfo": info},
    }


def settled(admin: Client, nodes: int) -> bool:
    """Pods can be made (their admission wants the service account) and scheduled (no taint of a new node is left)."""
    if admin.get("/api/v1/namespaces/default/serviceaccounts/default") is None:
        return False
    answer = admin.get("/api/v1/nodes")
    ready = [node for node in answer["items"] if _usable(node)] if answer else []
    return len(ready) >= nodes


def _usable(node: dict[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")
