"""The files of the audit log: appending, rotation, and mending what a crash left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from gitopsd.model.memory import AuditHead
from gitopsd.record.audit import parse
from gitopsd.record.dirlock import open_ours

CURRENT = "audit.jsonl"
ROTATE_AT = 64 * 2**20  # bytes
_ROTATED = re.compile(r"audit-(\d{6,})\.jsonl")
_WINDOW = 2**20  # bytes of a file's end that recovery looks at, beside what it has to write


def rotated(directory: Path) -> dict[int, Path]:
    """The rotated files by number, oldest first."""
    numbered = ((_ROTATED.fullmatch(entry.name), entry) for entry in directory.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in numbered if match))


def files(directory: Path) -> list[Path]:
    """Every file of the log that exists, in the order of its entries."""
    current = directory / CURRENT
    return [*rotated(directory).values(), *([current] if current.exists() else [])]


def find_hash(directory: Path, seq: int, outbox: Sequence[tuple[int, bytes]] = ()) -> str | None:
    """The hash of the entry with this number, wherever it is; None if there is none."""
    mark = b'{"seq":%d,' % seq
    waiting = (line for _, line in outbox)
    stored = (line for path in reversed(files(directory)) for line in _lines(path))
    found = next((line for line in chain(waiting, stored) if line.startswith(mark)), b"")
    made = parse(found)
    return str(made["hash"]) if made else None


class AuditFile:
    """The writing end. Its caller hands over each line once and keeps it until the call returned; after an OSError, and
    at the start, it calls `recover` with every line it still has. Not safe from several threads."""

    def __init__(self, directory: Path, rotate_at: int = ROTATE_AT) -> None:
        self._directory = directory
        self._path = directory / CURRENT
        self._rotate_at = rotate_at
        self._fd = -1

    def append(self, lines: Sequence[bytes]) -> None:
        """Add whole lines; they are on disk when this returns. After an OSError any part of them may be."""
        if not lines:
            return
        data = b"".join(line + b"\n" for line in lines)
        fd = self._open()
        size = os.fstat(fd).st_size
        if size and size + len(data) > self._rotate_at:
            fd = self._rotate()
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)

    def recover(self, pending: Sequence[bytes]) -> str:
        """Bring the file in line with the entries that may or may not have reached it, oldest first.

        Whatever stands after the last entry that was surely on disk is the work of a crash or a full disk (a torn
        line, zeros, a part of a batch) and gives way to the entries themselves. Without pending entries nothing can
        have been torn by us: an unfinished line is then somebody's edit, and is kept for `audit verify` to show.
        Returns what a person should know, or "".
        """
        waiting = self._drop_rotated(list(pending))
        fd = self._open()
        size = os.fstat(fd).st_size
        offset = max(0, size - _window(waiting))
        tail = _read_from(self._path, offset)
        if not waiting:
            return self._end_torn_line(tail)
        start = self._anchor(waiting[0], tail, offset)
        if start is None:
            notice = self._end_torn_line(tail)
            present = set(tail.split(b"\n"))
            self.append([line for line in waiting if line not in present])
            return notice or f"{self._path}: the entry before the newest ones is gone; run `gitopsd audit verify`"
        position = start
        while waiting and tail[position:].startswith(waiting[0] + b"\n"):
            position += len(waiting.pop(0)) + 1
        cut = tail[position:].rstrip(b"\0")  # some file systems grow a file before they fill it
        os.ftruncate(fd, offset + position)
        os.fsync(fd)
        self.append(waiting)
        ours = not cut or (waiting and waiting[0].startswith(cut))
        return "" if ours else f"{self._path}: {len(cut)} bytes at the end were no entry of ours and were cut off"

    def last(self) -> AuditHead:
        """The newest entry that can be read; seq 0 if there is none."""
        for path in reversed(files(self._directory)):
            for line in reversed(_read_from(path, 0).split(b"\n")):
                made = parse(line)
                if made is not None:
                    return AuditHead(made["seq"], made["hash"])
        return AuditHead()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        """The current file, opened anew if somebody took it away: entries must not go where nobody looks."""
        if self._fd >= 0:
            try:
                here, ours = os.stat(self._path), os.fstat(self._fd)
            except FileNotFoundError:
                self.close()
            else:
                if (here.st_dev, here.st_ino) == (ours.st_dev, ours.st_ino):
                    return self._fd
                self.close()
        existed = self._path.exists()
        self._fd = open_ours(self._path, os.O_WRONLY | os.O_APPEND, 0o640)
        if not existed:
            _sync_directory(self._directory)
        return self._fd

    def _rotate(self) -> int:
        number = max(rotated(self._directory), default=0) + 1
        os.rename(self._path, self._directory / f"audit-{number:06}.jsonl")
        self.close()
        return self._open()

    def _drop_rotated(self, waiting: list[bytes]) -> list[bytes]:
        """Without the entries that reached the newest rotated file: only its end can hold any."""
        older = rotated(self._directory)
        if not older or not waiting:
            return waiting
        newest = older[max(older)]
        present = set(_tail(newest, _window(waiting)).split(b"\n"))
        return [line for line in waiting if line not in present]

    def _anchor(self, first: bytes, tail: bytes, offset: int) -> int | None:
        """Where in `tail` (read from `offset`) the entry `first` belongs: after the line whose hash it names."""
        made = parse(first)
        mark = b'"hash":"%s"}\n' % str(made["prev"] if made else "").encode()
        found = tail.rfind(mark)
        if found >= 0:
            return found + len(mark)
        older = rotated(self._directory)
        genesis = made is not None and made["prev"] == ""
        begins_file = _tail(older[max(older)], len(mark)) == mark if older else genesis
        return 0 if begins_file and offset == 0 else None

    def _end_torn_line(self, tail: bytes) -> str:
        if not tail or tail.endswith(b"\n"):
            return ""
        fd = self._open()
        os.write(fd, b"\n")
        os.fsync(fd)
        return f"{self._path}: the last line was not finished; run `gitopsd audit verify`"


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _window(waiting: Sequence[bytes]) -> int:
    return _WINDOW + sum(len(line) + 1 for line in waiting)


def _tail(path: Path, size: int) -> bytes:
    return _read_from(path, max(0, path.stat().st_size - size))


def _read_from(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
