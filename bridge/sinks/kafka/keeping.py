"""The places topic in the cluster: made as it must be, and read to its end.

One partition, compacted, with one writer. It is read as `read_committed` consumers read, without a
group. After a producer's start nothing of its predecessors is open any more, so what is read then is
all there is; before that, it may be behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from bridge.errors import SinkRefusedError
from bridge.sinks.kafka.errors import CLIENT_ERRORS, translate
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.places import Kept, read
from bridge.sinks.kafka.session import CLOSE_LIMIT, start, within
from bridge.sinks.kafka.topics import Making, Topic, Topics, ask_config, is_there

_MADE_SO: Final = {
    "cleanup.policy": "compact",
    # Only closed segments are compacted: with Kafka's 1 GiB every place ever written would be read again.
    "segment.bytes": str(16 << 20),
    "min.cleanable.dirty.ratio": "0.1",
    # How long tombstones and the ends of transactions stay after that: they, too, are read at each start.
    "delete.retention.ms": "600000",
}

_FETCH_BYTES: Final = 2 << 20
_POLL_MS: Final = 100


class PlacesTopic:
    """Where one sink keeps its places."""

    def __init__(self, options: KafkaOptions, name: str, client_id: str) -> None:
        """Nothing is asked before `find`."""
        self.name = name
        self._options = options
        self._client_id = client_id
        self._partition = TopicPartition(name, 0)
        self._topics = Topics(options, Making(1, _MADE_SO))

    async def find(self, producer: Any) -> Topic:
        """Return the topic, made if need be. It has no deadline of its own.

        Raises:
            TemporaryDeliveryError: the cluster does not answer, or not yet.
            SinkRefusedError: it cannot be made or used, or forgets what is not written again.
        """
        self._topics.forget()
        topic = await self._topics.find(producer, self.name)
        try:
            policy = await ask_config(producer.client, self.name, "cleanup.policy")
        except CLIENT_ERRORS as err:
            raise translate(err, f"asking for topic {self.name}") from err
        if policy not in {None, "compact"}:
            raise SinkRefusedError(
                f"topic {self.name} holds this sink's places and has cleanup.policy={policy}, which would "
                "lose them: set it to compact"
            )
        return topic

    async def load(self) -> Kept:
        """Return all that the topic says, after the start of the only producer that may write to it.

        Takes as long as it goes on, however much there is: `delivery_timeout` is for each step. A
        transaction that somebody else holds open is waited for.

        Raises:
            TemporaryDeliveryError: it does not go on.
            SinkRefusedError: the topic may not be read, or has records that are none of ours.
        """
        return await self._read("highwater")

    async def glance(self) -> Kept:
        """Return what the topic says as far as it is committed; raises as `load`."""
        return await self._read("last_stable_offset")

    async def _read(self, end: str) -> Kept:
        """Read until the broker's `end`, as its last answer told it, is reached."""
        found: dict[bytes, bytes] = {}
        try:
            async with asyncio.timeout(self._options.delivery_timeout) as limit, self._consumer() as consumer:
                if await is_there(consumer._client, self.name):  # noqa: SLF001 - as a producer's `client`
                    consumer.assign([self._partition])
                    await self._follow(consumer, getattr(consumer, end), found, limit)
        except (*CLIENT_ERRORS, ValueError) as err:  # ValueError: SCRAM's answer makes no sense
            raise translate(err, f"reading topic {self.name}, which holds this sink's places") from err
        try:
            return read(found)
        except ValueError as err:
            raise SinkRefusedError(f"topic {self.name} holds more than this sink's places: {err}") from err

    async def _follow(
        self,
        consumer: AIOKafkaConsumer,
        end: Callable[[TopicPartition], int | None],
        found: dict[bytes, bytes],
        limit: asyncio.Timeout,
    ) -> None:
        """Keep the last value of every key in `found`; each step forward puts the limit off."""
        loop = asyncio.get_running_loop()
        before = -1
        while (last := end(self._partition)) is None or before < last:
            got = await consumer.getmany(self._partition, timeout_ms=_POLL_MS)
            for record in got.get(self._partition, ()):
                if record.value is None:
                    found.pop(record.key, None)
                else:
                    found[record.key] = record.value
            position = await consumer.position(self._partition)
            if position > before:
                before = position
                limit.reschedule(loop.time() + self._options.delivery_timeout)

    @asynccontextmanager
    async def _consumer(self) -> AsyncGenerator[AIOKafkaConsumer]:
        try:
            connection = self._options.connection()
        except (OSError, ValueError) as err:
            raise SinkRefusedError(f"a file of the Kafka sink cannot be used: {err}") from err
        consumer = AIOKafkaConsumer(
            client_id=self._client_id,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=_POLL_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
            **connection,
        )
        try:
            await start(consumer)
            yield consumer
        finally:
            await within(CLOSE_LIMIT, consumer.stop())
