"""Delivers events to Kafka at least once: idempotent, in order per partition, nothing retried here.

One `send` at a time. Every partition has one batch in flight; when one fails, the later ones of its
partition are not sent, so that an accepted event never stands before an earlier one that was not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bridge.errors import PartialDeliveryError, PermanentDeliveryError
from bridge.model import Event
from bridge.ports import Clock
from bridge.sinks.kafka.layout import Failures, Layout, pack
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.rounds import Isolation, push
from bridge.sinks.kafka.session import Session


class KafkaSink:
    """A `Sink` on one cluster."""

    def __init__(self, options: KafkaOptions, session: Session, clock: Clock) -> None:
        """The session belongs to this sink alone."""
        self._options = options
        self._session = session
        self._layout = Layout(options, clock)
        self._isolation = Isolation(options.batching.max_events)
        self._one_at_a_time = asyncio.Lock()

    async def send(self, events: Sequence[Event], /) -> None:
        """Deliver `events`; see `ports.Sink`. Takes at most `delivery_timeout`, and no retry."""
        async with self._one_at_a_time:
            failures = await self._deliver(events)
        if not failures:
            return
        first = next(iter(failures.values()))
        alike = len(failures) == len(events) and len({type(error) for error in failures.values()}) == 1
        if len(events) == 1 or (alike and not isinstance(first, PermanentDeliveryError)):
            raise first  # one reason speaks for all of them
        raise PartialDeliveryError(failures)

    async def _deliver(self, events: Sequence[Event]) -> Failures:
        deadline = asyncio.get_running_loop().time() + self._options.delivery_timeout
        healthy = False
        try:
            producer = await self._ready(deadline)
            topics, failures = await self._layout.find_topics(producer, events, deadline)
            reachable = not failures
            records, oversize = self._layout.sort(events, topics)
            refused: Failures = {}
            for result in await push(producer, pack(records, producer, self._isolation.most), deadline):
                error = self._isolation.judge(result)
                if error is not None:
                    refused |= dict.fromkeys(result.batch.positions, error)
            healthy = reachable and not refused
            return failures | oversize | refused
        finally:
            if not healthy:  # or cancelled, with batches under way
                self._session.spoil()

    async def _ready(self, deadline: float) -> Any:
        producer, fresh = await self._session.ready(deadline)
        if fresh:
            self._layout.topics.forget()
        return producer
