"""Sealing: from a Secret, or from single values, to a SealedSecret that `kubeseal`'s controller and gitopsd open."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gitopsd.model.errors import Problem, UsageError, raise_if
from gitopsd.model.sensitive import Sensitive
from gitopsd.sealed.document import (
    API_VERSION,
    CLUSTER_WIDE,
    KIND,
    NAMESPACE_WIDE,
    Scope,
    is_item,
    oaep_label,
    read_sealed_secret,
    scope_of,
)
from gitopsd.sealing.envelope import seal
from gitopsd.sealing.splice import Found, SealedFile
from gitopsd.sealing.unchanged import unharmed, verify
from gitopsd.yamltext import LineIndex, Located, parse_documents
from gitopsd.yamltext.scalars import ScalarError, plain_scalar

_COPIES: Final = ("kubectl.kubernetes.io/last-applied-configuration", "kubecfg.ksonnet.io/last-applied-configuration")
"""Annotations that hold a copy of the whole Secret."""
_SCOPES: Final = frozenset((CLUSTER_WIDE, NAMESPACE_WIDE))
_SECRET_KEYS: Final = frozenset(("apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"))
_SHOWN_RAW: Final = 8
_SHOWN_ENCODED: Final = 6
"""Bytes from which a value, or its base64 text (of 8 characters then), inside of a longer annotation or label is taken
for a leak: shorter ones occur there by chance. One that is the whole of it is a leak of whatever length."""


@dataclass(frozen=True, slots=True)
class ToSeal:
    """What goes into one SealedSecret; the items are `Sensitive` bytes."""

    name: str
    namespace: str
    scope: Scope
    items: Mapping[str, Sensitive]
    type: str = ""
    immutable: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def read_secrets(data: bytes, file: str) -> tuple[ToSeal, ...]:
    """The Secrets of a manifest, its scope annotations obeyed. Raises CommitError with everything that is wrong with
    them, without showing a value; also for a field that would be left out of the sealed text."""
    documents = parse_documents(data, file)
    problems: list[Problem] = []
    found = [_Reader(file, data, document, problems).read() for document in documents]
    if not documents:
        problems.append(Problem("there is no Secret in it", file))
    raise_if(problems)
    return tuple(found)


def placed(secret: ToSeal, *, name: str = "", namespace: str = "", scope: Scope | None = None) -> ToSeal:
    """The same for the place that the command line says. Raises UsageError where that contradicts the Secret, or leaves
    open where it goes."""
    for what, said, wanted in (("name", secret.name, name), ("namespace", secret.namespace, namespace)):
        if said and wanted and said != wanted:
            raise UsageError(Problem(f"the Secret has the {what} {said!r}, the command line {wanted!r}"))
    found = replace(
        secret,
        name=secret.name or name,
        namespace=secret.namespace or namespace,
        scope=secret.scope if scope is None else scope,
    )
    if not found.name:
        raise UsageError(Problem("the Secret has no name", remedy="add --name"))
    if not found.namespace and found.scope is not Scope.CLUSTER_WIDE:
        remedy = "add --namespace, or --scope cluster-wide for one that opens everywhere"
        raise UsageError(
            Problem("a sealed text of this scope is bound to a namespace, and none is named", remedy=remedy)
        )
    if not found.items:
        raise UsageError(Problem(f"Secret {found.name!r} has nothing to seal", remedy="give it data or stringData"))
    return found


def sealed_yaml(secret: ToSeal, public: RSAPublicKey) -> str:
    """The SealedSecret as YAML, keys in the order of kubeseal. Raises CommitError if an annotation or label shows what
    is to be sealed."""
    _refuse_shown(secret)
    scope = _scope_annotations(secret.scope)
    place = {"name": secret.name} | ({"namespace": secret.namespace} if secret.namespace else {})
    inner: dict[str, Any] = dict(place)
    others = {k: v for k, v in secret.annotations.items() if k not in _SCOPES}
    inner |= {"annotations": others | scope} if others or scope else {}
    inner |= {"labels": dict(secret.labels)} if secret.labels else {}
    template: dict[str, Any] = {"metadata": inner}
    template |= {"type": secret.type} if secret.type else {}
    template |= {"immutable": secret.immutable} if secret.immutable is not None else {}
    manifest = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": place | ({"annotations": scope} if scope else {}),
        "spec": {"encryptedData": _sealed_items(secret, public), "template": template},
    }
    return "---\n" + yaml.dump(manifest, Dumper=_Dumper, sort_keys=True, width=math.inf, allow_unicode=True)


def merged(
    file: SealedFile,
    found: Found,
    items: Mapping[str, Sensitive],
    public: RSAPublicKey,
    default_namespace: str = "",
) -> bytes:
    """The file with these items in one of its SealedSecrets, sealed for its place: added, or in the place of the old
    ones; every other byte stays. `default_namespace` is where it goes if it names none. Raises CommitError if that
    cannot be done for sure."""
    target = read_sealed_secret(found.manifest, found.at, default_namespace)
    slots = {slot.item: slot for slot in found.slots}
    edits, new = [], []
    for item, value in sorted(items.items()):
        sealed = base64.b64encode(seal(public, value.reveal(), target.label)).decode()
        if item in slots:
            edits.append(file.replaced(slots[item], sealed))
        else:
            new.append((item, sealed))
    data = file.edited(edits)
    for item, sealed in new:  # one by one: each is put after the one before
        again = unharmed(found, data)
        grown = next(each for each in again.found if _place(each.manifest) == _place(found.manifest))
        data = again.edited([again.added(grown, item, sealed)])
    place = _place(found.manifest)
    verify(file, data, lambda manifest, item: item in items and _place(manifest) == place)
    return data


def choose(file: SealedFile, name: str = "", namespace: str = "") -> Found:
    """The SealedSecret of a file that a command line means. Raises UsageError if that is not exactly one."""
    places = [(found, _place(found.manifest)) for found in file.found]
    fitting = [
        found for found, place in places if name in {"", place[0]} and (not namespace or place[1] in {"", namespace})
    ]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(str(place[0]) for _, place in places) or "none"
    raise UsageError(Problem(f"it is not clear which SealedSecret is meant; there: {names}", remedy="add --name"))


# ---------------------------------------------------------------- writing


class _Dumper(yaml.SafeDumper):
    """Writes text so that Kubernetes reads it as text: its YAML takes `y` and `0o14` for something else."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    try:
        certain = plain_scalar(text) == text
    except ScalarError:
        certain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if certain else '"')


