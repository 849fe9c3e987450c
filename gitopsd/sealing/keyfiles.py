"""Making keypairs, and bringing those of a sealed-secrets controller along."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gitopsd.model.errors import CommitError, EnvironmentFault, NeedsPerson, Problem, UsageError
from gitopsd.sealing.files import write_new
from gitopsd.sealing.keyring import BadKey, Keypair, Keyring, load_pair
from gitopsd.yamltext import parse_documents

BITS: Final = 4096
VALIDITY: Final = timedelta(days=3650)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_RESERVED: Final = "digest"
"""`digest.key` is the key of keyed digests."""
_EXPORT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Imported:
    """Names of the pairs that were written, and of those whose key was here already."""

    added: tuple[str, ...]
    known: tuple[str, ...]


def generate(
    directory: Path, now: datetime, *, name: str = "", validity: timedelta = VALIDITY, bits: int = BITS
) -> Keypair:
    """Make the first keypair of a directory, which is made as well. Raises NeedsPerson if there is one already,
    EnvironmentFault if it cannot be written."""
    _prepare(directory)
    if any(directory.glob("*.crt")):
        remedy = "gitopsd keys rotate makes another one, and keeps the old"
        raise NeedsPerson(Problem("there is a keypair already", str(directory), remedy=remedy))
    return _make(directory, now, name=name, validity=validity, bits=bits, start=now)


def rotate(
    directory: Path, now: datetime, *, name: str = "", validity: timedelta = VALIDITY, bits: int = BITS
) -> Keypair:
    """Make one more keypair, newer than all others; the old ones stay and open what was sealed for them. Raises
    NeedsPerson if there is none yet, EnvironmentFault."""
    newest = Keyring(directory).snapshot().newest
    if newest is None:
        raise NeedsPerson(Problem("there is no keypair to rotate", str(directory), remedy="gitopsd keys generate"))
    start = max(now, newest.valid_from + timedelta(seconds=1))
    return _make(directory, now, name=name, validity=validity, bits=bits, start=start)


def newest_certificate(directory: Path, now: datetime) -> bytes:
    """The certificate to seal with, PEM: what `kubeseal --cert` takes. Raises EnvironmentFault if there is none."""
    return Keyring(directory).snapshot().for_sealing(now).certificate


def import_keys(directory: Path, sources: Mapping[str, bytes]) -> Imported:
    """Bring in what `kubectl get secret -l sealedsecrets.bitnami.com/sealed-secrets-key -o yaml` printed: texts by the
    name of their file, YAML or JSON, a `List` or several documents. Nothing is written unless all of it is right.

    Raises UsageError with everything that is wrong with the texts, EnvironmentFault if a pair cannot be written.
    """
    problems: list[Problem] = []
    pairs: dict[str, tuple[Keypair, bytes]] = {}
    for file, data in sources.items():
        for found in _exported(file, data, problems):
            pairs.setdefault(found[0].fingerprint, found)
    if not pairs and not problems:
        problems.append(Problem("no sealing key is in it", ", ".join(sources), remedy="export them with kubectl get"))
    if problems:
        raise UsageError(*problems)
    _prepare(directory)
    here = {pair.fingerprint: pair.name for pair in Keyring(directory).snapshot().pairs}
    added = [_write(directory, pair, key) for pair, key in pairs.values() if pair.fingerprint not in here]
    return Imported(tuple(added), tuple(here[each] for each in pairs if each in here))


def read_exports(paths: list[Path]) -> dict[str, bytes]:
    """The texts of files, and of the YAML and JSON files of directories. Raises UsageError."""
    texts = {}
    for path in paths:
        try:
            files = sorted(p for p in path.iterdir() if p.suffix in {".yaml", ".yml", ".json"}) if path.is_dir() else []
            for file in files or [path]:
                texts[str(file)] = file.read_bytes()
        except OSError as error:
            raise UsageError(Problem(f"cannot be read: {error.strerror}", str(path))) from None
    return texts


# ---------------------------------------------------------------- making one


def _make(directory: Path, now: datetime, *, name: str, validity: timedelta, bits: int, start: datetime) -> Keypair:
    if name and (not _NAME.fullmatch(name) or name == _RESERVED):
        raise UsageError(Problem(f"{name!r} cannot name a keypair", remedy="letters, digits, - _ . (and not digest)"))
    private = rsa.generate_private_key(65537, bits)
    certificate = _certificate(private, start.replace(microsecond=0), validity)
    pair = load_pair(name or f"sealing-{now:%Y%m%d-%H%M%S}", _pem(private), certificate)
    if name and any((directory / f"{name}{suffix}").exists() for suffix in (".key", ".crt")):
        raise NeedsPerson(
            Problem("is there already, and nothing is overwritten", str(directory / name), remedy="name another one")
        )
    written = _write(directory, pair, _pem(private))
    return load_pair(written, _pem(private), certificate)


def _certificate(private: rsa.RSAPrivateKey, start: datetime, validity: timedelta) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gitopsd sealing key")])
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    try:
        builder = builder.not_valid_before(start).not_valid_after(start + validity)
    except (ValueError, OverflowError):
        raise UsageError(Problem("a certificate cannot be valid for that long")) from None
    return builder.sign(private, SHA256()).public_bytes(Encoding.PEM)


def _pem(private: rsa.RSAPrivateKey) -> bytes:
    """PKCS#1, as the controller writes and `kubeseal --recovery-private-key` reads it."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritten(directory, error) from None


