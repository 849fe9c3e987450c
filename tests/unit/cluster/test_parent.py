"""The stack's memory as the data of a ConfigMap."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gitopsd.cluster import connect
from gitopsd.cluster.parent import LARGEST, encode, fit
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.memory import Attempt, JobDone, Memory, Quarantined
from gitopsd.model.run import RunKind
from tests.unit.cluster.server import Answer, Asked, FakeServer, kubeconfig, settings

MEMORY = Memory("shop", "prod", "main", 4, attempting=Attempt("r1", RunKind.DEPLOY, "c", "d", "2026-01-01T00:00:00Z"))


def quarantined(number: int, size: int = 1000) -> Quarantined:
    return Quarantined(f"d{number}", "c", "r", "x" * size, f"2026-01-{number % 28 + 1:02}T{number // 28:02}:00:00Z")


def test_every_field_has_its_key_and_is_json() -> None:
    data = encode(MEMORY)
    assert set(data) == {f.name for f in fields(Memory)} - {"stack", "audit"} | {"auditHead"}
    assert json.loads(data["attempting"])["kind"] == "deploy"
    assert all(isinstance(text, str) and json.loads(text) is not ... for text in data.values())


def test_a_memory_that_is_too_large_forgets_its_oldest_quarantine_first() -> None:
    entries = tuple(quarantined(n, 40_000) for n in range(40))
    data = fit(replace(MEMORY, quarantine=entries), "ns/gitopsd-shop")
    kept = [entry["at"] for entry in json.loads(data["quarantine"])]
    assert 0 < len(kept) < 40
    assert sum(len(text) for text in data.values()) <= LARGEST
    assert min(kept) > max({entry.at for entry in entries} - set(kept))
    small = replace(MEMORY, quarantine=(quarantined(1),))
    assert fit(small, "ns/gitopsd-shop") == encode(small)


def test_a_memory_that_cannot_be_made_to_fit_is_a_fault() -> None:
    jobs = tuple(JobDone(UnitId("default", "batch", "Job", "web", f"j{n}"), "d" * 1000, "t") for n in range(1000))
    with pytest.raises(EnvironmentFault, match="ns/gitopsd-shop"):
        fit(replace(MEMORY, jobs=jobs), "ns/gitopsd-shop")


class Etcd:
    """One ConfigMap with optimistic concurrency; `between` runs once, after the first read."""

    def __init__(self, between: Any = None) -> None:
        self.body: dict[str, Any] | None = None
        self.version, self.between = 0, between

    def store(self, body: dict[str, Any]) -> Answer:
        self.version += 1
        self.body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return Answer(200, self.body)

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            answer = Answer(200, self.body) if self.body else Answer(404, not_found())
            between, self.between = self.between, None
            if between:
                between(self)
            return answer
        body = json.loads(asked.body)
        if asked.method == "POST" and self.body is None:
            return self.store(body)
        fresh = self.body and body["metadata"].get("resourceVersion") == self.body["metadata"]["resourceVersion"]
        return self.store(body) if asked.method == "PUT" and fresh else Answer(409, {"kind": "Status", "code": 409})


def not_found() -> dict[str, Any]:
    return {"kind": "Status", "reason": "NotFound", "code": 404, "details": {"name": "x", "kind": "configmaps"}}


def test_a_writer_in_between_is_noticed(tmp_path: Path) -> None:
    def newer(etcd: Etcd) -> None:
        assert etcd.body is not None
        data = {**etcd.body["data"], "generation": "9"}
        etcd.store({**etcd.body, "data": data})

    etcd = Etcd()
    with FakeServer(etcd) as server:
        where = settings(kubeconfig(tmp_path / "k", server.url))
        with connect(where) as first:
            first.save_memory(MEMORY)
        etcd.between = newer
        with connect(where) as api, pytest.raises(EnvironmentFault, match="generation 9, newer than this host's 5"):
            api.save_memory(replace(MEMORY, generation=5))
        assert etcd.version == 2


def test_a_writer_since_our_last_write_is_noticed(tmp_path: Path) -> None:
    etcd = Etcd()
    with FakeServer(etcd) as server, connect(settings(kubeconfig(tmp_path / "k", server.url))) as api:
        api.save_memory(MEMORY)
        assert etcd.body is not None
        etcd.store({**etcd.body, "data": {**etcd.body["data"], "generation": "9"}})
        with pytest.raises(EnvironmentFault, match="generation 9, newer than this host's 5"):
            api.save_memory(replace(MEMORY, generation=5))
        assert api.load_memory("shop") == replace(MEMORY, generation=9)


def test_what_we_wrote_ourselves_is_not_read_again(tmp_path: Path) -> None:
    etcd = Etcd()
    with FakeServer(etcd) as server, connect(settings(kubeconfig(tmp_path / "k", server.url))) as api:
        for generation in (4, 5, 6):
            api.save_memory(replace(MEMORY, generation=generation))
        assert [asked.method for asked in server.asked] == ["GET", "POST", "PUT", "PUT"]


@pytest.mark.parametrize(("key", "value"), [("jobs", "5"), ("good", "[{]"), ("generation", '"many"')])
def test_a_value_that_was_edited_by_hand_is_named_in_words_of_its_own(tmp_path: Path, key: str, value: str) -> None:
    """It blocks the stack until it is mended: that it was another instance's would be another thing."""
    etcd = Etcd()
    with FakeServer(etcd) as server, connect(settings(kubeconfig(tmp_path / "k", server.url))) as api:
        api.save_memory(MEMORY)
        assert etcd.body is not None
        etcd.store({**etcd.body, "data": {**etcd.body["data"], key: value}})
        with pytest.raises(EnvironmentFault, match=rf"its key '{key}' has been changed .* \(put the former value back"):
            api.load_memory("shop")


def test_a_parent_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    etcd = Etcd()
    with FakeServer(etcd) as server, connect(settings(kubeconfig(tmp_path / "k", server.url))) as api:
        api.save_memory(MEMORY)
        etcd.body = None
        api.save_memory(MEMORY)
        assert api.load_memory("shop") == MEMORY


def test_a_write_whose_answer_is_lost_is_not_taken_for_somebody_elses(tmp_path: Path) -> None:
    etcd = Etcd()
    lost = [True]

    def script(asked: Asked) -> Answer:
        answer = etcd(asked)
        return Answer(cut=True) if asked.method in {"POST", "PUT"} and lost and lost.pop() else answer

    with FakeServer(script) as server, connect(settings(kubeconfig(tmp_path / "k", server.url))) as api:
        api.save_memory(MEMORY)
        lost.append(True)
        api.save_memory(replace(MEMORY, generation=5))
        assert api.load_memory("shop") == replace(MEMORY, generation=5)
        assert etcd.version == 2


def test_an_unchanged_memory_is_not_written(tmp_path: Path) -> None:
    etcd = Etcd()
    with FakeServer(etcd) as server, connect(settings(kubeconfig(tmp_path / "k", server.url))) as api:
        api.save_memory(MEMORY)
        api.save_memory(MEMORY)
        assert [asked.method for asked in server.asked] == ["GET", "POST", "GET"]
