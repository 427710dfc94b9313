"""The loop that writes what moved into state.

Loops put values here without waiting; one task writes them in groups: while one group is being
committed, what comes gathers in the next. Whoever must not go on before a value is safe waits for
`durable`. A failed commit ends the task: delivering without memory is worse than not delivering.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from bridge.errors import StateError
from bridge.model import DeadLetter, JobKey, JobRecord, Place, SinkRecord, SourceRecord
from bridge.notes import job_note, name_of_job, name_of_source, source_note
from bridge.ports import Changes, Observer, State

PAUSE: Final = 0.02
"""Seconds between two commits: at most 50 a second, however busy the lanes are."""

LAST_COMMIT: Final = 10.0
"""Seconds that the last commits may take when the bridge stops."""


class Mirror(Protocol):
    """Somebody who keeps what a lost disk would need."""

    def note(self, name: str, note: bytes | None, /) -> None:
        """Keep `note` under `name`; None: forget it."""
        ...


class _Group:
    """What one commit writes, and how it went once `settled` is set."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.settled = asyncio.Event()
        self.failure: StateError | None = None

    def settle(self, failure: StateError | None = None) -> None:
        self.failure = failure
        self.settled.set()


class Keeper:
    """Gathers what changed and commits it; nothing is written before `run` runs."""

    def __init__(self, state: State, observer: Observer) -> None:
        # Who else is told of jobs and sources: sinks that keep their own places.
        self.mirrors: list[Mirror] = []
        self._state = state
        self._observer = observer
        self._next = _Group()
        self._last = _Group()
        self._last.settle()
        self._wake = asyncio.Event()
        self._stopping = False

    def job(self, record: JobRecord) -> None:
        """Remember a job; the last record put wins."""
        self._next.changes.jobs[record.job.key] = record
        self._wake.set()
        for mirror in self.mirrors:
            mirror.note(name_of_job(record.job.key), job_note(record))

    def place(self, key: JobKey, sink: str, place: Place) -> None:
        """Remember how far `sink` is in a job; the last place put wins."""
        self._next.changes.places[key, sink] = place
        self._wake.set()

    def source(self, name: str, record: SourceRecord) -> None:
        """Remember a source; the last record put wins."""
        self._next.changes.sources[name] = record
        self._wake.set()
        for mirror in self.mirrors:
            mirror.note(name_of_source(name), source_note(record))

    def sink(self, name: str, record: SinkRecord) -> None:
        """Remember a sink; the last record put wins."""
        self._next.changes.sinks[name] = record
        self._wake.set()

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep a dead letter."""
        self._next.changes.dead_letters.append(letter)
        self._wake.set()

    def letter_gone(self, sink: str, event_id: str) -> None:
        """Drop a dead letter, one that was put before included."""
        changes = self._next.changes
        changes.dead_letters[:] = [
            letter for letter in changes.dead_letters if (letter.sink, letter.event_id) != (sink, event_id)
        ]
        changes.letters_gone.add((sink, event_id))
        self._wake.set()

    def forget(self, key: JobKey) -> None:
        """Drop a job and its places, what was put before included; what is put later is new."""
        changes = self._next.changes
        changes.jobs.pop(key, None)
        for where in [where for where in changes.places if where[0] == key]:
            del changes.places[where]
        changes.forgotten.add(key)
        self._wake.set()
        for mirror in self.mirrors:
            mirror.note(name_of_job(key), None)

    async def durable(self) -> None:
        """Return when everything that was put before this call is committed.

        Raises:
            StateError: it is not, and never will be.
        """
        # Groups are committed in order, so the youngest one with anything in it answers for all.
        group = self._next if self._next.changes else self._last
        await group.settled.wait()
        if group.failure is not None:
            raise StateError(str(group.failure)) from group.failure

    async def letters_safe(self) -> None:
        """Return when every dead letter put before this call is committed; raises as `durable`."""
        writing = () if self._last.settled.is_set() else self._last.changes.dead_letters
        if writing or self._next.changes.dead_letters:
            await self.durable()

    async def run(self) -> None:
        """Commit what is pending until cancelled; then once more, so that nothing is left.

        Raises:
            StateError: a commit failed, or the last one did not end within `LAST_COMMIT`.
        """
        writer = asyncio.create_task(self._write(), name="keep")
        try:
            # Shielded: being cancelled must not leave a commit of unknown outcome behind.
            await asyncio.shield(writer)
        except asyncio.CancelledError:
            self._stopping = True
            self._wake.set()
            # Not asyncio.timeout: in a task that is being cancelled, early 3.11 takes its end for ours.
            await asyncio.wait({writer}, timeout=LAST_COMMIT)
            if not writer.done():
                writer.cancel()
                await asyncio.wait({writer})
                raise StateError(f"the last commit did not end within {LAST_COMMIT:.0f} s") from None
            await writer
            raise

    async def _write(self) -> None:
        failure = StateError("the bridge is stopping: nothing is written any more")
        try:
            while self._next.changes or not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                if self._next.changes:
                    await self._commit()
                if not self._stopping:
                    await asyncio.sleep(PAUSE)
        except StateError as err:
            failure = err
            raise
        finally:
            self._next.settle(failure)
            if not self._last.settled.is_set():
                self._last.settle(failure)

    async def _commit(self) -> None:
        group, self._next = self._next, _Group()
        self._last = group
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._state.commit(group.changes)
        group.settle()
        self._observer.count("state_commits_total")
        self._observer.note(
            "state.committed",
            jobs=len(group.changes.jobs),
            places=len(group.changes.places),
            dead_letters=len(group.changes.dead_letters),
            forgotten=len(group.changes.forgotten),
            seconds=round(loop.time() - began, 6),
        )
