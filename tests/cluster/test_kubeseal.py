"""What the real kubeseal writes, we open; what we write, it opens: in every scope, to the byte."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from gitopsd.model.sensitive import Sensitive
from gitopsd.sealed.document import At, Scope, SealedSecret, oaep_label, read_sealed_secret
from gitopsd.sealed.template import TemplateError, parse_template, references
from gitopsd.sealing.envelope import seal, unseal
from gitopsd.sealing.keyfiles import generate, rotate
from gitopsd.sealing.keyring import Keyring, Keys
from gitopsd.sealing.opening import NoKeyOpens, open_items
from gitopsd.sealing.reseal import reseal_file
from gitopsd.sealing.seal import ToSeal, merged, read_secrets, sealed_yaml
from gitopsd.sealing.splice import SealedFile
from sandbox import tool
from tests.support.kubeseal import BITS, Kubeseal, secret

DATA = {
    "text": b"correct horse",
    "empty": b"",
    "binary": bytes(range(256)),
    "newline": b"line\r\nline\n",
    "encoded": base64.b64encode(b"looks encoded"),
    "unicode": "schlüssel \U0001f511".encode(),
}
SCOPES = list(Scope)


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    tool("kubeseal")


@pytest.fixture(scope="module")
def kubeseal(tmp_path_factory: pytest.TempPathFactory) -> Kubeseal:
    directory = tmp_path_factory.mktemp("sealing") / "keys"
    generate(directory, datetime.now(UTC), name="first", bits=BITS)
    return Kubeseal(directory, "first")


@pytest.fixture(scope="module")
def keys(kubeseal: Kubeseal) -> Keys:
    return Keyring(kubeseal.directory).snapshot()


def read(data: bytes) -> SealedSecret:
    (found,) = SealedFile("f.yaml", data).found
    return read_sealed_secret(found.manifest, found.at)


def opened(data: bytes, keys: Keys) -> dict[str, Any]:
    """The Secret of a SealedSecret's text, its data as bytes."""
    sealed = read(data)
    made = sealed.secret(open_items(sealed, keys.opening).items)
    return {**made, "data": {key: base64.b64decode(value.reveal()) for key, value in made["data"].items()}}


@pytest.mark.parametrize("scope", SCOPES)
def test_we_open_what_kubeseal_writes(kubeseal: Kubeseal, keys: Keys, scope: Scope) -> None:
    manifest = secret("db", "web", DATA, type="example.org/db", immutable=True, metadata={"labels": {"a": "y"}})
    made = opened(kubeseal.seal(manifest, "--scope", scope.value), keys)
    assert made["data"] == DATA
    assert (made["type"], made["immutable"], made["metadata"]["labels"]) == ("example.org/db", True, {"a": "y"})
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("db", "web")


@pytest.mark.parametrize("scope", SCOPES)
def test_kubeseal_opens_what_we_write(kubeseal: Kubeseal, keys: Keys, scope: Scope) -> None:
    items = {key: Sensitive(value) for key, value in DATA.items()}
    public = keys.for_sealing(datetime.now(UTC)).public
    ours = ToSeal("y", "on", scope, items, "example.org/db", True, {"a": "0o14"}, {"b": "1e3\n"})
    text = sealed_yaml(ours, public).encode()
    found = kubeseal.recovered(text)
    assert kubeseal.unseal(text) == DATA
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("y", "on")
    assert (found["type"], found["immutable"], found["metadata"]["labels"]) == ("example.org/db", True, {"a": "0o14"})
    assert found["metadata"]["annotations"]["b"] == "1e3\n"
    assert opened(text, keys)["data"] == DATA


def test_one_mebibyte_both_ways(kubeseal: Kubeseal, keys: Keys) -> None:
    large = {"large": os.urandom(1024 * 1024)}
    assert opened(kubeseal.seal(secret("db", "web", large)), keys)["data"] == large
    public = keys.for_sealing(datetime.now(UTC)).public
    (ours,) = read_secrets(yaml.safe_dump(secret("db", "web", large)).encode(), "f.yaml")
    assert kubeseal.unseal(sealed_yaml(ours, public).encode()) == large


@pytest.mark.parametrize("scope", SCOPES)
def test_raw_items_both_ways(kubeseal: Kubeseal, keys: Keys, scope: Scope) -> None:
    place = ["--scope", scope.value]
    place += [] if scope is Scope.CLUSTER_WIDE else ["--namespace", "web"]
    place += ["--name", "db"] if scope is Scope.STRICT else []
    raw = base64.b64decode(kubeseal.raw(b"value", *place))
    label = oaep_label(scope, "web", "db")
    assert unseal(keys.opening, raw, label).plaintext.reveal() == b"value"


def test_a_template_is_filled_as_kubeseal_fills_it(kubeseal: Kubeseal, keys: Keys) -> None:
    """The oracle runs the controller's own code over the same manifest."""
    manifest = yaml.safe_load(kubeseal.seal(secret("db", "web", {"user": b"me", "pass-word": b"p w", "gone": b"x"})))
    manifest["spec"]["template"]["data"] = {
        "url": 'db://{{ .user }}:{{ index . "pass-word" }}@{{ .host }}/{{ .gone }}',
        "host": "h.example",
        "nested": "{{ .url }}",
        "trimmed": "a \n {{- .user -}} \n b",
        "quoted": '{{ "{{" }} {{ `}}` }}',
        "literal": "no braces } {",
        "user": "loses against {{ .user }}",
        "gone": None,
    }
    text = yaml.safe_dump(manifest).encode()
    ours = opened(text, keys)["data"]
    assert ours == kubeseal.unseal(text)
    assert ours["url"] == b"db://me:p w@h.example/x"
    assert "gone" not in ours


