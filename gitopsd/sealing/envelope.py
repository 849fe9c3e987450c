"""The sealed text itself: bytes in, bytes out, in the hybrid format of kubeseal and its controller.

    2 bytes, big endian: length of the RSA part
    RSA-OAEP(SHA-256, label) of 32 random bytes
    AES-256-GCM, under these bytes, of the plaintext; the nonce is zero, for no key is used twice

Who holds the key but not the label opens nothing: the label is what binds a sealed text to its place.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gitopsd.model.sensitive import Sensitive
from gitopsd.sealed.shape import LENGTH, SESSION_KEY, is_whole

_NONCE: Final = bytes(12)


class NotOpened(Exception):
    """No key opens a sealed text. It never says why: which step failed would help who guesses."""

    def __init__(self) -> None:
        super().__init__("no key opens it")


@dataclass(frozen=True, slots=True)
class OpeningKey:
    """A private key and the fingerprint of its public half."""

    fingerprint: str
    private: RSAPrivateKey = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """What was sealed, as `Sensitive` bytes, and which key opened it."""

    plaintext: Sensitive
    fingerprint: str


def fingerprint(public: RSAPublicKey) -> str:
    """The name of a public key as the sealed-secrets controller and `ssh-keygen -l` write it: `SHA256:` and the
    unpadded base64 of the SHA-256 of the key in SSH's wire format (RFC 4253, 6.6)."""
    wire = base64.b64decode(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")


def seal(public: RSAPublicKey, plaintext: bytes, label: bytes) -> bytes:
    """Seal for whoever holds the private key and knows the label; the same plaintext never gives the same text."""
    session_key = os.urandom(SESSION_KEY)
    wrapped = public.encrypt(session_key, _padding(label))
    return len(wrapped).to_bytes(LENGTH, "big") + wrapped + AESGCM(session_key).encrypt(_NONCE, plaintext, None)


def unseal(keys: Iterable[OpeningKey], sealed: bytes, label: bytes) -> Opened:
    """Open with the first of the keys that does it. Raises NotOpened."""
    for key in keys:
        plaintext = _opened(key.private, sealed, label)
        if plaintext is not None:
            return Opened(plaintext, key.fingerprint)
    raise NotOpened


def _opened(private: RSAPrivateKey, sealed: bytes, label: bytes) -> Sensitive | None:
    length = int.from_bytes(sealed[:LENGTH], "big")
    if length != (private.key_size + 7) // 8 or not is_whole(sealed):
        return None  # made for a key of another size: not worth an RSA operation
    wrapped, rest = sealed[LENGTH : LENGTH + length], sealed[LENGTH + length :]
    try:
        session_key = private.decrypt(wrapped, _padding(label))
        return Sensitive(AESGCM(session_key).decrypt(_NONCE, rest, None))
    except (ValueError, InvalidTag):
        return None


def _padding(label: bytes) -> OAEP:
    return OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=label)
