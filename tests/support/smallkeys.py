"""Keypairs that are too small to be safe, as old controllers and careless hands left them."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.kubeseal import NOW

_P = 0xF21635E846E0FE06FC5BEC33B2D7BD4AD6F3BF63635CB66BE967CB16E40E5C7D
_Q = 0xE54F09ED4DF65E5E8CC0E30598415FF3E614049D7D1AC5716F38B3C78CF8E8CB
"""Primes of a key of 512 bits, which the library makes no more."""


@cache
def small_pair(bits: int) -> tuple[bytes, bytes]:
    """(key, certificate) of a pair of 512 or 1024 bits, PEM."""
    private = _of_primes() if bits == 512 else rsa.generate_private_key(65537, bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "small")])
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=36500))
    certificate = builder.sign(private, SHA256()).public_bytes(Encoding.PEM)
    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()), certificate


def _of_primes() -> rsa.RSAPrivateKey:
    d = pow(65537, -1, (_P - 1) * (_Q - 1))
    exponents = (rsa.rsa_crt_dmp1(d, _P), rsa.rsa_crt_dmq1(d, _Q), rsa.rsa_crt_iqmp(_P, _Q))
    numbers = rsa.RSAPrivateNumbers(_P, _Q, d, *exponents, rsa.RSAPublicNumbers(65537, _P * _Q))
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)
