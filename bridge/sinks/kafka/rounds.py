"""Sends batches in rounds: one batch of every partition at a time, in order, until a deadline.

After a partition's first failure its later batches are not sent; the other partitions go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from bridge.errors import PermanentDeliveryError, TemporaryDeliveryError
from bridge.sinks.kafka.batches import Batch
from bridge.sinks.kafka.errors import CLIENT_ERRORS, Failed, translate

Partition = tuple[str, int]
"""A topic and a number."""

_BEHIND: Final = "not sent: an earlier batch of its partition failed"


class Result(NamedTuple):
    """What became of one batch: durably accepted when `error` is None."""

    partition: Partition
    batch: Batch
    error: Failed | None


async def push(producer: Any, queues: Mapping[Partition, Sequence[Batch]], deadline: float) -> list[Result]:
    """Send all batches and say what became of each; `deadline` is in the event loop's time.

    A batch without an answer at the deadline is a temporary failure, and may yet arrive.
    """
    results: list[Result] = []
    for number in range(max(map(len, queues.values()), default=0)):
        failed = {result.partition for result in results if result.error is not None}
        turn = [(name, batches[number]) for name, batches in queues.items() if number < len(batches)]
        behind = TemporaryDeliveryError(_BEHIND)
        results += [Result(name, batch, behind) for name, batch in turn if name in failed]
        results += await _round(
            producer, {name: batch for name, batch in turn if name not in failed}, deadline
        )
    return results


async def _round(producer: Any, batches: Mapping[Partition, Batch], deadline: float) -> list[Result]:
    """Send one batch to each partition and wait for all answers."""
    errors: dict[Partition, Failed | None] = {}
    waiting: dict[Partition, asyncio.Future[Any]] = {}
    loop = asyncio.get_running_loop()
    try:
        for name, batch in batches.items():
            if loop.time() >= deadline:
                errors[name] = translate(TimeoutError(), f"sending to {name[0]}")
                continue
            try:
                async with asyncio.timeout_at(deadline):
                    waiting[name] = await producer.send_batch(batch.builder, name[0], partition=name[1])
            except (*CLIENT_ERRORS, AssertionError) as err:  # it asserts that the partition exists
                errors[name] = translate(err, f"sending to {name[0]}")
        if waiting:
            await asyncio.wait(waiting.values(), timeout=max(0.0, deadline - loop.time()))
        errors |= {name: _outcome(name[0], future) for name, future in waiting.items()}
    finally:
        for future in waiting.values():
            future.cancel()  # what is still waiting is given up; its error would be nobody's
    return [Result(name, batch, errors[name]) for name, batch in batches.items()]


def _outcome(topic: str, future: asyncio.Future[Any]) -> Failed | None:
    error = future.exception() if future.done() else TimeoutError()
    return None if error is None else translate(error, f"sending to {topic}")


class Isolation:
    """Finds the one bad record for which a broker refuses a whole batch.

    Such a batch is tried again in halves, until the bad record is alone and fails for good. What
    passes doubles the halves again.
    """

    def __init__(self, most: int) -> None:
        """`most` is the number of records that a batch may have anyway."""
        self._most = most
        self._fewer: dict[str, int] = {}

    def most(self, topic: str) -> int:
        """Return how many records a batch for `topic` may have now."""
        return self._fewer.get(topic, self._most)

    def judge(self, result: Result) -> Failed | None:
        """Return the error of each of the batch's events, if any."""
        (topic, _), batch, error = result
        count = len(batch.positions)
        if isinstance(error, PermanentDeliveryError) and count > 1:
            self._fewer[topic] = count // 2
            return TemporaryDeliveryError(
                f"one of {count} records is refused, looking for it: {error.reason}"
            )
        if error is None and count >= self.most(topic):
            self._fewer[topic] = count * 2
            if count * 2 >= self._most:
                del self._fewer[topic]
        return error
