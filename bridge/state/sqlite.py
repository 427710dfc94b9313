"""State in one SQLite file: WAL, every commit synced to the disk.

One thread owns the connection; the event loop only waits for it. A caller that is cancelled while
the thread commits leaves the commit whole: done or not done, never half. Errors of SQLite, of the
file system and of what the file holds leave here as `StateError`, with what to do about them.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from bridge.errors import StateError
from bridge.model import DeadLetter, JobKey, JobRecord, Order, Outcome
from bridge.ports import Changes, Clock, SinkMemory, Snapshot
from bridge.state import memory, orders, schema, tables
from bridge.state.ownership import OwnerLock, refuse_network_disk

T = TypeVar("T")

START_LIMIT: Final = 300.0
COMMIT_LIMIT: Final = 60.0
CLOSE_LIMIT: Final = 10.0
HOUSEKEEPING_EVERY: Final = 3600.0

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_ADVICE: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: make room, then start again; all that was committed is safe",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written: check it and its room, then start again",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it away, or restore a copy of it",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: set state.path to a file of the bridge's own",
    sqlite3.SQLITE_READONLY: "it cannot be written: give this user write access to the file and its folder",
    sqlite3.SQLITE_PERM: "it cannot be opened: give this user access to the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: give this user access to the file and its folder",
    sqlite3.SQLITE_BUSY: "another program holds it: end that program, then start again",
    sqlite3.SQLITE_LOCKED: "another program holds it: end that program, then start again",
}


def explain(path: Path, error: Exception) -> StateError:
    """Turn what went wrong with `path` into one sentence that says what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary result code
    advice = _ADVICE.get(code)
    if advice is None and isinstance(error, msgspec.MsgspecError):
        advice = "it holds something that this version cannot read: move it away, or restore a copy"
    if advice is None and isinstance(error, OSError):
        advice = "check the disk and the rights on the file and its folder"
    return StateError(f"state file {path}: {advice or 'it cannot be used'} ({error})")


@asynccontextmanager
async def open_state(path: Path, *, owner: str, clock: Clock) -> AsyncGenerator[SqliteState]:
    """Open the state file, made with its folder when missing, and own it until the end of the block.

    `owner` is the bridge's name, for the message that another bridge gets.

    Raises:
        StateOwnedError: another bridge owns it.
        StateError: it cannot be used; nothing on disk was changed.
    """
    file = _File(path)
    with_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
    state = SqliteState(file, with_thread, clock)
    try:
        await state.call(lambda now: file.open(owner, now), START_LIMIT)
        yield state
    finally:
        # Behind what the thread is still doing. A disk that hangs must not hang the shutdown.
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(with_thread.submit(file.close)), CLOSE_LIMIT)
        with_thread.shutdown(wait=False)


class SqliteState:
    """`ports.State` and `ports.Orders` over one SQLite file. Made by `open_state`."""

    def __init__(self, file: _File, thread: ThreadPoolExecutor, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._thread = thread

    async def load(self) -> Snapshot:
        """Read everything; see `ports.State`."""
        return await self.call(self._file.load, START_LIMIT)

    async def commit(self, changes: Changes, /) -> None:
        """Write `changes` in one transaction; see `ports.State`."""
        await self.call(lambda now: self._file.commit(changes, now), COMMIT_LIMIT)

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return the kept dead letters; see `ports.State`."""
        return await self.call(lambda _now: self._file.read(tables.read_dead_letters), START_LIMIT)

    async def job(self, key: JobKey, /) -> JobRecord | None:
        """Return what is remembered of a job; see `ports.State`."""
        return await self.call(
            lambda _now: self._file.read(lambda db: tables.read_job(db, key)), COMMIT_LIMIT
        )

    async def orders(self) -> Sequence[Order]:
        """Return the orders without an outcome; see `ports.Orders`."""
        return await self.call(lambda _now: self._file.read(orders.read_open), COMMIT_LIMIT)

    async def begin_order(self, order_id: int, /) -> None:
        """Mark an order as begun; see `ports.Orders`."""
        await self.call(
            lambda now: self._file.write(lambda db: orders.begin(db, order_id, now)), COMMIT_LIMIT
        )

    async def note_progress(self, order_id: int, progress: Mapping[str, Any], /) -> None:
        """Write how far an order is; see `ports.Orders`."""
        await self.call(
            lambda _now: self._file.write(lambda db: orders.note_progress(db, order_id, progress)),
            COMMIT_LIMIT,
        )

    async def end_order(self, order_id: int, outcome: Outcome, /) -> None:
        """Write an order's outcome; see `ports.Orders`."""
        await self.call(
            lambda now: self._file.write(lambda db: orders.end(db, order_id, outcome, now)), COMMIT_LIMIT
        )

    def memory_of(self, sink: str, /) -> SinkMemory:
        """Return what one sink remembers; see `ports.State`."""
        return _Memory(self, sink)

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask one thing."""
        return await self.call(lambda _now: self._file.read(question), COMMIT_LIMIT)

    async def change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Do one `change` in a transaction of its own."""
        await self.call(lambda _now: self._file.write(change), COMMIT_LIMIT)

    async def call(self, work: Callable[[float], T], limit: float) -> T:
        """Run `work` with the wall time on the thread, at most `limit` seconds.

        Raises:
            StateError: it failed, or the disk does not answer.
        """
        path = self._file.path
        now = self._clock.now()
        try:
            async with asyncio.timeout(limit):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work, now)
        except TimeoutError as err:
            raise StateError(f"state file {path}: its disk has not answered for {limit:.0f} s") from err


