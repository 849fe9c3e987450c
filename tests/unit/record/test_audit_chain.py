"""The audit log proves itself: each test is an attack on it, or an accident that looks like one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gitopsd.model.audit import AuditEvent
from gitopsd.model.memory import AuditHead
from gitopsd.record import open_record
from gitopsd.record.audit import FIELDS, MAX_FINDINGS, Line, Verification, entry, judge, line_of, walk
from gitopsd.record.audit_file import AuditFile, rotated
from gitopsd.record.audit_reader import AuditFilter, read_audit, verify
from tests.unit.record.samples import FakeClock, event, memory, values_of

WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOG = "audit.jsonl"


def chain(events: Sequence[AuditEvent]) -> tuple[list[bytes], AuditHead]:
    head, made = AuditHead(), []
    for each in events:
        sealed = entry(each, time=WHEN, head=head)
        head = AuditHead(sealed["seq"], sealed["hash"])
        made.append(line_of(sealed))
    return made, head


def check(data: bytes, head: AuditHead, parents: dict[str, AuditHead] | None = None) -> Verification:
    """The pure verdict over the bytes of one file."""
    raw = data.split(b"\n")
    lines = [Line(LOG, n, text) for n, text in enumerate(raw[:-1], 1)]
    if raw[-1]:
        lines.append(Line(LOG, len(raw), raw[-1], whole=False))
    heads = [head, *(parents or {}).values()]
    return judge(walk(lines, {h.seq for h in heads}), (head, head), parents or {}, LOG)


# ---------------------------------------------------------------- the form of an entry


def test_an_entry_has_exactly_the_promised_fields_and_hash() -> None:
    (first, second), head = chain([event("one"), event("two", unit="ConfigMap/web/a")])
    made = json.loads(second)
    assert tuple(made) == FIELDS
    assert made["seq"] == 2
    assert made["time"] == "2026-03-01T12:00:00.000Z"
    assert made["actor"] == {"kind": "git", "name": "Ada", "email": "ada@example.org"}
    assert made["prev"] == json.loads(first)["hash"]
    assert json.loads(first)["prev"] == ""
    claimed = made.pop("hash")
    canonical = json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert claimed == head.hash == hashlib.sha256(canonical).hexdigest()


def test_a_name_in_no_encoding_is_audited_all_the_same() -> None:
    strange = replace(event(), actor=replace(event().actor, name="J\udcf6rg"))
    (line,), head = chain([strange])
    assert check(line + b"\n", head).ok


# ---------------------------------------------------------------- properties over random chains

logs = st.lists(values_of(AuditEvent), min_size=1, max_size=6)
quick = settings(max_examples=150, deadline=None)


@quick
@given(logs)
def test_an_untouched_chain_is_whole(events: list[AuditEvent]) -> None:
    lines, head = chain(events)
    found = check(b"".join(line + b"\n" for line in lines), head, {"cluster default": head})
    assert found == Verification(len(events), head)


@quick
@given(logs, st.data())
def test_any_edited_byte_is_found(events: list[AuditEvent], data: st.DataObject) -> None:
    lines, head = chain(events)
    text = bytearray(b"".join(line + b"\n" for line in lines))
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255))
    assume(text[at] != byte)
    text[at] = byte
    assert not check(bytes(text), head).ok


@quick
@given(logs, st.data())
def test_any_inserted_or_removed_bytes_are_found(events: list[AuditEvent], data: st.DataObject) -> None:
    lines, head = chain(events)
    text = b"".join(line + b"\n" for line in lines)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    changed = text[:start] + data.draw(st.binary(max_size=5) | st.sampled_from(lines)) + text[end:]
    assume(changed != text)
    assert not check(changed, head).ok


@quick
@given(logs, st.data())
def test_any_removed_repeated_or_reordered_lines_are_found(events: list[AuditEvent], data: st.DataObject) -> None:
    lines, head = chain(events)
    picks = st.lists(st.integers(0, len(lines) - 1), max_size=len(lines) + 1)
    changed = [lines[n] for n in data.draw(picks | st.permutations(range(len(lines))))]
    assume(changed != lines)
    assert not check(b"".join(line + b"\n" for line in changed), head).ok


@quick
@given(logs, values_of(AuditEvent), st.data())
def test_a_rewritten_chain_is_found_by_every_head_kept_elsewhere(
    events: list[AuditEvent], other: AuditEvent, data: st.DataObject
) -> None:
    _, head = chain(events)
    at = data.draw(st.integers(0, len(events) - 1))
    assume(
        events[at] != other
        and entry(events[at], time=WHEN, head=AuditHead()) != entry(other, time=WHEN, head=AuditHead())
    )
    forged, forged_head = chain([*events[:at], other, *events[at + 1 :]])
    text = b"".join(line + b"\n" for line in forged)
    assert check(text, forged_head).ok  # in itself the forgery is perfect
    assert not check(text, head).ok
    assert not check(text, forged_head, {"cluster default": head}).ok


# ---------------------------------------------------------------- attacks on a real directory


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory at rest with ten entries, and a memory that knows the last."""
    with open_record(tmp_path / "state", FakeClock()) as record:
        for n in range(9):
            record.audit([event(f"event {n}")])
        record.save_memory(memory(), [event("event 9")])
    return tmp_path / "state"


