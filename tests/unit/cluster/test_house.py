"""The namespace of the program's own objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitopsd.cluster import connect
from gitopsd.model.errors import EnvironmentFault
from tests.unit.cluster.server import Answer, Asked, FakeServer, kubeconfig, settings

NOT_FOUND = {
    "kind": "Status",
    "reason": "NotFound",
    "code": 404,
    "details": {"name": "gitopsd-system", "kind": "namespaces"},
}
FORBIDDEN = {"kind": "Status", "reason": "Forbidden", "code": 403, "message": "no"}


@pytest.mark.parametrize(
    ("answer", "make", "stands", "posts"),
    [
        (Answer(200, {"kind": "Namespace"}), True, True, 0),
        (Answer(404, NOT_FOUND), True, True, 1),
        (Answer(404, NOT_FOUND), False, False, 0),
        (Answer(403, FORBIDDEN), True, True, 0),
    ],
    ids=["there", "made", "a preview makes nothing", "who may not look was given one"],
)
def test_whether_it_stands(answer: Answer, make: bool, stands: bool, posts: int, tmp_path: Path) -> None:
    asked: list[str] = []

    def script(request: Asked) -> Answer:
        asked.append(request.method)
        return answer if request.method == "GET" else Answer(201, {"kind": "Namespace"})

    with FakeServer(script) as server, connect(settings(kubeconfig(tmp_path / "config", server.url))) as cluster:
        assert cluster.house(make=make) is stands
    assert asked.count("POST") == posts


def test_a_server_that_fails_is_no_absence(tmp_path: Path) -> None:
    def script(_: Asked) -> Answer:
        return Answer(500, {"kind": "Status", "code": 500, "message": "etcd is away"})

    with (
        FakeServer(script) as server,
        connect(settings(kubeconfig(tmp_path / "config", server.url))) as cluster,
        pytest.raises(EnvironmentFault, match="etcd is away"),
    ):
        cluster.house(make=True)
