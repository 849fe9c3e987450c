"""Clusters are connected to once, and anew when their kubeconfig has changed: it may lead to another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gitopsd import assembly
from gitopsd.assembly import Clusters
from gitopsd.config.host import ClusterConfig
from gitopsd.model.errors import EnvironmentFault


class Connection:
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    connections: list[Any] = []

    def connect(_settings: Any) -> Any:
        connections.append(Connection())
        return connections[-1]

    monkeypatch.setattr(assembly, "connect", connect)
    return connections


def test_a_changed_kubeconfig_is_read_again_and_every_connection_is_closed_at_the_end(
    tmp_path: Path, made: list[Any]
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("one")
    clusters = Clusters((ClusterConfig("default", kubeconfig=file),))
    first = clusters("default")
    assert clusters("default") is first
    replaced = tmp_path / "new"
    replaced.write_text("another")
    os.replace(replaced, file)
    second = clusters("default")
    assert second is not first
    assert clusters("default") is second
    clusters.close()
    assert [connection.closed for connection in made] == [True, True]


def test_a_kubeconfig_that_is_away_for_a_moment_is_no_change(tmp_path: Path, made: list[Any]) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("one")
    clusters = Clusters((ClusterConfig("default", kubeconfig=file),))
    first = clusters("default")
    file.unlink()
    assert clusters("default") is first
    assert len(made) == 1


def test_an_unknown_name_says_where_to_add_it() -> None:
    with pytest.raises(EnvironmentFault, match="there is no cluster 'edge'"):
        Clusters(())("edge")