TOKENS = (
    *("{{", "}}", "{{-", "-}}", "{{- ", " -}}", " ", "\n", "\t", "-", ".", "{", "}", "'", '"', "`", "\\", "é", "a"),
    *(".a", "._x1", 'index . "b-c"', "index . `a`", '"q"', "`r\n`", '"{{"', '"}}"'),
    *("{{ .a }}", "{{- .a -}}", "{{.a}}", '{{index . "b-c"}}', "{{ `x` }}"),
)


def test_whatever_template_we_take_we_fill_as_kubeseal_does(kubeseal: Kubeseal, keys: Keys) -> None:
    """Texts of random tokens: kubeseal takes every one that we take, and agrees on every byte."""
    manifest = yaml.safe_load(kubeseal.seal(secret("db", "web", {"a": b"A a", "b-c": b"\xff}}{{", "_x1": b"X"})))
    chance = Random(5)  # noqa: S311 - the same texts in every run
    texts: dict[str, str] = {}
    while len(texts) < 500:
        text = "".join(chance.choice(TOKENS) for _ in range(chance.randint(1, 9)))
        try:
            named = references(parse_template(text))
        except TemplateError:
            continue
        if "{{" in text and named <= {"a", "b-c", "_x1"}:
            texts[f"k{len(texts)}"] = text
    manifest["spec"]["template"]["data"] = texts
    written = yaml.safe_dump(manifest, allow_unicode=True).encode()
    ours, theirs = opened(written, keys)["data"], kubeseal.unseal(written)
    assert {text: (ours[key], theirs[key]) for key, text in texts.items() if ours[key] != theirs[key]} == {}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("name", "namespace", "annotated"),
    [
        ("db", "web", None),
        ("other", "web", None),
        ("db", "other", None),
        ("db", "web", "namespace"),
        ("p", "q", "cluster"),
    ],
)
def test_we_and_kubeseal_agree_on_where_a_secret_opens(
    kubeseal: Kubeseal, keys: Keys, *, scope: Scope, name: str, namespace: str, annotated: str | None
) -> None:
    """Moved to other places, and with annotations of another scope forged."""
    manifest = yaml.safe_load(kubeseal.seal(secret("db", "web", {"a": b"1"}), "--scope", scope.value))
    manifest["metadata"] |= {"name": name, "namespace": namespace}
    if annotated is not None:
        manifest["metadata"]["annotations"] = {f"sealedsecrets.bitnami.com/{annotated}-wide": "true"}
    text = yaml.safe_dump(manifest).encode()
    try:
        opens = opened(text, keys)["data"] == {"a": b"1"}
    except NoKeyOpens:
        opens = False
    assert opens is not kubeseal.refuses(text)


def test_a_file_of_kubeseal_takes_our_items_and_one_of_ours_those_of_kubeseal(
    kubeseal: Kubeseal, keys: Keys, tmp_path: Path
) -> None:
    public = keys.for_sealing(datetime.now(UTC)).public
    theirs = kubeseal.seal(secret("db", "web", {"a": b"1"}), "--scope", "namespace-wide")
    file = SealedFile("f.yaml", theirs)
    after = merged(file, file.found[0], {"a": Sensitive(b"new"), "b": Sensitive(b"2")}, public)
    assert kubeseal.unseal(after) == {"a": b"new", "b": b"2"}
    path = tmp_path / "sealed.yaml"
    path.write_bytes(after)
    kubeseal.seal(secret("db", "web", {"c": b"3"}), "--scope", "namespace-wide", "--merge-into", str(path))
    assert opened(path.read_bytes(), keys)["data"] == {"a": b"new", "b": b"2", "c": b"3"}


@pytest.mark.parametrize("scope", SCOPES)
def test_resealed_files_of_kubeseal_open_with_the_newest_key_alone(tmp_path: Path, scope: Scope) -> None:
    directory, now = tmp_path / "keys", datetime.now(UTC)
    generate(directory, now, name="old", bits=BITS)
    text = Kubeseal(directory, "old").seal(secret("db", "web", DATA), "--scope", scope.value)
    rotate(directory, now, name="new", bits=BITS)
    found = Keyring(directory).snapshot()
    after = reseal_file("f.yaml", text, found.opening, found.for_sealing(now))
    assert (after.items, after.problems) == (len(DATA), ())
    assert Kubeseal(directory, "new").unseal(after.after) == DATA
    assert Kubeseal(directory, "old").refuses(after.after)


def test_kubeseal_takes_our_certificate_in_the_size_that_we_make(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    generate(directory, datetime.now(UTC), name="large")
    text = Kubeseal(directory, "large").seal(secret("db", "web", {"a": b"1"}))
    assert opened(text, Keyring(directory).snapshot())["data"] == {"a": b"1"}


def test_an_empty_secret_is_one(kubeseal: Kubeseal, keys: Keys) -> None:
    assert opened(kubeseal.seal(secret("db", "web", {}), "--allow-empty-data"), keys)["data"] == {}


def test_what_we_seal_alone_kubeseal_takes_as_an_item(kubeseal: Kubeseal, keys: Keys) -> None:
    manifest = yaml.safe_load(kubeseal.seal(secret("db", "web", {"a": b"1"})))
    public = keys.for_sealing(datetime.now(UTC)).public
    manifest["spec"]["encryptedData"]["b"] = base64.b64encode(seal(public, b"2", b"web/db")).decode()
    assert kubeseal.unseal(yaml.safe_dump(manifest).encode()) == {"a": b"1", "b": b"2"}
    assert read_sealed_secret(manifest, At()).items.keys() == {"a", "b"}
