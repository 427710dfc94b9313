"""Delivers events to Kafka: idempotent, in order per partition, nothing retried here.

One `send` at a time. Every partition has one batch in flight; when one fails, the later ones of its
partition are not sent, so that an accepted event never stands before an earlier one that was not.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from bridge.errors import (
    ConfigError,
    PartialDeliveryError,
    PermanentDeliveryError,
    Problem,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.model import Event
from bridge.ports import Clock, SinkContext
from bridge.sinks.kafka.batches import Batch, Limits, Record, fill, partition_of, to_record
from bridge.sinks.kafka.errors import Failed, translate
from bridge.sinks.kafka.naming import TopicPattern
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.rounds import Isolation, Partition, push
from bridge.sinks.kafka.session import Session
from bridge.sinks.kafka.topics import Topic, Topics

Failures = dict[int, Failed]
"""Positions in the lane's batch and what happened to the event there."""

_FAILED: Final = (TemporaryDeliveryError, PermanentDeliveryError, SinkRefusedError)


class KafkaSink:
    """A `Sink` on one cluster."""

    def __init__(self, options: KafkaOptions, session: Session, clock: Clock) -> None:
        """The session belongs to this sink alone."""
        self._options = options
        self._session = session
        self._clock = clock
        self._pattern = TopicPattern(options.topic)
        self._topics = Topics(options)
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
            topics, failures = await self._find_topics(producer, events, deadline)
            reachable = not failures
            queues, oversize = self._lay_out(producer, events, topics)
            refused: Failures = {}
            for result in await push(producer, queues, deadline):
                error = self._isolation.judge(result)
                if error is not None:
                    refused |= dict.fromkeys(result.batch.positions, error)
            healthy = reachable and not refused
            return failures | oversize | refused
        finally:
            if not healthy:  # or cancelled, with batches under way
                self._session.spoil()

    async def _ready(self, deadline: float) -> Any:
        try:
            async with asyncio.timeout_at(deadline):
                producer, fresh = await self._session.ready()
        except TimeoutError as err:
            raise translate(err, f"connecting to {','.join(self._options.bootstrap_servers)}") from err
        if fresh:
            self._topics.forget()
        return producer

    async def _find_topics(
        self, producer: Any, events: Sequence[Event], deadline: float
    ) -> tuple[list[Topic | None], Failures]:
        """Return the topic of each event, and the failures of those whose topic cannot be used."""
        names = [self._pattern.topic(event) for event in events]
        found = {name: await self._find(producer, name, deadline) for name in dict.fromkeys(names)}
        topics: list[Topic | None] = []
        failures: Failures = {}
        for position, name in enumerate(names):
            topic = found[name]
            if isinstance(topic, Topic):
                topics.append(topic)
            else:
                topics.append(None)
                failures[position] = topic
        return topics, failures

    async def _find(self, producer: Any, name: str, deadline: float) -> Topic | Failed:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._topics.find(producer, name)
        except TimeoutError as err:
            return translate(err, f"asking for topic {name}")
        except _FAILED as err:
            return err

    def _lay_out(
        self, producer: Any, events: Sequence[Event], topics: Sequence[Topic | None]
    ) -> tuple[dict[Partition, list[Batch]], Failures]:
        """Sort the events into batches per partition; what is too large even when cut is a failure."""
        records: defaultdict[tuple[Topic, int], list[Record]] = defaultdict(list)
        oversize: Failures = {}
        now = self._clock.now()
        for position, (event, topic) in enumerate(zip(events, topics, strict=True)):
            if topic is None:
                continue
            try:
                record = to_record(position, event, self._options, max_bytes=topic.max_bytes, now=now)
            except PermanentDeliveryError as err:
                oversize[position] = err
            else:
                records[topic, partition_of(record.key, topic.partitions)].append(record)
        queues = {
            (topic.name, number): fill(
                queue, producer.create_batch, Limits(topic.max_bytes, self._isolation.most(topic.name))
            )
            for (topic, number), queue in records.items()
        }
        return queues, oversize


@asynccontextmanager
async def open_kafka(options: KafkaOptions, context: SinkContext) -> AsyncGenerator[KafkaSink]:
    """Open the sink `context.name`; the first `send` connects, so that Kafka may be down now.

    Raises:
        ConfigError: a certificate, a key or a password's file cannot be used.
    """
    try:
        options.connection()
    except (OSError, ValueError) as err:
        raise ConfigError([Problem(f"sinks.{context.name}", f"a file cannot be used: {err}")]) from err
    session = Session(options, options.client_id or f"{context.bridge}.{context.name}")
    try:
        yield KafkaSink(options, session, context.clock)
    finally:
        await session.close()
