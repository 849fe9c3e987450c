"""`gitopsd keys`, `seal` and `reseal` as people use them: what they print, write and refuse, and their exit codes."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitopsd.cli.main import main
from gitopsd.sealed.document import read_sealed_secret
from gitopsd.sealing import keyfiles
from gitopsd.sealing.files import write_new
from gitopsd.sealing.keyring import Keyring
from gitopsd.sealing.opening import open_items
from gitopsd.sealing.splice import SealedFile
from tests.support.kubeseal import BITS, secret
from tests.support.smallkeys import small_pair

MARKER = "correct horse battery staple"


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """A person's directory, and the keys of a host."""

    directory: Path
    keys: Path
    capture: pytest.CaptureFixture[str]

    def gitopsd(self, *arguments: str) -> Answer:
        code = main(list(arguments))
        said = self.capture.readouterr()
        return Answer(code, said.out, said.err)

    def with_keys(self, *arguments: str) -> Answer:
        return self.gitopsd(*arguments, "--key-dir", str(self.keys))

    def opened(self, text: bytes) -> list[dict[str, bytes]]:
        keys = Keyring(self.keys).snapshot().opening
        secrets = [read_sealed_secret(found.manifest, found.at) for found in SealedFile("f", text).found]
        return [{key: value.reveal() for key, value in open_items(each, keys).items.items()} for each in secrets]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "keys"
    keyfiles.generate(directory, datetime.now(UTC), name="first", bits=BITS)
    return directory


@pytest.fixture
def desk(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keyfiles, "BITS", BITS)
    return Desk(tmp_path, Path(shutil.copytree(made, tmp_path / "keys")), capsys)


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_from_the_first_key_to_the_rotation(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cert = desk.with_keys("keys", "cert")
    assert (cert.code, cert.out) == (0, (desk.keys / "first.crt").read_text())
    (desk.directory / "sealing.crt").write_text(cert.out)
    given(monkeypatch, MARKER.encode() + b"\xff")
    options = ["--name", "db", "--namespace", "web", "--cert", "sealing.crt"]
    sealed = desk.gitopsd("seal", *options, "--from-file", "password=-", "--from-literal", "user=me")
    assert (sealed.code, sealed.err) == (0, "")
    assert desk.opened(sealed.out.encode()) == [{"password": MARKER.encode() + b"\xff", "user": b"me"}]
    file = desk.directory / "db.yaml"
    file.write_text("# ours\n" + sealed.out)
    (desk.directory / "ca.pem").write_bytes(b"ca")
    assert desk.with_keys("seal", "--merge-into", "db.yaml", "--from-file", "ca.pem").code == 0
    assert desk.opened(file.read_bytes())[0]["ca.pem"] == b"ca"
    assert file.read_text().startswith("# ours\n")
    assert desk.with_keys("reseal").code == 0
    keyfiles.rotate(desk.keys, datetime.now(UTC), name="second", bits=BITS)
    listed = json.loads(desk.with_keys("keys", "list", "--repo", ".", "--json").out)
    assert [(key["name"], key["state"], key["opens"]) for key in listed["keys"]] == [
        ("second", "seals", 0),
        ("first", "opens", 1),
    ]
    shown = desk.with_keys("reseal")
    assert (shown.code, shown.out[:12]) == (2, "--- a/db.yam")
    before = file.read_text()
    assert desk.with_keys("reseal", "--write").code == 0
    assert [a == b for a, b in zip(before.splitlines(), file.read_text().splitlines(), strict=True)].count(False) == 3
    table = desk.with_keys("keys", "list", "--repo", ".").out.splitlines()
    assert [line.split()[-1] for line in table] == ["OPENS", "1", "0"]
    assert desk.with_keys("reseal").code == 0


def test_a_manifest_is_sealed_and_never_shown(desk: Desk) -> None:
    (desk.directory / "secret.yaml").write_text(yaml.safe_dump(secret("db", "web", {"a": MARKER.encode()})))
    sealed = desk.with_keys("seal", "secret.yaml", "--scope", "cluster-wide", "-o", "sealed.yaml")
    assert (sealed.code, sealed.out, sealed.err) == (0, "", "")
    text = (desk.directory / "sealed.yaml").read_bytes()
    assert desk.opened(text) == [{"a": MARKER.encode()}]
    assert MARKER.encode() not in text
    assert base64.b64encode(MARKER.encode()) not in text
    again = desk.with_keys("seal", "secret.yaml", "-o", "sealed.yaml")
    assert (again.code, "nothing is overwritten" in again.err) == (64, True)
    assert (desk.directory / "sealed.yaml").read_bytes() == text


def test_keys_of_a_controller_are_imported_from_a_pipe(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {f"tls.{s}": (desk.keys / f"first.{s}").read_bytes() for s in ("key", "crt")}
    given(monkeypatch, yaml.safe_dump({"kind": "List", "items": [secret("theirs", "kube-system", data)]}).encode())
    answer = desk.gitopsd("keys", "import", "-", "--key-dir", "ours")
    assert (answer.code, answer.out) == (0, "theirs imported\n")
    assert (desk.directory / "ours" / "theirs.key").stat().st_mode & 0o777 == 0o600


def test_a_bad_key_is_an_exit_code_and_a_command(desk: Desk) -> None:
    (desk.keys / "first.key").chmod(0o644)
    listed = desk.with_keys("keys", "list")
    assert listed.code == 1
    assert f"chmod 600 {desk.keys}/first.key" in listed.err
    for command in (["keys", "cert"], ["reseal"], ["seal", "--name", "a", "--namespace", "b", "--from-literal", "a=b"]):
        answer = desk.with_keys(*command)
        assert (answer.code, answer.out) == (1, "")
        assert "chmod 600" in answer.err


@pytest.mark.parametrize(("content", "mode", "said"), [(b"short", 0o600, "32 bytes"), (bytes(32), 0o644, "chmod 600")])
def test_a_bad_digest_key_is_listed(desk: Desk, content: bytes, mode: int, said: str) -> None:
    file = desk.keys / "digest.key"
    file.write_bytes(content)
    file.chmod(mode)
    answer = desk.with_keys("keys", "list")
    assert (answer.code, "seals" in answer.out) == (1, True)
    assert f"gitopsd: {file}: " in answer.err
    assert said in answer.err
    listed = desk.with_keys("keys", "list", "--json")
    assert (listed.code, len(json.loads(listed.out)["problems"])) == (1, 1)
    file.write_bytes(bytes(32))
    file.chmod(0o600)
    assert desk.with_keys("keys", "list").code == 0


def test_the_key_directory_is_the_configurations(desk: Desk) -> None:
    config = desk.directory / "config.yaml"
    said: dict[str, Any] = {
        "instance": "here",
        "stateDir": "state",
        "keyDir": "keys",
        "socket": "run/gitopsd.sock",
        "sources": [{"name": "main", "url": "./infra"}],
        "clusters": [{"name": "default"}],
    }
    config.write_text(yaml.safe_dump(said))
    assert desk.gitopsd("--config", str(config), "keys", "list").code == 0
    for place in ("state/keys", "state", ".", "run"):
        config.write_text(yaml.safe_dump(said | {"keyDir": place}))
        line = [text.partition(":")[0] for text in config.read_text().splitlines()].index("keyDir") + 1
        answer = desk.gitopsd("--config", str(config), "keys", "list")
        assert answer.code == 78
        assert f"config.yaml:{line}: keyDir: may not be inside of" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys"],
        ["keys", "explode"],
        ["keys", "import"],
        ["keys", "import", "none.yaml"],
        ["keys", "list", "x.yaml"],
        ["keys", "list", "--name", "x"],
        ["keys", "cert", "--json"],
        ["keys", "list", "--repo", "none"],
        ["keys", "rotate", "--valid", "ten years"],
        ["seal"],
        ["seal", "none.yaml"],
        ["seal", "secret.yaml", "--from-literal", "a=b"],
        ["seal", "--from-literal", MARKER],
        ["seal", "--from-literal", f"a b={MARKER}"],
        ["seal", "--from-literal", f"a={MARKER}", "--name", "x"],
        ["seal", "--from-literal", "a=1", "--from-literal", f"a={MARKER}", "--name", "x", "--namespace", "y"],
        ["seal", "--from-file", "-"],
        ["seal", "--from-file", "a=none"],
        ["seal", "--from-literal", "a=b", "--merge-into", "none.yaml"],
        ["seal", "--from-literal", "a=b", "--merge-into", "x.yaml", "--scope", "strict"],
        ["seal", "--from-literal", "a=b", "--merge-into", "x.yaml", "-o", "y.yaml"],
        ["reseal", "none"],
        ["reseal", "-m", "x"],
        ["reseal", "--write", "--commit"],
    ],
)
def test_wrong_usage_is_told_and_shows_no_value(desk: Desk, arguments: list[str]) -> None:
    answer = desk.with_keys(*arguments)
    assert (answer.code, answer.out) == (64, "")
    assert answer.err.startswith("gitopsd: ")
    assert MARKER not in answer.err
    assert "fault of gitopsd" not in answer.err


