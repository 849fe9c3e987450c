"""Outputs in manifests: which names stand in one, and the manifest with their values in place.

A component declares names; where one of them stands as `${name}` in a scalar of a manifest, an output takes its place.
A scalar that is nothing else takes the output's type, unless only a text can stand there. `$${name}` is the text
`${name}`, and any other `${...}` is somebody else's and stays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from gitopsd.kinds.builtin import BUILTIN
from gitopsd.kinds.normalise import TEXT_MAPS, canonical, group_kind, normalise
from gitopsd.kinds.options import ARGOCD_WAVE, PREFIX
from gitopsd.model.errors import Problem, raise_if
from gitopsd.model.modules import Output, OutputRef, Outputs
from gitopsd.model.sensitive import Sensitive
from gitopsd.model.units import KubernetesUnit, Manifest
from gitopsd.planning.traits import traits_of

Steps = tuple[str | int, ...]

_PLACEHOLDER: Final = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_IDENTITY: Final = frozenset({("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")})
_BASE64: Final = {("", "Secret"): ("data", "stringData"), ("", "ConfigMap"): ("binaryData", "data")}
"""The map of a kind whose values are base64, and the one that takes texts instead."""
_TEXTS: Final = {("", "Secret"): "stringData", ("", "ConfigMap"): "data"}
_SHAPES: Final[tuple[tuple[type, str], ...]] = ((list, "a list"), (dict, "an object"), (type(None), "null"))


@dataclass(frozen=True, slots=True)
class Lacking:
    """What keeps a unit from being filled. `unknown` outputs are known after apply, or do not exist; `unread` ones are
    sensitive and on record without their value: they have to be read from the state first."""

    unknown: tuple[OutputRef, ...] = ()
    unread: tuple[OutputRef, ...] = ()


# ---------------------------------------------------------------- before: which names stand where


def misplaced(manifest: Manifest, values: Mapping[str, OutputRef]) -> list[Problem]:
    """Placeholders where none can be, each with its field: what has to be known before anything is applied, and
    base64."""
    if not values:
        return []
    coded, texts = _BASE64.get(group_kind(manifest), ("", ""))
    problems = []
    for steps, text in _texts(manifest):
        for name in _names_in(text, values):
            shown, field = f"${{{name}}}", _field(steps)
            if steps in _IDENTITY:
                wrong = f"{shown} cannot stand here: which object this is has to be known from the start"
                problems.append(Problem(wrong, field=field, remedy="write it out"))
            elif _is_option(steps):
                wrong = f"{shown} cannot stand here: gitopsd reads this before outputs are known"
                problems.append(Problem(wrong, field=field, remedy="write it out"))
            elif coded and steps[0] == coded:
                problems.append(Problem(f"{shown} cannot stand in base64", field=field, remedy=f"use {texts}"))
    return problems


def template(manifest: Manifest, values: Mapping[str, OutputRef]) -> tuple[Manifest, Mapping[str, OutputRef]]:
    """The normalised manifest, with those of the `values` that still stand in it.

    A Secret's texts with placeholders stay in `stringData`: they can become base64 only once they are filled. Names
    that stand only as `$${name}` are unescaped at once. Raises CommitError (without file and line) as `normalise` does.
    """
    if not values:
        return normalise(manifest), {}
    wanted = {key: value for key, value in manifest.items() if key != "status"}
    found = {name for _, text in _texts(wanted) for name in _names_in(text, values)}
    rest = values.keys() - found
    plain = _changed(wanted, lambda _, text: _unescaped(text, rest)) if rest else wanted
    return _normalised(plain, found), {name: values[name] for name in sorted(found)}


def _normalised(manifest: Manifest, names: Collection[str]) -> Manifest:
    texts = manifest.get("stringData")
    if group_kind(manifest) != ("", "Secret") or not isinstance(texts, Mapping):
        return normalise(manifest)
    waiting = {key: text for key, text in texts.items() if isinstance(text, str) and any(_names_in(text, names))}
    ready = {
        key: _changed(text, lambda _, t: _unescaped(t, names)) for key, text in texts.items() if key not in waiting
    }
    clean = normalise({**manifest, "stringData": ready})
    return {**clean, "stringData": waiting} if waiting else clean


# ---------------------------------------------------------------- after: values in place


def filled_digest(unit: KubernetesUnit, outputs: Outputs) -> str | None:
    """The digest that the unit has once it is filled; None while an output is not known.

    It is over the template and the outputs' digests, never their values: so nobody has to read a sensitive one to see
    that nothing changed.
    """
    if not unit.values:
        return unit.digest
    used = {name: outputs.get(ref) for name, ref in unit.values.items()}
    if None in used.values():
        return None
    digests = {name: output.digest for name, output in used.items() if output is not None}
    return hashlib.sha256(canonical([unit.digest, digests])).hexdigest()


def fill(unit: KubernetesUnit, outputs: Outputs) -> KubernetesUnit | Lacking:
    """The unit with the values of `outputs` in its manifest, or what it lacks.

    Raises CommitError, with every field, for a sensitive output outside a Secret's `stringData` (even while its value
    is not known) and for one that cannot stand in a text.
    """
    if not unit.values:
        return unit
    known = {name: outputs[ref] for name, ref in unit.values.items() if ref in outputs}
    filling = _Filling(unit, known)
    raise_if(filling.exposed())
    unread = {unit.values[name] for name, output in known.items() if _is_sensitive(output) and output.value is None}
    unknown = {ref for ref in unit.values.values() if ref not in outputs}
    digest = filled_digest(unit, outputs)
    if unread or digest is None:
        return Lacking(tuple(sorted(unknown)), tuple(sorted(unread)))
    manifest = _changed(unit.manifest, filling.scalar)
    raise_if(filling.problems)
    ready = normalise(manifest)
    return replace(unit, manifest=ready, digest=digest, values={}, traits=traits_of(unit.id, ready))


class _Filling:
    """One unit while its scalars are replaced; what is wrong with some of them is kept in `problems`."""

    def __init__(self, unit: KubernetesUnit, known: Mapping[str, Output]) -> None:
        self.unit, self.known = unit, known
        self.kind = group_kind(unit.manifest)
        self.problems: list[Problem] = []

    def exposed(self) -> Iterator[Problem]:
        """Sensitive outputs that would be stored where everybody reads them."""
        secret = self.kind == ("", "Secret")
        for steps, text in _texts(self.unit.manifest):
            if secret and steps[0] == "stringData":
                continue
            for name in _names_in(text, self.known):
                if _is_sensitive(self.known[name]):
                    what = f"the output {self.unit.values[name]} is sensitive: it may stand in a Secret's stringData"
                    yield self._problem(steps, f"{what} alone", "put it in a Secret and refer to that")

    def scalar(self, steps: Steps, text: str) -> Any:
        whole = _PLACEHOLDER.fullmatch(text)
        if whole and not whole[1] and whole[2] in self.known and not self._is_text(steps):
            return self._value(whole[2])
        return _PLACEHOLDER.sub(lambda match: self._insert(steps, match), text)

    def _insert(self, steps: Steps, match: re.Match[str]) -> str:
        dollar, name = match[1], match[2]
        if name not in self.known:
            return match[0]
        return match[0][1:] if dollar else self._as_text(steps, name)

    def _as_text(self, steps: Steps, name: str) -> str:
        value = self._value(name)
        if isinstance(value, str):
            return value
        wrong = next((shown for shape, shown in _SHAPES if isinstance(value, shape)), "")
        if wrong:
            text = f"the output {self.unit.values[name]} is {wrong}, and only a text can stand here"
            self.problems.append(self._problem(steps, text, "give it out as a text, with jsonencode() for instance"))
            return ""
        return orjson.dumps(value).decode()

    def _value(self, name: str) -> Any:
        value = self.known[name].value
        return value.reveal() if isinstance(value, Sensitive) else value

    def _is_text(self, steps: Steps) -> bool:
        """Whether Kubernetes takes nothing but a text there, so that a number is meant as one."""
        if steps[0] in {"metadata", _TEXTS.get(self.kind)}:
            return True
        parents = steps[-3:-1]
        return (
            self.kind in BUILTIN
            and (
                not TEXT_MAPS.isdisjoint(parents[-1:])  # labels of a pod template, selectors
                or not {"args", "command"}.isdisjoint(parents[-1:])
                or (parents[:1] == ("env",) and steps[-1] == "value")
            )
        )

    def _problem(self, steps: Steps, message: str, remedy: str) -> Problem:
        origin = self.unit.origin
        return Problem(message, origin.file, origin.line, _field(steps), str(self.unit.id), remedy)


def _is_sensitive(output: Output) -> bool:
    return output.sensitive or isinstance(output.value, Sensitive)


# ---------------------------------------------------------------- scalars of a manifest


def _texts(value: Any, steps: Steps = ()) -> Iterator[tuple[Steps, str]]:
    """Every scalar that could have a placeholder; keys of mappings are none."""
    if isinstance(value, str):
        if "${" in value:
            yield steps, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*steps, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*steps, number))


def _changed(value: Any, change: Callable[[Steps, str], Any], steps: Steps = ()) -> Any:
    """The same value with other scalars in place of those that could have a placeholder."""
    if isinstance(value, str):
        return change(steps, value) if "${" in value else value
    if isinstance(value, Mapping):
        return {key: _changed(item, change, (*steps, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_changed(item, change, (*steps, number)) for number, item in enumerate(value)]
    return value


def _names_in(text: str, names: Collection[str]) -> Iterator[str]:
    """The names among these that stand in a text, not counting what is escaped."""
    return (match[2] for match in _PLACEHOLDER.finditer(text) if not match[1] and match[2] in names)


def _unescaped(text: str, names: Collection[str]) -> str:
    return _PLACEHOLDER.sub(lambda m: m[0][1:] if m[1] and m[2] in names else m[0], text)


def _is_option(steps: Steps) -> bool:
    if len(steps) != 3 or steps[:2] != ("metadata", "annotations"):
        return False
    return str(steps[2]).startswith(PREFIX) or steps[2] == ARGOCD_WAVE


def _field(steps: Steps) -> str:
    """A path as kubectl writes it: `spec.ports[0]`, `data[a.b]`."""
    text = ""
    for step in steps:
        plain = isinstance(step, str) and not re.search(r"[.\[\]]", step)
        text += f".{step}" if plain else f"[{step}]"
    return text.removeprefix(".")
