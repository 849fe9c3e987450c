"""A key directory: who may read it, what opens with it, and that its changes are seen."""

from __future__ import annotations

import os
import re
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from gitopsd.model.errors import EnvironmentFault
from gitopsd.sealing import custody
from gitopsd.sealing.envelope import seal, unseal
from gitopsd.sealing.files import write_new
from gitopsd.sealing.keyfiles import rotate
from gitopsd.sealing.keyring import BadKey, Keyring, certificate_key
from gitopsd.terraform_host import sealing_key
from tests.support.kubeseal import BITS, NOW, keypairs
from tests.support.smallkeys import small_pair


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs: key0 (oldest), key1, key2."""
    directory = tmp_path_factory.mktemp("made") / "keys"
    keypairs(directory, 3)
    return directory


@pytest.fixture
def keys(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "keys"))


def names(directory: Path) -> list[str]:
    return [pair.name for pair in Keyring(directory).snapshot().pairs]


def problems(directory: Path) -> list[str]:
    return [str(problem) for problem in Keyring(directory).snapshot().problems]


def test_the_newest_comes_first_and_the_oldest_still_opens(keys: Path) -> None:
    found = Keyring(keys).snapshot()
    assert [pair.name for pair in found.pairs] == ["key2", "key1", "key0"]
    assert found.problems == ()
    assert found.newest is found.pairs[0]
    oldest = found.pairs[-1]
    opened = unseal(found.opening, seal(oldest.public, b"v", b"l"), b"l")
    assert (opened.plaintext.reveal(), opened.fingerprint) == (b"v", oldest.fingerprint)


def test_an_expired_key_opens_and_does_not_seal(keys: Path) -> None:
    rotate(keys, NOW + timedelta(days=9), name="brief", validity=timedelta(days=1), bits=BITS)
    found = Keyring(keys).snapshot()
    assert found.pairs[0].name == "brief"
    assert found.for_sealing(NOW + timedelta(days=9, hours=12)).name == "brief"
    assert found.for_sealing(NOW + timedelta(days=10)).name == "key2"
    assert "brief" in {pair.name for pair in found.pairs}
    with pytest.raises(EnvironmentFault, match="keys rotate"):
        found.for_sealing(NOW + timedelta(days=36500))


def test_pkcs8_is_read_as_well_as_pkcs1(keys: Path) -> None:
    pair = Keyring(keys).snapshot().pairs[0]
    assert b"BEGIN RSA PRIVATE KEY" in (keys / "key2.key").read_bytes()
    text = pair.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (keys / "key2.key").write_bytes(text)
    assert Keyring(keys).snapshot().pairs[0].fingerprint == pair.fingerprint


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o640, 0o620, 0o602, 0o444, 0o440, 0o610, 0o777])
def test_a_key_that_others_may_touch_is_refused_with_the_command_that_mends_it(keys: Path, mode: int) -> None:
    (keys / "key1.key").chmod(mode)
    assert names(keys) == ["key2", "key0"]
    (said,) = problems(keys)
    command = re.search(r"\(chmod 600 (\S+)\)$", said)
    assert command is not None
    Path(command[1]).chmod(0o600)
    assert names(keys) == ["key2", "key1", "key0"]


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_for_its_owner_alone_is_taken(keys: Path, mode: int) -> None:
    (keys / "key1.key").chmod(mode)
    assert problems(keys) == []


def _stat(uid: int, gid: int, mode: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, gid, 1, 0, 0, 0))


@pytest.mark.parametrize(
    ("me", "found", "mounted", "said"),
    [
        (0, _stat(0, 0, 0o600), False, None),
        (1000, _stat(1000, 0, 0o600), False, None),
        (1000, _stat(0, 0, 0o400), False, None),
        (1000, _stat(1001, 0, 0o600), False, "chown 1000"),
        (0, _stat(1001, 0, 0o600), False, "chown 0"),
        (1000, _stat(0, 2000, 0o440), True, None),
        (1000, _stat(0, 2000, 0o640), True, None),
        (1000, _stat(0, 2000, 0o440), False, "chmod 600"),
        (1000, _stat(0, 2001, 0o440), True, "defaultMode: 0400"),
        (1000, _stat(0, 2000, 0o660), True, "defaultMode: 0400"),
        (1000, _stat(0, 2000, 0o444), True, "defaultMode: 0400"),
        (1000, _stat(1000, 2000, 0o440), True, "defaultMode: 0400"),
        (0, _stat(0, 2000, 0o440), True, "defaultMode: 0400"),
    ],
)
def test_owner_and_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, me: int, found: os.stat_result, mounted: bool, said: str | None
) -> None:
    path = tmp_path / "tls.key"
    if mounted:
        path.symlink_to("..data/tls.key")
    monkeypatch.setattr(os, "geteuid", lambda: me)
    monkeypatch.setattr(os, "getegid", lambda: 2000)
    monkeypatch.setattr(os, "getgroups", list)
    problem = custody.file_problem(path, found)
    assert (problem is None) == (said is None)
    if problem is not None and said is not None:
        assert said in str(problem)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_into_which_others_can_put_keys_is_refused(keys: Path, mode: int) -> None:
    keys.chmod(mode)
    assert names(keys) == []
    (said,) = problems(keys)
    assert said.endswith(f"(chmod 700 {keys})")


def test_a_broken_pair_is_named_and_stops_no_other(keys: Path) -> None:
    (keys / "key0.key").write_bytes(b"nonsense")
    (keys / "key0.key").chmod(0o600)
    (keys / "lonely.crt").write_bytes((keys / "key1.crt").read_bytes())
    shutil.copy(keys / "key2.crt", keys / "key1.crt")
    assert names(keys) == ["key2"]
    told = "\n".join(problems(keys))
    assert "key0.key: this is not an RSA private key" in told
    assert "key1.key: its certificate is one of another key" in told
    assert "lonely.crt: its other half lonely.key is missing" in told
    assert "nonsense" not in told


def test_other_keys_than_rsa_and_locked_ones_are_named(keys: Path) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    (keys / "key0.key").write_bytes(elliptic.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    locked = rsa.generate_private_key(65537, BITS)
    text = locked.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (keys / "key1.key").write_bytes(text)
    assert names(keys) == ["key2"]
    assert len(problems(keys)) == 2


def bring_small(directory: Path, bits: int) -> None:
    key, certificate = small_pair(bits)
    write_new(directory / "small.key", key, 0o600)
    write_new(directory / "small.crt", certificate, 0o644)


def test_an_rsa_key_that_anybody_can_break_is_refused_with_its_bits(keys: Path) -> None:
    bring_small(keys, 512)
    assert names(keys) == ["key2", "key1", "key0"]
    (said,) = problems(keys)
    assert str(keys / "small.key") in said
    assert "512 bits" in said
    assert "move both files away" in said


def test_a_small_key_of_old_opens_and_never_seals(keys: Path) -> None:
    """What an old controller exports has to open; kubeseal would seal for it, too, but nobody should."""
    for name in names(keys):
        (keys / f"{name}.key").unlink()
        (keys / f"{name}.crt").unlink()
    bring_small(keys, 1024)
    found = Keyring(keys).snapshot()
    (pair,) = found.pairs
    assert unseal(found.opening, seal(pair.public, b"v", b"l"), b"l").plaintext.reveal() == b"v"
    for when in (NOW, None):
        with pytest.raises(EnvironmentFault, match=r"2048 bits, and small has 1024 \(gitopsd keys rotate\)"):
            found.for_sealing(when)
    with pytest.raises(EnvironmentFault, match="small has 1024"):
        sealing_key(Keyring(keys))
    rotate(keys, NOW, name="big", bits=BITS)
    found = Keyring(keys).snapshot()
    assert found.for_sealing(NOW).name == "big"
    sealing = sealing_key(Keyring(keys))
    assert sealing is not None
    assert sealing.fingerprint == found.for_sealing(NOW).fingerprint


@pytest.mark.parametrize("bits", [512, 1024])
def test_a_certificate_of_a_small_key_is_not_sealed_for(bits: int) -> None:
    with pytest.raises(BadKey, match=f"RSA key of {bits} bits") as caught:
        certificate_key(small_pair(bits)[1], NOW)
    assert "keys rotate" in caught.value.remedy


def test_a_directory_that_is_not_there_or_no_directory_is_said(tmp_path: Path) -> None:
    (said,) = problems(tmp_path / "none")
    assert "gitopsd keys generate" in said
    (tmp_path / "file").write_bytes(b"")
    (said,) = problems(tmp_path / "file")
    assert "is not a directory" in said
    with pytest.raises(EnvironmentFault, match="keys generate"):
        Keyring(tmp_path / "none").snapshot().for_sealing(NOW)


def test_a_pipe_in_the_directory_blocks_nobody(keys: Path) -> None:
    os.mkfifo(keys / "pipe.key")
    (keys / "pipe.crt").write_bytes(b"")
    assert names(keys) == ["key2", "key1", "key0"]
    assert "pipe.key: is not a file" in problems(keys)[0]


# ---------------------------------------------------------------- change


def test_the_digest_changes_with_every_change_and_with_nothing_else(keys: Path) -> None:
    ring = Keyring(keys)
    first = ring.snapshot()
    assert ring.digest() == first.digest
    assert ring.snapshot() is first
    os.utime(keys / "key0.key")
    (keys / ".key0.key.draft").write_bytes(b"half")
    assert first.mac(b"x") == first.mac(b"x")  # makes a file of its own
    assert ring.digest() == first.digest
    seen = {first.digest}
    for change in (
        lambda: (keys / "key0.key").chmod(0o644),
        lambda: (keys / "key0.key").chmod(0o600),
        (keys / "key0.crt").unlink,
        lambda: shutil.copy(keys / "key1.crt", keys / "key0.crt"),
        lambda: keys.rename(keys.with_name("away")),
    ):
        before = ring.digest()
        change()
        assert ring.digest() != before
        assert ring.snapshot().digest == ring.digest()
        seen.add(ring.digest())
    assert len(seen) >= 5


def test_a_key_that_arrives_opens_without_a_restart(keys: Path, tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    for suffix in ("key", "crt"):
        (keys / f"key2.{suffix}").rename(aside / f"key2.{suffix}")
    ring = Keyring(keys)
    assert [pair.name for pair in ring.snapshot().pairs] == ["key1", "key0"]
    for suffix in ("key", "crt"):
        (aside / f"key2.{suffix}").rename(keys / f"key2.{suffix}")
    assert [pair.name for pair in ring.snapshot().pairs] == ["key2", "key1", "key0"]


def test_a_mounted_secret_is_read_through_its_swap(made: Path, tmp_path: Path) -> None:
    """Kubernetes points ..data at another directory; the files that we list are links through it."""
    mount = tmp_path / "mount"
    for version, pair in (("..1", "key0"), ("..2", "key1")):
        (mount / version).mkdir(parents=True)
        for suffix in ("key", "crt"):
            shutil.copy(made / f"{pair}.{suffix}", mount / version / f"tls.{suffix}")
    for suffix in ("key", "crt"):
        (mount / f"tls.{suffix}").symlink_to(f"..data/tls.{suffix}")
    (mount / "..data").symlink_to("..1")
    ring, expected = Keyring(mount), {pair.name: pair.fingerprint for pair in Keyring(made).snapshot().pairs}
    first = ring.snapshot()
    assert [pair.fingerprint for pair in first.pairs] == [expected["key0"]]
    (mount / "..new").symlink_to("..2")
    (mount / "..new").rename(mount / "..data")
    assert ring.digest() != first.digest
    assert [pair.fingerprint for pair in ring.snapshot().pairs] == [expected["key1"]]


# ---------------------------------------------------------------- certificates, digests


def test_a_certificate_seals_until_it_expires(keys: Path) -> None:
    pem = (keys / "key0.crt").read_bytes()
    pair = Keyring(keys).snapshot().pairs[-1]
    assert certificate_key(pem, NOW) == pair.public
    with pytest.raises(BadKey, match="expired"):
        certificate_key(pem, pair.valid_until)
    with pytest.raises(BadKey):
        certificate_key((keys / "key0.key").read_bytes(), NOW)


def test_keyed_digests_are_alike_under_one_key_alone(keys: Path, tmp_path: Path) -> None:
    mac = Keyring(keys).snapshot().mac
    assert mac(b"a") == Keyring(keys).snapshot().mac(b"a") != mac(b"b")
    file = keys / "digest.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == 32
    assert names(keys) == ["key2", "key1", "key0"]
    other = Keyring(tmp_path / "new" / "keys").snapshot().mac(b"a")
    assert other.partition(":")[0] != mac(b"a").partition(":")[0]
    assert stat.S_IMODE((tmp_path / "new" / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize(("content", "mode", "said"), [(b"short", 0o600, "32 bytes"), (bytes(32), 0o644, "chmod 600")])
def test_a_bad_digest_key_is_never_replaced(keys: Path, content: bytes, mode: int, said: str) -> None:
    file = keys / "digest.key"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(EnvironmentFault, match=said):
        Keyring(keys).snapshot().mac(b"a")
    assert file.read_bytes() == content


@pytest.mark.parametrize(("content", "mode", "said"), [(b"short", 0o600, "32 bytes"), (bytes(32), 0o644, "chmod 600")])
def test_a_bad_digest_key_is_a_problem_of_the_directory_that_ends_when_it_is_mended(
    keys: Path, content: bytes, mode: int, said: str
) -> None:
    file, ring = keys / "digest.key", Keyring(keys)
    assert ring.snapshot().mac_problem is None, "it is made when it is first needed"
    before = ring.digest()
    file.write_bytes(content)
    file.chmod(mode)
    assert said in str(ring.snapshot().mac_problem)
    assert (ring.snapshot().problems, len(ring.snapshot().pairs)) == ((), 3)
    assert ring.digest() != before, "who waits for it is woken when it changes"
    file.write_bytes(bytes(32))
    file.chmod(0o600)
    assert ring.snapshot().mac_problem is None
    assert ring.digest() == before


def test_no_representation_shows_a_private_key(keys: Path) -> None:
    found = Keyring(keys).snapshot()
    found.mac(b"x")
    shown = repr(found) + repr(found.pairs[0].opening)
    for line in (keys / "key2.key").read_text().splitlines():
        assert line not in shown
    assert "PRIVATE" not in shown
    assert (keys / "digest.key").read_bytes().hex() not in shown
