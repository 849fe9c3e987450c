"""Keys and SealedSecrets for tests that are not about the cipher: each key is made once in a process."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from gitopsd.sealed.document import CLUSTER_WIDE, NAMESPACE_WIDE, Scope, oaep_label
from gitopsd.sealing.envelope import seal
from gitopsd.sealing.keyfiles import generate
from gitopsd.sealing.keyring import Keypair
from tests.support.kubeseal import BITS, NOW


@cache
def _made(number: int) -> tuple[Path, Keypair]:
    directory = Path(tempfile.mkdtemp(prefix="gitopsd-test-keys-"))
    return directory, generate(directory, NOW + timedelta(days=number), name=f"key{number}", bits=BITS)


def fingerprint_of(number: int = 0) -> str:
    return _made(number)[1].fingerprint


def bring_key(directory: Path, number: int = 0) -> None:
    """Put a keypair into a key directory; a higher number is a newer one."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in _made(number)[0].iterdir():
        shutil.copy2(file, directory / file.name)


def take_key(directory: Path, number: int = 0) -> None:
    for suffix in (".key", ".crt"):
        (directory / f"key{number}{suffix}").unlink()


def sealed(
    name: str,
    items: Mapping[str, str | bytes],
    *,
    key: int = 0,
    namespace: str = "web",
    scope: Scope = Scope.STRICT,
    annotations: Mapping[str, str] | None = None,
    template: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A SealedSecret, as kubeseal writes one."""
    label = oaep_label(scope, namespace, name)
    public = _made(key)[1].public
    values = {n: v.encode() if isinstance(v, str) else v for n, v in items.items()}
    said = {Scope.NAMESPACE_WIDE: {NAMESPACE_WIDE: "true"}, Scope.CLUSTER_WIDE: {CLUSTER_WIDE: "true"}}.get(scope, {})
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    noted = {**said, **(annotations or {})}
    metadata |= {"annotations": noted} if noted else {}
    encrypted = {n: base64.b64encode(seal(public, value, label)).decode() for n, value in values.items()}
    spec: dict[str, Any] = {"encryptedData": encrypted}
    spec |= {"template": dict(template)} if template else {}
    return {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": metadata, "spec": spec}
