"""The life of one producer after the other: connect, use, give up, replace.

aiokafka retries for ever when the cluster is away, and after a refused batch its idempotent producer
is of no further use for that partition. So a session gives a producer up after any failure and makes
a fresh one for the next batch. Everything that reaches into aiokafka's internals stands here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.conn import create_conn

from bridge.errors import SinkRefusedError
from bridge.sinks.kafka.errors import CLIENT_ERRORS, Failed, translate
from bridge.sinks.kafka.options import KafkaOptions

MAX_BATCH: Final = 900_000
"""Bytes of one record batch, below the brokers' usual limit of 1 MiB (exactly-once measurements)."""

CLOSE_LIMIT: Final = 2.0
"""Seconds that a producer gets for each step of closing."""

_DEFAULT_PORT: Final = 9092


class Transactional(NamedTuple):
    """What makes a producer a transactional one; `timeout` in seconds, counted by the brokers."""

    id: str
    timeout: float


class Session:
    """Keeps one ready producer for one cluster."""

    def __init__(
        self, options: KafkaOptions, client_id: str, transactional: Transactional | None = None
    ) -> None:
        """Nothing is connected before `ready`."""
        self._options = options
        self._client_id = client_id
        self._transactional = transactional
        self._producer: Any = None
        self._spoiled = False

    @property
    def healthy(self) -> bool:
        """Whether there is a producer that has started and not been given up."""
        return self._producer is not None and not self._spoiled

    async def ready(self, deadline: float) -> tuple[Any, bool]:
        """Return a connected producer, and whether it is a new one; `deadline` in the loop's time.

        A new transactional producer has ended what others with its id had begun, and fenced them.

        Raises:
            TemporaryDeliveryError: the cluster cannot be reached, or not in time.
            SinkRefusedError: it does not let us in, or our own files cannot be used.
        """
        if self.healthy:
            return self._producer, False
        try:
            async with asyncio.timeout_at(deadline):
                await self._renew()
        except TimeoutError as err:
            raise translate(err, self._connecting) from err
        return self._producer, True

    async def _renew(self) -> None:
        await self.close()
        self._producer = self._make()
        self._spoiled = True  # until it has started: a cancelled start leaves half a producer
        try:
            await start(self._producer)
        except (*CLIENT_ERRORS, ValueError) as err:  # ValueError: SCRAM's answer makes no sense
            raise await self._reason(err) from err
        self._spoiled = False

    def spoil(self) -> None:
        """Stop the producer at once: nothing of it may reach the cluster after a later batch."""
        if self._producer is None:
            return
        self._spoiled = True
        sender, connections = _internals(self._producer)
        if sender is not None:
            sender.cancel()
        for connection in connections:
            writer = connection._writer  # noqa: SLF001 - closing would wait for what is unsent
            if writer is not None:
                writer.transport.abort()

    async def close(self) -> None:
        """Let go of the producer within a few seconds, whatever state it and the cluster are in."""
        if self._producer is None:
            return
        if not self._spoiled and not await within(CLOSE_LIMIT, self._producer.stop()):
            self.spoil()  # so it goes the hard way
        if self._spoiled:
            await _abandon(self._producer)
        self._producer = None

    def _make(self) -> Any:
        try:
            connection = self._options.connection()
        except (OSError, ValueError) as err:
            raise SinkRefusedError(f"a file of the Kafka sink cannot be used: {err}") from err
        compression = self._options.compression
        if self._transactional is not None:
            connection["transactional_id"] = self._transactional.id
            connection["transaction_timeout_ms"] = int(self._transactional.timeout * 1000)
        return AIOKafkaProducer(
            client_id=self._client_id,
            enable_idempotence=True,
            acks="all",
            compression_type=None if compression == "none" else compression,
            max_batch_size=MAX_BATCH,
            linger_ms=0,
            **connection,
        )

    @property
    def _connecting(self) -> str:
        return f"connecting to {','.join(self._options.bootstrap_servers)}"

    async def _reason(self, err: BaseException) -> Failed:
        """Say why no broker lets us in: aiokafka only logs that, so look at each server again."""
        doing = self._connecting
        found = translate(err, doing)
        if isinstance(found, SinkRefusedError):
            return found
        for server in self._options.bootstrap_servers:
            try:
                connection = await create_conn(
                    *_host_and_port(server), client_id=self._client_id, **_for_one(self._options.connection())
                )
            except (*CLIENT_ERRORS, ValueError) as why:
                found = translate(why, doing)
                if isinstance(found, SinkRefusedError):
                    return found
            else:
                connection.close()
                return translate(err, doing)
        return found


async def start(client: Any) -> None:
    """Start a producer or consumer. A cancelled bootstrap would leak its connection, so it gets time."""
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    finally:
        if not starting.done():
            await asyncio.wait({starting}, timeout=CLOSE_LIMIT)
            starting.cancel()
            await asyncio.wait({starting}, timeout=CLOSE_LIMIT)
        if not starting.cancelled():
            starting.exception()  # seen, even if nobody waits any more


async def within(limit: float, ending: Coroutine[Any, Any, Any]) -> bool:
    """Let `ending` run for at most `limit` seconds; say whether it ended well.

    Not asyncio.timeout: in a task that is being cancelled, early 3.11 takes its end for ours.
    """
    task = asyncio.ensure_future(ending)
    await asyncio.wait({task}, timeout=limit)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=limit)
    return task.done() and not task.cancelled() and task.exception() is None


async def _abandon(producer: Any) -> None:
    """Close a producer without waiting for what it has not sent.

    Its own `stop` would wait for that for ever. On the first cancellation its sending task waits for
    its requests; each further one cancels a request.
    """
    sender, _ = _internals(producer)
    loop = asyncio.get_running_loop()
    end = loop.time() + CLOSE_LIMIT
    while sender is not None and not sender.done() and loop.time() < end:
        sender.cancel()
        await asyncio.wait({sender}, timeout=CLOSE_LIMIT / 8)
    producer._closed = True  # noqa: SLF001 - or it complains when it is collected
    for future in _unheard(producer):
        if future.done() and not future.cancelled():
            future.exception()  # or asyncio complains that nobody asked for it
    await within(CLOSE_LIMIT, producer.client.close())


def _internals(producer: Any) -> tuple[asyncio.Task[None] | None, list[Any]]:
    """Return aiokafka's sending task and its connections (0.14; it has no way to give up)."""
    return producer._sender.sender_task, list(producer.client._conns.values())  # noqa: SLF001 - see above


def _unheard(producer: Any) -> Iterator[asyncio.Future[Any]]:
    """Yield the futures that a failing sender fails and for which nobody waits."""
    ended = producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001 - see above
    if ended is not None:
        yield ended
    for batches in producer._message_accumulator._batches.values():  # noqa: SLF001 - see above
        for batch in batches:
            yield batch._drain_waiter  # noqa: SLF001 - see above


def _host_and_port(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        return server.strip("[]"), _DEFAULT_PORT
    return host.strip("[]"), int(port)


def _for_one(connection: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in connection.items() if name != "bootstrap_servers"}
