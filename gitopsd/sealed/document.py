"""What a SealedSecret of git says, checked whole before any key is touched, and the Secret that it becomes.

Scope, label, template and the precedence of values are read as the sealed-secrets controller of version 0.40 reads
them; where that one would go on with less than was written, this is an error instead.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gitopsd.model.errors import Problem, raise_if
from gitopsd.model.sensitive import Sensitive
from gitopsd.sealed.shape import is_whole
from gitopsd.sealed.template import Template, TemplateError, fill, parse_template, references
from gitopsd.yamltext import line_within

API_VERSION: Final = "bitnami.com/v1alpha1"
KIND: Final = "SealedSecret"
CLUSTER_WIDE: Final = "sealedsecrets.bitnami.com/cluster-wide"
NAMESPACE_WIDE: Final = "sealedsecrets.bitnami.com/namespace-wide"

_ITEM: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
"""Keys of a Secret, as the API server takes them."""
_SPEC_KEYS: Final = frozenset(("encryptedData", "template", "data"))
_TEMPLATE_KEYS: Final = frozenset(("metadata", "type", "immutable", "data"))
_READ_ONLY: Final = frozenset(
    ("creationTimestamp", "uid", "resourceVersion", "generation", "selfLink", "managedFields", "ownerReferences")
)
"""What a copied Secret drags along and nobody means."""
_TEMPLATE_METADATA: Final = frozenset(("name", "namespace", "labels", "annotations")) | _READ_ONLY


def is_item(key: str) -> bool:
    """Whether a text may be the key of an item."""
    return bool(_ITEM.fullmatch(key))


class Scope(StrEnum):
    """How far a sealed text may travel."""

    STRICT = "strict"
    NAMESPACE_WIDE = "namespace-wide"
    CLUSTER_WIDE = "cluster-wide"


@dataclass(frozen=True, slots=True)
class At:
    """Where a document stands: its file, the line of its first token, and the file's text for the lines of fields."""

    file: str = ""
    line: int | None = None
    data: bytes | None = field(default=None, repr=False, compare=False)

    def line_of(self, path: Sequence[str | int]) -> int | None:
        return self.line if self.data is None or self.line is None else line_within(self.data, self.line, path)


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """One SealedSecret. `items` are the sealed bytes by key of the Secret; `made` are the keys that the template adds,
    `omitted` those of `items` that are not to appear; `at` is where it was read."""

    name: str
    namespace: str
    scope: Scope
    items: Mapping[str, bytes] = field(repr=False)
    made: Mapping[str, Template] = field(default_factory=dict, repr=False)
    plain: Mapping[str, str] = field(default_factory=dict, repr=False)
    omitted: frozenset[str] = frozenset()
    type: str = ""
    immutable: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    at: At = field(default_factory=At, compare=False)

    @property
    def label(self) -> bytes:
        """What binds the items to their place; part of the encryption."""
        return oaep_label(self.scope, self.namespace, self.name)

    @property
    def subject(self) -> str:
        return f"{KIND}/{self.name}"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that decides about the Secret: equal texts give equal Secrets under any key that
        opens them."""
        said = [
            *(self.name, self.namespace, self.scope.value, self.type, self.immutable),
            *(sorted(self.labels.items()), sorted(self.annotations.items())),
            [(key, hashlib.sha256(sealed).hexdigest()) for key, sealed in sorted(self.items.items())],
            *(sorted(self.plain.items()), sorted(self.omitted)),
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def secret(self, opened: Mapping[str, Sensitive]) -> dict[str, Any]:
        """The Secret that these opened items make; `data` has base64 text, each value `Sensitive`."""
        return {**self.bare(), "data": {key: _base64(value) for key, value in sorted(self._values(opened).items())}}

    def bare(self) -> dict[str, Any]:
        """The Secret without its values: all that is known of it while it is sealed."""
        metadata: dict[str, Any] = {"name": self.name}
        metadata |= {"namespace": self.namespace} if self.namespace else {}
        metadata |= {"labels": dict(self.labels)} if self.labels else {}
        metadata |= {"annotations": dict(self.annotations)} if self.annotations else {}
        manifest: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        manifest |= {"type": self.type} if self.type else {}
        manifest |= {"immutable": self.immutable} if self.immutable is not None else {}
        return manifest

    def _values(self, opened: Mapping[str, Sensitive]) -> dict[str, Sensitive]:
        shown = {key: value for key, value in opened.items() if key not in self.omitted}
        if not self.made:
            return shown
        inside = {key: text.encode() for key, text in self.plain.items()}
        inside |= {key: value.reveal() for key, value in opened.items()}
        return {key: Sensitive(fill(template, inside)) for key, template in self.made.items()} | shown


def oaep_label(scope: Scope, namespace: str, name: str) -> bytes:
    """The label under which kubeseal seals for a place."""
    if scope is Scope.CLUSTER_WIDE:
        return b""
    return (namespace if scope is Scope.NAMESPACE_WIDE else f"{namespace}/{name}").encode()


def scope_of(annotations: Mapping[str, Any] | None) -> Scope:
    """The scope that annotations of a SealedSecret, or of a Secret to seal, say: the widest; "true" alone counts."""
    said = annotations or {}
    if said.get(CLUSTER_WIDE) == "true":
        return Scope.CLUSTER_WIDE
    return Scope.NAMESPACE_WIDE if said.get(NAMESPACE_WIDE) == "true" else Scope.STRICT


def is_sealed_secret(manifest: object) -> bool:
    """Whether a document is for this package: a SealedSecret, of whatever version."""
    if not isinstance(manifest, Mapping) or manifest.get("kind") != KIND:
        return False
    return str(manifest.get("apiVersion", "")).partition("/")[0] == "bitnami.com"


def read_sealed_secret(manifest: Mapping[str, Any], at: At, default_namespace: str = "") -> SealedSecret:
    """Check a document for which `is_sealed_secret` holds. `default_namespace` is where it goes if it names none.
    Raises CommitError with everything that is wrong with it; nothing of its values is shown."""
    reader = _Reader(manifest, at, default_namespace)
    found = reader.read()
    raise_if(reader.problems)
    return found


class _Reader:
    def __init__(self, manifest: Mapping[str, Any], at: At, default_namespace: str) -> None:
        self.problems: list[Problem] = []
        self._manifest, self._at, self._default = manifest, at, default_namespace
        metadata = manifest.get("metadata")
        self._metadata = metadata if isinstance(metadata, Mapping) else {}
        self._unit = f"{KIND}/{self._metadata.get('name') or '?'}"

    def read(self) -> SealedSecret:
        if self._manifest.get("apiVersion") != API_VERSION:
            self._note(("apiVersion",), f"this version of SealedSecret is not known; {API_VERSION} is")
        annotations = self._texts(self._metadata, ("metadata", "annotations"))
        scope, name, namespace = scope_of(annotations), self._name(), self._namespace()
        if namespace == "" and scope is not Scope.CLUSTER_WIDE:
            self._note(("metadata", "namespace"), "a SealedSecret of this scope needs a namespace")
        spec = self._mapping(self._manifest, ("spec",))
        if self._manifest.get("spec") is None:
            self._note(("spec",), "this SealedSecret has no spec")
        self._only(spec, ("spec",), _SPEC_KEYS)
        if spec.get("data") is not None:
            remedy = "seal the Secret again: kubeseal has written encryptedData, item by item, for years"
            self._note(("spec", "data"), "everything sealed as one text is an old form that is not opened", remedy)
        items = dict(self._items(spec))
        template = self._mapping(spec, ("spec", "template"))
        self._only(template, ("spec", "template"), _TEMPLATE_KEYS)
        inner = self._mapping(template, ("spec", "template", "metadata"))
        self._only(inner, ("spec", "template", "metadata"), _TEMPLATE_METADATA)
        plain, omitted = self._template_data(template)
        return SealedSecret(
            name=name,
            namespace=namespace or "",
            scope=scope,
            items=items,
            made=dict(self._made(plain, items)),
            plain=plain,
            omitted=omitted,
            type=self._type(template),
            immutable=self._immutable(template),
            labels=self._texts(inner, ("spec", "template", "metadata", "labels")),
            annotations=self._texts(inner, ("spec", "template", "metadata", "annotations")),
            at=self._at,
        )

    # ------------------------------------------------------------ metadata

    def _name(self) -> str:
        name = self._metadata.get("name")
        if not isinstance(name, str) or not name:
            self._note(("metadata", "name"), "this object has no name")
            return ""
        return name

    def _namespace(self) -> str | None:
        """Where it goes: "" if nobody says it, None if what is said was refused."""
        namespace = self._metadata.get("namespace")
        if namespace is not None and not isinstance(namespace, str):
            self._note(("metadata", "namespace"), "expected text (put it in quotes)")
            return None
        return namespace or self._default

    # ------------------------------------------------------------ what is sealed

    def _items(self, spec: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        for key, text in self._mapping(spec, ("spec", "encryptedData")).items():
            path = ("spec", "encryptedData", key)
            self._key(key, path)
            sealed = _decoded(text) if isinstance(text, str) else None
            if sealed is None:
                self._note(path, "this is not base64 text, as kubeseal writes it", "seal the value again")
            elif not is_whole(sealed):
                self._note(path, "this is no whole sealed text", "it was cut or never sealed; seal the value again")
            else:
                yield key, sealed

    # ------------------------------------------------------------ the template

    def _template_data(self, template: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
        """(texts by key, keys that are not to appear)."""
        texts, omitted = {}, set()
        for key, text in self._mapping(template, ("spec", "template", "data")).items():
            path = ("spec", "template", "data", key)
            self._key(key, path)
            if text is None:
                omitted.add(key)
            elif isinstance(text, str):
                texts[key] = text
            else:
                self._note(path, "expected text (put it in quotes)")
        return texts, frozenset(omitted)

    def _made(self, plain: Mapping[str, str], items: Mapping[str, bytes]) -> Iterator[tuple[str, Template]]:
        """The keys that the template adds: a sealed item of the same name wins, but its text has to be right, too."""
        for key, text in plain.items():
            path = ("spec", "template", "data", key)
            try:
                template = parse_template(text)
            except TemplateError as error:
                self._note(path, str(error), "write it so, or seal the finished text as an item")
                continue
            for name in sorted(references(template) - items.keys() - plain.keys()):
                self._note(path, f"there is no item {name!r} to put in")
            if key not in items:
                yield key, template

    def _type(self, template: Mapping[str, Any]) -> str:
        found = template.get("type")
        if found is not None and not isinstance(found, str):
            self._note(("spec", "template", "type"), "expected text (put it in quotes)")
            return ""
        return found or ""

    def _immutable(self, template: Mapping[str, Any]) -> bool | None:
        found = template.get("immutable")
        if found is not None and not isinstance(found, bool):
            self._note(("spec", "template", "immutable"), "expected true or false")
            return None
        return found

    # ------------------------------------------------------------ shapes

    def _mapping(self, parent: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
        found = parent.get(path[-1])
        if found is not None and not isinstance(found, Mapping):
            self._note(path, "expected a mapping")
        return found if isinstance(found, Mapping) else {}

    def _texts(self, parent: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, str]:
        texts = {}
        for key, text in self._mapping(parent, path).items():
            if text is not None and not isinstance(text, str):
                self._note((*path, key), "expected text (put it in quotes)")
            else:
                texts[key] = text or ""
        return texts

    def _only(self, section: Mapping[str, Any], path: tuple[str, ...], known: frozenset[str]) -> None:
        for key in section.keys() - known:
            self._note((*path, key), "unknown here; it would not reach the Secret")

    def _key(self, key: str, path: tuple[str, ...]) -> None:
        if not is_item(key):
            self._note(path, "a key of a Secret has letters, digits, - _ and . only, 253 at most")

    def _note(self, path: tuple[str, ...], message: str, remedy: str = "") -> None:
        place = self._at.line_of(path)
        problem = Problem(message, self._at.file, place, field=".".join(path), unit=self._unit, remedy=remedy)
        self.problems.append(problem)


def _decoded(text: str) -> bytes | None:
    """Bytes of base64 text, which may be broken into lines as Go's decoder allows it."""
    try:
        return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        return None


def _base64(value: Sensitive) -> Sensitive:
    return Sensitive(base64.b64encode(value.reveal()).decode())
