"""Keypairs are made whole, guarded, never overwritten; a controller's keys come along as they are."""

from __future__ import annotations

import base64
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitopsd.model.errors import EnvironmentFault, NeedsPerson, UsageError
from gitopsd.sealing.files import replace, write_new
from gitopsd.sealing.keyfiles import generate, import_keys, newest_certificate, read_exports, rotate
from gitopsd.sealing.keyring import Keyring
from tests.support.kubeseal import BITS, NOW, keypairs
from tests.support.smallkeys import small_pair


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_keypair_is_for_its_owner_alone_and_is_valid_for_ten_years(tmp_path: Path) -> None:
    directory = tmp_path / "etc" / "keys"
    pair = generate(directory, NOW, bits=BITS)
    assert (pair.valid_from, pair.valid_until - pair.valid_from) == (NOW, timedelta(days=3650))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / f"{pair.name}.key").stat().st_mode) == 0o600
    assert sorted(files(directory)) == [f"{pair.name}.crt", f"{pair.name}.key"]
    assert Keyring(directory).snapshot().pairs == (pair,)
    assert newest_certificate(directory, NOW) == (directory / f"{pair.name}.crt").read_bytes()


def test_by_default_a_key_has_4096_bits(tmp_path: Path) -> None:
    assert generate(tmp_path / "keys", NOW).private.key_size == 4096


def test_generate_and_rotate_overwrite_nothing(tmp_path: Path) -> None:
    keypairs(tmp_path / "keys")
    before = files(tmp_path / "keys")
    with pytest.raises(NeedsPerson, match="keys rotate"):
        generate(tmp_path / "keys", NOW, bits=BITS)
    with pytest.raises(NeedsPerson, match="nothing is overwritten"):
        rotate(tmp_path / "keys", NOW, name="key0", bits=BITS)
    assert files(tmp_path / "keys") == before
    with pytest.raises(NeedsPerson, match="keys generate"):
        rotate(tmp_path / "none", NOW, bits=BITS)


def test_rotated_twice_in_a_second_each_is_newer_than_the_last(tmp_path: Path) -> None:
    made = [generate(tmp_path, NOW, bits=BITS)] + [rotate(tmp_path, NOW, bits=BITS) for _ in range(2)]
    found = Keyring(tmp_path).snapshot()
    assert [pair.fingerprint for pair in found.pairs] == [pair.fingerprint for pair in reversed(made)]
    assert found.for_sealing(NOW).fingerprint == made[-1].fingerprint
    assert found.problems == ()


