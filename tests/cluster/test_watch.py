"""Watches of a real API server: events within moments, and what is left of them when it stalls, restarts or forgets."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gitopsd.cluster import ClusterSettings, KubernetesCluster, Limits, channel, connect
from gitopsd.cluster.settings import WatchLimits
from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted
from gitopsd.model.watching import Removed, Seen, Whole
from sandbox import Cluster, control
from sandbox.faults import FaultProxy
from tests.support.watchreader import Reader
from tests.support.world import wait_until

HASTY = Limits(connect=1, read=2, budget=0.5, watch=WatchLimits(silence=2, first=0.1, most=0.5))
MOMENT = 1.0
"""Seconds within which an event has to come; it takes milliseconds, but the machine may be busy."""


@contextmanager
def connected(kubeconfig: Path, limits: Limits | None = None) -> Iterator[KubernetesCluster]:
    with connect(ClusterSettings("default", kubeconfig), limits=limits) as api:
        yield api


@pytest.fixture
def api(cluster: Cluster) -> Iterator[KubernetesCluster]:
    with connected(cluster.kubeconfig) as made:
        yield made


@pytest.fixture
def applyset() -> str:
    return f"applyset-{uuid.uuid4().hex}-v1"


def put(
    api: KubernetesCluster, namespace: str, name: str, applyset: str, kind: str = "ConfigMap", **data: str
) -> UnitId:
    unit = UnitId("default", "", kind, namespace, name)
    metadata = {"name": name, "namespace": namespace, "labels": {PART_OF_LABEL: applyset}}
    answer = api.apply(unit, {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data})
    assert isinstance(answer, Accepted), answer
    return unit


def definition(group: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


# ---------------------------------------------------------------- what is told


def test_each_write_is_told_within_moments(api: KubernetesCluster, namespace: str, applyset: str) -> None:
    put(api, namespace, "a", applyset)
    put(api, namespace, "other", "applyset-other-v1")
    reader = Reader(api.watch("", "ConfigMap", [applyset, "applyset-third-v1"]))
    reader.wait("a*", "Whole")
    unit = put(api, namespace, "a", applyset, key="2")
    reader.wait("a*", "Whole", "a", timeout=MOMENT)
    seen = reader.told[-1]
    assert isinstance(seen, Seen)
    assert set(seen.live.body) == {"apiVersion", "kind", "metadata"}
    assert seen.live == replace(seen.live, id=unit)
    assert "f:key" in json.dumps(seen.live.managed_fields)
    put(api, namespace, "b", "applyset-third-v1")
    reader.wait("b", timeout=MOMENT)
    api.patch(unit, [{"op": "remove", "path": f"/metadata/labels/{PART_OF_LABEL.replace('/', '~1')}"}])
    reader.wait("-a", timeout=MOMENT)  # although it is there: only a GET tells
    gone = reader.told[-1]
    assert isinstance(gone, Removed)
    assert int(gone.live.resource_version) > int(seen.live.resource_version)
    reader.watch.close()
    assert reader.ended()


def test_a_secret_is_watched_without_its_values(api: KubernetesCluster, namespace: str, applyset: str) -> None:
    put(api, namespace, "s", applyset, "Secret", password="aHVudGVyMg==")
    reader = Reader(api.watch("", "Secret", [applyset]))
    reader.wait("s*", "Whole")
    put(api, namespace, "s", applyset, "Secret", password="aHVudGVyMw==")
    reader.wait("s")
    assert "aHVudGVy" not in repr(reader.told)


def test_definitions_are_watched_whatever_their_labels(api: KubernetesCluster, cluster: Cluster) -> None:
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    reader = Reader(api.watch("apiextensions.k8s.io", "CustomResourceDefinition", ()))
    reader.until(lambda words: "Whole" in words, "a list")
    cluster.kubectl("apply", "-f", "-", input=json.dumps(definition(group)))
    reader.until(lambda words: words[-1] == f"widgets.{group}", "the new one")
    cluster.kubectl("delete", "crd", f"widgets.{group}")
    reader.until(lambda words: words[-1] == f"-widgets.{group}", "its end")


def test_a_long_list_comes_in_parts(
    api: KubernetesCluster, sandbox_cluster: Cluster, namespace: str, applyset: str
) -> None:
    metadata = {"namespace": namespace, "labels": {PART_OF_LABEL: applyset}}
    maps = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{n}", **metadata}} for n in range(450)]
    sandbox_cluster.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": maps}))
    since = sandbox_cluster.audit_offset()
    reader = Reader(api.watch("", "ConfigMap", [applyset]))
    reader.until(lambda words: words[-1:] == ["Whole"], "all of them", timeout=60)
    whole = reader.told[-1]
    assert isinstance(whole, Whole)
    assert len(whole.units) == len(reader.told) - 1 == 450
    asked = [e["requestURI"] for e in sandbox_cluster.audit_events(since) if "gitopsd" in str(e.get("userAgent"))]
    lists = [uri for uri in asked if "limit=100" in uri]
    assert len(lists) == 5, asked


# ---------------------------------------------------------------- rights, kinds and the proof


def test_a_watch_that_would_stay_silent_is_refused(
    api: KubernetesCluster, namespace: str, applyset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The List form of the same: the API server grants it, and ends it at the first event without sending that.
    put(api, namespace, "a", applyset)
    monkeypatch.setattr(channel, "_ACCEPT", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
    with pytest.raises(EnvironmentFault, match="its event does not arrive within 10 s"):
        api.watch("", "ConfigMap", [applyset])


def test_rights_are_named_when_they_are_missing_and_noticed_when_they_come(
    sandbox_cluster: Cluster, faults: FaultProxy, namespace: str, applyset: str, api: KubernetesCluster
) -> None:
    user = sandbox_cluster.user_of(sandbox_cluster.add_user())
    put(api, namespace, "a", applyset)
    with connected(faults.kubeconfig(user), HASTY) as limited:
        with pytest.raises(EnvironmentFault, match=rf'user {user} may not list configmaps .* verbs \["list"\]'):
            limited.watch("", "ConfigMap", [applyset])
        grant(sandbox_cluster, user, "list")
        wait_until(lambda: _refused(limited, applyset, "watch"), "the watch alone is missing")
        grant(sandbox_cluster, user, "list,watch")
        wait_until(lambda: not _refused(limited, applyset, "watch"), "nothing is missing")

        reader = Reader(limited.watch("", "ConfigMap", [applyset]))
        reader.wait("a*", "Whole")
        grant(sandbox_cluster, user, "list")
        wait_until(lambda: _refused(limited, applyset, "watch"), "it is missing again")
        faults.cut_open_connections()  # a right is asked for when a watch begins, and never again
        reader.until(lambda words: "Blind" in words, "the missing right")
        assert f"user {user} may not watch configmaps in all namespaces" in reader.fault()
        assert 'apiGroups [""], resources ["configmaps"], verbs ["watch"], by a ClusterRole' in reader.fault()
        put(api, namespace, "b", applyset)
        grant(sandbox_cluster, user, "list,watch")
        reader.wait("Sighted", "b")


def _refused(limited: KubernetesCluster, applyset: str, verb: str) -> bool:
    try:
        limited.watch("", "ConfigMap", [applyset]).close()
    except EnvironmentFault as fault:
        return f'verbs ["{verb}"]' in str(fault)
    return False


def grant(cluster: Cluster, user: str, verbs: str) -> None:
    """What the user may do with ConfigMaps everywhere: this and nothing else."""
    name = f"watch-{user}"
    role = cluster.kubectl(
        "create", "clusterrole", name, f"--verb={verbs}", "--resource=configmaps", "--dry-run=client", "-o", "json"
    )
    binding = cluster.kubectl(
        "create",
        "clusterrolebinding",
        name,
        f"--clusterrole={name}",
        f"--user={user}",
        "--dry-run=client",
        "-o",
        "json",
    )
    for each in (role, binding):
        cluster.kubectl("apply", "-f", "-", input=each)


def test_a_definition_that_is_removed_and_made_again_is_watched_on(
    api: KubernetesCluster, cluster: Cluster, namespace: str, applyset: str
) -> None:
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    widget = {
        "apiVersion": f"{group}/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": namespace, "labels": {PART_OF_LABEL: applyset}},
    }
    unit = UnitId("default", group, "Widget", namespace, "w")
    with pytest.raises(EnvironmentFault, match="not served now"):
        api.watch(group, "Widget", [applyset])
    with connected(cluster.kubeconfig, replace(HASTY, budget=5)) as hasty:  # a new kind's store takes a second
        cluster.kubectl("apply", "-f", "-", input=json.dumps(definition(group)))
        wait_until(lambda: api.catalog(refresh=True).find(group, "Widget"), "the kind is announced")
        reader = Reader(hasty.watch(group, "Widget", [applyset]))  # it may not be served yet
        wait_until(lambda: isinstance(_apply(api, unit, widget), Accepted), "the kind is served")
        reader.until(lambda words: {"w", "w*"} & set(words) != set(), "the object")
        cluster.kubectl("delete", "crd", f"widgets.{group}")
        reader.until(lambda words: words[-1] == "Blind", "the kind is gone")
        assert "-w" in reader.words()
        assert "not served now" in reader.fault()
        cluster.kubectl("apply", "-f", "-", input=json.dumps(definition(group)))
        wait_until(lambda: isinstance(_apply(api, unit, widget), Accepted), "the kind is served again")
        last = reader.until(lambda words: words[-1] in {"w", "Sighted"} and "Sighted" in words, "the kind is back")
        assert {"w", "w*"} & set(last[last.index("Blind") :])


def _apply(api: KubernetesCluster, unit: UnitId, manifest: dict[str, Any]) -> Any:
    try:
        return api.apply(unit, manifest)
    except EnvironmentFault:
        return None


# ---------------------------------------------------------------- faults


def test_connections_that_are_cut_again_and_again_lose_nothing(
    sandbox_cluster: Cluster, faults: FaultProxy, namespace: str, applyset: str, api: KubernetesCluster
) -> None:
    put(api, namespace, "a", applyset, n="0")
    with connected(faults.kubeconfig(), HASTY) as proxied:
        reader = Reader(proxied.watch("", "ConfigMap", [applyset]))
        reader.wait("a*", "Whole")
        versions = set()
        for number in range(1, 31):
            unit = put(api, namespace, "a", applyset, n=str(number))
            if number % 3 == 0:
                faults.cut_open_connections()
            found = api.get(unit)
            versions.add(found.resource_version)  # type: ignore[union-attr]
        wait_until(lambda: versions <= _versions(reader), "every single write was told")


def _versions(reader: Reader) -> set[str]:
    return {event.live.resource_version for event in list(reader.told) if isinstance(event, Seen)}


def test_an_api_server_that_goes_away_and_comes_back(own_cluster: Cluster, applyset: str) -> None:
    server = own_cluster.component("kube-apiserver")
    with connected(own_cluster.kubeconfig, HASTY) as api, connected(own_cluster.kubeconfig) as patient:
        put(patient, "default", "a", applyset)
        reader = Reader(api.watch("", "ConfigMap", [applyset]))
        reader.wait("a*", "Whole")
        server.stop()
        reader.wait("Blind")
        assert "refused" in reader.fault()
        server.start()
        put(patient, "default", "b", applyset)
        words = reader.until(
            lambda words: {"b", "b*"} & set(words) != set() and "Sighted" in words, "all is seen again"
        )
        assert words.count("Blind") == 1

        # Frozen: the connection stays, and nobody closes it.
        server.pause()
        reader.until(lambda words: words.count("Blind") == 2, "silence is not believed")
        assert "does not answer in time" in reader.fault()
        server.resume()
        wait_until(lambda: put(patient, "default", "c", applyset), "the server answers")
        reader.until(lambda words: {"c", "c*"} & set(words) != set() and words.count("Sighted") == 2, "all is seen")


def test_a_position_that_the_server_has_forgotten(own_cluster: Cluster, applyset: str) -> None:
    """A server that has just started knows no events of before."""
    with (
        FaultProxy(own_cluster) as faults,
        connected(faults.kubeconfig(), HASTY) as api,
        connected(own_cluster.kubeconfig) as patient,
    ):
        put(patient, "default", "a", applyset)
        put(patient, "default", "b", applyset)
        reader = Reader(api.watch("", "ConfigMap", [applyset]))
        reader.wait("a*", "b*", "Whole")
        faults.cut(times=None)
        faults.cut_open_connections()
        reader.wait("Blind")
        own_cluster.kubectl("delete", "configmap", "b")
        put(patient, "default", "c", applyset)
        own_cluster.component("kube-apiserver").restart()
        faults.clear()
        words = reader.wait("a*", "c*", "Whole")
        assert "Sighted" in words
        put(patient, "default", "d", applyset)
        reader.wait("d")


def test_a_store_that_is_put_back_to_a_backup(own_cluster: Cluster, applyset: str) -> None:
    etcd, server = own_cluster.component("etcd"), own_cluster.component("kube-apiserver")
    data, backup = own_cluster.layout.state / "etcd", own_cluster.directory / "backup"

    def halt() -> None:
        server.kill()
        etcd.stop()

    def start() -> None:
        control.request(own_cluster.layout, "start", "etcd")  # it is healthy when the API server is
        server.start()

    with connected(own_cluster.kubeconfig, HASTY) as api, connected(own_cluster.kubeconfig) as patient:
        put(patient, "default", "a", applyset, k="old")
        put(patient, "default", "b", applyset)
        halt()
        shutil.copytree(data, backup)
        start()
        # No connection of before: the watch has to see all that follows.
        wait_until(lambda: put(patient, "default", "a", applyset, k="new"), "the server is back")
        own_cluster.kubectl("delete", "configmap", "b")
        reader = Reader(api.watch("", "ConfigMap", [applyset]))
        reader.wait("a*", "Whole")
        for number in range(300):  # so that the restored server counts lower for long
            put(patient, "default", "c", applyset, n=str(number))
        newest = _number(reader)
        halt()
        shutil.rmtree(data)
        shutil.copytree(backup, data)
        start()
        words = reader.wait("a*", "b*", "Whole", "Sighted")
        assert "c*" not in words
        assert _number(reader) < newest
        put(patient, "default", "a", applyset, k="newer")
        reader.wait("a")


def _number(reader: Reader) -> int:
    seen = [event for event in reader.told if isinstance(event, Seen)]
    return int(seen[-1].live.resource_version)


def test_closing_the_adapter_ends_its_watches(cluster: Cluster, applyset: str) -> None:
    with connected(cluster.kubeconfig) as api:
        kinds = [("", "ConfigMap"), ("", "Secret"), ("apps", "Deployment"), ("", "Service"), ("batch", "Job")]
        readers = [Reader(api.watch(*kind, [applyset])) for kind in kinds]
        for reader in readers:
            reader.wait("Whole")
        started = time.monotonic()
    for reader in readers:
        assert reader.ended()
    assert time.monotonic() - started < 5
