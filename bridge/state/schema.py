"""The tables of a state file, and how older ones become today's.

A step is never changed once released: what must change is a further step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge.errors import StateError

APPLICATION_ID: Final = 0x41574258
"""Marks the file as ours (SQLite's application_id): "AWBX"."""

STEPS: Final[tuple[Sequence[str], ...]] = (
    (
        """CREATE TABLE jobs (
            source TEXT NOT NULL, job_type TEXT NOT NULL, job_id INTEGER NOT NULL,
            done INTEGER NOT NULL, record TEXT NOT NULL,
            PRIMARY KEY (source, job_type, job_id))""",
        "CREATE INDEX jobs_by_done ON jobs (done, source, job_type, job_id)",
        """CREATE TABLE places (
            source TEXT NOT NULL, job_type TEXT NOT NULL, job_id INTEGER NOT NULL,
            sink TEXT NOT NULL, place TEXT NOT NULL,
            PRIMARY KEY (source, job_type, job_id, sink)) WITHOUT ROWID""",
        "CREATE TABLE sources (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE sinks (
            name TEXT PRIMARY KEY, removed_at REAL, record TEXT NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE dead_letters (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, event_id TEXT NOT NULL,
            type TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL, copy BLOB NOT NULL,
            UNIQUE (sink, event_id))""",
        "CREATE INDEX dead_letters_by_sink ON dead_letters (sink, seq)",
    ),
    (
        "ALTER TABLE dead_letters ADD COLUMN whole INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE dead_letters ADD COLUMN late INTEGER NOT NULL DEFAULT 0",
        # Copies were cut at 16 KB: of one that long nobody knows whether it is whole.
        "UPDATE dead_letters SET whole = length(copy) BETWEEN 1 AND 16383",
        """CREATE TABLE orders (
            id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, arguments TEXT NOT NULL,
            who TEXT NOT NULL, at REAL NOT NULL, begun_at REAL, ended_at REAL, outcome TEXT)""",
        "CREATE INDEX orders_open ON orders (id) WHERE outcome IS NULL",
    ),
    (
        """CREATE TABLE sink_memory (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, key TEXT NOT NULL,
            value TEXT NOT NULL, UNIQUE (sink, key))""",
        "CREATE INDEX sink_memory_by_sink ON sink_memory (sink, seq)",
    ),
    ("ALTER TABLE orders ADD COLUMN progress TEXT",),
)
"""Step n brings a file from version n to n + 1; `user_version` holds the number of steps done."""


def check(db: sqlite3.Connection, path: Path) -> int:
    """Make sure that `db`, opened from `path`, is a whole state file that this version can read.

    Only reads. Returns the file's version, as `version_of`.

    Raises:
        StateError: it is damaged, of another program, or of a newer version.
        sqlite3.Error: it cannot be read.
    """
    answers = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
    if answers != ["ok"]:
        raise StateError(
            f"state file {path} is damaged: move it away, or restore a copy of it ({'; '.join(answers)})"
        )
    return version_of(db, path)


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file; one without any table is a new one: version 0.

    Raises:
        StateError: it is of another program, or of a newer version.
        sqlite3.Error: it cannot be read.
    """
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    mark: int = db.execute("PRAGMA application_id").fetchone()[0]
    empty: bool = not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not empty and mark != APPLICATION_ID:
        raise StateError(f"{path} is a database of another program: set state.path to a file of its own")
    if version > len(STEPS):
        raise StateError(
            f"state file {path} was written by a newer version of the bridge (state version {version}, "
            f"this one knows {len(STEPS)}): start that version again, or restore a copy from before it"
        )
    return 0 if empty else version


def back_up(db: sqlite3.Connection, path: Path, version: int) -> Path:
    """Copy the file beside itself before it is changed, as `<file>.v<version>`; return where.

    A copy that is there already is of an attempt before this one, and stays.
    """
    target = path.with_name(f"{path.name}.v{version}")
    if not target.exists():
        half = path.with_name(f"{path.name}.v{version}.part")
        half.unlink(missing_ok=True)
        copy = sqlite3.connect(half)
        try:
            db.backup(copy)
        finally:
            copy.close()
        half.chmod(0o600)
        half.rename(target)
    return target


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Do the steps from `version` on, inside the caller's transaction."""
    for step in STEPS[version:]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(STEPS)}")
