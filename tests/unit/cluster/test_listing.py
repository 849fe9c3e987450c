"""Lists in pages, and what a kind that is announced but not served means."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gitopsd.cluster import connect
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence
from tests.unit.cluster.server import Answer, Asked, FakeServer, kubeconfig, settings
from tests.unit.cluster.test_discovery import aggregated, group, resource

WIDGETS = aggregated(group("example.com", v1=[resource("widgets", "Widget")]))


class Api:
    """Serves the kind Widget; `pages` of names, the tokens in between expire `expires` times."""

    def __init__(self, pages: list[list[str]], expires: int = 0, *, served: bool = True) -> None:
        self.pages, self.expires, self.served = pages, expires, served

    def __call__(self, asked: Asked) -> Answer:
        url = urlsplit(asked.path)
        if url.path == "/api":
            return Answer(200, aggregated())
        if url.path == "/apis":
            return Answer(200, WIDGETS)
        if not self.served:
            return Answer(404, b"404 page not found\n")
        return self._page(int(parse_qs(url.query).get("continue", ["0"])[0]))

    def _page(self, number: int) -> Answer:
        if number and self.expires:
            self.expires -= 1
            return Answer(410, {"kind": "Status", "reason": "Expired", "code": 410})
        items = [{"metadata": {"name": name, "namespace": "web", "uid": name}} for name in self.pages[number]]
        more: dict[str, Any] = {"continue": str(number + 1)} if number + 1 < len(self.pages) else {}
        return Answer(200, {"kind": "PartialObjectMetadataList", "metadata": more, "items": items})


def listed(directory: Path, api: Api, limit: int = 0) -> list[str]:
    with FakeServer(api) as server, connect(settings(kubeconfig(directory / "k", server.url))) as cluster:
        return [live.id.name for live in cluster.list("example.com", "Widget", limit=limit)]


def test_all_pages_make_one_list(tmp_path: Path) -> None:
    assert listed(tmp_path, Api([["a", "b"], ["c"], ["d"]])) == ["a", "b", "c", "d"]
    assert listed(tmp_path, Api([["a", "b"], ["c"], ["d"]]), limit=3) == ["a", "b", "c"]


def test_a_list_whose_token_expires_is_read_again_from_the_beginning(tmp_path: Path) -> None:
    assert listed(tmp_path, Api([["a"], ["b"]], expires=1)) == ["a", "b"]  # and nothing twice
    with pytest.raises(EnvironmentFault, match="grows old faster"):
        listed(tmp_path, Api([["a"], ["b"]], expires=99))


def test_a_kind_that_is_announced_but_not_served_is_neither_empty_nor_absent(tmp_path: Path) -> None:
    api = Api([], served=False)
    unit = UnitId("default", "example.com", "Widget", "web", "a")
    with FakeServer(api) as server, connect(settings(kubeconfig(tmp_path / "k", server.url))) as cluster:
        with pytest.raises(EnvironmentFault, match="announced, but not served"):
            cluster.list("example.com", "Widget")
        with pytest.raises(EnvironmentFault, match="announced, but not served"):
            cluster.members("applyset-x-v1", ["Widget.example.com"])
        assert cluster.get(unit) is Absence.KIND_UNSERVED
        with pytest.raises(EnvironmentFault, match="not served now"):
            cluster.delete(unit, uid="u", resource_version="1")
        assert cluster.members("applyset-x-v1", ["Gadget.example.com"]) == ()
