"""A network between a client and the broker that loses answers, delays requests, or is cut.

It knows just enough of Kafka's protocol to tell requests apart, and puts its own port where the broker
names its own, so that clients stay with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator

PRODUCE = 0
INIT_PRODUCER_ID = 22
ADD_PARTITIONS_TO_TXN = 24
END_TXN = 26

HOST = "127.0.0.1"


class KafkaProxy:
    """Forwards frames; what is in `losing` and `holding` concerns frames that come from now on."""

    def __init__(self, broker: str) -> None:
        self._broker_port = int(broker.rpartition(":")[2])
        self.port = 0
        self.losing: Counter[int] = Counter()
        self.lost = asyncio.Event()
        self.holding: set[int] = set()
        self.held = asyncio.Event()
        self._released = asyncio.Event()
        self._cut = False
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def lose(self, api: int, times: int = 1) -> None:
        """Let the broker carry out the next requests of this kind, and lose its answers."""
        self.losing[api] += times
        self.lost.clear()

    def hold(self, api: int) -> None:
        """Keep every request of this kind, and what follows on its connection, until `release`."""
        self.holding.add(api)
        self.held.clear()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Hand what was held to the broker, even if its client has gone; hold nothing more."""
        self.holding.clear()
        self._released.set()

    def cut(self) -> None:
        """Drop every connection and take no new ones until `mend`."""
        self._cut = True
        for writer in self._clients:
            writer.transport.abort()

    def mend(self) -> None:
        self._cut = False

    async def serve(self, client: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients.add(writer)
        try:
            if self._cut:
                return
            broker, upstream = await asyncio.open_connection(HOST, self._broker_port)
            kinds: dict[int, int] = {}
            answers = asyncio.create_task(self._answers(broker, writer, kinds))
            try:
                await self._requests(client, upstream, kinds)
            finally:
                upstream.close()
                answers.cancel()
                await asyncio.wait({answers})
        except (OSError, asyncio.CancelledError):
            return  # a torn connection is what this is for
        finally:
            self._clients.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _requests(
        self, client: asyncio.StreamReader, upstream: asyncio.StreamWriter, kinds: dict[int, int]
    ) -> None:
        while (frame := await _frame(client)) is not None:
            api, _, correlation = struct.unpack_from(">hhi", frame, 4)
            kinds[correlation] = api
            if api in self.holding:
                self.held.set()
                await self._released.wait()
            upstream.write(frame)
            await upstream.drain()

    async def _answers(
        self, broker: asyncio.StreamReader, writer: asyncio.StreamWriter, kinds: dict[int, int]
    ) -> None:
        theirs = HOST.encode() + struct.pack(">i", self._broker_port)
        ours = HOST.encode() + struct.pack(">i", self.port)
        with contextlib.suppress(OSError):
            while (frame := await _frame(broker)) is not None:
                api = kinds.pop(*struct.unpack_from(">i", frame, 4))
                if self.losing[api] > 0:
                    self.losing[api] -= 1
                    self.lost.set()
                    continue
                writer.write(frame.replace(theirs, ours))
                await writer.drain()
        writer.close()

    async def stop(self) -> None:
        self.release()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _frame(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next frame with its length in front, None at the end."""
    try:
        size = await reader.readexactly(4)
        return size + await reader.readexactly(*struct.unpack(">i", size))
    except (asyncio.IncompleteReadError, OSError):
        return None


@contextlib.asynccontextmanager
async def running_proxy(broker: str) -> AsyncIterator[KafkaProxy]:
    """Serve on a port of its own, before the broker at `broker` (host:port)."""
    proxy = KafkaProxy(broker)
    server = await asyncio.start_server(proxy.serve, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
        await server.wait_closed()