def head_of(state: Path) -> AuditHead:
    return verify(state).head


def lines_of(state: Path) -> list[bytes]:
    return (state / LOG).read_bytes().splitlines(keepends=True)


def put(state: Path, lines: list[bytes]) -> None:
    (state / LOG).write_bytes(b"".join(lines))


def only(found: Verification) -> str:
    assert len(found.findings) == 1, found
    return str(found.findings[0])


def test_an_untouched_log_is_whole(state: Path) -> None:
    head = head_of(state)
    found = verify(state, {"stack website in cluster default": head})
    assert (found.ok, found.entries, found.head.seq, found.notes) == (True, 10, 10, ())


def test_edited_byte_is_found_with_its_line(state: Path) -> None:
    lines = lines_of(state)
    lines[3] = lines[3].replace(b"event 3", b"event 8")
    put(state, lines)
    assert only(verify(state)) == "audit.jsonl:4: entry 4 was edited: its hash does not fit what it says"
    assert verify(state).findings[0].seq == 4


def test_entry_edited_with_its_hash_is_found_by_the_next(state: Path) -> None:
    lines = lines_of(state)
    made = orjson.loads(lines[3])
    before = AuditHead(3, made["prev"])
    lines[3] = line_of(entry(event("never happened"), time=WHEN, head=before)) + b"\n"
    put(state, lines)
    assert only(verify(state)) == "audit.jsonl:5: entry 5 does not follow entry 4: one of the two was replaced"


def test_keys_in_another_order_are_an_edit(state: Path) -> None:
    lines = lines_of(state)
    made = orjson.loads(lines[3])
    lines[3] = orjson.dumps(dict(reversed(made.items()))) + b"\n"
    put(state, lines)
    assert "entry 4 was edited" in only(verify(state))


def test_removed_line_is_found(state: Path) -> None:
    lines = lines_of(state)
    put(state, lines[:4] + lines[6:])
    assert (
        only(verify(state)) == "audit.jsonl:5: entries 5 to 6 are missing before entry 7: removed, or moved elsewhere"
    )


def test_removed_first_line_is_found(state: Path) -> None:
    put(state, lines_of(state)[1:])
    assert "entry 1 is missing before entry 2" in only(verify(state))


def test_inserted_copy_is_found(state: Path) -> None:
    lines = lines_of(state)
    put(state, [*lines[:5], lines[2], *lines[5:]])
    assert "entry 3 stands after entry 5" in str(verify(state).findings[0])


def test_swapped_lines_are_found(state: Path) -> None:
    lines = lines_of(state)
    lines[4], lines[5] = lines[5], lines[4]
    put(state, lines)
    assert [f.line for f in verify(state).findings] == [5, 6, 7]


@pytest.mark.parametrize(
    "junk", [b"hello\n", b"\n", b"[]\n", b'{"seq":5}\n', b'{"seq":true,"hash":""}\n', b"[" * 400 + b"\n"]
)
def test_line_that_is_no_entry_is_found(state: Path, junk: bytes) -> None:
    lines = lines_of(state)
    put(state, [*lines[:5], junk, *lines[5:]])
    found = verify(state)
    assert found.findings[0].line == 6
    assert "edited" in found.findings[0].message


def test_nested_values_do_not_stop_the_check(state: Path) -> None:
    lines = lines_of(state)
    deep = b'{"seq":6,"hash":"","detail":' + b"[" * 300 + b"]" * 300 + b"}\n"
    put(state, [*lines[:5], deep, *lines[5:]])
    assert "is no audit entry" in str(verify(state).findings[0])


def test_cut_tail_is_found_by_the_database(state: Path) -> None:
    put(state, lines_of(state)[:-3])
    assert "ends at entry 7, but state.db knows entry 10: 3 at the end are missing" in only(verify(state))


