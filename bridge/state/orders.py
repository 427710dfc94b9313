"""The orders that commands give the running bridge, as rows of the state file.

A command inserts and waits for the outcome, the bridge does the rest. Every function runs on the
caller's connection; what it writes, inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from bridge.encode import dump
from bridge.model import Order, Outcome

ENDED_KEPT: Final = 7 * 86_400.0
"""Seconds for which an order can be looked up after its end."""


def give(db: sqlite3.Connection, kind: str, arguments: Mapping[str, Any], *, who: str, at: float) -> int:
    """Insert an order given at `at` (epoch seconds); return its number."""
    values = (kind, dump(arguments).decode(), who, at)
    number = db.execute("INSERT INTO orders (kind, arguments, who, at) VALUES (?, ?, ?, ?)", values).lastrowid
    return number or 0


def read_open(db: sqlite3.Connection) -> Sequence[Order]:
    """Read the orders without an outcome, oldest first.

    Raises:
        msgspec.MsgspecError: one of them was not written by `give`.
    """
    rows = db.execute(
        "SELECT id, kind, arguments, who, at, begun_at IS NOT NULL, progress FROM orders "
        "WHERE outcome IS NULL ORDER BY id"
    )
    return [
        Order(
            id=number,
            kind=kind,
            arguments=msgspec.json.decode(arguments, type=dict[str, Any]),
            who=who,
            at=at,
            begun=bool(begun),
            progress=_progress(progress),
        )
        for number, kind, arguments, who, at, begun, progress in rows
    ]


def begin(db: sqlite3.Connection, number: int, now: float) -> None:
    """Mark an order as begun."""
    db.execute("UPDATE orders SET begun_at = ? WHERE id = ?", (now, number))


def note_progress(db: sqlite3.Connection, number: int, progress: Mapping[str, Any]) -> None:
    """Write how far an order is."""
    db.execute("UPDATE orders SET progress = ? WHERE id = ?", (dump(progress).decode(), number))


def end(db: sqlite3.Connection, number: int, outcome: Outcome, now: float) -> None:
    """Write the outcome of an order that has none."""
    text = dump(msgspec.structs.asdict(outcome)).decode()
    db.execute(
        "UPDATE orders SET ended_at = ?, outcome = ? WHERE id = ? AND outcome IS NULL", (now, text, number)
    )


def outcome_of(db: sqlite3.Connection, number: int) -> Outcome | None:
    """Return an order's outcome, None while it has none.

    Raises:
        msgspec.MsgspecError: it was not written by `end`.
    """
    row = db.execute("SELECT outcome FROM orders WHERE id = ?", (number,)).fetchone()
    return None if row is None or row[0] is None else msgspec.json.decode(row[0], type=Outcome)


def progress_of(db: sqlite3.Connection, number: int) -> dict[str, Any] | None:
    """Return how far an order is, None when nothing was noted.

    Raises:
        msgspec.MsgspecError: it was not written by `note_progress`.
    """
    row = db.execute("SELECT progress FROM orders WHERE id = ?", (number,)).fetchone()
    return None if row is None else _progress(row[0])


def drop_old(db: sqlite3.Connection, now: float) -> None:
    """Drop orders that ended long before `now` (epoch seconds)."""
    db.execute("DELETE FROM orders WHERE ended_at <= ?", (now - ENDED_KEPT,))


def _progress(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any])
