"""Which documents are Kubernetes objects, and whether they say what every object has to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitopsd.model.errors import Problem
from gitopsd.yamltext import LineIndex, Located

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the file begins that git LFS puts in a file's place (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""

_WORDS = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}


@dataclass(frozen=True, slots=True)
class Found:
    """An object and the line that it starts on."""

    line: int
    manifest: dict[str, Any]


class Collector:
    """Takes the objects out of one file's documents: `found` and `problems`.

    Documents with neither apiVersion nor kind are left out as somebody else's YAML, or if `strict` are problems. The
    elements of a `List` count for themselves.
    """

    def __init__(self, file: str, data: bytes, *, strict: bool = False) -> None:
        self._strict = strict
        self.found: list[Found] = []
        self.problems: list[Problem] = []
        self._file, self._data = file, data
        self._index: LineIndex | None = None

    def add(self, document: Located) -> None:
        value = document.value
        if isinstance(value, dict) and ("apiVersion" in value or "kind" in value):
            self._object(value, document, ())
        elif self._strict:
            message, remedy = _no_object(value, self._data)
            self.problems.append(Problem(message, file=self._file, line=document.line, remedy=remedy))

    def _object(self, value: dict[str, Any], document: Located, path: tuple[str | int, ...]) -> None:
        wrong = list(_type_problems(value))
        if not wrong and _is_list(value):
            for number, item in enumerate(value["items"]):
                where = (*path, "items", number)
                if isinstance(item, dict):
                    self._object(item, document, where)
                else:
                    self._note(document, where, "an element of a List has to be an object")
            return
        wrong += [] if wrong else _metadata_problems(value)
        for field, message in wrong:
            self._note(document, (*path, *field), message, _label(value))
        if not wrong:
            self.found.append(Found(self._line(document, path) if path else document.line, value))

    def _note(self, document: Located, path: tuple[str | int, ...], message: str, unit: str = "") -> None:
        text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
        line = self._line(document, path)
        self.problems.append(Problem(message, file=self._file, line=line, field=text, unit=unit))

    def _line(self, document: Located, path: tuple[str | int, ...]) -> int:
        if self._index is None:
            self._index = LineIndex(self._data)
        return self._index.line(document.index, path)


def _no_object(value: Any, data: bytes) -> tuple[str, str]:
    """What is wrong with a document that is no object, and what to do."""
    if data.startswith(_LFS_POINTER):
        return "this is a pointer of git LFS, and not the file that it stands for", "keep manifests in git itself"
    if isinstance(value, dict):
        message = "this is no Kubernetes object: it has neither apiVersion nor kind"
    else:
        message = f"expected a Kubernetes object, found {_WORDS.get(type(value), 'text')}"
    return message, "correct it, or move it out of the component's directory (hidden directories do not count)"


def _label(value: Mapping[str, Any]) -> str:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{value.get('kind')}/{name}" if isinstance(value.get("kind"), str) and isinstance(name, str) else ""


def _is_list(value: Mapping[str, Any]) -> bool:
    named = (value.get("metadata") or {}).get("name") if isinstance(value.get("metadata"), dict) else None
    return value["kind"].endswith("List") and isinstance(value.get("items"), list) and not named


Wrong = tuple[tuple[str, ...], str]


def _type_problems(value: Mapping[str, Any]) -> Iterator[Wrong]:
    for key in ("apiVersion", "kind"):
        if key not in value:
            yield (key,), "is missing; every object needs it"
        elif not isinstance(value[key], str) or not value[key]:
            yield (key,), f"expected text, found {_what(value[key])}"


def _metadata_problems(value: Mapping[str, Any]) -> Iterator[Wrong]:
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        yield ("metadata",), "this object has no metadata with a name"
        return
    name = metadata.get("name")
    if not name and metadata.get("generateName"):
        yield ("metadata", "generateName"), "an object needs a name of its own: a generated one changes at every apply"
    elif name is None or name == "":
        yield ("metadata", "name"), "this object has no name"
    elif not isinstance(name, str):
        yield ("metadata", "name"), _quoted(name)
    namespace = metadata.get("namespace")
    if namespace is not None and not isinstance(namespace, str):
        yield ("metadata", "namespace"), _quoted(namespace)
    for key in ("labels", "annotations"):
        yield from _text_map(metadata.get(key), key)


def _text_map(value: Any, key: str) -> Iterator[Wrong]:
    if value is None:
        return
    if not isinstance(value, dict):
        yield ("metadata", key), f"expected a mapping, found {_what(value)}"
        return
    for name, text in value.items():
        if text is not None and not isinstance(text, str):
            yield ("metadata", key, name), _quoted(text)


def _quoted(value: Any) -> str:
    hint = " (put it in quotes)" if isinstance(value, (bool, int, float)) else ""
    return f"expected text, found {_what(value)}{hint}"


def _what(value: Any) -> str:
    return _WORDS.get(type(value), "nothing")
