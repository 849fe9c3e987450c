"""The keypairs of this host: NAME.key and NAME.crt in one directory, PEM, as the sealed-secrets controller makes them.

What is wrong with one pair is said of that pair; the others go on opening. An expired certificate seals nothing more,
but its key opens what was sealed with it for ever.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gitopsd.model.errors import EnvironmentFault, Problem
from gitopsd.sealing.custody import SWAPPED, directory_problem, file_problem
from gitopsd.sealing.envelope import OpeningKey, fingerprint
from gitopsd.sealing.mackey import FILE as MAC_FILE
from gitopsd.sealing.mackey import MacKey

_MAX_BYTES: Final = 256 * 1024
_ATTEMPTS: Final = 3
"""Looks at a directory whose files vanish while they are read, as they do when a mounted Secret is swapped."""


SEALING_BITS: Final = 2048
"""Bits of the smallest RSA key that anything is sealed for (NIST SP 800-131A, revision 2)."""

OPENING_BITS: Final = 1024
"""Bits of the smallest RSA key that is taken at all, as by kubeseal and its controller, whose language refuses less.
What was sealed for such a key long ago can so be opened and resealed."""

_RESTORE: Final = "restore the pair, or move both files away"


class BadKey(ValueError):
    """PEM text that is no usable key or certificate; the message says what, to a person, and `remedy` what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Keypair:
    """One keypair; `certificate` is PEM. The times are those of the certificate."""

    name: str
    fingerprint: str
    valid_from: datetime
    valid_until: datetime
    certificate: bytes = field(repr=False)
    private: RSAPrivateKey = field(repr=False, compare=False)

    @property
    def public(self) -> RSAPublicKey:
        return self.private.public_key()

    @property
    def opening(self) -> OpeningKey:
        return OpeningKey(self.fingerprint, self.private)

    @property
    def bits(self) -> int:
        return self.private.key_size

    @property
    def strong(self) -> bool:
        """Whether anything may be sealed for it."""
        return self.bits >= SEALING_BITS


@dataclass(frozen=True, slots=True)
class Keys:
    """The key directory at one moment: usable pairs, newest first; what is wrong with the others, and with the key of
    keyed digests; a digest of the files, which changes whenever one of them does."""

    pairs: tuple[Keypair, ...]
    problems: tuple[Problem, ...]
    mac_problem: Problem | None
    digest: str
    directory: Path
    _mac: MacKey = field(repr=False, compare=False)

    @property
    def opening(self) -> tuple[OpeningKey, ...]:
        """What to open with, newest first, each key once."""
        return tuple({pair.fingerprint: pair.opening for pair in self.pairs}.values())

    @property
    def newest(self) -> Keypair | None:
        return self.pairs[0] if self.pairs else None

    def for_sealing(self, now: datetime | None = None) -> Keypair:
        """The newest pair that is large enough and whose certificate has not expired by `now` (None: whenever that was
        or will be). Raises EnvironmentFault if there is none."""
        strong = [pair for pair in self.pairs if pair.strong]
        for pair in strong:
            if now is None or now < pair.valid_until:  # one from the future is newer still: clocks differ
                return pair
        if self.pairs:
            found = "no certificate is valid now" if strong else _too_small(self.pairs[0])
            raise EnvironmentFault(Problem(found, str(self.directory), remedy="gitopsd keys rotate"))
        raise EnvironmentFault(
            *(self.problems or (Problem("there is no keypair", str(self.directory), remedy="gitopsd keys generate"),))
        )

    def mac(self, data: bytes) -> str:
        """A keyed digest of secret data, fit to be stored: `NAME:HEX`, see `MacKey.mac`. Raises EnvironmentFault."""
        return self._mac.mac(data)


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes = field(repr=False)
    mark: tuple[int, int]
    """(mode, owner)."""
    problem: Problem | None


