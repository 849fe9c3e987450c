"""What the record stores comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitopsd.model.imprint import Imprint
from gitopsd.model.memory import Baseline, Dirty, Intent, Memory
from gitopsd.model.plan import Plan
from gitopsd.model.run import Observation, Outcome, RunRecord
from gitopsd.record.blobs import COMPRESS_FROM, DamagedValue, pack, printable, unpack, unpack_plain
from gitopsd.record.rows import baseline_of, baseline_row, run_of, run_row
from tests.unit.record.samples import baseline, json_values, run, values_of

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("kind", [Plan, RunRecord, Memory, Dirty, Intent, Outcome, Observation])
def test_every_stored_type_survives_packing(kind: type[Any]) -> None:
    @relaxed
    @given(values_of(kind))
    def survives(value: Any) -> None:
        assert unpack(kind, pack(value)) == value

    survives()


@relaxed
@given(values_of(Baseline))
def test_a_baseline_survives_its_row(value: Baseline) -> None:
    assert baseline_of(baseline_row(value)) == value


def test_thousands_of_baselines_share_the_texts_that_they_have_in_common() -> None:
    """A process that tracks ten thousand objects has these texts in memory for each of them, or once."""
    who = "kube-controller-manager Update apps/v1 status"
    row = baseline_row(baseline(imprint=Imprint("uid-1", 7, others=((who, "00"),))))
    one, other = baseline_of(row), baseline_of(tuple(_anew(value) for value in row))
    assert one == other
    assert one.imprint is not None
    assert other.imprint is not None
    assert one.imprint.others[0][0] is other.imprint.others[0][0]
    assert one.imprint.uid is one.uid, "an object's uid is in its baseline, too"
    assert (one.component, one.api_version) == ("web", "apps/v1")
    assert one.component is other.component
    assert one.api_version is other.api_version


def _anew(value: Any) -> Any:
    """As SQLite gives it: a text of its own for every row."""
    return value.encode().decode() if isinstance(value, str) else value


@pytest.mark.parametrize("blob", [b"7", b"[]", b'["u", 1]', b'["u", 1, 0, "", "", false, "who"]', b"{}", b"xnothing"])
def test_a_damaged_imprint_is_said_to_be_one(blob: bytes) -> None:
    row = baseline_row(baseline())
    with pytest.raises(DamagedValue):
        baseline_of((*row[:-1], blob))


@relaxed
@given(values_of(RunRecord))
def test_a_run_survives_its_row_without_details(value: RunRecord) -> None:
    back = run_of(run_row(value))
    assert (back.id, back.author, back.verdict, back.cause, back.failing) == (
        value.id,
        value.author,
        value.verdict,
        value.cause,
        value.failing,
    )
    assert run_row(back) == run_row(value)
    assert back.plan is None


@given(json_values)
def test_json_survives_packing(value: Any) -> None:
    assert unpack_plain(pack(value)) == value


def test_large_values_are_compressed() -> None:
    fields = {"managedFields": [{"manager": "gitopsd", "operation": "Apply"}] * 50}
    assert len(pack(fields)) < COMPRESS_FROM
    assert unpack_plain(pack(fields)) == fields


def test_a_name_in_no_encoding_does_not_stop_a_run() -> None:
    author = "J\udcf6rg"
    assert unpack_plain(pack({"author": author, "n": [author]})) == {"author": "J?rg", "n": ["J?rg"]}
    assert printable(author) == "J?rg"
    assert run_row(run("r1", subject=author))[-3] == "J?rg"


def test_a_number_too_big_for_json_is_kept_as_text() -> None:
    assert unpack_plain(pack({"replicas": 10**30, "x": 2})) == {"replicas": str(10**30), "x": 2}


@given(st.binary(max_size=60))
def test_damage_is_told_as_damage(blob: bytes) -> None:
    try:
        unpack(Memory, blob)
    except DamagedValue:
        return
    pytest.fail("random bytes were taken for a memory")


@pytest.mark.parametrize("blob", [pack([1]), pack({"stack": "a"}), pack("x" * 600)[:-4]])
def test_a_value_of_another_shape_is_damage(blob: bytes) -> None:
    with pytest.raises(DamagedValue):
        unpack(Memory, blob)
