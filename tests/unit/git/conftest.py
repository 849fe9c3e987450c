"""A repository and a place for its mirror."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitopsd.git import GitSource, SourceSettings, open_source
from gitopsd.git.process import Finished
from tests.support.gitserver import GitHttpServer, GitRepo, processes_on

Opener = Callable[..., GitSource]


@pytest.fixture
def repo(tmp_path: Path) -> GitRepo:
    return GitRepo(tmp_path / "served" / "infra.git")


@pytest.fixture
def mirrors(tmp_path: Path) -> Path:
    return tmp_path / "mirrors"


@pytest.fixture
def opened(repo: GitRepo, mirrors: Path) -> Iterator[Opener]:
    """Opens sources on one mirror directory; at the end none of them has a process left."""
    sources: list[GitSource] = []

    def make(url: str = "", **settings: Any) -> GitSource:
        name = settings.pop("name", "main")
        source = open_source(SourceSettings(name, url or str(repo.path), **settings), mirrors)
        sources.append(source)
        return source

    yield make
    for source in sources:
        source.close()
    assert {path: processes_on(path) for path in mirrors.glob("*.git") if processes_on(path)} == {}


@pytest.fixture
def http(tmp_path: Path) -> Iterator[GitHttpServer]:
    with GitHttpServer(tmp_path / "served") as server:
        yield server


def counted(source: GitSource, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every git command from now on."""
    commands: list[str] = []
    git, run, start = source._mirror.git, source._mirror.git.run, source._mirror.git.start

    def noted_run(*arguments: str, **more: Any) -> Finished:
        commands.append(arguments[0])
        return run(*arguments, **more)

    def noted_start(*arguments: str) -> subprocess.Popen[bytes]:
        commands.append(arguments[0])
        return start(*arguments)

    monkeypatch.setattr(git, "run", noted_run)
    monkeypatch.setattr(git, "start", noted_start)
    return commands