class Keyring:
    """Reads one key directory. For any thread; what did not change is not parsed again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._mac = MacKey(directory)
        self._last: Keys | None = None
        self._parsed: dict[str, Keypair | Problem] = {}

    def digest(self) -> str:
        """The digest that `snapshot` would have, without an operation on any key: equal means that nothing changed."""
        return self._look()[-1]

    def _look(self) -> tuple[dict[str, _File], list[Problem], Problem | None, str]:
        """(files, what is wrong with the directory, and with the key of keyed digests, the digest of all that)."""
        files, problems = _read_all(self._directory)
        unkeyed = self._mac.problem() if not problems else None
        return files, problems, unkeyed, _digest(files, [*problems, *([unkeyed] if unkeyed else [])])

    def snapshot(self) -> Keys:
        """The keys of now. Raises nothing: what cannot be used is among the problems."""
        with self._lock:
            files, problems, unkeyed, digest = self._look()
            if self._last is None or self._last.digest != digest:
                pairs = self._pairs(files, problems)
                self._last = Keys(pairs, tuple(problems), unkeyed, digest, self._directory, self._mac)
            return self._last

    def _pairs(self, files: Mapping[str, _File], problems: list[Problem]) -> tuple[Keypair, ...]:
        """The usable pairs, newest first; what is wrong with others is added to `problems`."""
        pairs, parsed = [], {}
        for name in sorted({file.rpartition(".")[0] for file in files}):
            key, certificate = files.get(f"{name}.key"), files.get(f"{name}.crt")
            path = self._directory / (f"{name}.key" if key else f"{name}.crt")
            if key is None or certificate is None:
                other = f"{name}.crt" if key else f"{name}.key"
                problems.append(Problem(f"its other half {other} is missing", str(path), remedy="bring both or none"))
                continue
            if trouble := key.problem or certificate.problem:
                problems.append(trouble)
                continue
            mark = hashlib.sha256(b"%d:" % len(key.data) + key.data + certificate.data).hexdigest() + name
            known = self._parsed.get(mark)
            found = _pair_or_problem(path, name, key.data, certificate.data) if known is None else known
            parsed[mark] = found
            if isinstance(found, Problem):
                problems.append(found)
            else:
                pairs.append(found)
        self._parsed = parsed
        return tuple(sorted(pairs, key=lambda pair: (pair.valid_from, pair.name), reverse=True))


def load_pair(name: str, key: bytes, certificate: bytes) -> Keypair:
    """A keypair of two PEM texts: the key as PKCS#1 or PKCS#8 without a passphrase; of several certificates, the first
    counts. Raises BadKey."""
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKey("this is not an RSA private key in PEM without a passphrase") from None
    if not isinstance(private, RSAPrivateKey):
        raise BadKey("this is a private key, but not one of RSA")
    if private.key_size < OPENING_BITS:
        text = f"this RSA key has {private.key_size} bits, and anybody can break one of fewer than {OPENING_BITS}"
        raise BadKey(text, "move both files away; gitopsd keys generate and keys rotate make keys of 4096 bits")
    try:
        found = x509.load_pem_x509_certificates(certificate)[0]
        public = found.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("its certificate is not an X.509 certificate in PEM") from None
    if public != private.public_key():
        raise BadKey("its certificate is one of another key")
    return Keypair(
        name=name,
        fingerprint=fingerprint(private.public_key()),
        valid_from=found.not_valid_before_utc,
        valid_until=found.not_valid_after_utc,
        certificate=found.public_bytes(Encoding.PEM),
        private=private,
    )


def certificate_key(pem: bytes, now: datetime | None = None) -> RSAPublicKey:
    """The public key of a certificate to seal with. Raises BadKey if it is none, or not valid `now`."""
    now = now or datetime.now(UTC)
    try:
        found = x509.load_pem_x509_certificates(pem)[0]
        public = found.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("this is not an X.509 certificate in PEM, as `gitopsd keys cert` prints it") from None
    if not isinstance(public, RSAPublicKey):
        raise BadKey("this certificate is not one of an RSA key")
    if public.key_size < SEALING_BITS:
        text = f"this certificate is one of an RSA key of {public.key_size} bits, and {SEALING_BITS} are the least"
        raise BadKey(text, "gitopsd keys rotate makes a key of 4096 bits, and keys cert prints its certificate")
    if now >= found.not_valid_after_utc:
        raise BadKey(f"this certificate expired on {found.not_valid_after_utc:%Y-%m-%d}")
    return public


def _pair_or_problem(path: Path, name: str, key: bytes, certificate: bytes) -> Keypair | Problem:
    try:
        return load_pair(name, key, certificate)
    except BadKey as error:
        return Problem(str(error), str(path), remedy=error.remedy or _RESTORE)


def _too_small(pair: Keypair) -> str:
    return f"nothing is sealed for a key of fewer than {SEALING_BITS} bits, and {pair.name} has {pair.bits}"


# ---------------------------------------------------------------- the directory


def _read_all(directory: Path) -> tuple[dict[str, _File], list[Problem]]:
    """(key and certificate files by name, what is wrong with the directory itself)."""
    try:
        problem = directory_problem(directory)
        if problem is not None:
            return {}, [problem]
        for _ in range(_ATTEMPTS):
            swapped = directory / SWAPPED
            found = _read_from(directory, swapped.resolve(strict=True) if swapped.is_symlink() else directory)
            if found is not None:
                return found, []
    except FileNotFoundError:
        return {}, [Problem("the key directory does not exist", str(directory), remedy="gitopsd keys generate")]
    except OSError as error:
        remedy = "let the user of gitopsd read it"
        return {}, [Problem(f"the key directory cannot be read: {error.strerror}", str(directory), remedy=remedy)]
    return {}, [Problem("the key directory changes while it is read", str(directory))]


def _read_from(directory: Path, real: Path) -> dict[str, _File] | None:
    """The files, all read from the same real directory; None if one vanished meanwhile."""
    files = {}
    for path in sorted(real.iterdir()):
        if path.suffix not in {".key", ".crt"} or path.name.startswith(".") or path.name == MAC_FILE:
            continue
        try:
            files[path.name] = _read_file(directory / path.name, path)
        except FileNotFoundError:
            return None
    return files


def _read_file(shown: Path, path: Path) -> _File:
    try:
        if not path.is_file():
            return _File(b"", (0, 0), Problem("is not a file", str(shown), remedy="move it away"))
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            problem = file_problem(shown, found) if path.suffix == ".key" else None
            return _File(file.read(_MAX_BYTES), (found.st_mode, found.st_uid), problem)
    except FileNotFoundError:
        raise
    except OSError as error:
        denied = f"chown {os.geteuid()} {shlex.quote(str(shown))}" if isinstance(error, PermissionError) else ""
        return _File(b"", (0, 0), Problem(f"cannot be read: {error.strerror}", str(shown), remedy=denied))


def _digest(files: Mapping[str, _File], problems: list[Problem]) -> str:
    said = hashlib.sha256()
    for name, file in sorted(files.items()):
        said.update(f"{name}\0{file.mark}\0{hashlib.sha256(file.data).hexdigest()}\0{file.problem}\n".encode())
    said.update("\n".join(map(str, problems)).encode())
    return said.hexdigest()