_Dumper.add_representer(str, _text)


def _scope_annotations(scope: Scope) -> dict[str, str]:
    name = {Scope.CLUSTER_WIDE: CLUSTER_WIDE, Scope.NAMESPACE_WIDE: NAMESPACE_WIDE}.get(scope)
    return {name: "true"} if name else {}


def _sealed_items(secret: ToSeal, public: RSAPublicKey) -> dict[str, str]:
    label = oaep_label(secret.scope, secret.namespace, secret.name)
    items = secret.items.items()
    return {key: base64.b64encode(seal(public, value.reveal(), label)).decode() for key, value in items}


def _refuse_shown(secret: ToSeal) -> None:
    """A tool that copies a Secret into one of its annotations would have its values published with the sealed ones."""
    problems = []
    for key, text in [*secret.labels.items(), *(each for each in secret.annotations.items() if each[0] not in _SCOPES)]:
        for item, value in secret.items.items():
            if _shows(text.encode(), value.reveal()):
                message = f"{key} shows the value of item {item}, which would not be sealed"
                remedy = "take it out of the metadata, or the item out of the Secret if everybody may know it"
                problems.append(Problem(message, unit=f"Secret/{secret.name}", remedy=remedy))
    raise_if(problems)


def _shows(text: bytes, plain: bytes) -> bool:
    """Whether an annotation or a label tells a value, as it is or as base64 text."""
    padded = base64.b64encode(plain)
    encoded = padded.rstrip(b"=")
    if {text, text.strip()} & ({plain, plain.strip(), encoded, padded} - {b""}):
        return True
    if len(plain) >= _SHOWN_RAW and plain in text:
        return True
    return len(plain) >= _SHOWN_ENCODED and encoded[:-1] in text