def test_a_certificate_that_is_none_is_told(desk: Desk) -> None:
    (desk.directory / "x.crt").write_bytes(b"x")
    answer = desk.gitopsd("seal", "--from-literal", "a=b", "--cert", "x.crt", "--name", "a", "--namespace", "b")
    assert (answer.code, "x.crt: this is not an X.509 certificate" in answer.err) == (64, True)


@pytest.mark.parametrize("bits", [512, 1024])
def test_a_certificate_of_a_small_key_is_refused_with_its_bits(desk: Desk, bits: int) -> None:
    (desk.directory / "x.crt").write_bytes(small_pair(bits)[1])
    answer = desk.gitopsd("seal", "--from-literal", "a=b", "--cert", "x.crt", "--name", "a", "--namespace", "b")
    assert (answer.code, answer.out) == (64, "")
    assert f"x.crt: this certificate is one of an RSA key of {bits} bits" in answer.err
    assert "gitopsd keys rotate" in answer.err


def test_a_small_key_is_listed_as_one_that_seals_nothing(desk: Desk) -> None:
    for suffix, data in zip(("key", "crt"), small_pair(1024), strict=True):
        write_new(desk.keys / f"small.{suffix}", data, 0o600)
    listed = desk.with_keys("keys", "list", "--json")
    found = {key["name"]: (key["bits"], key["state"]) for key in json.loads(listed.out)["keys"]}
    assert (listed.code, found) == (0, {"first": (BITS, "seals"), "small": (1024, "small")})
    assert "too small to seal, opens" in desk.with_keys("keys", "list").out
