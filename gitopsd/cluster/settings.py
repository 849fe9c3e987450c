"""What the adapter has to be told: where the cluster is, and how patient to be with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One entry of the host configuration's `clusters`.

    `kubeconfig` None means `$KUBECONFIG` or `~/.kube/config`, an empty `context` the file's current one; both are
    unused with `in_cluster`. `namespace` is where the parents and Leases of the stacks live.
    """

    name: str
    kubeconfig: Path | None = None
    context: str = ""
    in_cluster: bool = False
    namespace: str = "gitopsd-system"


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Patience with watches, in seconds.

    `lasting`: the server is asked to end a watch after between once and twice so long, which spreads them over its
    instances again. `arrival`: within which the event of an object that is there has to come before a watch is trusted.
    `silence`: without event and bookmark for so long, a watch is taken for dead; API servers send a bookmark about
    every minute. `compare`: how often the server's resourceVersion is looked at while all seems well. `absence`: a
    watch that was away for longer is followed by a new list, for the server may have been put back to a backup and
    have counted beyond our position again. `first` and `most`: the pause before the next try.
    """

    lasting: float = 1800.0
    arrival: float = 10.0
    silence: float = 150.0
    compare: float = 300.0
    absence: float = 60.0
    first: float = 0.2
    most: float = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Patience, in seconds. `connect` and `read` bound one attempt (`read` each wait for bytes), `budget` is the time
    after which no further attempt of the same request begins, `first` and `most` the pause between two,
    `credentials` how long a credential plugin of the kubeconfig may take."""

    connect: float = 5.0
    read: float = 30.0
    budget: float = 10.0
    first: float = 0.1
    most: float = 2.0
    credentials: float = 60.0
    watch: WatchLimits = WatchLimits()
