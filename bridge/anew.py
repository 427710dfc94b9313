"""Finds the event of a dead letter once more, as today's configuration prepares it.

AWX is the log: job events are read from it again, statuses made from what state remembers. Where
neither has it any more, the kept copy is good enough if it is whole.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from bridge.contract import CORE
from bridge.encode import read_id, status_id, to_event
from bridge.errors import SourceError, SourceRefused
from bridge.model import AwxEvent, Close, DeadLetter, Event, Job, JobKey, StatusSeen
from bridge.ports import Purpose, Source, State
from bridge.prepare import Preparer
from bridge.redact import Redactor

T = TypeVar("T")

AT_ONCE: Final = 50
"""Events asked for in one question: bounds the memory."""


class Found(NamedTuple):
    """The event, and whether it is the kept copy."""

    event: Event
    copy: bool


class Lost(NamedTuple):
    """There is no event to send, and why."""

    why: str


Sought = Found | Lost


class Anew:
    """Where the events of dead letters come from."""

    def __init__(
        self,
        *,
        sources: Mapping[str, Source],
        parked: Mapping[str, str],
        state: State,
        preparer: Preparer,
        redactor: Redactor,
    ) -> None:
        """`parked` are the sources where another AWX may answer, and why."""
        self._sources = sources
        self._parked = parked
        self._state = state
        self._preparer = preparer
        self._redactor = redactor

    def silent(self) -> dict[str, str]:
        """Return the sources that are not to be asked, and why."""
        return {name: f"source {name} is parked: {why}" for name, why in self._parked.items()}

    async def find(
        self, job: JobKey | None, letters: Sequence[DeadLetter], *, silent: dict[str, str]
    ) -> dict[str, Sought]:
        """Find the events of these letters of one job, or of no job, by their ids.

        `silent` begins as `silent()` says; a source that does not answer is added to it.

        Raises:
            StateError: state cannot be read.
        """
        found: dict[str, Sought] = {}
        if job is not None:
            found |= await self._statuses(job, letters)
            found |= await self._job_events(job, letters, silent)
        for letter in letters:
            if letter.event_id not in found:
                found[letter.event_id] = self._kept(letter)
        return found

    async def _statuses(self, key: JobKey, letters: Sequence[DeadLetter]) -> dict[str, Sought]:
        """Make the statuses anew that state remembers."""
        record = await self._state.job(key)
        wanted = {letter.event_id for letter in letters}
        found: dict[str, Sought] = {}
        for seen in () if record is None else record.statuses:
            name = status_id(key, seen.status, seen.repeat)
            if record is not None and name in wanted:
                job = msgspec.structs.replace(record.job, status=seen.status)
                found[name] = self._status(seen, job, record.close)
        return found

    async def _job_events(
        self, key: JobKey, letters: Sequence[DeadLetter], silent: dict[str, str]
    ) -> dict[str, Sought]:
        """Read the job's events again; those that AWX no longer has are left out."""
        asked: dict[str, tuple[DeadLetter, int, int]] = {}
        for letter in letters:
            parts = read_id(letter.event_id)
            if parts is not None and parts[1] is not None:
                asked[letter.event_id] = (letter, parts[1], parts[2])
        source = self._sources.get(key.source)
        if not asked or source is None:
            return {}
        try:
            if key.source in silent:
                return dict.fromkeys(asked, Lost(silent[key.source]))
            job = await source.job(key)
            rows = await _read(source, key, [counter for _, counter, _ in asked.values()])
        except SourceError as error:
            if isinstance(error, SourceRefused) and error.gone:
                return {}
            silent[key.source] = f"source {key.source} could not be asked: {error}"
            return dict.fromkeys(asked, Lost(silent[key.source]))
        found: dict[str, Sought] = {}
        for name, (letter, counter, repeat) in asked.items():
            same = rows.get(counter, [])
            if repeat <= len(same):
                found[name] = self._event(same[repeat - 1], job, repeat, late=letter.late)
        return found

    def _status(self, seen: StatusSeen, job: Job, close: Close | None) -> Sought:
        return _guarded(lambda: self._preparer.status(seen, job, close).event)

    def _event(self, row: AwxEvent, job: Job, repeat: int, *, late: bool) -> Sought:
        return _guarded(lambda: self._preparer.event(row, job, repeat=repeat, late=late).event)

    def _kept(self, letter: DeadLetter) -> Sought:
        """Take the kept copy, redacted as the configuration wants it today."""
        if not letter.copy:
            return Lost("AWX no longer has it, and there is no copy of it")
        if not letter.whole:
            return Lost("AWX no longer has it, and the kept copy was cut at 16 KB")
        found = _guarded(lambda: self._from_copy(letter))
        return found._replace(copy=True) if isinstance(found, Found) else found

    def _from_copy(self, letter: DeadLetter) -> Event:
        raws = msgspec.json.decode(letter.copy, type=dict[str, msgspec.Raw])
        raws.pop("replayed", None)
        fields = {
            name: raw if name == "event_data" else msgspec.json.decode(raw) for name, raw in raws.items()
        }
        self._redactor.fields(fields, tuple(fields.keys() - CORE))
        parts = read_id(letter.event_id)
        # The bridge's own events have the key of their first two parts.
        key = str(parts[0]) if parts else "/".join(letter.event_id.split("/")[:2])
        return to_event(fields, key=key, counter=parts[1] if parts else None, repeat=parts[2] if parts else 1)


async def _read(source: Source, key: JobKey, counters: Sequence[int]) -> dict[int, list[AwxEvent]]:
    """Read the different rows of each counter, oldest first."""
    page = await source.events_at(key, sorted(set(counters)), purpose=Purpose.CATCH_UP)
    rows: dict[int, list[AwxEvent]] = {}
    for row in sorted(page.rows, key=lambda row: (row.counter, row.id or 0)):
        same = rows.setdefault(row.counter, [])
        if all(row.sameness != other.sameness for other in same):
            same.append(row)
    return rows


def _guarded(make: Callable[[], Event]) -> Sought:
    made = guarded(make)
    return made if isinstance(made, Lost) else Found(made, copy=False)


def guarded(make: Callable[[], T]) -> T | Lost:
    """Make an event, or say where that trips the bridge's own code."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - as the tail's guard: one event must not stop the bridge
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Lost(
            f"it trips the bridge's own code ({type(error).__name__} in {place.name}, line {place.lineno})"
        )
