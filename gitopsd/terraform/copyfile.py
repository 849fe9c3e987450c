"""A sealed copy of a Terraform state, as text, and which copies are kept: pure.

The first line is JSON and says what it is a copy of; the rest is base64 of the sealed state, to the last byte as
Terraform gave it. The file's name begins with the time, so that names sort as the copies were made.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gitopsd.model.modules import StateId

KEPT: Final = 10
"""Copies of a component that are kept; of each other lineage one more, up to the same number: a state that was lost and
begun anew by mistake must not push out what would bring it back."""

SUFFIX: Final = ".sealed"
_FORMAT: Final = "gitopsd.io/state-copy/v1"
_TIME: Final = "%Y%m%dT%H%M%S.%fZ"
BACKUP: Final = ".tfstate"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-serial\d+\.sealed")
_LABEL: Final = "gitopsd: copy of the Terraform state of"


@dataclass(frozen=True, slots=True)
class CopyHeader:
    """What a copy says of itself in the clear. `state_key` is the name of the state in the host's own backend, "" where
    the module names its backend; lineage and serial are "" and 0 for a state that does not tell them. `at` is when the
    copy was made, `fingerprint` the key that it is sealed for."""

    stack: str
    component: str
    workspace: str
    state_key: str
    state: StateId
    at: datetime
    fingerprint: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.at.astimezone(UTC):{_TIME}}-serial{self.state.serial}{SUFFIX}"


def is_copy(name: str) -> bool:
    """Whether a file of this name is one of our copies."""
    return _NAME.fullmatch(name) is not None


def backup_name(at: datetime) -> str:
    """The name of a backup in the clear, on a host without a key."""
    return f"{at.astimezone(UTC):{_TIME}}{BACKUP}"


def backup_time(name: str) -> datetime | None:
    """When a backup in the clear was made; None if its name does not tell."""
    try:
        return datetime.strptime(name.removesuffix(BACKUP), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def label(stack: str, component: str) -> bytes:
    """What a copy is bound to: under the name of another component it does not open."""
    return f"{_LABEL} {stack}/{component}".encode()


def identity(state: bytes) -> StateId:
    """Which state this is; an empty one for what does not tell. Nothing but that is looked at, so that a state of any
    format is copied, also one that the program encrypts itself."""
    try:
        raw = json.loads(state)
        return StateId(str(raw["lineage"]), int(raw["serial"]))
    except (ValueError, TypeError, KeyError):
        return StateId()


def write_copy(header: CopyHeader, sealed: bytes) -> bytes:
    """The content of a copy's file."""
    said: dict[str, Any] = {
        "format": _FORMAT,
        "stack": header.stack,
        "component": header.component,
        "workspace": header.workspace,
        "stateKey": header.state_key,
        "lineage": header.state.lineage,
        "serial": header.state.serial,
        "at": header.at.astimezone(UTC).isoformat(),
        "fingerprint": header.fingerprint,
    }
    return json.dumps(said).encode() + b"\n" + base64.b64encode(sealed) + b"\n"


def read_header(first_line: bytes) -> CopyHeader:
    """Raises ValueError if this is not the first line of a copy."""
    try:
        raw = json.loads(first_line)
    except ValueError:
        raise ValueError("its first line is not JSON") from None
    if not isinstance(raw, dict) or raw.get("format") != _FORMAT:
        raise ValueError(f"its first line does not say {_FORMAT}: another version of gitopsd may have written it")
    texts = [raw.get(key) for key in ("stack", "component", "workspace", "stateKey", "lineage", "fingerprint")]
    at, serial = _moment(raw.get("at")), raw.get("serial")
    if not all(isinstance(text, str) for text in texts) or at is None or not isinstance(serial, int):
        raise ValueError("its first line does not say which state it is a copy of")
    stack, component, workspace, key, lineage, fingerprint = map(str, texts)
    return CopyHeader(stack, component, workspace, key, StateId(lineage, serial), at, fingerprint)


def read_copy(content: bytes) -> tuple[CopyHeader, bytes]:
    """The header and the sealed state. Raises ValueError for what is no whole copy."""
    first, _, rest = content.partition(b"\n")
    header = read_header(first)
    try:
        return header, base64.b64decode(rest.strip(), validate=True)
    except binascii.Error:
        raise ValueError("what follows its first line is not base64: it was cut or changed") from None


def is_kept(newest: CopyHeader | None, wanted: CopyHeader, changed: datetime | None = None) -> bool:
    """Whether the newest copy is as good as the one that is `wanted` now: of the very same state, and sealed for the
    same key. `changed` is when somebody last wrote the state, if that can be known: who edits one by hand may leave its
    serial as it was."""
    if newest is None or not wanted.state.lineage or (changed is not None and newest.at <= changed):
        return False
    same = (newest.state, newest.workspace, newest.state_key, newest.fingerprint)
    return same == (wanted.state, wanted.workspace, wanted.state_key, wanted.fingerprint)


def superseded(lineages: Sequence[tuple[str, str]]) -> list[str]:
    """The names of those copies of one component that need not be kept. `lineages` are (name, lineage) of all."""
    newest_first = sorted(lineages, reverse=True)
    kept, rest = newest_first[:KEPT], newest_first[KEPT:]
    seen = {lineage for _, lineage in kept}
    gone, others = [], 0
    for name, lineage in rest:
        if lineage in seen or others == KEPT:
            gone.append(name)
        else:
            seen.add(lineage)
            others += 1
    return gone


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
