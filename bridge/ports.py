"""What the loops depend on: Protocols only, so that a loop can run against fakes in virtual time.

One suite in `tests/contracts` runs over the fake and the real thing of each Protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from bridge.model import (
    AwxEvent,
    DeadLetter,
    Event,
    EventPage,
    Failure,
    HostSummary,
    Job,
    JobKey,
    JobRecord,
    Order,
    Outcome,
    Place,
    SinkRecord,
    SourceIdentity,
    SourceRecord,
)

Listing = Literal["unified_jobs", "system_jobs", "workflow_approvals"]
"""AWX's lists that together show every job (awx/main/access.py: unified_jobs has no approvals)."""


def listing_of(job_type: str) -> Listing:
    """Return the list that shows jobs of this type."""
    if job_type == "system_job":
        return "system_jobs"
    return "workflow_approvals" if job_type == "workflow_approval" else "unified_jobs"


class Purpose(IntEnum):
    """What a request to AWX is for; a lower number is served first when the budget is short."""

    CLOSING = 0
    LIVE = 1
    DISCOVERY = 2
    CATCH_UP = 3
    BACKFILL = 4


class Clock(Protocol):
    """Wall time. Waiting and measuring use the event loop's own time."""

    def now(self) -> float:
        """Return epoch seconds."""
        ...


