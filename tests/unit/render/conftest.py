"""Commits in memory, and stacks over them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gitopsd.model.errors import CommitError
from gitopsd.model.spec import KubernetesComponent, StackSpec
from gitopsd.model.units import Document
from gitopsd.render import Renderer, Tools
from tests.support.memory_cache import MemoryCache
from tests.support.trees import Link, MemoryTree

Files = Mapping[str, str | bytes | Link]


def manifest(name: str, kind: str = "ConfigMap", **data: str) -> str:
    lines = [f"  {key}: {value}" for key, value in data.items()]
    return "\n".join(["apiVersion: v1", f"kind: {kind}", f"metadata: {{name: {name}}}", "data:", *lines, ""])


def stack(*paths: str, section: str = "") -> StackSpec:
    """A stack with one component a path, named after it, on lines 10, 20, ..."""
    components = tuple(
        KubernetesComponent(path.replace("/", "-") or "root", path, line=10 * number)
        for number, path in enumerate(paths, 1)
    )
    return StackSpec("web", "main", "gitopsd.yaml", components, section=section)


class Rendering:
    """A renderer with its cache; keeps nothing else between commits."""

    def __init__(self) -> None:
        self.cache = MemoryCache()
        self.tools = Tools()

    def documents(self, files: Files, *paths: str) -> tuple[Document, ...]:
        return Renderer(self.cache, self.tools).render(MemoryTree(files), stack(*paths or ("",)))

    def names(self, files: Files, *paths: str) -> list[str]:
        return sorted(d.manifest["metadata"]["name"] for d in self.documents(files, *paths))

    def faults(self, files: Files, *paths: str) -> list[str]:
        with pytest.raises(CommitError) as caught:
            self.documents(files, *paths)
        return [str(problem) for problem in caught.value.problems]

    def digest(self, files: Files, *paths: str, section: str = "") -> str:
        return Renderer(self.cache, self.tools).digest(MemoryTree(files), stack(*paths or ("",), section=section))


@pytest.fixture
def rendering() -> Rendering:
    return Rendering()