def test_cut_newline_is_found(state: Path) -> None:
    text = (state / LOG).read_bytes()
    (state / LOG).write_bytes(text[:-1])
    assert "not finished" in str(verify(state).findings[0])


def test_removed_log_is_found(state: Path) -> None:
    (state / LOG).unlink()
    assert "ends at entry 0, but state.db knows entry 10" in only(verify(state))


def test_removed_database_is_found(state: Path) -> None:
    (state / "state.db").unlink()
    assert "state.db is missing" in only(verify(state))


def test_appended_entry_is_found(state: Path) -> None:
    forged = line_of(entry(event("never happened"), time=WHEN, head=head_of(state)))
    put(state, [*lines_of(state), forged + b"\n"])
    assert "goes on to entry 11, but state.db knows 10" in only(verify(state))


@pytest.fixture
def put_back(state: Path, tmp_path: Path) -> tuple[Path, AuditHead]:
    """A directory that was put back, log and database alike, to before the head that the parent knows."""
    shutil.copytree(state, tmp_path / "earlier")
    with open_record(state, FakeClock()) as record:
        later = record.save_memory(memory(generation=1), [event("incriminating"), event("more of it")])
    shutil.rmtree(state)
    shutil.move(tmp_path / "earlier", state)
    return state, later.audit


def test_cut_tail_with_database_cut_back_is_found_by_the_parent(put_back: tuple[Path, AuditHead]) -> None:
    state, known = put_back
    assert verify(state).ok  # nothing on the host shows it
    found = verify(state, {"stack website in cluster default": known})
    where = "stack website in cluster default"
    assert only(found) == (
        f"audit.jsonl: the log ends at entry 10, but {where} knows entry 12: 2 at the end are missing"
    )


def test_cut_back_log_that_grew_again_is_found_by_the_parent(put_back: tuple[Path, AuditHead]) -> None:
    state, known = put_back
    with open_record(state, FakeClock()) as record:
        record.audit([event("harmless")] * 5)
    found = verify(state, {"stack website in cluster default": known})
    assert only(found) == (
        "audit.jsonl: entry 12 is not the one that stack website in cluster default knows: the log was replaced"
    )


def test_cut_back_log_stays_a_fault_after_the_memory_was_taken_over(put_back: tuple[Path, AuditHead]) -> None:
    """The daemon goes on from the parent, which then forgets the old head: the log must not."""
    state, known = put_back
    with open_record(state, FakeClock()) as record:
        record.adopt_memory(memory(generation=9, audit=known))
        record.adopt_memory(memory(generation=9, audit=known))  # told once is enough
        after = record.save_memory(memory(generation=9)).audit
    found = verify(state, {"stack website in cluster default": after})
    assert "entry 12 was gone, which stack website had seen" in only(found)


def test_lost_directory_is_a_note_and_no_fault(tmp_path: Path) -> None:
    """DESIGN: the platform engineer rebuilds the host from the cluster; nobody is accused for that."""
    known = {"a": AuditHead(57, "a" * 64), "b": AuditHead(60, "b" * 64)}
    with open_record(tmp_path / "new", FakeClock()) as record:
        record.audit([event("start")])
        for stack, head in known.items():
            record.adopt_memory(memory(stack))  # a place for the holds of the time before the cluster was asked
            record.adopt_memory(memory(stack, generation=9, audit=head))
            record.audit([event("work", stack=stack)])
    found = verify(tmp_path / "new", {f"stack {s}": h for s, h in known.items()})
    assert found.ok, found
    assert [note.split(":")[0] for note in found.notes] == ["entry 2", "entry 4"]
    assert "up to entry 57 at least, is not here" in found.notes[0]


def test_taking_over_a_memory_whose_head_is_in_the_log_says_nothing(state: Path) -> None:
    head = head_of(state)
    with open_record(state, FakeClock()) as record:
        record.audit([event("later")])
        record.adopt_memory(memory(generation=9, audit=head))
        assert record.audit([]).seq == 11


def test_new_database_beside_an_old_log_goes_on_with_it(state: Path) -> None:
    head = head_of(state)
    (state / "state.db").unlink()
    with open_record(state, FakeClock()) as record:
        assert any("goes on after its entry 10" in notice for notice in record.notices)
        record.adopt_memory(memory(generation=9, audit=head))
        assert record.audit([event("on")]).seq == 11
    assert verify(state, {"stack website": head}).ok