class _Memory:
    """`ports.SinkMemory` of one sink."""

    def __init__(self, state: SqliteState, sink: str) -> None:
        self._state = state
        self._sink = sink

    async def get(self, key: str, /) -> Any | None:
        return await self._state.ask(lambda db: memory.get(db, self._sink, key))

    async def put(self, key: str, value: Any, /) -> None:
        await self._state.change(lambda db: memory.put(db, self._sink, key, value))

    async def delete(self, key: str, /) -> None:
        await self._state.change(lambda db: memory.delete(db, self._sink, key))


class _File:
    """The half that lives on the thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: OwnerLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._housekeeping_at = 0.0

    def open(self, owner: str, now: float) -> None:
        """Take the lock, check the file, bring it up to date."""
        with self._door():
            self.path = self.path.resolve()
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _MOUNTINFO.exists():
                refuse_network_disk(self.path.parent, _MOUNTINFO.read_text(encoding="utf-8"))
            self._lock = OwnerLock(self.path, owner=owner, now=now)
            _create(self.path)
            db = sqlite3.connect(self.path, timeout=5.0, isolation_level=None)
            self._connection = db
            version = schema.check(db, self.path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            if version < len(schema.STEPS):
                if version:
                    schema.back_up(db, self.path, version)
                with self._transaction() as db:
                    schema.migrate(db, version)

    def load(self, now: float) -> Snapshot:
        """Clean up what is past its time, then read everything."""
        with self._door(), self._transaction() as db:
            self._keep_house(db, now)
            tables.drop_stray_places(db)
            return tables.read(db)

    def commit(self, changes: Changes, now: float) -> None:
        """Write in one transaction."""
        with self._door(), self._transaction() as db:
            tables.write(db, changes)
            if now >= self._housekeeping_at:
                self._keep_house(db, now)

    def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask one thing; nothing waits for that."""
        with self._door():
            return question(self._db)

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Change one thing, in a transaction of its own."""
        with self._door(), self._transaction() as db:
            return change(db)

    def close(self) -> None:
        """Give the file back; nothing is left to write."""
        if self._connection is not None:
            # A checkpoint that fails here loses nothing: the WAL file holds it.
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _keep_house(self, db: sqlite3.Connection, now: float) -> None:
        tables.drop_removed_sinks(db, now)
        orders.drop_old(db, now)
        memory.drop_oldest(db)
        self._housekeeping_at = now + HOUSEKEEPING_EVERY

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StateError(f"state file {self.path} is not open")
        return self._connection

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                # SQLite has rolled back by itself after some errors; then this one says so.
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")

    @contextmanager
    def _door(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as err:
            raise explain(self.path, err) from err


def _create(path: Path) -> None:
    """Make an empty file that only its owner can read, and make its name durable."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
