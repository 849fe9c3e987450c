"""Which files a kustomization names, and which of these names are not files at all but places on the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from gitopsd.model.errors import CommitError
from gitopsd.yamltext import parse_documents

HELM_KEYS: Final = ("helmCharts", "helmChartInflationGenerator", "helmGlobals")

# Everything that kustomize's URL parser could take for a repository or a download, and a little more.
_REMOTE: Final = re.compile(
    r"://|^git::|^gh:|^[\w.+-]+@[\w.-]+[:/]|^(?:www\.)?(?:github\.com|gitlab\.com|bitbucket\.org)[:/]|[?&](?:ref|version|timeout|submodules)=",
    re.IGNORECASE,
)


class Role(StrEnum):
    """What a named file is for."""

    ROOT = "root"  # a manifest, or a directory with a kustomization
    CONFIG = "config"  # the configuration of a transformer or generator, or a directory of them
    YAML = "yaml"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Reference:
    """One name, and the field of the kustomization that says it."""

    field: tuple[str | int, ...]
    text: str
    role: Role


_LISTS: Final = {
    "resources": Role.ROOT,
    "bases": Role.ROOT,
    "components": Role.ROOT,
    "crds": Role.FILE,
    "configurations": Role.FILE,
    "patchesStrategicMerge": Role.YAML,
    "generators": Role.CONFIG,
    "transformers": Role.CONFIG,
    "validators": Role.CONFIG,
}
_PATHS: Final = ("patches", "patchesJson6902", "replacements")
_GENERATORS: Final = ("configMapGenerator", "secretGenerator")


def is_remote(text: str) -> bool:
    """Whether kustomize could go to the network for this name."""
    return bool(_REMOTE.search(text))


def references(kustomization: dict[str, Any]) -> Iterator[Reference]:
    """Every file that a kustomization names; whatever has not the shape that kustomize wants is left to it."""
    for key, role in _LISTS.items():
        for number, text in _strings(kustomization.get(key)):
            yield from _listed((key, number), text, role)
    for key in _PATHS:
        yield from _path_of_each(kustomization.get(key), key)
    for key in _GENERATORS:
        for number, generator in _mappings(kustomization.get(key)):
            yield from _generator_files(generator, (key, number))
    openapi = kustomization.get("openapi")
    if isinstance(openapi, dict) and isinstance(openapi.get("path"), str):
        yield Reference(("openapi", "path"), openapi["path"], Role.FILE)


def config_references(data: bytes, field: tuple[str | int, ...] = ()) -> Iterator[Reference]:
    """Every file that the configuration of a transformer or generator names. Raises CommitError for broken YAML."""
    for document in parse_documents(data, ""):
        value = document.value
        if not isinstance(value, dict):
            continue
        yield from _generator_files(value, field)
        for number, text in _strings(value.get("paths")):
            yield Reference((*field, "paths", number), text, Role.YAML)
        if isinstance(value.get("path"), str):
            yield Reference((*field, "path"), value["path"], Role.YAML)
        for reference in _path_of_each(value.get("replacements"), "replacements"):
            yield Reference((*field, *reference.field), reference.text, reference.role)


def _listed(field: tuple[str | int, ...], text: str, role: Role) -> Iterator[Reference]:
    if "\n" not in text and not text.startswith("{"):
        yield Reference(field, text, role)
    elif role is Role.CONFIG:  # the configuration itself instead of its file
        try:
            yield from config_references(text.encode(), field)
        except CommitError:
            return  # kustomize says what is wrong with it


def _path_of_each(value: Any, key: str) -> Iterator[Reference]:
    for number, item in _mappings(value):
        if isinstance(item.get("path"), str):
            yield Reference((key, number, "path"), item["path"], Role.YAML)


def _generator_files(generator: dict[str, Any], at: tuple[str | int, ...]) -> Iterator[Reference]:
    for number, text in _strings(generator.get("files")):
        _, named, path = text.partition("=")  # [KEY=]PATH
        yield Reference((*at, "files", number), path if named else text, Role.FILE)
    for number, text in _strings(generator.get("envs")):
        yield Reference((*at, "envs", number), text, Role.FILE)
    if isinstance(generator.get("env"), str):
        yield Reference((*at, "env"), generator["env"], Role.FILE)


def _strings(value: Any) -> Iterator[tuple[int, str]]:
    return ((n, item) for n, item in enumerate(value if isinstance(value, list) else []) if isinstance(item, str))


def _mappings(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((n, item) for n, item in enumerate(value if isinstance(value, list) else []) if isinstance(item, dict))
