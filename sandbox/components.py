"""The command lines of the control plane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sandbox.layout import CONTROLLER_MANAGER, KWOK, SCHEDULER, Layout

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
# kube-apiserver needs no more than etcd; the others need a kube-apiserver that answers: the launcher starts them later.
FIRST = ("etcd", "kube-apiserver")
PORTS = ("etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

STAGES = Path(__file__).parent / "stages"


def command_lines(layout: Layout, binaries: Path, ports: Mapping[str, int], audit: bool) -> dict[str, list[str]]:
    return {
        "etcd": [str(binaries / "etcd"), *_etcd(layout, ports)],
        "kube-apiserver": [str(binaries / "kube-apiserver"), *_apiserver(layout, ports, audit)],
        "kube-controller-manager": [str(binaries / "kube-controller-manager"), *_controller_manager(layout, ports)],
        "kube-scheduler": [str(binaries / "kube-scheduler"), *_scheduler(layout, ports)],
        "kwok": [str(binaries / "kwok"), *_kwok(layout)],
    }


def _etcd(layout: Layout, ports: Mapping[str, int]) -> list[str]:
    client, peer = (f"http://127.0.0.1:{ports[name]}" for name in ("etcd", "etcd-peer"))
    return [
        f"--data-dir={layout.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # Throw-away data: waiting for the disk would only make tests slow.
        "--unsafe-no-fsync",
        "--log-level=error",
    ]


def _apiserver(layout: Layout, ports: Mapping[str, int], audit: bool) -> list[str]:
    audit_flags = [f"--audit-policy-file={layout.audit_policy}", f"--audit-log-path={layout.audit_log}"]
    # One file: a reader works with offsets, and rotation would lose what it has not seen.
    audit_flags.append("--audit-log-maxsize=100000")
    return [
        f"--etcd-servers=http://127.0.0.1:{ports['etcd']}",
        f"--cert-dir={layout.certificates('kube-apiserver')}",
        f"--secure-port={ports['kube-apiserver']}",
        "--bind-address=127.0.0.1",
        # Loopback cannot be advertised, and a machine without a network has no other address. Nothing dials this one.
        "--advertise-address=192.0.2.1",
        "--endpoint-reconciler-type=none",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={layout.signing_key}",
        f"--service-account-signing-key-file={layout.signing_key}",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        f"--token-auth-file={layout.tokens}",
        "--profiling=false",
        *(audit_flags if audit else []),
    ]


def _controller_manager(layout: Layout, ports: Mapping[str, int]) -> list[str]:
    return [
        *_client(layout, CONTROLLER_MANAGER, ports["kube-controller-manager"], "kube-controller-manager"),
        f"--service-account-private-key-file={layout.signing_key}",
        f"--root-ca-file={layout.certificate_authority}",
        "--use-service-account-credentials=true",
        "--node-monitor-period=1s",
        # A machine under load must not make a simulated node look dead.
        "--node-monitor-grace-period=120s",
    ]


def _scheduler(layout: Layout, ports: Mapping[str, int]) -> list[str]:
    return _client(layout, SCHEDULER, ports["kube-scheduler"], "kube-scheduler")


def _client(layout: Layout, user: str, port: int, component: str) -> list[str]:
    kubeconfig = layout.user_kubeconfig(user)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--cert-dir={layout.certificates(component)}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        # Their own ports answer health checks only; the cluster has no certificate authority for clients to look up.
        "--authentication-skip-lookup=true",
        # The usual 20 requests a second would be most of the time that a start takes.
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--leader-elect=false",
        "--profiling=false",
    ]


def _kwok(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={layout.user_kubeconfig(KWOK)}",
        "--manage-all-nodes",
        "--cidr=10.244.0.0/16",
        # Renewed well before the node counts as lost.
        "--node-lease-duration-seconds=40",
        *(f"--config={stage}" for stage in sorted(STAGES.glob("*.yaml"))),
    ]
