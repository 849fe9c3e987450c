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


def normalise(manifest: Manifest) -> Manifest:
    """The manifest ready to send. Raises CommitError (without file and line) for a `stringData` that is no text."""
    group, kind = group_kind(manifest)
    clean: dict[str, Any] = {k: without_nulls(v) for k, v in manifest.items() if k != "status" and v is not None}
    metadata = manifest.get("metadata")
    if isinstance(metadata, Mapping):
        clean["metadata"] = without_nulls({k: v for k, v in metadata.items() if k not in SERVER_METADATA}, "metadata")
    if (group, kind) == ("", "ConfigMap"):
        _keep_empty_texts(clean, manifest, "data")
    elif (group, kind) == ("", "Secret"):
        _merge_secret_data(clean, manifest)
    elif kind == "ClusterRole" and "aggregationRule" in clean:
        clean.pop("rules", None)  # a controller computes them: owning them is an endless fight
    elif (group, kind) == ("networking.k8s.io", "NetworkPolicy"):
        _drop_empty_egress(clean)
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
    """Without map entries that are null. A null label or annotation is the empty text to the server, and stays that.

    Null elements of lists stay, for the API server to refuse: dropping them would move the others.
    """
    if isinstance(value, Mapping):
        empty = "" if name in {"labels", "annotations"} else None
        filled = {k: empty if v is None else v for k, v in value.items()}
        return {k: without_nulls(v, k if name == "metadata" else _known(k)) for k, v in filled.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _known(key: str) -> str:
    """Only `metadata` opens a place where labels and annotations are; elsewhere these are words like any other."""
    return key if key == "metadata" else ""


def _keep_empty_texts(clean: dict[str, Any], manifest: Manifest, field: str) -> None:
    """A key without a value is the empty text to the server: what it stores, we say."""
    values = manifest.get(field)
    if isinstance(values, Mapping):
        clean[field] = {key: "" if value is None else value for key, value in values.items()}


def _merge_secret_data(clean: dict[str, Any], manifest: Manifest) -> None:
    """`stringData` becomes `data` and wins over it.

    As `stringData` the server would record ownership of a field that it never stores: an edit of the stored one would
    go unseen, and a key that leaves git would stay in the cluster.
    """
    _keep_empty_texts(clean, manifest, "data")
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


def _drop_empty_egress(clean: dict[str, Any]) -> None:
    """`egress: []` means what no `egress` means, but each apply of it is a write."""
    spec = clean.get("spec")
    if isinstance(spec, Mapping) and spec.get("egress") == []:
        clean["spec"] = {key: value for key, value in spec.items() if key != "egress"}
