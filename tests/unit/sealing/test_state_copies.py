"""The file of a sealed copy of a Terraform state, and which of them are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.modules import StateId
from gitopsd.sealing.envelope import NotOpened, seal, unseal
from gitopsd.terraform.copyfile import (
    KEPT,
    CopyHeader,
    identity,
    is_copy,
    is_kept,
    label,
    read_copy,
    read_header,
    superseded,
    write_copy,
)
from tests.support.kubeseal import opening_key

AT = datetime(2026, 11, 23, 1, 2, 3, 4, tzinfo=UTC)
HEADER = CopyHeader("web", "net", "default", "net", StateId("l", 7), AT, "SHA256:x")
TEXTS = st.text(max_size=20)


@given(
    st.builds(
        CopyHeader,
        stack=TEXTS,
        component=TEXTS,
        workspace=TEXTS,
        state_key=TEXTS,
        state=st.builds(StateId, TEXTS, st.integers(0, 10**9)),
        at=st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants naive bounds
        fingerprint=TEXTS,
    ),
    st.binary(max_size=500),
)
def test_what_is_written_is_read(header: CopyHeader, sealed: bytes) -> None:
    content = write_copy(header, sealed)
    assert read_copy(content) == (header, sealed)
    assert content.count(b"\n") == 2
    assert is_copy(header.name)


@given(st.lists(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)), max_size=5))  # noqa: DTZ001
def test_names_sort_as_the_copies_were_made(times: list[datetime]) -> None:
    names = [replace(HEADER, at=at).name for at in sorted(times)]
    assert all(one.partition("-")[0] <= other.partition("-")[0] for one, other in pairwise(names))


def test_a_copy_opens_under_the_name_of_its_own_component_alone() -> None:
    key = opening_key()
    sealed = seal(key.private.public_key(), b"state", label("web", "net"))
    assert unseal([key], sealed, label("web", "net")).plaintext.reveal() == b"state"
    for stack, component in (("web", "other"), ("other", "net"), ("web/net", "")):
        with pytest.raises(NotOpened):
            unseal([key], sealed, label(stack, component))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not JSON"),
        (b"\xff\n", "not JSON"),
        (b"[]\nAAAA\n", "gitopsd.io/state-copy/v1"),
        (json.dumps({"format": "gitopsd.io/state-copy/v2"}).encode(), "another version"),
        (write_copy(HEADER, b"abc").replace(b'"serial": 7', b'"serial": "7"'), "which state"),
        (write_copy(HEADER, b"abc").replace(b"+00:00", b""), "which state"),
        (write_copy(HEADER, b"abcdef")[:-3], "cut or changed"),
        (write_copy(HEADER, b"abcdef")[:-3] + b"*", "cut or changed"),
    ],
)
def test_what_is_no_whole_copy_is_told_so(content: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_copy(content)


def test_a_state_is_known_by_lineage_and_serial_and_any_other_is_copied_too() -> None:
    assert identity(b'{"version": 4, "lineage": "l", "serial": 7}') == StateId("l", 7)
    for other in (b"", b"{}", b"[]", b"\xff", b'{"lineage": "l", "serial": null}'):
        assert identity(other) == StateId()


def test_what_the_newest_copy_says_already_is_not_copied_again() -> None:
    wanted = replace(HEADER, at=AT + timedelta(hours=1))
    assert is_kept(HEADER, wanted)
    assert is_kept(HEADER, wanted, AT - timedelta(seconds=1))
    assert not is_kept(None, wanted)
    assert not is_kept(HEADER, wanted, AT + timedelta(seconds=1)), "edited by hand since, with the same serial"
    assert not is_kept(replace(HEADER, workspace="another"), wanted)
    assert not is_kept(replace(HEADER, state_key="another"), wanted)
    assert not is_kept(replace(HEADER, fingerprint="another"), wanted)
    assert not is_kept(replace(HEADER, state=StateId("l", 6)), wanted)
    assert not is_kept(replace(HEADER, state=StateId("m", 7)), wanted)
    unknown = replace(HEADER, state=StateId())
    assert not is_kept(unknown, unknown), "nothing tells that it is the same"


@given(st.lists(st.sampled_from("abcdefghijklmno"), max_size=60))
def test_the_newest_stay_and_the_last_of_other_lineages(lineages: list[str]) -> None:
    copies = [(f"{number:03}", lineage) for number, lineage in enumerate(lineages)]
    gone = set(superseded(copies))
    kept = [copy for copy in copies if copy[0] not in gone]
    assert kept[-KEPT:] == copies[-KEPT:]
    assert len(kept) <= 2 * KEPT
    recent = {lineage for _, lineage in copies[-KEPT:]}
    assert [lineage for _, lineage in kept[:-KEPT]].count("a") <= 1
    last = {lineage: name for name, lineage in copies}
    rest = sorted((name for lineage, name in last.items() if lineage not in recent), reverse=True)
    assert {name for name, _ in kept[:-KEPT]} == set(rest[:KEPT])


def test_a_header_shows_nothing_but_which_state_it_is() -> None:
    first = write_copy(HEADER, b"sealed").partition(b"\n")[0]
    assert read_header(first) == HEADER
    assert set(json.loads(first)) == {
        "format",
        "stack",
        "component",
        "workspace",
        "stateKey",
        "lineage",
        "serial",
        "at",
        "fingerprint",
    }
