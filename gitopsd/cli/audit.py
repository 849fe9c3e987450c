"""`gitopsd audit [verify|follow|export]`."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gitopsd.cli.exits import DONE, FAILED
from gitopsd.cli.options import at_least_one, since
from gitopsd.cli.output import json_option, print_blocks, show
from gitopsd.cli.place import config_of, paths_of
from gitopsd.model.errors import GitopsdError
from gitopsd.model.memory import AuditHead
from gitopsd.record.audit_reader import AuditFilter, read_audit, verify
from gitopsd.views.audit import audit_document, audit_text, entry_line, verification_document, verification_text
from gitopsd.views.times import moment

EXAMPLE = """\
  gitopsd audit --stack website --since 2h
  gitopsd audit export --since 2026-11-01 > november.jsonl
  gitopsd audit verify
"""

LISTED = 50
"""Entries that are listed unless more are asked for."""

LOOK_EVERY = 0.5
"""Seconds between two looks at a log that is followed."""

Entry = Mapping[str, Any]


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=("list", "verify", "follow", "export"),
        default="list",
        metavar="list|verify|follow|export",
        help="list entries (default); check the whole log; print entries as they come; print entries as JSON lines",
    )
    parser.add_argument("--stack", metavar="NAME", default="", help="entries of this stack alone")
    parser.add_argument("--run", metavar="RUN", default="", help="entries of this run alone")
    parser.add_argument("--unit", metavar="UNIT", default="", help="entries of this unit alone")
    parser.add_argument("--since", metavar="WHEN", type=since, help="entries from then on: 2h, 7d, 2026-11-22T18:00")
    text = f"the newest of them alone (default: {LISTED} when listing, all when exporting)"
    parser.add_argument("-n", "--limit", type=at_least_one, help=text)
    parser.add_argument("--offline", action="store_true", help="verify: do not ask the clusters what they have seen")
    json_option(parser)


def execute(given: Namespace) -> int:
    return {"list": _list, "verify": _verify, "follow": _follow, "export": _export}[given.what](given)


# ---------------------------------------------------------------- reading


def _list(given: Namespace) -> int:
    entries = deque(_entries(given, paths_of(given).state_dir), maxlen=given.limit or LISTED)
    show(given, audit_document(entries), audit_text)
    return DONE


def _export(given: Namespace) -> int:
    for entry in deque(_entries(given, paths_of(given).state_dir), maxlen=given.limit):
        _print_line(entry)
    return DONE


def _follow(given: Namespace) -> int:
    """The newest entries, then each as it comes, until somebody interrupts."""
    directory = paths_of(given).state_dir
    last, first = 0, True
    while True:
        before = _signature(directory)
        entries = _entries(given, directory, last)
        if first:
            entries = iter(deque(entries, maxlen=given.limit or LISTED))
        for entry in entries:
            if "damaged" in entry and not first:
                continue  # it stands there since the first look
            _print_line(entry) if given.json else print_blocks(given, [entry_line(entry)])
            last = max(last, entry.get("seq", 0))
        sys.stdout.flush()
        first = False
        while _signature(directory) == before:
            time.sleep(LOOK_EVERY)


def _entries(given: Namespace, directory: Path, after: int = 0) -> Iterator[Entry]:
    wanted = AuditFilter(stack=given.stack, run=given.run, unit=given.unit, after_seq=after)
    return (entry for entry in read_audit(directory, wanted) if given.since is None or _from(entry, given.since))


def _from(entry: Entry, then: Any) -> bool:
    """Whether an entry is as new as asked for; what has no time stays, for nobody can tell."""
    at = moment(entry.get("time", ""))
    return at is None or at >= then


def _signature(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when an entry is written, however many files the log has."""
    try:
        found = [(path.name, path.stat()) for path in sorted(directory.glob("audit*.jsonl"))]
    except FileNotFoundError:  # renamed while we looked
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


def _print_line(entry: Entry) -> None:
    sys.stdout.write(json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n")


# ---------------------------------------------------------------- verify


def _verify(given: Namespace) -> int:
    directory = paths_of(given).state_dir
    heads, unchecked = ({}, ["the clusters: not asked"]) if given.offline else _heads(given, directory)
    found = verify(directory, heads)
    document = verification_document(
        entries=found.entries,
        head={"seq": found.head.seq, "hash": found.head.hash},
        findings=[{"message": f.message, "file": f.file, "line": f.line, "seq": f.seq} for f in found.findings],
        notes=found.notes,
        checked=["state.db", *sorted(heads)],
        unchecked=unchecked,
    )
    show(given, document, verification_text)
    return DONE if found.ok else FAILED


def _heads(given: Namespace, directory: Path) -> tuple[dict[str, AuditHead], list[str]]:
    """The newest entry that each parent in a cluster has seen, and the witnesses that are missing: clusters that could
    not be asked, parents of stacks that ran.

    Which stacks to ask for is read from the log as well: somebody who cuts the log can empty the record, too.
    """
    from gitopsd.assembly import Clusters

    config = config_of(given)
    entries = [entry for entry in read_audit(directory) if entry.get("stack")]
    stacks = {str(entry["stack"]) for entry in entries}
    silent = {str(entry["stack"]) for entry in entries if entry.get("run")}
    heads: dict[str, AuditHead] = {}
    unchecked: list[str] = []
    clusters = Clusters(config.clusters)
    try:
        for name in clusters.namespaces:
            try:
                memories = [(stack, clusters(name).load_memory(stack)) for stack in sorted(stacks)]
            except GitopsdError as error:
                unchecked.append(f"cluster {name}: {error}")
                continue
            found = {stack: memory for stack, memory in memories if memory and memory.instance == config.instance}
            heads |= {f"the parent of stack {s} in cluster {name}": memory.audit for s, memory in found.items()}
            silent -= found.keys()
    finally:
        clusters.close()
    if not unchecked:
        unchecked = [f"the parent of stack {stack}: no cluster has it any more" for stack in sorted(silent)]
    return heads, unchecked
