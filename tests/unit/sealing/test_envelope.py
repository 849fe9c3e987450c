"""Sealed texts open with the right key and label, and with nothing else; a failure says nothing."""

from __future__ import annotations

import base64
import json
import subprocess
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.sealed.shape import is_whole
from gitopsd.sealing.envelope import NotOpened, OpeningKey, fingerprint, seal, unseal
from tests.support.kubeseal import opening_key

KEY, OTHER = opening_key(), opening_key(1)
MARKER = b"correct horse battery staple"


def sealed(plaintext: bytes = MARKER, label: bytes = b"web/db") -> bytes:
    return seal(KEY.private.public_key(), plaintext, label)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=80))
def test_what_was_sealed_opens(plaintext: bytes, label: bytes) -> None:
    opened = unseal([OTHER, KEY], sealed(plaintext, label), label)
    assert (opened.plaintext.reveal(), opened.fingerprint) == (plaintext, KEY.fingerprint)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_another_label_never_opens(label: bytes, other: bytes) -> None:
    text = sealed(label=label)
    if label != other:
        with pytest.raises(NotOpened):
            unseal([KEY], text, other)


def test_the_same_plaintext_is_never_sealed_alike() -> None:
    texts = {sealed() for _ in range(5)}
    assert len(texts) == 5
    assert len({text[258:] for text in texts}) == 5  # nor under the same session key, whose nonce is fixed


def test_another_key_never_opens() -> None:
    for keys in ([], [OTHER]):
        with pytest.raises(NotOpened):
            unseal(keys, sealed(), b"web/db")


def test_cut_at_any_length_it_never_opens() -> None:
    text = sealed(b"short")
    for length in range(len(text)):
        with pytest.raises(NotOpened):
            unseal([KEY], text[:length], b"web/db")
    with pytest.raises(NotOpened):
        unseal([KEY], text + b"\0", b"web/db")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_with_any_bit_flipped_it_never_opens(data: st.DataObject) -> None:
    text = bytearray(sealed(b"short"))
    bit = data.draw(st.integers(0, len(text) * 8 - 1))
    text[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotOpened):
        unseal([KEY], bytes(text), b"web/db")


def test_a_key_of_another_size_costs_no_operation() -> None:
    class Untouchable:
        key_size = 4096

    unused = OpeningKey("unused", Untouchable())  # type: ignore[arg-type]
    assert unseal([unused, KEY], sealed(), b"web/db").fingerprint == KEY.fingerprint


def test_every_failure_reads_alike_and_carries_nothing() -> None:
    text = sealed()
    wrong = [(b"", b"web/db"), (text[:100], b"web/db"), (text, b"web/x"), (text[:-1] + b"\0", b"web/db")]
    told = set()
    for data, label in wrong:
        with pytest.raises(NotOpened) as caught:
            unseal([KEY], data, label)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        told.add(str(caught.value))
    assert len(told) == 1


def test_plaintext_is_in_no_representation_and_no_traceback() -> None:
    opened = unseal([KEY], sealed(), b"web/db")
    shown = f"{opened} {opened!r} {opened.plaintext} {opened.plaintext!r}"
    with pytest.raises(TypeError) as caught:
        json.dumps({"a": [opened], "b": opened.plaintext})
    shown += "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    for form in (MARKER, base64.b64encode(MARKER), MARKER.hex().encode()):
        assert form.decode() not in shown


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", False),
        (b"\x01", False),
        (b"\x01\x00" + bytes(256), False),
        (b"\x01\x00" + bytes(256 + 15), False),
        (b"\x01\x00" + bytes(256 + 16), True),
        (b"\x00\x10" + bytes(500), False),
        (b"\xff\xff" + bytes(70_000), False),
        (b"plain text that somebody took for a sealed one" * 20, False),
    ],
)
def test_whether_a_text_is_whole_is_told_without_a_key(data: bytes, whole: bool) -> None:
    assert is_whole(data) is whole


def test_the_fingerprint_is_what_ssh_keygen_says(tmp_path: Path) -> None:
    public = rsa.generate_private_key(65537, 2048).public_key()
    file = tmp_path / "key.pub"
    file.write_bytes(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
    try:
        said = subprocess.run(["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, check=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not here")
    assert said.stdout.split()[1] == fingerprint(public)
