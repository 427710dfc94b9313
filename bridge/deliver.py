"""One lane's loop: hands batches to its sink and decides what a refusal means.

Retry, backoff, parking and dead letters live here, once for every kind of sink. A failing event
holds back its own job only; a sink that takes nothing at all is down, and nothing is given up then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from enum import IntEnum
from typing import Final

from bridge.carry import Carrier
from bridge.errors import (
    DeliveryError,
    PartialDeliveryError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.lane import Lane, Stream
from bridge.model import DeadLetter, Event
from bridge.ports import Clock, Observer

PROBE_EVERY: Final = 60.0
"""Seconds between two tries of a parked sink."""

COPY_BYTES: Final = 16 << 10
"""What is kept of a dead letter's body."""

DOWN_AFTER: Final = 3
"""Failures in a row, of whatever job, after which a sink counts as down."""


_Later = TemporaryDeliveryError | SinkRefusedError


class Health(IntEnum):
    """How a sink is; the numbers are those of the metric `sink_state`."""

    HEALTHY = 0
    FAILING = 1
    DOWN = 2
    PARKED = 3


class Delivery:
    """Empties one lane into its sink."""

    def __init__(  # noqa: PLR0913 - the composition root hands over each collaborator by name
        self,
        lane: Lane,
        carrier: Carrier,
        *,
        backoff: Callable[[int], float],
        retry_for: float,
        bury: Callable[[DeadLetter], None],
        changed: Callable[[str, Health, str], None],
        clock: Clock,
        observer: Observer,
    ) -> None:
        """Join the lane to its sink.

        `backoff` gives the wait in seconds before try number 1, 2, …; `bury` keeps a dead letter;
        `changed` hears (sink, health, reason) when the sink is parked or resumes.
        """
        self.lane = lane
        self.health = Health.HEALTHY
        self.reason = ""
        self.since = clock.now()
        self._carrier = carrier
        self._backoff = backoff
        self._retry_for = retry_for
        self._bury = bury
        self._changed = changed
        self._clock = clock
        self._observer = observer
        self._in_flight = 0
        self._failures = 0
        self._gate = 0.0
        self._apart: deque[tuple[Sequence[Event], asyncio.Future[None]]] = deque()
        observer.gauge("sink_state", float(self.health), sink=lane.name)

    async def run(self) -> None:
        """Deliver until cancelled; sends under way are cancelled with it."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as sends:
            await self._begin()
            sends.create_task(self._carrier.keep_up())
            while True:
                self.lane.wake.clear()
                now = loop.time()
                if self._apart and not self._busy:
                    self._in_flight += 1
                    sends.create_task(self._carry_apart(*self._apart.popleft()))
                    continue
                batch = [] if self._busy or now < self._gate else self.lane.take(now)
                if batch:
                    self._in_flight += 1
                    sends.create_task(self._carry(batch))
                else:
                    await self._wait(now)

    @property
    def pause(self) -> float:
        """Seconds for which the sink has asked to be left alone, or is left alone as it fails."""
        return max(0.0, self._gate - asyncio.get_running_loop().time())

    async def send_apart(self, *events: Event) -> None:
        """Send events out of their jobs' order, between two batches: no place moves, nothing is retried.

        Raises:
            DeliveryError: as `Sink.send`; of a single event never in part.
        """
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._apart.append((events, answer))
        self.lane.wake.set()
        await answer

    async def _carry_apart(self, events: Sequence[Event], answer: asyncio.Future[None]) -> None:
        failure: DeliveryError | None = None
        try:
            if not answer.done():
                await self._carrier.apart([*events])
        except PartialDeliveryError as error:
            failure = error if len(events) > 1 else next(iter(error.errors.values()))
        except DeliveryError as error:
            failure = error
        finally:
            self._in_flight -= 1
            self.lane.wake.set()
        self._answer(events, answer, failure)

    def _answer(
        self, events: Sequence[Event], answer: asyncio.Future[None], failure: DeliveryError | None
    ) -> None:
        """Say what became of events that were sent apart."""
        errors: Collection[DeliveryError] = () if failure is None else (failure,)
        accepted = 0 if errors else len(events)
        if isinstance(failure, PartialDeliveryError):
            errors = failure.errors.values()
            accepted = len(events) - len(errors)
        for error in errors:
            if isinstance(error, TemporaryDeliveryError) and error.retry_after is not None:
                self._gate = max(self._gate, asyncio.get_running_loop().time() + error.retry_after)
        if answer.done():
            return
        self._observer.count("events_delivered_total", accepted, sink=self.lane.name)
        for error in errors:
            self._count(error)
        if failure is None:
            answer.set_result(None)
        else:
            answer.set_exception(failure)

    async def _begin(self) -> None:
        """Make the sink ready, however long that takes."""
        while True:
            try:
                await self._carrier.begin()
            except (TemporaryDeliveryError, SinkRefusedError) as error:
                self._count(error)
                self._hold((), error)
                pause = self._gate - asyncio.get_running_loop().time()
                await asyncio.sleep(max(pause, self._backoff(self._failures)))
            else:
                self._failures = 0
                self._become(Health.HEALTHY, "")
                return

    @property
    def _busy(self) -> bool:
        """Whether no further send may start: a failing sink gets one at a time."""
        return self._in_flight >= (1 if self._failures else self.lane.batching.in_flight)

    async def _wait(self, now: float) -> None:
        """Sleep until something is offered, a send ends, or the next attempt is due."""
        due = self.lane.next_attempt()
        # Never less than a millisecond: a clock that is read coarsely must not make this spin.
        delay = None if self._busy or due is None else max(0.001, self._gate - now, due - now)
        try:
            async with asyncio.timeout(delay):
                await self.lane.wake.wait()
        except TimeoutError:
            return

    async def _carry(self, batch: list[Event]) -> None:
        """Send one batch, then let its jobs take part again."""
        rest: list[Event] = list(batch)
        try:
            failed = await self._send(batch)
            rest = [event for event, _ in failed]
        finally:
            self.lane.put_back(rest)
            streams = self.lane.idle({event.key for event in batch})
            self._in_flight -= 1
            self.lane.wake.set()
        errors = {event.key: error for event, error in reversed(failed) if error is not None}
        if errors:
            self._hold([stream for stream in streams if stream.key in errors], next(iter(errors.values())))

    async def _send(self, batch: Sequence[Event]) -> list[tuple[Event, _Later | None]]:
        """Send `batch`, halving it where it is refused for good; return what is to be sent later.

        An event that was not tried because one before it failed is returned without an error.
        """
        try:
            await self._carrier.carry(batch)
        except PermanentDeliveryError as error:
            if len(batch) == 1:
                self._dead_letter(batch[0], error.reason)
                return []
            half = len(batch) // 2
            failed = await self._send(batch[:half])
            if failed:
                return [*failed, *((event, None) for event in batch[half:])]
            return await self._send(batch[half:])
        except PartialDeliveryError as error:
            return self._sort_out(batch, error)
        except (TemporaryDeliveryError, SinkRefusedError) as error:
            self._count(error)
            return [(event, error) for event in batch]
        self._accept(batch)
        return []

    def _sort_out(
        self, batch: Sequence[Event], partial: PartialDeliveryError
    ) -> list[tuple[Event, _Later | None]]:
        """Settle and bury what can be; return what is to be sent later."""
        later: list[tuple[Event, _Later | None]] = []
        self._accept([event for at, event in enumerate(batch) if at not in partial.errors])
        for at, error in sorted(partial.errors.items()):
            if isinstance(error, PermanentDeliveryError):
                self._dead_letter(batch[at], error.reason)
            else:
                self._count(error)
                later.append((batch[at], error))
        return later

    def _accept(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self._failures = 0
        self._gate = 0.0
        self.lane.settled(events)
        self._observer.count("events_delivered_total", len(events), sink=self.lane.name)
        self._observer.note("batch.delivered", sink=self.lane.name, events=len(events))
        now = asyncio.get_running_loop().time()
        if self.health >= Health.DOWN:
            # Those failures were the sink's, not their jobs': all go on at once.
            self.lane.forgive()
        failing = self.lane.failing()
        for stream in failing:
            if stream.passing_since is None:
                stream.passing_since = now
        self._become(Health.FAILING if failing else Health.HEALTHY, self.reason if failing else "")

    def _hold(self, streams: Sequence[Stream], error: _Later) -> None:
        """Wait before the next try: these jobs in any case, all of them when nothing passes."""
        now = asyncio.get_running_loop().time()
        self._failures += 1
        if isinstance(error, SinkRefusedError):
            self._gate = now + PROBE_EVERY
            self._become(Health.PARKED, error.reason)
            return
        for stream in streams:
            stream.attempts += 1
            stream.failing_since = now if stream.failing_since is None else stream.failing_since
            stream.not_before = now + self._backoff(stream.attempts)
            self._give_up_in_time(stream, now, error)
        if error.retry_after is not None:
            self._gate = now + error.retry_after
        elif self._failures > 1:
            self._gate = now + self._backoff(self._failures - 1)
        if self.health is Health.PARKED:
            self.reason = error.reason
        else:
            self._become(Health.DOWN if self._failures >= DOWN_AFTER else Health.FAILING, error.reason)

    def _give_up_in_time(self, stream: Stream, now: float, error: TemporaryDeliveryError) -> None:
        """Bury the head of `stream` once others have passed for `retry_for` while it failed."""
        if self._failures >= DOWN_AFTER:
            stream.passing_since = None
        elif stream.passing_since is not None and now - stream.passing_since >= self._retry_for:
            event = stream.queue.popleft()
            self._dead_letter(event, f"not accepted within retry_for: {error.reason}")

    def _dead_letter(self, event: Event, reason: str) -> None:
        self._bury(
            DeadLetter(
                sink=self.lane.name,
                event_id=event.id,
                type=event.type,
                reason=reason,
                at=self._clock.now(),
                copy=event.body[:COPY_BYTES],
                whole=len(event.body) <= COPY_BYTES,
                late=event.late,
            )
        )
        self.lane.settled([event])
        self._count(PermanentDeliveryError(reason))
        self._observer.count("events_dead_lettered_total", sink=self.lane.name)
        self._observer.note("event.dead_lettered", sink=self.lane.name, id=event.id, reason=reason)

    def _count(self, error: DeliveryError) -> None:
        if isinstance(error, TemporaryDeliveryError):
            kind = "temporary"
        else:
            kind = "refused" if isinstance(error, SinkRefusedError) else "permanent"
        self._observer.count("deliveries_failed_total", sink=self.lane.name, **{"class": kind})

    def _become(self, health: Health, reason: str) -> None:
        """Say in one line what changed, when it changed."""
        before, self.reason = self.health, reason
        if health is before:
            return
        self.health, self.since = health, self._clock.now()
        name = self.lane.name
        self._observer.gauge("sink_state", float(health), sink=name)
        if health is Health.PARKED:
            self._observer.note("sink.parked", sink=name, reason=reason, probe_every=PROBE_EVERY)
        elif health is Health.DOWN:
            self._observer.note("sink.down", sink=name, reason=reason)
        elif before is Health.PARKED:
            self._observer.note("sink.resumed", sink=name)
        elif before is Health.HEALTHY:
            self._observer.note("sink.failing", sink=name, reason=reason)
        else:
            self._observer.note("sink.recovered", sink=name)
        if Health.PARKED in (health, before):
            self._changed(name, health, reason)
