"""Commit objects as git stores them. All of it is pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gitopsd.git.history import made_at, printable
from gitopsd.model.units import Person, Revision

_IDENTITY = re.compile(rb"(?P<name>[^<>\n]*?) <(?P<mail>[^<>\n]*)> (?P<seconds>\d+) [+-]\d{4}")


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit stands on. `revision` is None where only git itself knows how to read it: another encoding, or a
    name or date that is not written as git writes it."""

    tree: str
    parents: tuple[str, ...]
    revision: Revision | None


def parse_commit(oid: str, data: bytes) -> Commit:
    """From the bytes of a commit object. Raises ValueError for bytes that are none."""
    head, _, message = data.partition(b"\n\n")
    fields: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\n"):
        if not line.startswith(b" "):  # which goes on with a signature
            key, _, value = line.partition(b" ")
            fields.setdefault(key, []).append(value)
    if len(fields.get(b"tree", ())) != 1:
        raise ValueError(f"commit {oid} names no tree")
    parents = tuple(parent.decode() for parent in fields.get(b"parent", ()))
    author, committer = (_person(fields.get(key, [])) for key in (b"author", b"committer"))
    plain = b"encoding" not in fields and b"\0" not in data
    revision = None
    if plain and author is not None and committer is not None:
        revision = Revision(oid, author[0], committer[0], made_at(committer[1]), _subject(message))
    return Commit(fields[b"tree"][0].decode(), parents, revision)


def _person(lines: list[bytes]) -> tuple[Person, str] | None:
    found = _IDENTITY.fullmatch(lines[0]) if len(lines) == 1 else None
    if found is None or found["name"] != found["name"].strip() or found["mail"] != found["mail"].strip():
        return None
    name, mail = (printable(found[key].decode(errors="replace")) for key in ("name", "mail"))
    return Person(name, mail), found["seconds"].decode()


def _subject(message: bytes) -> str:
    """The first paragraph as one line."""
    lines = [line.rstrip() for line in message.split(b"\n")]
    first = next((number for number, line in enumerate(lines) if line), len(lines))
    paragraph = lines[first:]
    end = next((number for number, line in enumerate(paragraph) if not line), len(paragraph))
    return printable(b" ".join(paragraph[:end]).decode(errors="replace"))
