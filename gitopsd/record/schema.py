"""The tables of `state.db`, as the steps that lead to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gitopsd.model.errors import EnvironmentFault, Problem

APPLICATION_ID = 0x67697470  # "gitp": tells our file from somebody else's SQLite file

Step = tuple[str, ...]

STEPS: tuple[Step, ...] = (
    (
        "CREATE TABLE memory (stack TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
        """CREATE TABLE baselines (
             stack TEXT NOT NULL, unit TEXT NOT NULL, component TEXT NOT NULL,
             wave INTEGER NOT NULL, object_wave INTEGER NOT NULL, digest TEXT NOT NULL,
             uid TEXT NOT NULL, resource_version TEXT NOT NULL, api_version TEXT NOT NULL,
             at TEXT NOT NULL, certain INTEGER NOT NULL, metadata BLOB NOT NULL,
             PRIMARY KEY (stack, unit))""",
        """CREATE TABLE dirty (
             stack TEXT NOT NULL, unit TEXT NOT NULL, run TEXT NOT NULL, body BLOB NOT NULL,
             PRIMARY KEY (stack, unit))""",
        # was_certain: what was known of the baseline before this intent, should the effect turn out to be none
        """CREATE TABLE intents (
             stack TEXT NOT NULL, unit TEXT NOT NULL, run TEXT NOT NULL, was_certain INTEGER NOT NULL,
             body BLOB NOT NULL, PRIMARY KEY (stack, unit))""",
        """CREATE TABLE postponed (
             stack TEXT NOT NULL, unit TEXT NOT NULL, reason TEXT NOT NULL, since TEXT NOT NULL,
             PRIMARY KEY (stack, unit)) WITHOUT ROWID""",
        """CREATE TABLE runs (
             seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, stack TEXT NOT NULL,
             kind TEXT NOT NULL, revision TEXT NOT NULL, digest TEXT NOT NULL,
             author_name TEXT NOT NULL, author_email TEXT NOT NULL, started TEXT NOT NULL,
             finished TEXT, verdict TEXT, reason TEXT NOT NULL, cause TEXT, subject TEXT NOT NULL,
             undoes TEXT NOT NULL, failing TEXT)""",
        "CREATE INDEX runs_of_stack ON runs (stack, seq)",
        """CREATE TABLE plans (
             run INTEGER PRIMARY KEY REFERENCES runs (seq) ON DELETE CASCADE, body BLOB NOT NULL)""",
        """CREATE TABLE outcomes (
             n INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
             body BLOB NOT NULL)""",
        "CREATE INDEX outcomes_of_run ON outcomes (run)",
        """CREATE TABLE observations (
             run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE, subject TEXT NOT NULL,
             body BLOB NOT NULL, PRIMARY KEY (run, subject))""",
        """CREATE TABLE leftovers (
             n INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
             unit TEXT NOT NULL, reason TEXT NOT NULL)""",
        "CREATE INDEX leftovers_of_run ON leftovers (run)",
        """CREATE TABLE suspects (
             n INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
             suspect TEXT NOT NULL)""",
        "CREATE INDEX suspects_of_run ON suspects (run)",
        # origin: the first entry that this very file numbered; above 1 it continues a log that it found
        """CREATE TABLE audit_head (
             one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL,
             origin INTEGER NOT NULL)""",
        "INSERT INTO audit_head VALUES (1, 0, '', 1)",
        "CREATE TABLE audit_outbox (seq INTEGER PRIMARY KEY, line BLOB NOT NULL)",
    ),
    (
        "CREATE TABLE orders (seq INTEGER PRIMARY KEY AUTOINCREMENT, stack TEXT NOT NULL, body BLOB NOT NULL)",
        """CREATE TABLE questions (
             stack TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stack, digest))""",
        """CREATE TABLE grants (
             stack TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stack, digest))""",
    ),
    ("ALTER TABLE baselines ADD COLUMN imprint BLOB",),  # not known of what an older version wrote: looked at once
    ("ALTER TABLE leftovers ADD COLUMN environment INTEGER NOT NULL DEFAULT 0",),
)
"""Step N leads from version N to N + 1. A released step is never changed: a change of the tables is a new one."""


def migrate(db: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> None:
    """Bring the file to the newest version in one transaction: after a failure it is as it was.

    Raises EnvironmentFault for a newer version and for a file that is not ours."""
    if check_version(db, path, steps) == len(steps):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for number, step in enumerate(steps[_version(db) :], _version(db) + 1):
            for statement in step:
                db.execute(statement)
            db.execute(f"PRAGMA user_version={number}")
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def check_version(db: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> int:
    """The version of the file, if it is one that we know."""
    version = _version(db)
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    tables = int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if tables and application != APPLICATION_ID:
        remedy = "name another stateDir, or move the file away"
        raise EnvironmentFault(Problem("is a database of another program", str(path), remedy=remedy))
    if version > len(steps):
        raise EnvironmentFault(
            Problem(
                f"was written by a newer gitopsd (version {version} of its tables; this one knows up to {len(steps)})",
                str(path),
                remedy="install that version again; an older one would lose what it does not understand",
            )
        )
    return version


def require_current(db: sqlite3.Connection, path: Path) -> None:
    """For readers, who must not migrate."""
    if check_version(db, path) < len(STEPS):
        remedy = "start gitopsd once: it brings the file up to date"
        raise EnvironmentFault(Problem("was written by an older gitopsd", str(path), remedy=remedy))


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
