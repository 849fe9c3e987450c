"""A manifest as people write it, made into what can be sent: applying it twice changes nothing the second time.

Every rule here stands for a spelling which server-side apply refuses, writes anew each time, or takes ownership of in
a way that hides later edits (all seen on a real API server).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from gitopsd.kinds.builtin import BUILTIN
from gitopsd.model.errors import CommitError, Problem
from gitopsd.model.units import Manifest

SERVER_METADATA = frozenset(
    {
        "managedFields",
        "resourceVersion",
        "uid",
        "generation",
        "selfLink",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)
"""Metadata that only the API server sets: refused (409, 422, 400), ignored, or a difference for ever (selfLink)."""


TEXT_MAPS = frozenset({"labels", "annotations", "matchLabels", "nodeSelector"})
"""Maps of texts: a key without a value is the empty text to the API server."""


def normalise(manifest: Manifest) -> Manifest:
    """The manifest ready to send. Raises CommitError (without file and line) for a `stringData` that is no text.

    A null in a built-in kind means that the field is not set, and is dropped. In a custom resource it may have a
    meaning (a chart's value that is switched off) and is stored: it stays.
    """
    group, kind = group_kind(manifest)
    clean = {key: value for key, value in manifest.items() if key != "status" and value is not None}
    metadata = clean.get("metadata")
    if isinstance(metadata, Mapping):
        clean["metadata"] = without_nulls({k: v for k, v in metadata.items() if k not in SERVER_METADATA})
    if (group, kind) in BUILTIN:
        clean = without_nulls(clean)
    if (group, kind) == ("", "ConfigMap"):
        _keep_empty_texts(clean, manifest)
    elif (group, kind) == ("", "Secret"):
        _merge_secret_data(clean, manifest)
    elif kind == "ClusterRole" and "aggregationRule" in clean:
        clean.pop("rules", None)  # a controller computes them: owning them is an endless fight
    elif (group, kind) == ("networking.k8s.io", "NetworkPolicy"):
        clean = _without_empty_lists(clean)
    return clean


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no space: equal values give equal bytes. Raises CommitError for what JSON cannot say."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise CommitError(
            Problem(f"has a value that cannot be sent as JSON: {error}", remedy="quote it if it is meant as text")
        ) from None


def manifest_digest(manifest: Manifest, *extra: str) -> str:
    """SHA-256 (hex) of the canonical JSON, and of further texts that belong to the same wish."""
    digest = hashlib.sha256(canonical(manifest))
    for text in extra:
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()


def group_kind(manifest: Manifest) -> tuple[str, str]:
    """(group, kind) of a manifest; the core group is ""."""
    group, slash, _ = str(manifest.get("apiVersion", "")).rpartition("/")
    return (group if slash else ""), str(manifest.get("kind", ""))


def without_nulls(value: Any, name: str = "") -> Any:
    """Without map entries that are null; in maps of texts (by their `name`) null is the empty text.

    Null elements of lists stay, for the API server to refuse: dropping them would move the others.
    """
    if isinstance(value, str):  # most are, and to tell what a mapping is takes long
        return value
    if isinstance(value, Mapping):
        filled = {k: "" if v is None and name in TEXT_MAPS else v for k, v in value.items()}
        return {k: without_nulls(v, k) for k, v in filled.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _keep_empty_texts(clean: dict[str, Any], manifest: Manifest) -> None:
    """A key of `data` without a value is there, and empty."""
    values = manifest.get("data")
    if isinstance(values, Mapping):
        clean["data"] = {key: "" if value is None else value for key, value in values.items()}


def _merge_secret_data(clean: dict[str, Any], manifest: Manifest) -> None:
    """`stringData` becomes `data` and wins over it.

    As `stringData` the server would record ownership of a field that it never stores: an edit of the stored one would
    go unseen, and a key that leaves git would stay in the cluster.
    """
    _keep_empty_texts(clean, manifest)
    data = clean.get("data")
    if isinstance(data, Mapping):
        clean["data"] = {key: _unfolded(value) for key, value in data.items()}
    texts = manifest.get("stringData")
    if not isinstance(texts, Mapping):
        return
    wrong = [key for key, text in texts.items() if not isinstance(text, str | None)]
    if wrong:
        raise CommitError(*(Problem("must be text: quote it", field=f"stringData.{key}") for key in sorted(wrong)))
    del clean["stringData"]
    encoded = {key: base64.b64encode((text or "").encode()).decode() for key, text in texts.items()}
    merged = {**(clean.get("data") or {}), **encoded}
    if merged:
        clean["data"] = merged


def _unfolded(value: Any) -> Any:
    """base64 tools fold lines, and YAML keeps the line ends; the server stores it without them."""
    return "".join(value.split()) if isinstance(value, str) else value


def _without_empty_lists(value: Any) -> Any:
    """An empty `ingress`, `from`, `ports`, ... of a NetworkPolicy means what its absence means, but each apply of it
    is a write."""
    if isinstance(value, Mapping):
        return {key: _without_empty_lists(item) for key, item in value.items() if item != []}
    return [_without_empty_lists(item) for item in value] if isinstance(value, list) else value
