"""SEMANTICS 11 for every kind that people keep in git: whatever is done to its objects is noticed, and mended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import urllib3

from gitopsd.cluster import ClusterSettings, KubernetesCluster, connect
from gitopsd.kinds.normalise import group_kind
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from tests.support.allkinds import KEPT, Kept, Manifest, placed
from tests.support.world import World, wait_until

SPACE = "web"
LABEL = "applyset.kubernetes.io/part-of"
SLOW = {"PersistentVolume", "PersistentVolumeClaim"}
"""Kinds whose objects others' finalizers keep for a while."""


class People:
    """Everybody who interferes, with every kind at once."""

    def __init__(self, world: World, api: KubernetesCluster) -> None:
        self.world, self.api = world, api
        cluster = world.cluster
        self._server, self._token = cluster.server, cluster.admin_token
        self._pool = urllib3.PoolManager(
            maxsize=8, ca_certs=str(cluster.certificate_authority), cert_reqs="CERT_REQUIRED"
        )

    def each(self, act: Callable[[Kept], Any], kept: tuple[Kept, ...] = KEPT) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(act, kept))

    def unit(self, kept: Kept) -> UnitId:
        body = placed(kept, SPACE)
        return UnitId("default", *group_kind(body), body["metadata"].get("namespace", ""), body["metadata"]["name"])

    def live(self, kept: Kept) -> LiveObject | None:
        found = self.api.get(self.unit(kept), kept.manifest["apiVersion"])
        return found if isinstance(found, LiveObject) else None

    def patch(self, kept: Kept, body: Mapping[str, Any], manager: str) -> None:
        self._ask("PATCH", kept, f"?fieldManager={manager}", body, "application/merge-patch+json")

    def force(self, kept: Kept) -> None:
        """Another tool applies the edited object and takes what it sets."""
        manifest = _merged(placed(kept, SPACE), kept.edit)
        query = "?fieldManager=other-tool&force=true"
        self._ask("PATCH", kept, query, manifest, "application/apply-patch+yaml")

    def delete(self, kept: Kept) -> None:
        self._ask("DELETE", kept, "", {"propagationPolicy": "Background"}, "application/json")

    def _ask(self, method: str, kept: Kept, query: str, body: Mapping[str, Any], sort: str) -> None:
        unit = self.unit(kept)
        resource = self.api.catalog().resources[unit.group, unit.kind]
        version = kept.manifest["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        space = f"/namespaces/{unit.namespace}" if unit.namespace else ""
        url = f"{self._server}{root}{space}/{resource.plural}/{unit.name}{query}"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": sort, "User-Agent": "somebody"}
        answer = self._pool.request(method, url, body=json.dumps(body).encode(), headers=headers)
        assert answer.status < 300, (method, url, answer.status, answer.data[:500])


def _merged(base: Any, patch: Any) -> Any:
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: _merged(base.get(key), value) for key, value in patch.items()}}
    return patch


def _holds(live: Any, patch: Any) -> bool:
    """Whether an object still is as somebody made it."""
    if isinstance(patch, dict):
        return isinstance(live, dict) and all(key in live and _holds(live[key], value) for key, value in patch.items())
    if isinstance(patch, list):
        pairs = zip(live, patch, strict=False) if isinstance(live, list) else ()
        return isinstance(live, list) and len(live) == len(patch) and all(_holds(*pair) for pair in pairs)
    return bool(live == patch)


@pytest.fixture
def people(own_world: World) -> Iterator[People]:
    """A daemon at rest that watches an object of every kind."""
    own_world.kubectl("create", "namespace", SPACE)
    files: dict[str, Manifest | str] = {
        f"app/{number:02d}.yaml": placed(kept, SPACE) for number, kept in enumerate(KEPT)
    }
    stack = own_world.stack_file({"name": "app", "path": "app", "namespace": SPACE}, prune={"max": 0})
    commit = own_world.push({**files, "gitopsd.yaml": stack})
    own_world.start()
    own_world.wait_good(commit)
    with connect(ClusterSettings("default", own_world.cluster.kubeconfig)) as api:
        yield People(own_world, api)


def _unhealed(people: People, wrong: Callable[[Kept, LiveObject | None], bool]) -> list[str]:
    return [str(people.unit(kept)) for kept in KEPT if wrong(kept, people.live(kept))]


def test_whatever_is_done_to_any_kind_is_mended(people: People) -> None:
    def edited(kept: Kept, live: LiveObject | None) -> bool:
        return live is None or _holds(live.body, kept.edit)

    people.each(lambda kept: people.patch(kept, kept.edit, "somebody"))
    wait_until(lambda: not _unhealed(people, edited), "edits are taken back")

    def unlabelled(_: Kept, live: LiveObject | None) -> bool:
        return live is None or LABEL not in live.labels

    people.each(lambda kept: people.patch(kept, {"metadata": {"labels": {LABEL: None}}}, "labeller"))
    wait_until(lambda: not _unhealed(people, unlabelled), "labels are back")

    people.each(people.force)
    wait_until(lambda: not _unhealed(people, edited), "what another tool took is ours again")

    quick = tuple(kept for kept in KEPT if kept.manifest["kind"] not in {*SLOW, "CustomResourceDefinition"})
    before = {people.unit(kept): live.uid for kept in quick if (live := people.live(kept)) is not None}
    people.each(people.delete, quick)

    def gone(kept: Kept, live: LiveObject | None) -> bool:
        unit = people.unit(kept)
        return unit in before and (live is None or live.uid == before[unit] or live.terminating)

    wait_until(lambda: not _unhealed(people, gone), "what was deleted is there again")
    status = people.world.wait_phase("Synced")
    assert status["units"]["total"] == len(KEPT)


def test_at_rest_among_controllers_nothing_is_asked_or_written(people: People) -> None:
    """Half a minute beside the controllers of Kubernetes; a write of a status or of somebody's own field costs a look
    at most, and no write."""
    world = people.world
    people.world.wait_phase("Synced")
    mark = world.mark()
    for number in range(5):
        note = {"metadata": {"annotations": {"theirs": str(number)}}}
        people.each(partial(people.patch, body=note, manager="notes"))
    world.kubectl("annotate", "namespace", SPACE, "seen=1")
    wait_until(lambda: _rested(world), "the looks are over")
    assert world.writes(mark) == []
    looks = [e for e in world.requests(mark) if "dryRun=" in e["requestURI"] and e["verb"] == "patch"]
    assert len(looks) <= 2 * len(KEPT), f"{len(looks)} looks for {5 * len(KEPT)} foreign writes"


def _rested(world: World) -> bool:
    """No request for three seconds."""
    mark = world.mark()
    time.sleep(3)
    return world.requests(mark) == []
