"""A process that writes known events through the exactly-once sink, to be killed or stopped.

`python -m tests.support.kafka_writer BOOTSTRAP TOPIC --until N`: job 1 to JOBS each get the events 1 to N,
from where the places say that the last writer was. `--die begin:5` kills it with its fifth transaction at
that moment; without it, it writes until somebody else ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer

from bridge.errors import StateOwnedError, TemporaryDeliveryError
from bridge.model import Event, JobKey, Place
from bridge.ports import TransactionalSink
from tests.support.kafka_sink import job, make_event, open_transactional, places_after

JOBS = 8
MOMENTS = ("begin", "sent", "committing", "committed")
OWNED = 75


class Dying(AIOKafkaProducer):
    """Kills its process at a moment of its transaction number so-and-so."""

    moment = ""
    countdown = 0

    async def begin_transaction(self) -> None:
        Dying.countdown -= 1
        await super().begin_transaction()
        self._die_at("begin")

    async def commit_transaction(self) -> None:
        self._die_at("sent")
        if Dying.countdown == 0 and self.moment == "committing":
            asyncio.get_running_loop().call_later(random.uniform(0, 0.003), _die)
        await super().commit_transaction()
        self._die_at("committed")

    def _die_at(self, moment: str) -> None:
        if Dying.countdown == 0 and self.moment == moment:
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def retried(call: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        try:
            return await call()
        except TemporaryDeliveryError:
            await asyncio.sleep(0.05)


def choose(chance: random.Random, through: dict[JobKey, int], until: int) -> list[Event]:
    """Take the next events of some jobs, a few or many."""
    left = [key for key in through if through[key] < until]
    batch: list[Event] = []
    for key in chance.sample(left, chance.randint(1, len(left))):
        end = min(until, through[key] + chance.choice((1, 2, 10, 40)))
        batch += [make_event(key.job_id, counter) for counter in range(through[key] + 1, end + 1)]
    return batch


async def write(sink: TransactionalSink, until: int) -> None:
    """Be a lane: its places move when a call returns, and after a failure it takes another batch."""
    chance = random.Random()
    places = await retried(sink.places)
    through = {job(number): places.get(job(number), Place()).through for number in range(1, JOBS + 1)}
    print("started", flush=True)  # noqa: T201 - for who started this
    while min(through.values()) < until:
        batch = choose(chance, through, until)
        moved = places_after(batch)
        try:
            await sink.send_with_places(batch, moved)
        except TemporaryDeliveryError:
            await asyncio.sleep(0.02)
        else:
            through |= {key: place.through for key, place in moved.items()}
    print("finished", flush=True)  # noqa: T201 - as above


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--until", type=int, default=10**9)
    parser.add_argument("--die", default="")
    given = parser.parse_args()
    if given.die:
        Dying.moment, _, number = given.die.partition(":")
        Dying.countdown = int(number)
        sys.modules["bridge.sinks.kafka.session"].AIOKafkaProducer = Dying  # type: ignore[attr-defined]
    limits = {"delivery_timeout": 5, "request_timeout": 2, "transaction_timeout": 5}
    try:
        async with open_transactional(given.bootstrap, given.topic, **limits) as sink:
            await write(sink, given.until)
    except StateOwnedError as err:
        print(err, file=sys.stderr)  # noqa: T201 - as a command does
        return OWNED
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
