"""Reading and checking the audit log, while the daemon writes it or is down."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gitopsd.model.memory import AuditHead
from gitopsd.record import queries
from gitopsd.record.audit import Finding, Line, Verification, judge, parse, walk
from gitopsd.record.audit_file import CURRENT, files, rotated
from gitopsd.record.database import faults, open_for_reading
from gitopsd.record.schema import require_current

STATE_DB = "state.db"
OUTBOX = "state.db (not yet in the file)"
_ATTEMPTS = 5  # the daemon may write or rotate while we read


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; an empty text is no condition. `last` is the number of newest ones, 0 for all."""

    stack: str = ""
    unit: str = ""
    run: str = ""
    revision: str = ""
    action: str = ""
    after_seq: int = 0
    last: int = 0

    def takes(self, made: Mapping[str, Any]) -> bool:
        wanted = {name: getattr(self, name) for name in ("stack", "unit", "run", "action")}
        if any(value and made.get(name) != value for name, value in wanted.items()):
            return False
        return made["seq"] > self.after_seq and str(made.get("revision", "")).startswith(self.revision)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What `state.db` says of the log; no head if there is no such file."""

    head: AuditHead | None
    outbox: tuple[tuple[int, bytes], ...] = ()


def read_audit(state_dir: Path, wanted: AuditFilter = AuditFilter()) -> Iterator[Mapping[str, Any]]:
    """The entries of the log, oldest first, as they stand there. A line that is none comes as `{"damaged": sentence}`,
    whatever the filter: hiding it would hide what matters most. Hashes are not checked; `verify` does that."""
    with faults(state_dir):
        entries = _entries(state_dir, wanted)
        yield from deque(entries, maxlen=wanted.last) if wanted.last else entries


def verify(state_dir: Path, parents: Mapping[str, AuditHead] | None = None) -> Verification:
    """Check the whole log: each line, the chain across files, its end against `state.db`, and both against the heads
    that the parents in the clusters carry (by a text that names the place). Without parents, a log that was cut back
    together with `state.db` looks whole. Raises EnvironmentFault if something cannot be read."""
    for _ in range(_ATTEMPTS):
        before = _snapshot(state_dir)
        found = _verify_once(state_dir, before, parents or {})
        if found.ok or _snapshot(state_dir) == before:
            break
    return found


def _entries(state_dir: Path, wanted: AuditFilter) -> Iterator[Mapping[str, Any]]:
    pending = _snapshot(state_dir).outbox
    for line in _with_outbox(_lines(state_dir), pending):
        made = parse(line.raw)
        if made is None and line.whole:
            place = f"{line.file}:{line.number}"
            yield {"damaged": f"{place} is no audit entry; `gitopsd audit verify` says what is wrong"}
        elif made is not None and wanted.takes(made):
            yield made


def _verify_once(state_dir: Path, snapshot: _Snapshot, parents: Mapping[str, AuditHead]) -> Verification:
    heads = [head for head in (snapshot.head, *parents.values()) if head]
    pending = {seq: parse(line) for seq, line in snapshot.outbox}
    with faults(state_dir):
        seen = walk(_with_outbox(_lines(state_dir), snapshot.outbox), {*(h.seq for h in heads), *pending})
        holes = _holes(state_dir)
    for seq, made in pending.items():
        if made is not None and seen.hashes.get(seq, made["hash"]) != made["hash"]:
            seen.findings.append(
                Finding(f"entry {seq} is not the one that state.db was about to write", CURRENT, 0, seq)
            )
    seen.findings[:0] = holes
    after = _snapshot(state_dir).head
    return judge(seen, (snapshot.head, after) if snapshot.head and after else None, parents, CURRENT)


def _snapshot(state_dir: Path) -> _Snapshot:
    path = state_dir / STATE_DB
    if not path.exists():
        return _Snapshot(None)
    with faults(path):
        db = open_for_reading(path)
        try:
            db.execute("BEGIN")
            require_current(db, path)
            return _Snapshot(queries.audit_head(db), tuple(queries.outbox(db)))
        finally:
            db.close()


def _lines(state_dir: Path) -> Iterator[Line]:
    with ExitStack() as stack:
        for name, file in _open_all(state_dir, stack):
            for number, raw in enumerate(file, 1):
                whole = raw.endswith(b"\n")
                yield Line(name, number, raw[:-1] if whole else raw, whole)


def _open_all(state_dir: Path, stack: ExitStack) -> list[tuple[str, BinaryIO]]:
    """Every file of the log as of one instant: a rotation in between would hide one, or show it twice."""
    while True:
        listed = files(state_dir)
        try:
            opened: list[tuple[str, BinaryIO]] = [(path.name, stack.enter_context(path.open("rb"))) for path in listed]
        except FileNotFoundError:
            stack.close()  # the current file got its number just now
            continue
        if set(rotated(state_dir).values()) <= set(listed):
            return opened
        stack.close()


def _with_outbox(lines: Iterable[Line], outbox: tuple[tuple[int, bytes], ...]) -> Iterator[Line]:
    """The lines of the files, then the entries that are still on their way there. An unfinished last line is dropped
    if it is the beginning of such an entry."""
    newest = 0
    for line in lines:
        if line.whole:
            made = parse(line.raw)
            newest = max(newest, made["seq"]) if made else newest
        elif any(entry.startswith(line.raw.rstrip(b"\0")) for _, entry in outbox):
            continue
        yield line
    for number, (seq, entry) in enumerate(outbox, 1):
        if seq > newest:
            yield Line(OUTBOX, number, entry)


def _holes(state_dir: Path) -> list[Finding]:
    numbers = list(rotated(state_dir))
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    return [Finding("the file is missing", f"audit-{number:06}.jsonl") for number in missing]