def test_new_database_beside_a_cut_log_is_a_fault(state: Path) -> None:
    head = head_of(state)
    (state / "state.db").unlink()
    put(state, lines_of(state)[:-3])
    with open_record(state, FakeClock()) as record:
        record.adopt_memory(memory(generation=9, audit=head))
    assert not verify(state, {"stack website": head}).ok
    assert not verify(state).ok


def test_many_findings_are_cut_short(state: Path) -> None:
    put(state, [b"x\n"] * 100)
    found = verify(state)
    assert len(found.findings) == MAX_FINDINGS + 1
    assert "more findings" in found.findings[-1].message


# ---------------------------------------------------------------- rotation


@pytest.fixture
def rotating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose log was rotated several times."""
    monkeypatch.setattr("gitopsd.record.journal.AuditFile", lambda directory: AuditFile(directory, rotate_at=1500))
    with open_record(tmp_path / "state", FakeClock()) as record:
        for n in range(20):
            record.audit([event(f"event {n}")])
    return tmp_path / "state"


def test_rotation_keeps_the_chain(rotating: Path) -> None:
    names = [path.name for path in rotated(rotating).values()]
    assert names[:2] == ["audit-000001.jsonl", "audit-000002.jsonl"]
    assert len(names) > 3
    assert all(path.stat().st_size <= 1500 for path in rotated(rotating).values())
    found = verify(rotating)
    assert (found.ok, found.entries) == (True, 20)
    assert [made["detail"] for made in read_audit(rotating)] == [f"event {n}" for n in range(20)]


def test_missing_rotated_file_is_found(rotating: Path) -> None:
    (rotating / "audit-000002.jsonl").unlink()
    first, second = verify(rotating).findings
    assert str(first) == "audit-000002.jsonl: the file is missing"
    assert second.file == "audit-000003.jsonl"
    assert "missing before entry" in second.message


def test_missing_first_file_is_found(rotating: Path) -> None:
    (rotating / "audit-000001.jsonl").unlink()
    assert verify(rotating).findings[0].file == "audit-000001.jsonl"


def test_edit_in_a_rotated_file_is_found_there(rotating: Path) -> None:
    path = rotating / "audit-000002.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Ada", b"Eve", 1))
    finding = verify(rotating).findings[0]
    assert (finding.file, finding.line) == ("audit-000002.jsonl", 1)


def test_a_rotated_log_is_searched_for_the_head_of_a_memory(rotating: Path) -> None:
    made = next(iter(read_audit(rotating)))
    with open_record(rotating, FakeClock()) as record:
        record.adopt_memory(memory(generation=2, audit=AuditHead(1, made["hash"])))
        assert record.audit([]).seq == 20


# ---------------------------------------------------------------- reading


def test_reading_filters_and_keeps_the_order(state: Path) -> None:
    with open_record(state, FakeClock()) as record:
        unit = "ConfigMap/web/a"
        record.audit([event("x", unit=unit, run="r1", revision="abcdef"), event("y", action="hold", stack="other")])

    def details(wanted: AuditFilter) -> list[str]:
        return [str(made["detail"]) for made in read_audit(state, wanted)]

    assert details(AuditFilter(unit="ConfigMap/web/a")) == ["x"]
    assert details(AuditFilter(run="r1", revision="abc")) == ["x"]
    assert details(AuditFilter(stack="other")) == ["y"]
    assert details(AuditFilter(action="hold", stack="website")) == []
    assert details(AuditFilter(after_seq=10)) == ["x", "y"]
    assert details(AuditFilter(last=3)) == ["event 9", "x", "y"]


def test_a_damaged_line_is_shown_whatever_the_filter(state: Path) -> None:
    lines = lines_of(state)
    lines[3] = b"garbage\n"
    put(state, lines)
    assert list(read_audit(state, AuditFilter(stack="nobody"))) == [
        {"damaged": "audit.jsonl:4 is no audit entry; `gitopsd audit verify` says what is wrong"}
    ]


def test_entries_that_wait_for_their_file_are_read_and_checked_too(state: Path) -> None:
    with open_record(state, FakeClock()) as record:
        record.audit([event("fresh")])  # still in the outbox as well as in the file
        assert [m["detail"] for m in read_audit(state, AuditFilter(last=2))] == ["event 9", "fresh"]
        put(state, lines_of(state)[:-1])
        assert [m["detail"] for m in read_audit(state, AuditFilter(last=2))] == ["event 9", "fresh"]
        assert verify(state).ok