@pytest.mark.parametrize("name", ["digest", "../x", "a/b", ".hidden", "-x", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name"):
        generate(tmp_path, NOW, name=name, bits=BITS)
    assert files(tmp_path) == {}


def test_a_validity_beyond_the_calendar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="that long"):
        generate(tmp_path, NOW, validity=timedelta(days=3_000_000), bits=BITS)


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        generate(tmp_path / "file" / "keys", NOW, bits=BITS)


def test_a_new_file_appears_whole_or_not_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_new(path, b"one", 0o600)
    with pytest.raises(FileExistsError):
        write_new(path, b"two", 0o600)
    assert files(tmp_path) == {"x": b"one"}
    path.chmod(0o640)
    replace(path, b"three")
    assert (files(tmp_path), stat.S_IMODE(path.stat().st_mode)) == ({"x": b"three"}, 0o640)


# ---------------------------------------------------------------- import


def exported(directory: Path, name: str, **fields: Any) -> dict[str, Any]:
    """A Secret as the controller keeps its keys."""
    data = {
        f"tls.{suffix}": base64.b64encode((directory / f"{name}.{suffix}").read_bytes()).decode()
        for suffix in ("key", "crt")
    }
    metadata = {"name": f"sealed-secrets-{name}", "labels": {"sealedsecrets.bitnami.com/sealed-secrets-key": "active"}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "data": data,
        **fields,
    }


@pytest.mark.parametrize("form", ["list", "documents", "json", "single files"])
def test_exported_keys_are_imported_in_every_form(tmp_path: Path, form: str) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    wanted = {pair.fingerprint for pair in keypairs(theirs, 2)}
    secrets = [exported(theirs, "key0"), exported(theirs, "key1")]
    whole = {"apiVersion": "v1", "kind": "List", "items": secrets}
    texts = {
        "list": {"f.yaml": yaml.safe_dump(whole)},
        "documents": {"f.yaml": yaml.safe_dump_all(secrets)},
        "json": {"f.json": json.dumps(whole)},
        "single files": {f"{n}.yaml": yaml.safe_dump(each) for n, each in enumerate(secrets)},
    }[form]
    exports = tmp_path / "exports"
    exports.mkdir()
    for name, text in texts.items():
        (exports / name).write_text(text)
    found = import_keys(ours, read_exports([exports]))
    assert sorted(found.added) == ["sealed-secrets-key0", "sealed-secrets-key1"]
    snapshot = Keyring(ours).snapshot()
    assert ({pair.fingerprint for pair in snapshot.pairs}, snapshot.problems) == (wanted, ())
    before = files(ours)
    again = import_keys(ours, read_exports([exports]))
    assert (again.added, sorted(again.known)) == ((), ["sealed-secrets-key0", "sealed-secrets-key1"])
    assert files(ours) == before


def test_another_key_of_a_known_name_gets_another_name(tmp_path: Path) -> None:
    for directory in ("a", "b"):
        keypairs(tmp_path / directory)
        text = yaml.safe_dump(exported(tmp_path / directory, "key0")).encode()
        import_keys(tmp_path / "ours", {"f": text})
    assert len(Keyring(tmp_path / "ours").snapshot().pairs) == 2


def test_if_one_is_wrong_nothing_is_imported_and_all_is_said(tmp_path: Path) -> None:
    keypairs(tmp_path / "theirs", 2)
    good = exported(tmp_path / "theirs", "key0")
    mixed = exported(tmp_path / "theirs", "key1")
    mixed["data"]["tls.crt"] = good["data"]["tls.crt"]
    bad = [
        mixed,
        exported(tmp_path / "theirs", "key0", data={"tls.key": "AAAA"}),
        exported(tmp_path / "theirs", "key0", data={"tls.key": "%", "tls.crt": "AAAA"}),
        exported(tmp_path / "theirs", "key0", data=None),
        exported(tmp_path / "theirs", "key0", metadata={"name": "../x"}),
    ]
    with pytest.raises(UsageError) as caught:
        import_keys(tmp_path / "ours", {"f.yaml": yaml.safe_dump_all([good, *bad]).encode(), "g.yaml": b"a: ["})
    assert len(caught.value.problems) == len(bad) + 1
    assert sum("it has no tls." in str(problem) for problem in caught.value.problems) == 2
    assert sum("is not base64 text" in str(problem) for problem in caught.value.problems) == 1
    assert not (tmp_path / "ours").exists()
    for name in ("key0", "key1"):
        for line in (tmp_path / "theirs" / f"{name}.key").read_text().splitlines():
            assert line not in str(caught.value)


def test_a_small_key_of_a_controller_comes_along_unless_anybody_can_break_it(tmp_path: Path) -> None:
    def text(bits: int) -> dict[str, bytes]:
        key, certificate = (base64.b64encode(part).decode() for part in small_pair(bits))
        data = {"tls.key": key, "tls.crt": certificate}
        return {"f": yaml.safe_dump({"kind": "Secret", "metadata": {"name": "old"}, "data": data}).encode()}

    assert import_keys(tmp_path / "ours", text(1024)).added == ("old",)
    with pytest.raises(UsageError, match=r"f:1: Secret/old: this RSA key has 512 bits") as caught:
        import_keys(tmp_path / "ours", text(512))
    assert caught.value.problems[0].remedy


def test_a_text_without_keys_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no sealing key"):
        import_keys(tmp_path / "ours", {"f.yaml": b"kind: List\nitems: []\n"})
    with pytest.raises(UsageError, match="cannot be read"):
        read_exports([tmp_path / "none.yaml"])
