"""`status.json` is whole at every instant, and what is wrong with it is told."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gitopsd.model.errors import EnvironmentFault
from gitopsd.record.statusfile import read_status, write_status


def test_it_comes_back_and_is_for_the_group(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    before = os.umask(0o077)
    try:
        write_status(path, {"schema": "gitopsd.io/status/v1", "stacks": []})
    finally:
        os.umask(before)
    assert read_status(path) == {"schema": "gitopsd.io/status/v1", "stacks": []}
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_none_was_written_yet(tmp_path: Path) -> None:
    assert read_status(tmp_path / "status.json") is None


def test_a_reader_sees_one_document_or_the_other(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    documents = [{"n": n, "filling": [n] * 5000} for n in range(2)]
    write_status(path, documents[0])
    done = threading.Event()

    def write(document: dict[str, object]) -> None:
        while not done.is_set():
            write_status(path, document)

    threads = [threading.Thread(target=write, args=(document,)) for document in documents]
    for thread in threads:
        thread.start()
    try:
        seen = [read_status(path) for _ in range(300)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert all(document in documents for document in seen)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff"])
def test_a_spoilt_document_is_told(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "status.json").write_bytes(text)
    with pytest.raises(EnvironmentFault, match=r"status\.json: is no status document .*remove it"):
        read_status(tmp_path / "status.json")


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"status\.json: cannot be written: No such file"):
        write_status(tmp_path / "run" / "status.json", {})


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    with pytest.raises(EnvironmentFault, match=r"status\.json: cannot be read"):
        read_status(tmp_path / "status.json")
