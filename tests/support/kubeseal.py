"""Keypairs for tests, made once, and the real `kubeseal`: the judge of what we write, the author of what we read."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from gitopsd.sealing.envelope import OpeningKey, fingerprint
from gitopsd.sealing.keyfiles import generate, rotate
from gitopsd.sealing.keyring import Keypair
from sandbox import tool

BITS = 2048
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@cache
def opening_key(number: int = 0) -> OpeningKey:
    """The same key for a number in one process: making one takes as long as a hundred tests."""
    private = rsa.generate_private_key(65537, BITS)
    return OpeningKey(fingerprint(private.public_key()), private)


def keypairs(directory: Path, count: int = 1) -> list[Keypair]:
    """Small keypairs in a directory, oldest first."""
    made = [generate(directory, NOW, name="key0", bits=BITS)]
    made += [rotate(directory, NOW + timedelta(days=n), name=f"key{n}", bits=BITS) for n in range(1, count)]
    return made


def secret(name: str, namespace: str, data: Mapping[str, bytes], **more: Any) -> dict[str, Any]:
    """The manifest of a Secret with these values."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace, **more.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded, **more}


@dataclass(frozen=True)
class Kubeseal:
    """The real program, offline, with one keypair on disk."""

    directory: Path
    pair: str

    @property
    def certificate(self) -> Path:
        return self.directory / f"{self.pair}.crt"

    def seal(self, manifest: Mapping[str, Any], *options: str) -> bytes:
        return self._run(["--cert", str(self.certificate), "-o", "yaml", *options], json.dumps(manifest).encode())

    def raw(self, value: bytes, *options: str) -> str:
        return self._run(["--cert", str(self.certificate), "--raw", *options], value).decode()

    def unseal(self, sealed: bytes) -> dict[str, bytes]:
        """The data of the Secret that `--recovery-unseal` gets out of a SealedSecret."""
        manifest = self.recovered(sealed)
        return {key: base64.b64decode(value or "") for key, value in (manifest.get("data") or {}).items()}

    def recovered(self, sealed: bytes) -> dict[str, Any]:
        key = str(self.directory / f"{self.pair}.key")
        found: dict[str, Any] = json.loads(self._run(["--recovery-unseal", "--recovery-private-key", key], sealed))
        return found

    def refuses(self, sealed: bytes) -> bool:
        key = str(self.directory / f"{self.pair}.key")
        return self._call(["--recovery-unseal", "--recovery-private-key", key], sealed).returncode != 0

    def _run(self, arguments: Sequence[str], given: bytes) -> bytes:
        done = self._call(arguments, given)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def _call(self, arguments: Sequence[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(tool("kubeseal")), *arguments], input=given, capture_output=True, timeout=60, check=False
        )