class Observer(Protocol):
    """Where loops say what happened. Names come from the catalogue in `observe.py`."""

    def note(self, name: str, /, **facts: object) -> None:
        """Log `name` (`noun.verb`, past tense) with its facts; never a payload or a secret."""
        ...

    def count(self, metric: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        ...

    def gauge(self, metric: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        ...


class Source(Protocol):
    """One AWX controller, as the loops need it.

    Every method raises `SourceUnavailable` (wait, ask the same again), `SourceRefused` (401, 403:
    not ready; 404: gone) or `SourceDataError` (the answer makes no sense), and nothing else. Each
    waits for its share of the request budget and has a deadline.
    """

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        ...

    async def identify(self) -> SourceIdentity:
        """Ask which AWX this is, and check that the credentials are accepted."""
        ...

    async def newest_id(self) -> int:
        """Return the greatest unified job id, 0 when there is none."""
        ...

    async def first_id_since(self, moment: str) -> int | None:
        """Return the least id of the unified jobs created at or after `moment` (ISO 8601), or None."""
        ...

    async def jobs_above(self, listing: Listing, job_id: int, /) -> Sequence[Job]:
        """Return the jobs with a greater id, ascending, at most one page of 200."""
        ...

    async def jobs_finished(
        self, listing: Listing, job_id: int, /, *, since: str | None, statuses: Sequence[str]
    ) -> Sequence[Job]:
        """Return the jobs with a greater id that finished, ascending, at most one page of 200.

        `since` (ISO 8601) leaves out those that finished by then; `statuses` names those that count,
        none for all of them.
        """
        ...

    async def jobs_active(self, listing: Listing, /) -> Sequence[Job]:
        """Return every job in an active status, ascending by id, all pages."""
        ...

    async def jobs_changed(self, listing: Listing, ids: Sequence[int], status: str, /) -> Sequence[Job]:
        """Return those of `ids` (at most 200) whose status is no longer `status`."""
        ...

    async def jobs_existing(self, listing: Listing, ids: Sequence[int], /) -> frozenset[int]:
        """Return those of `ids` (at most 200) that AWX still has."""
        ...

    async def job(self, key: JobKey, /, *, purpose: Purpose = Purpose.LIVE) -> Job:
        """Return one job as its detail shows it."""
        ...

    async def events_after(self, key: JobKey, counter: int, /, *, limit: int, purpose: Purpose) -> EventPage:
        """Return the readable events above `counter`, in counter order, at most `limit`."""
        ...

    async def events_at(self, key: JobKey, counters: Sequence[int], /, *, purpose: Purpose) -> EventPage:
        """Return the readable events among `counters` (at most 200), in counter order."""
        ...

    async def emitted_is(self, key: JobKey, total: int, /, *, purpose: Purpose = Purpose.CLOSING) -> bool:
        """Whether AWX's own count of emitted events is exactly `total` (the count proof)."""
        ...

    async def emitted_above(self, key: JobKey, total: int, /, *, purpose: Purpose = Purpose.CLOSING) -> bool:
        """Whether AWX's own count of emitted events is greater than `total`."""
        ...

    async def event_count(self, key: JobKey, /, *, purpose: Purpose = Purpose.CLOSING) -> tuple[int, int]:
        """Return (number of readable rows, highest counter); costs AWX a COUNT."""
        ...

    async def hosts(self, key: JobKey, /, *, purpose: Purpose = Purpose.CLOSING) -> Sequence[HostSummary]:
        """Return what each host did, from the stats event; empty when there is none."""
        ...

    async def failures(self, key: JobKey, /, *, purpose: Purpose = Purpose.CLOSING) -> Sequence[Failure]:
        """Return up to 20 failures in counter order; of a workflow job its failed nodes."""
        ...


class Sink(Protocol):
    """A destination."""

    async def send(self, events: Sequence[Event], /) -> None:
        """Deliver `events` in order; returning means durably accepted.

        Never retries, never swallows, never logs payloads.

        Raises:
            TemporaryDeliveryError: nothing of the batch was accepted for sure; try again.
            PermanentDeliveryError: the batch is refused for good as it is.
            SinkRefusedError: the sink as configured cannot work.
            PartialDeliveryError: some events failed, the others were accepted.
        """
        ...


@runtime_checkable
class TransactionalSink(Sink, Protocol):
    """A sink that keeps its own places, moved in one transaction with the events they speak of."""

    async def places(self) -> Mapping[JobKey, Place]:
        """Begin a session that no older one can disturb, and return the places it starts from.

        Called before anything is sent, and again after a session was lost.

        Raises:
            TemporaryDeliveryError: the sink does not answer.
            SinkRefusedError: it will not let us.
            StateOwnedError: another bridge has taken the sink over.
        """
        ...

    def notes(self) -> Mapping[str, bytes]:
        """Return what was noted beside the places, as the last `places` found it."""
        ...

    async def send_with_places(
        self,
        events: Sequence[Event],
        places: Mapping[JobKey, Place | None],
        /,
        *,
        notes: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Deliver `events`, move `places` and take `notes`: all or nothing; each may be empty.

        None forgets a job, or a note. Notes are for whoever has lost the disk.

        A call whose outcome is unknown raises `TemporaryDeliveryError`; the next call finds out what
        became of it before it sends anything, and counts events that had been accepted as delivered.

        Raises:
            DeliveryError: as `Sink.send`, but never in part: nothing of it was accepted.
            StateOwnedError: another bridge has taken the sink over.
        """
        ...


class Snapshot(msgspec.Struct, kw_only=True):
    """Everything that state remembers, read once at start.

    `jobs` are those not done; `done` those that are, for as long as discovery may still show them.
    """

    jobs: dict[JobKey, JobRecord]
    done: dict[JobKey, JobRecord]
    places: dict[tuple[JobKey, str], Place]
    sources: dict[str, SourceRecord]
    sinks: dict[str, SinkRecord]


class Changes(msgspec.Struct, kw_only=True):
    """What one commit writes: last value per key wins; `forgotten` jobs go with their places.

    `letters_gone` are the dead letters to drop, as (sink, event id).
    """

    jobs: dict[JobKey, JobRecord] = msgspec.field(default_factory=dict)
    places: dict[tuple[JobKey, str], Place] = msgspec.field(default_factory=dict)
    sources: dict[str, SourceRecord] = msgspec.field(default_factory=dict)
    sinks: dict[str, SinkRecord] = msgspec.field(default_factory=dict)
    dead_letters: list[DeadLetter] = msgspec.field(default_factory=list)
    forgotten: set[JobKey] = msgspec.field(default_factory=set)
    letters_gone: set[tuple[str, str]] = msgspec.field(default_factory=set)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return any(getattr(self, name) for name in self.__struct_fields__)


class Orders(Protocol):
    """What commands have asked of the bridge. Every method raises `StateError` when it cannot work."""

    async def orders(self) -> Sequence[Order]:
        """Return the orders without an outcome, oldest first."""
        ...

    async def begin_order(self, order_id: int, /) -> None:
        """Mark an order as begun; returning means that this survives a power cut."""
        ...

    async def note_progress(self, order_id: int, progress: Mapping[str, Any], /) -> None:
        """Write how far an order is; returning means that this survives a power cut."""
        ...

    async def end_order(self, order_id: int, outcome: Outcome, /) -> None:
        """Write an order's outcome, which is kept for 7 days; the first one written stands."""
        ...


class State(Orders, Protocol):
    """The bridge's memory. Every method raises `StateError` when it cannot do its work."""

    async def load(self) -> Snapshot:
        """Read everything.

        Places of unknown jobs are left out, and so are sinks, with their places, that were
        removed from the configuration 7 days ago.
        """
        ...

    async def commit(self, changes: Changes, /) -> None:
        """Write `changes` in one transaction; returning means that they survive a power cut.

        What is forgotten or gone goes first, then everything is put: a job or a dead letter may be
        in both. `extra_vars` of a job are never written.
        """
        ...

    async def job(self, key: JobKey, /) -> JobRecord | None:
        """Return what is remembered of a job, done or not; None for one that was forgotten."""
        ...

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return the dead letters, oldest first: of each sink the newest 1,000, one per event id."""
        ...

    def memory_of(self, sink: str, /) -> SinkMemory:
        """Return what the sink of this name remembers."""
        ...


class SinkMemory(Protocol):
    """What one sink keeps over a restart: JSON values by key, none of them large.

    At least the newest 10,000 values put are kept; those of a sink that was removed from the
    configuration go 7 days later. Every method raises `StateError` when it cannot do its work: a
    sink lets that through, and the bridge stops.
    """

    async def get(self, key: str, /) -> Any | None:
        """Return the value put under `key`, or None."""
        ...

    async def put(self, key: str, value: Any, /) -> None:
        """Put a value in the place of the one before; returning means that it survives a power cut."""
        ...

    async def delete(self, key: str, /) -> None:
        """Forget the value under `key`, if there is one."""
        ...


class ShortMemory:
    """The `SinkMemory` of a sink that is only tried out: it ends with its process."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._values: dict[str, Any] = {}

    async def get(self, key: str, /) -> Any | None:
        """Return the value put under `key`, or None."""
        return self._values.get(key)

    async def put(self, key: str, value: Any, /) -> None:
        """Put a value in the place of the one before."""
        self._values[key] = value

    async def delete(self, key: str, /) -> None:
        """Forget the value under `key`, if there is one."""
        self._values.pop(key, None)


class Routes(Protocol):
    """The compiled rules."""

    def sinks_for(self, fields: Mapping[str, object], /) -> Sequence[str]:
        """Return the names of the sinks that this event goes to, each once."""
        ...

    def wants_events(self, sink: str, /) -> bool:
        """Whether any route could send an `awx.event.*` to `sink`."""
        ...


class SinkContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink is given by the bridge it belongs to, beside its own options."""

    bridge: str
    name: str
    clock: Clock
    memory: SinkMemory = msgspec.field(default_factory=ShortMemory)


__all__ = [
    "AwxEvent",
    "Changes",
    "Clock",
    "Listing",
    "Observer",
    "Orders",
    "Purpose",
    "Routes",
    "ShortMemory",
    "Sink",
    "SinkContext",
    "SinkMemory",
    "Snapshot",
    "Source",
    "State",
    "TransactionalSink",
    "listing_of",
]
