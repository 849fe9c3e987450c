"""The outer shape of a sealed text, which anybody can see.

2 bytes, big endian: length of the RSA part
the RSA part, then the rest with an authentication tag
"""

from __future__ import annotations

from typing import Final

SESSION_KEY: Final = 32
TAG: Final = 16
LENGTH: Final = 2
_SMALLEST: Final = SESSION_KEY + 2 * 32 + 2
"""Bytes of the smallest RSA key that OAEP with SHA-256 can wrap a session key with."""
_LARGEST: Final = 2048
"""Bytes of the largest RSA key that anybody uses (16,384 bits)."""


def is_whole(sealed: bytes) -> bool:
    """Whether a text has the shape of a sealed one. One that has not was cut, or never sealed: no key will ever open
    it."""
    length = int.from_bytes(sealed[:LENGTH], "big")
    return _SMALLEST <= length <= _LARGEST and len(sealed) >= LENGTH + length + TAG