def _write(directory: Path, pair: Keypair, key: bytes) -> str:
    """Write both files; returns the name that they got. The certificate comes first, for a key without one is of no
    use to anybody."""
    for name in (pair.name, f"{pair.name}-{pair.fingerprint[7:15].translate(_PLAIN)}"):
        certificate = directory / f"{name}.crt"
        try:
            write_new(certificate, pair.certificate, 0o644)
        except FileExistsError:
            continue
        except OSError as error:
            raise _unwritten(directory, error) from None
        try:
            write_new(directory / f"{name}.key", key, 0o600)
        except OSError as error:
            certificate.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                continue
            raise _unwritten(directory, error) from None
        return name
    raise NeedsPerson(Problem("is there already, and nothing is overwritten", str(directory / f"{pair.name}.crt")))


_PLAIN: Final = str.maketrans("+/", "-_")


def _unwritten(directory: Path, error: OSError) -> EnvironmentFault:
    remedy = "run this as the owner of the directory, or name another one as keyDir"
    return EnvironmentFault(Problem(f"cannot be written: {error.strerror}", str(directory), remedy=remedy))


# ---------------------------------------------------------------- what the controller exports


def _exported(file: str, data: bytes, problems: list[Problem]) -> Iterator[tuple[Keypair, bytes]]:
    """(pair, its key as PEM) of every TLS Secret of a text."""
    try:
        documents = parse_documents(data, file, _EXPORT_BYTES)
    except CommitError as error:
        problems.extend(error.problems)
        return
    for document in documents:
        for secret in _secrets(document.value):
            try:
                pair = _pair(secret)
            except BadKey as error:
                name = _metadata(secret).get("name")
                unit = f"Secret/{name or '?'}"
                problems.append(Problem(str(error), file, document.line, unit=unit, remedy=error.remedy))
            else:
                yield pair, _pem(pair.private)


def _secrets(value: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        return
    if str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _secrets(item)
    elif value.get("kind") == "Secret":
        yield value


def _metadata(secret: Mapping[str, Any]) -> Mapping[str, Any]:
    found = secret.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _pair(secret: Mapping[str, Any]) -> Keypair:
    name = _metadata(secret).get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == _RESERVED:
        raise BadKey("this Secret has no name that a file could have")
    return load_pair(name, _field(secret, "tls.key"), _field(secret, "tls.crt"))


def _field(secret: Mapping[str, Any], name: str) -> bytes:
    data = secret.get("data")
    text = data.get(name) if isinstance(data, Mapping) else None
    if not text:
        raise BadKey(f"it has no {name}: this is no key of the sealed-secrets controller")
    try:
        return base64.b64decode("".join(str(text).split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadKey(f"its {name} is not base64 text") from None