def _place(manifest: Mapping[str, Any]) -> tuple[Any, Any]:
    """(name, namespace) as the manifest says them."""
    metadata = manifest.get("metadata")
    said = metadata if isinstance(metadata, Mapping) else {}
    return said.get("name", ""), said.get("namespace", "")


# ---------------------------------------------------------------- reading a Secret


class _Reader:
    def __init__(self, file: str, data: bytes, document: Located, problems: list[Problem]) -> None:
        self._file, self._data, self._document, self._problems = file, data, document, problems

    def read(self) -> ToSeal:
        manifest = self._document.value
        if not isinstance(manifest, Mapping) or (manifest.get("apiVersion"), manifest.get("kind")) != ("v1", "Secret"):
            self._note((), "this is no Secret (apiVersion v1)")
            return ToSeal("", "", Scope.STRICT, {})
        for key in manifest.keys() - _SECRET_KEYS:
            self._note((key,), "unknown in a Secret: it would be left out of what is sealed")
        metadata = self._mapping(manifest, ("metadata",))
        annotations = self._texts(metadata, ("metadata", "annotations"))
        immutable = manifest.get("immutable")
        if immutable is not None and not isinstance(immutable, bool):
            self._note(("immutable",), "expected true or false")
        return ToSeal(
            name=self._string(metadata, ("metadata", "name")),
            namespace=self._string(metadata, ("metadata", "namespace")),
            scope=scope_of(annotations),
            items=dict(self._items(manifest)),
            type=self._string(manifest, ("type",)),
            immutable=immutable if isinstance(immutable, bool) else None,
            labels=self._texts(metadata, ("metadata", "labels")),
            annotations={key: text for key, text in annotations.items() if key not in _COPIES},
        )

    def _items(self, manifest: Mapping[str, Any]) -> Iterator[tuple[str, Sensitive]]:
        for key, text in self._mapping(manifest, ("data",)).items():
            self._key(("data", key))
            try:
                yield key, Sensitive(base64.b64decode("".join(_str(text).split()), validate=True))
            except (binascii.Error, ValueError):
                remedy = "put plain text under stringData"
                self._note(("data", key), "a value under data has to be base64 text", remedy)
        for key, text in self._mapping(manifest, ("stringData",)).items():
            self._key(("stringData", key))
            if isinstance(text, str):
                yield key, Sensitive(text.encode())
            else:
                self._note(("stringData", key), "expected text (put it in quotes)")

    def _key(self, path: tuple[str, str]) -> None:
        if not is_item(path[1]):
            self._note(path, "a key of a Secret has letters, digits, - _ and . only, 253 at most")

    def _mapping(self, parent: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
        found = parent.get(path[-1])
        if found is not None and not isinstance(found, Mapping):
            self._note(path, "expected a mapping")
        return found if isinstance(found, Mapping) else {}

    def _texts(self, parent: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, str]:
        texts = {}
        for key, text in self._mapping(parent, path).items():
            if isinstance(text, str):
                texts[key] = text
            else:
                self._note((*path, key), "expected text (put it in quotes)")
        return texts

    def _string(self, parent: Mapping[str, Any], path: tuple[str, ...]) -> str:
        found = parent.get(path[-1])
        if found is not None and not isinstance(found, str):
            self._note(path, "expected text (put it in quotes)")
        return found if isinstance(found, str) else ""

    def _note(self, path: Sequence[str], message: str, remedy: str = "") -> None:
        line = LineIndex(self._data).line(self._document.index, path)
        self._problems.append(Problem(message, self._file, line, field=".".join(path), remedy=remedy))


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 - caught beside base64's own ValueError
    return value
