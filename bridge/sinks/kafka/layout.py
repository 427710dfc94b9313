"""Finds the topic of every event and packs the events into record batches, partition by partition.

What both ways of delivering do before they send anything: nothing here sends, and nothing is decided
about events that cannot go.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bridge.errors import PermanentDeliveryError, SinkRefusedError, TemporaryDeliveryError
from bridge.model import Event
from bridge.ports import Clock
from bridge.sinks.kafka.batches import Batch, Limits, Record, fill, partition_of, to_record
from bridge.sinks.kafka.errors import Failed, translate
from bridge.sinks.kafka.naming import TopicPattern
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.rounds import Partition
from bridge.sinks.kafka.topics import Topic, Topics

Failures = dict[int, Failed]
"""Positions in the lane's batch and what happened to the event there."""

Queues = dict[Partition, list[Batch]]

FAILED: Final = (TemporaryDeliveryError, PermanentDeliveryError, SinkRefusedError)


class Layout:
    """What one sink knows of its topics."""

    def __init__(self, options: KafkaOptions, clock: Clock) -> None:
        """Nothing is asked before `find_topics`."""
        self._options = options
        self._clock = clock
        self._pattern = TopicPattern(options.topic)
        self.topics = Topics(options)

    async def find_topics(
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
                return await self.topics.find(producer, name)
        except TimeoutError as err:
            return translate(err, f"asking for topic {name}")
        except FAILED as err:
            return err

    def sort(
        self, events: Sequence[Event], topics: Sequence[Topic | None]
    ) -> tuple[Mapping[tuple[Topic, int], Sequence[Record]], Failures]:
        """Sort the events by partition; what is too large even when cut is a failure."""
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
        return records, oversize


def pack(
    records: Mapping[tuple[Topic, int], Sequence[Record]], producer: Any, most: Callable[[str], int]
) -> Queues:
    """Fill batches of `producer`; `most` is how many records a batch for a topic may have."""
    return {
        (topic.name, number): fill(queue, producer.create_batch, Limits(topic.max_bytes, most(topic.name)))
        for (topic, number), queue in records.items()
    }
