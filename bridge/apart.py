"""Sends events of many jobs apart from their jobs' order, however long the sink takes.

Live work goes first: a batch is sent while the lane has room, one at a time. What is refused for
good becomes a dead letter, as in a lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from bridge.deliver import COPY_BYTES, Delivery, Health
from bridge.errors import (
    DeliveryError,
    OrderError,
    PartialDeliveryError,
    PermanentDeliveryError,
    TemporaryDeliveryError,
)
from bridge.model import DeadLetter, Event
from bridge.ports import Clock, Observer

SEND_LIMIT: Final = 60.0
"""Seconds that one batch may take from its turn to the sink's answer."""

PAUSE: Final = 5.0
"""Seconds between two tries, where the sink asks for no longer pause."""

PATIENCE: Final = 3600.0
"""Seconds without one accepted batch after which the rest is left."""


class Apart:
    """One sink's events, in the order in which they are given."""

    def __init__(
        self, delivery: Delivery, *, bury: Callable[[DeadLetter], None], clock: Clock, observer: Observer
    ) -> None:
        """Send by `delivery`; `bury` keeps a dead letter."""
        self.delivery = delivery
        self._bury = bury
        self._clock = clock
        self._observer = observer
        self._passed = asyncio.get_running_loop().time()

    async def send(self, events: Sequence[Event]) -> int:
        """Send `events`; return how many were refused for good.

        Raises:
            OrderError: the sink has taken nothing for too long.
        """
        refused = 0
        for batch in self._batches(events):
            refused += await self._carry(batch)
        return refused

    def _batches(self, events: Sequence[Event]) -> list[list[Event]]:
        batching = self.delivery.lane.batching
        batches: list[list[Event]] = []
        size = 0
        for event in events:
            if (
                not batches
                or len(batches[-1]) >= batching.max_events
                or size + event.size > batching.max_bytes
            ):
                batches.append([])
                size = 0
            batches[-1].append(event)
            size += event.size
        return batches

    async def _carry(self, batch: list[Event]) -> int:
        refused = 0
        while batch:
            await self._ready()
            try:
                async with asyncio.timeout(SEND_LIMIT):
                    await self.delivery.send_apart(*batch)
            except PermanentDeliveryError as error:
                if len(batch) > 1:
                    half = len(batch) // 2
                    return refused + await self._carry(batch[:half]) + await self._carry(batch[half:])
                self._dead_letter(batch[0], error.reason)
                refused += 1
                batch = []
            except PartialDeliveryError as error:
                bad = {at: e for at, e in error.errors.items() if isinstance(e, PermanentDeliveryError)}
                for at, permanent in bad.items():
                    self._dead_letter(batch[at], permanent.reason)
                refused += len(bad)
                batch = [event for at, event in enumerate(batch) if at in error.errors and at not in bad]
                await self._wait("some events fail for now") if batch else None
            except (DeliveryError, TimeoutError) as error:
                await self._wait(str(error) or f"no answer within {SEND_LIMIT:.0f} seconds", error)
                continue
            else:
                batch = []
            self._passed = asyncio.get_running_loop().time()
        return refused

    async def _ready(self) -> None:
        """Wait until the sink takes events, and live work leaves room."""
        while self.delivery.lane.full or self.delivery.health >= Health.DOWN:
            await self._wait(self.delivery.reason or "its lane is full")

    async def _wait(self, reason: str, error: Exception | None = None) -> None:
        if asyncio.get_running_loop().time() - self._passed > PATIENCE:
            sink = self.delivery.lane.name
            raise OrderError(f"sink {sink} has taken nothing for {PATIENCE:.0f} seconds: {reason}")
        asked = error.retry_after if isinstance(error, TemporaryDeliveryError) else None
        await asyncio.sleep(max(asked or PAUSE, self.delivery.pause))

    def _dead_letter(self, event: Event, reason: str) -> None:
        sink = self.delivery.lane.name
        self._bury(
            DeadLetter(
                sink=sink,
                event_id=event.id,
                type=event.type,
                reason=reason,
                at=self._clock.now(),
                copy=event.body[:COPY_BYTES],
                whole=len(event.body) <= COPY_BYTES,
                late=event.late,
            )
        )
        self._observer.count("events_dead_lettered_total", sink=sink)
        self._observer.note("event.dead_lettered", sink=sink, id=event.id, reason=reason)
