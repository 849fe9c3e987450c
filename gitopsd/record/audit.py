"""The audit chain, as pure functions over lines.

Every entry carries the hash of the one before it, so that the newest hash vouches for all of them. Whoever rewrites the
whole log can make a chain that fits in itself; that is why its head is also kept in `state.db` and on the parents in
the clusters, and why checking asks all three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from gitopsd.model.audit import Actor, ActorKind, AuditEvent
from gitopsd.model.memory import AuditHead
from gitopsd.model.times import timestamp
from gitopsd.record.blobs import printable

FIELDS = (
    "seq", "time", "actor", "action", "stack", "run", "revision", "unit", "before", "after", "result", "detail",
    "prev", "hash",
)  # fmt: skip
ACTOR_FIELDS = ("kind", "name", "email")
GAP = "audit-gap"
"""The action of the entry that the record itself writes, and nobody else: it took over a memory whose audit head it
cannot find."""
LOST = "lost"
CUT = "cut"
MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log without its newline; `whole` is false for a last line that has none."""

    file: str
    number: int
    raw: bytes
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with the log, and where; `seq` is 0 where no number can be told."""

    message: str
    file: str = ""
    line: int = 0
    seq: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}" if place else self.message


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking the log found. `notes` are no faults, but somebody should know them."""

    entries: int
    head: AuditHead
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.findings


def entry(event: AuditEvent, *, time: datetime, head: AuditHead) -> dict[str, Any]:
    """The entry that follows `head`, with its number and hash."""
    who = event.actor
    made: dict[str, Any] = {
        "seq": head.seq + 1,
        "time": timestamp(time),
        "actor": {"kind": who.kind.value, "name": printable(who.name), "email": printable(who.email)},
    }
    for name in FIELDS[3:-2]:
        made[name] = printable(getattr(event, name))
    made["prev"] = head.hash
    made["hash"] = digest(made)
    return made


