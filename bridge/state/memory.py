"""What sinks remember, as rows of the state file: JSON values by sink and key.

Every function runs on the caller's connection; what it writes, inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import msgspec

from bridge.encode import dump

KEPT: Final = 10_000
"""Values per sink: the newest put. Counted, not timed: a clock that jumps makes nobody forget."""


def get(db: sqlite3.Connection, sink: str, key: str) -> Any | None:
    """Return the value that `sink` put under `key`, or None.

    Raises:
        msgspec.MsgspecError: it was not written by `put`.
    """
    row = db.execute("SELECT value FROM sink_memory WHERE sink = ? AND key = ?", (sink, key)).fetchone()
    return None if row is None else msgspec.json.decode(row[0])


def put(db: sqlite3.Connection, sink: str, key: str, value: Any) -> None:
    """Write a value over the one before; it is now the sink's newest."""
    db.execute(
        "INSERT OR REPLACE INTO sink_memory (sink, key, value) VALUES (?, ?, ?)",
        (sink, key, dump(value).decode()),
    )


def delete(db: sqlite3.Connection, sink: str, key: str) -> None:
    """Delete what `sink` put under `key`, if anything."""
    db.execute("DELETE FROM sink_memory WHERE sink = ? AND key = ?", (sink, key))


def drop_oldest(db: sqlite3.Connection) -> None:
    """Drop what each sink put before its newest `KEPT`."""
    for (sink,) in db.execute("SELECT DISTINCT sink FROM sink_memory").fetchall():
        db.execute(
            "DELETE FROM sink_memory WHERE sink = ?1 AND seq <= (SELECT seq FROM sink_memory "
            "WHERE sink = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            (sink, KEPT),
        )
