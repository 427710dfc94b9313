"""What goes into which table, and comes back.

Every function runs inside the caller's transaction. Deep values are JSON text, so that an operator
can read them with the sqlite3 tool.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bridge.model import DeadLetter, JobKey, JobRecord, Place, SinkRecord, SourceRecord
from bridge.ports import Changes, Snapshot

DEAD_LETTERS_KEPT: Final = 1_000
"""Per sink: one sink that refuses everything must not push out the letters of the others."""

REMOVED_SINK_KEPT: Final = 7 * 86_400.0
"""Seconds for which a sink that left the configuration can come back to its places."""


def write(db: sqlite3.Connection, changes: Changes) -> None:
    """Write `changes`: first what is forgotten goes, then everything is put."""
    forgotten = list(changes.forgotten)
    db.executemany("DELETE FROM places WHERE source = ? AND job_type = ? AND job_id = ?", forgotten)
    db.executemany("DELETE FROM jobs WHERE source = ? AND job_type = ? AND job_id = ?", forgotten)
    db.executemany(
        "INSERT OR REPLACE INTO jobs (source, job_type, job_id, done, record) VALUES (?, ?, ?, ?, ?)",
        [(*key, record.done, _job_text(record)) for key, record in changes.jobs.items()],
    )
    db.executemany(
        "INSERT OR REPLACE INTO places (source, job_type, job_id, sink, place) VALUES (?, ?, ?, ?, ?)",
        [(*key, sink, _text(place)) for (key, sink), place in changes.places.items()],
    )
    db.executemany(
        "INSERT OR REPLACE INTO sources (name, record) VALUES (?, ?)",
        [(name, _text(record)) for name, record in changes.sources.items()],
    )
    db.executemany(
        "INSERT OR REPLACE INTO sinks (name, removed_at, record) VALUES (?, ?, ?)",
        [(name, record.removed_at, _text(record)) for name, record in changes.sinks.items()],
    )
    db.executemany("DELETE FROM dead_letters WHERE sink = ? AND event_id = ?", list(changes.letters_gone))
    _bury(db, changes.dead_letters)


def read(db: sqlite3.Connection) -> Snapshot:
    """Read everything but the dead letters.

    Raises:
        msgspec.MsgspecError: a value is none that `write` could have written.
    """
    job = msgspec.json.Decoder(JobRecord)
    place = msgspec.json.Decoder(Place)
    source = msgspec.json.Decoder(SourceRecord)
    sink = msgspec.json.Decoder(SinkRecord)
    jobs: dict[bool, dict[JobKey, JobRecord]] = {True: {}, False: {}}
    for *key, done, text in db.execute("SELECT source, job_type, job_id, done, record FROM jobs"):
        jobs[bool(done)][JobKey(*key)] = job.decode(text)
    known_places = db.execute(
        "SELECT source, job_type, job_id, sink, place FROM places JOIN jobs USING (source, job_type, job_id)"
    )
    return Snapshot(
        jobs=jobs[False],
        done=jobs[True],
        places={(JobKey(*key), name): place.decode(text) for *key, name, text in known_places},
        sources={n: source.decode(text) for n, text in db.execute("SELECT name, record FROM sources")},
        sinks={n: sink.decode(text) for n, text in db.execute("SELECT name, record FROM sinks")},
    )


def read_dead_letters(db: sqlite3.Connection) -> Sequence[DeadLetter]:
    """Read the dead letters, oldest first."""
    rows = db.execute(
        "SELECT sink, event_id, type, reason, at, copy, whole, late FROM dead_letters ORDER BY seq"
    )
    return [
        DeadLetter(
            sink=sink,
            event_id=event_id,
            type=kind,
            reason=reason,
            at=at,
            copy=copy,
            whole=bool(whole),
            late=bool(late),
        )
        for sink, event_id, kind, reason, at, copy, whole, late in rows
    ]


def read_job(db: sqlite3.Connection, key: JobKey) -> JobRecord | None:
    """Read what is remembered of one job, done or not.

    Raises:
        msgspec.MsgspecError: it is none that `write` could have written.
    """
    row = db.execute(
        "SELECT record FROM jobs WHERE source = ? AND job_type = ? AND job_id = ?", key
    ).fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=JobRecord)


def drop_removed_sinks(db: sqlite3.Connection, now: float) -> None:
    """Drop sinks that were removed long before `now` (epoch seconds), with all that is theirs."""
    limit = now - REMOVED_SINK_KEPT
    gone = list(db.execute("SELECT name FROM sinks WHERE removed_at <= ?", (limit,)))
    db.executemany("DELETE FROM places WHERE sink = ?", gone)
    db.executemany("DELETE FROM dead_letters WHERE sink = ?", gone)
    db.executemany("DELETE FROM sink_memory WHERE sink = ?", gone)
    db.executemany("DELETE FROM sinks WHERE name = ?", gone)


def drop_stray_places(db: sqlite3.Connection) -> None:
    """Drop places of unknown jobs: a lane may settle a last event after its job was forgotten."""
    db.execute(
        "DELETE FROM places WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.source = places.source "
        "AND jobs.job_type = places.job_type AND jobs.job_id = places.job_id)"
    )


def _bury(db: sqlite3.Connection, letters: Sequence[DeadLetter]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO dead_letters (sink, event_id, type, reason, at, copy, whole, late) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(x.sink, x.event_id, x.type, _storable(x.reason), x.at, x.copy, x.whole, x.late) for x in letters],
    )
    for sink in {letter.sink for letter in letters}:
        db.execute(
            "DELETE FROM dead_letters WHERE sink = ?1 AND seq <= (SELECT seq FROM dead_letters "
            "WHERE sink = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            (sink, DEAD_LETTERS_KEPT),
        )


def _job_text(record: JobRecord) -> str:
    """Encode without `extra_vars`: they can hold secrets and are never needed again."""
    if record.job.extra_vars is not None:
        record = msgspec.structs.replace(record, job=msgspec.structs.replace(record.job, extra_vars=None))
    return _text(record)


def _storable(reason: str) -> str:
    """Replace what is no Unicode text: a reason can hold undecoded bytes of a server's answer."""
    return reason.encode(errors="replace").decode()


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
