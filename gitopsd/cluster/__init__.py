"""One Kubernetes cluster behind the `Cluster` protocol: plain HTTPS requests, with every answer sorted by its meaning.

Only this package knows the `kubernetes` client library, which is imported when a connection is made and not before.
"""

from __future__ import annotations

from gitopsd.cluster.adapter import KubernetesCluster, connect
from gitopsd.cluster.settings import ClusterSettings, Limits

__all__ = ["ClusterSettings", "KubernetesCluster", "Limits", "connect"]
