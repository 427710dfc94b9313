"""What a command may do with the state file of a bridge, whether that runs or not.

It never takes the bridge's ownership. Looking changes nothing; giving an order is one short commit,
so that the bridge, which shares the file, hardly ever waits for a command.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import StateError
from bridge.model import DeadLetter, Outcome
from bridge.state import orders, schema, tables
from bridge.state.ownership import is_owned
from bridge.state.sqlite import explain


class Visit:
    """A command's look into the state file. Made by `visit`; every method raises `StateError`."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def is_owned(self) -> bool:
        """Whether a bridge runs on this state file."""
        with _door(self._path):
            return is_owned(self._path)

    def dead_letters(self) -> Sequence[DeadLetter]:
        """Return the dead letters, oldest first."""
        with _door(self._path):
            return tables.read_dead_letters(self._db)

    def give(self, kind: str, arguments: Mapping[str, Any], *, who: str, at: float) -> int:
        """Write an order given at `at` (epoch seconds) for the running bridge; return its number."""
        with _door(self._path):
            return orders.give(self._db, kind, arguments, who=who, at=at)

    def outcome(self, number: int) -> Outcome | None:
        """Return what became of an order, None while it has no outcome."""
        with _door(self._path):
            return orders.outcome_of(self._db, number)

    def progress(self, number: int) -> Mapping[str, Any] | None:
        """Return how far an order is, None when the bridge has noted nothing."""
        with _door(self._path):
            return orders.progress_of(self._db, number)


@contextmanager
def visit(path: Path, *, giving: bool = False) -> Generator[Visit]:
    """Open the state file at `path` to look; with `giving`, to give orders too.

    Raises:
        StateError: it cannot be read, or is not of this version.
    """
    path = path.resolve()
    with _door(path):
        db = sqlite3.connect(
            f"{path.as_uri()}?mode={'rw' if giving else 'ro'}", uri=True, timeout=5.0, isolation_level=None
        )
    try:
        with _door(path):
            db.execute("PRAGMA synchronous = FULL")
            # Moving the WAL into the file is the bridge's business.
            db.execute("PRAGMA wal_autocheckpoint = 0")
            _check_version(schema.version_of(db, path), path)
        yield Visit(db, path)
    finally:
        db.close()


def _check_version(version: int, path: Path) -> None:
    if version < len(schema.STEPS):
        raise StateError(
            f"state file {path} was written by an older version of the bridge (state version {version}, "
            f"this command needs {len(schema.STEPS)}): start the bridge of this version once"
        )


@contextmanager
def _door(path: Path) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, msgspec.MsgspecError) as err:
        raise explain(path, err) from err
