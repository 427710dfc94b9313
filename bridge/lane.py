"""What waits for one sink: a bounded queue that keeps each job's events in order.

Plain bookkeeping without waiting: `deliver.py` empties it, the tails fill it. It knows the sink's
ledger of every open job, and reports each moved place at once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bridge.ledger import Ledger
from bridge.model import Event, JobKey, Place
from bridge.options import Batching

LANE_BYTES: Final = 4 << 20
"""Bytes of events that may wait for one sink; more wait in AWX."""


class Stream(msgspec.Struct, kw_only=True, eq=False):
    """One job's share of a lane (or the bridge's own events, then without `job`).

    `offered` is the highest counter up to which the lane was offered or spared each; `statuses` the
    number of the last status offered or spared, `status_number` of the last one settled;
    `outstanding` counts events that wait or are under way, `counters` are their (counter, repeat).
    Loop times: `offered_at` of each of these, `not_before` of the next attempt, `failing_since` of
    the head's first failure, `passing_since` of the first success of others after that.
    """

    key: str
    job: JobKey | None
    ledger: Ledger
    status_number: int
    statuses: int
    offered: int
    queue: deque[Event] = msgspec.field(default_factory=deque)
    outstanding: int = 0
    counters: set[tuple[int, int]] = msgspec.field(default_factory=set)
    offered_at: deque[float] = msgspec.field(default_factory=deque)
    busy: bool = False
    attempts: int = 0
    not_before: float = 0.0
    failing_since: float | None = None
    passing_since: float | None = None


class Lane:
    """One sink's queue."""

    def __init__(
        self,
        name: str,
        *,
        batching: Batching,
        moved: Callable[[JobKey, Place], None],
        capacity: int = LANE_BYTES,
    ) -> None:
        """`moved` is told of every place that moves, and may be set until the first one does."""
        self.name = name
        self.batching = batching
        self.bytes = 0
        self.moved = moved
        self.place_of: Callable[[JobKey, Place], Place] = lambda _job, place: place
        self.forget: Callable[[JobKey], None] = lambda _job: None
        self._held = False
        self._capacity = capacity
        self._streams: dict[str, Stream] = {}
        self._ready: OrderedDict[str, Stream] = OrderedDict()
        self._room = asyncio.Event()
        self._room.set()
        self._drained = asyncio.Event()
        self._drained.set()
        self.wake = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether the lane should be spared until it has room."""
        return not self._room.is_set()

    def hold(self) -> None:
        """Take nothing until `go_on`: it is not known yet where this sink goes on."""
        self._held = True
        self._room.clear()

    def go_on(self) -> None:
        """Open every job again from the place that is known now, and take events."""
        self._held = False
        for stream in list(self._streams.values()):
            if stream.job is not None:
                self.open(stream.job, stream.ledger.place(stream.status_number))
        self._freed(0)

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is under way: for as long as the sink takes."""
        await self._drained.wait()

    async def room(self) -> None:
        """Wait until the lane is no longer full: for as long as the sink takes."""
        await self._room.wait()

    def open(self, job: JobKey, place: Place) -> None:
        """Begin to carry `job`, which this sink has settled up to `place`."""
        place = self.place_of(job, place)
        self._streams[str(job)] = Stream(
            key=str(job),
            job=job,
            ledger=Ledger(place),
            status_number=place.status_number,
            statuses=place.status_number,
            offered=place.through,
        )

    def close(self, job: JobKey) -> None:
        """Forget `job`: every sink has settled all of it."""
        stream = self._streams.pop(str(job), None)
        if stream is not None:
            self._ready.pop(stream.key, None)
            self._freed(sum(event.size for event in stream.queue))

    def stream(self, job: JobKey) -> Stream:
        """Return this lane's account of the open job `job`."""
        return self._streams[str(job)]

    def offer(self, event: Event) -> None:
        """Queue `event` behind what waits of its job; one that is settled or waits already is ignored."""
        stream = self._streams.get(event.key)
        if stream is None:
            stream = self._streams[event.key] = Stream(
                key=event.key, job=None, ledger=Ledger(Place()), status_number=0, statuses=0, offered=0
            )
        if event.counter is not None:
            row = event.counter, event.repeat
            if row in stream.counters or stream.ledger.is_settled(event.counter, repeat=event.repeat):
                return
            stream.counters.add(row)
        elif event.status_number is not None:
            if event.status_number <= stream.statuses:
                return
            stream.statuses = event.status_number
        stream.queue.append(event)
        stream.offered_at.append(asyncio.get_running_loop().time())
        stream.outstanding += 1
        self.bytes += event.size
        self._drained.clear()
        if self.bytes >= self._capacity:
            self._room.clear()
        self._mark(stream)

    def spare(self, job: JobKey, counter: int, *, repeat: int = 1) -> None:
        """Settle a counter that no rule sends here."""
        self.stream(job).ledger.settle(counter, repeat=repeat)

    def spare_status(self, job: JobKey, number: int) -> None:
        """Pass over a status that no rule sends here: settled once all that waits before it is."""
        stream = self.stream(job)
        stream.statuses = max(stream.statuses, number)

    def give_up(self, job: JobKey, low: int, high: int) -> None:
        """Go on without these counters."""
        self.stream(job).ledger.give_up(low, high)

    def jobs(self) -> list[JobKey]:
        """Return the open jobs."""
        return [stream.job for stream in self._streams.values() if stream.job is not None]

    def carries(self, job: JobKey) -> bool:
        """Whether `job` is open."""
        return str(job) in self._streams

    def place(self, job: JobKey) -> Place:
        """Return how far this sink is in the open job `job`."""
        return self._place_of(self.stream(job))

    def _place_of(self, stream: Stream) -> Place:
        if not stream.outstanding:
            stream.status_number = stream.statuses
        return stream.ledger.place(stream.status_number)

    def report(self, stream: Stream) -> None:
        """Tell the new place of `stream`."""
        if stream.job is not None:
            self.moved(stream.job, self._place_of(stream))

    def _mark(self, stream: Stream) -> None:
        if stream.queue and not stream.busy and stream.key not in self._ready:
            self._ready[stream.key] = stream
            self.wake.set()

    def take(self, now: float) -> list[Event]:
        """Take the next batch: heads of jobs that are not busy nor waiting, in turn."""
        batch: list[Event] = []
        size = 0
        for stream in list(self._ready.values()):
            if stream.not_before > now:
                continue
            del self._ready[stream.key]
            stream.busy = True
            while stream.queue and len(batch) < self.batching.max_events:
                if batch and size + stream.queue[0].size > self.batching.max_bytes:
                    break
                event = stream.queue.popleft()
                batch.append(event)
                size += event.size
            if not batch or batch[-1].key != stream.key:
                stream.busy = False
                self._mark(stream)
            if len(batch) >= self.batching.max_events or size >= self.batching.max_bytes:
                break
        return batch

    def next_attempt(self) -> float | None:
        """Return the loop time at which the next waiting job may be tried, None when none waits."""
        return min((stream.not_before for stream in self._ready.values()), default=None)

    def places_after(self, events: Sequence[Event]) -> dict[JobKey, Place]:
        """Return the places as they will be at least once `events` are settled.

        Statuses passed over are left to a later place: what is offered meanwhile may come before them.
        """
        by_job: dict[str, list[Event]] = {}
        for event in events:
            by_job.setdefault(event.key, []).append(event)
        places: dict[JobKey, Place] = {}
        for key, of_job in by_job.items():
            stream = self._streams.get(key)
            if stream is None or stream.job is None:
                continue
            ledger, status = stream.ledger.copy(), stream.status_number
            for event in of_job:
                status = _settle(ledger, event, status)
            places[stream.job] = ledger.place(status)
        return places

    def settled(self, events: Sequence[Event]) -> None:
        """Nothing more will be done about `events`: move the places."""
        touched: dict[str, Stream] = {}
        for event in events:
            stream = self._streams.get(event.key)
            if stream is None:
                continue
            touched[event.key] = stream
            stream.outstanding -= 1
            if event.counter is not None:
                stream.counters.discard((event.counter, event.repeat))
            stream.offered_at.popleft()
            stream.status_number = _settle(stream.ledger, event, stream.status_number)
        self._freed(sum(event.size for event in events))
        for stream in touched.values():
            self._clear(stream)
            self.report(stream)

    def put_back(self, events: Sequence[Event]) -> None:
        """Queue `events`, in their order, before what waits of their jobs."""
        for event in reversed(events):
            stream = self._streams.get(event.key)
            if stream is None:
                self._freed(event.size)
            else:
                stream.queue.appendleft(event)

    def idle(self, keys: set[str]) -> list[Stream]:
        """Let the jobs `keys` take part again after their batch; return their streams."""
        found = [self._streams[key] for key in keys if key in self._streams]
        for stream in found:
            stream.busy = False
            if stream.job is None and not stream.queue:
                del self._streams[stream.key]
            self._mark(stream)
        return found

    def waiting_since(self) -> float | None:
        """Return the loop time at which the oldest unsettled event was offered, None when there is none."""
        return min((s.offered_at[0] for s in self._streams.values() if s.offered_at), default=None)

    def abandon(self, job: JobKey, *, through: int, statuses: int) -> bool:
        """Settle all of `job` undelivered; False while some of it is under way."""
        stream = self.stream(job)
        if stream.busy:
            return False
        self._ready.pop(stream.key, None)
        self._freed(sum(event.size for event in stream.queue))
        stream.queue.clear()
        stream.offered_at.clear()
        stream.outstanding = 0
        stream.counters.clear()
        stream.offered = max(stream.offered, through)
        stream.ledger = Ledger(Place(through=stream.offered))
        stream.statuses = stream.status_number = statuses
        return True

    def failing(self) -> list[Stream]:
        """Return the jobs whose head has failed and not passed yet."""
        return [stream for stream in self._streams.values() if stream.failing_since is not None]

    def forgive(self) -> None:
        """Forget every failure: each waiting job may be tried at once."""
        for stream in self.failing():
            self._clear(stream)

    def _clear(self, stream: Stream) -> None:
        stream.attempts, stream.not_before = 0, 0.0
        stream.failing_since = stream.passing_since = None

    def _freed(self, size: int) -> None:
        self.bytes -= size
        if self.bytes <= self._capacity // 2 and not self._held:
            self._room.set()
        if self.bytes <= 0:
            self._drained.set()


def _settle(ledger: Ledger, event: Event, status_number: int) -> int:
    """Settle `event`; return the number of the last settled status."""
    if event.counter is not None:
        ledger.settle(event.counter, repeat=event.repeat)
    return status_number if event.status_number is None else event.status_number