def digest(made: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8) of an entry without its hash."""
    body = {name: value for name, value in made.items() if name != "hash"}
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def line_of(made: Mapping[str, Any]) -> bytes:
    """The one way to write an entry: any other spelling of the same values counts as an edit."""
    ordered = {name: made[name] for name in FIELDS if name in made}
    actor = made.get("actor")
    if isinstance(actor, Mapping):
        ordered["actor"] = {name: actor[name] for name in ACTOR_FIELDS if name in actor}
    return orjson.dumps(ordered)


def parse(raw: bytes) -> dict[str, Any] | None:
    """The entry on a line, whether or not its hash is right; None if the line is none."""
    try:
        made = orjson.loads(raw)
    except ValueError:
        return None
    if not isinstance(made, dict) or type(made.get("seq")) is not int or not isinstance(made.get("hash"), str):
        return None
    actor = made.get("actor")
    values = [*made.values(), *(actor.values() if isinstance(actor, dict) else ())]
    return made if all(isinstance(value, (str, int)) or value is actor for value in values) else None


def gap_event(stack: str, known: AuditHead, *, lost: bool) -> AuditEvent:
    """The event for taking over a stack's memory whose audit head is not in this log.

    `lost`: this log and the record of that stack began after it (a new host, a lost state directory). Otherwise the log
    or the whole directory was put back to an earlier time, and that is a fault for ever.
    """
    detail = (
        f"the memory of this stack was taken over from its cluster, which knows entry {known.seq} of an audit log; "
        f"that entry is not in this one"
    )
    return AuditEvent(
        Actor(ActorKind.DAEMON, "gitopsd"),
        GAP,
        stack=stack,
        before=_point(known),
        result=LOST if lost else CUT,
        detail=detail,
    )


def _point(head: AuditHead) -> str:
    return f"{head.seq}:{head.hash}"


@dataclass(slots=True)
class Walk:
    """What one pass over the lines saw, in memory that does not grow with the log."""

    wanted: frozenset[int]
    head: AuditHead = field(default_factory=AuditHead)
    entries: int = 0
    hashes: dict[int, str] = field(default_factory=dict)
    gaps: list[tuple[Line, dict[str, Any]]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    _linked: bool = True  # the hash of the line before is known

    def take(self, line: Line) -> None:
        """Judge the next line by itself and by the one before it."""
        if not line.whole:
            self._find(line, "the line is not finished: it was cut or edited", 0)
            return
        made = parse(line.raw)
        if made is None:
            what = "is no audit entry: it was edited" if line.raw else "is empty: it was edited or inserted"
            self._find(line, f"the line {what}", self.head.seq + 1)
            self.head = AuditHead(self.head.seq + 1, "")
            self._linked = False
            return
        self.entries += 1
        seq = made["seq"]
        if line_of(made) != line.raw or digest(made) != made["hash"]:
            self._find(line, f"entry {seq} was edited: its hash does not fit what it says", seq)
        self._follow(line, made)
        if made.get("action") == GAP:
            self.gaps.append((line, made))
        if seq in self.wanted:
            self.hashes.setdefault(seq, made["hash"])
        self.head = AuditHead(max(seq, self.head.seq), made["hash"])
        self._linked = True

    def _follow(self, line: Line, made: Mapping[str, Any]) -> None:
        seq, last = made["seq"], self.head.seq
        if seq > last + 1:
            missing = f"entries {last + 1} to {seq - 1} are" if seq > last + 2 else f"entry {last + 1} is"
            self._find(line, f"{missing} missing before entry {seq}: removed, or moved elsewhere", seq)
        elif seq <= last:
            self._find(line, f"entry {seq} stands after entry {last}: a line was inserted, copied or moved", seq)
        elif self._linked and made.get("prev") != self.head.hash:
            self._find(line, f"entry {seq} does not follow entry {last}: one of the two was replaced", seq)

    def _find(self, line: Line, message: str, seq: int) -> None:
        self.findings.append(Finding(message, line.file, line.number, seq))


def walk(lines: Iterable[Line], wanted: Iterable[int] = ()) -> Walk:
    """Go over the lines of the log in order, remembering the hashes of the entries in `wanted`."""
    seen = Walk(frozenset(wanted))
    for line in lines:
        seen.take(line)
    return seen


def judge(
    seen: Walk, recorded: tuple[AuditHead, AuditHead] | None, parents: Mapping[str, AuditHead], log: str
) -> Verification:
    """The verdict over a pass, against the heads that `state.db` had before and after it (None: there is no such file)
    and those that the parents have, by a text that says where they are. The pass must have wanted all their numbers."""
    findings, notes = list(seen.findings), []
    explained: set[str] = set()
    for line, made in seen.gaps:
        known, _, _hash = str(made.get("before")).partition(":")
        stack, seq = made.get("stack"), made["seq"]
        if made.get("result") == LOST:
            explained.add(str(made.get("before")))
            notes.append(
                f"entry {seq}: stack {stack} was rebuilt from its cluster after this host's record was lost; "
                f"an older log, up to entry {known} at least, is not here"
            )
        else:
            cut = f"when entry {seq} was written, entry {known} was gone, which stack {stack} had seen in this log"
            findings.append(Finding(f"{cut}: the log or the whole directory was put back", line.file, line.number, seq))
            explained.add(str(made.get("before")))
    if recorded is None:
        findings.append(Finding("state.db is missing: nothing on this host says where the log ends", log))
    else:
        findings.extend(_against(seen, recorded[0], "state.db", log))
        if recorded[1].seq < seen.head.seq:
            added = f"the log goes on to entry {seen.head.seq}, but state.db knows {recorded[1].seq}"
            whose = "entries were added by somebody else, or state.db was put back"
            findings.append(Finding(f"{added}: {whose}", log, seq=recorded[1].seq + 1))
    for where, head in sorted(parents.items()):
        if head.seq and _point(head) not in explained:
            findings.extend(_against(seen, head, where, log))
    if len(findings) > MAX_FINDINGS:
        more = Finding(f"and {len(findings) - MAX_FINDINGS} more findings", log)
        findings = [*findings[:MAX_FINDINGS], more]
    return Verification(seen.entries, seen.head, tuple(findings), tuple(notes))


def _against(seen: Walk, known: AuditHead, where: str, log: str) -> Iterable[Finding]:
    last = seen.head.seq
    if known.seq > last:
        lost = known.seq - last
        what = f"the log ends at entry {last}, but {where} knows entry {known.seq}: {lost} at the end are missing"
        yield Finding(what, log, seq=last + 1)
    elif known.seq and seen.hashes.get(known.seq) != known.hash:
        yield Finding(f"entry {known.seq} is not the one that {where} knows: the log was replaced", log, seq=known.seq)
