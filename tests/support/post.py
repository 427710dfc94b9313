"""A bridge whose sinks refuse some events, and orders about the dead letters that come of it."""

import asyncio
from contextlib import asynccontextmanager

from bridge.errors import PermanentDeliveryError
from tests.support.jobs import simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource

EVENT = "prod/job/1/event/3"


class Picky:
    """A sink's script: `errors` maps an event id to what the sink says about it."""

    def __init__(self, **errors):
        self.errors = {}

    def __call__(self, events):
        for event in events:
            if event.id in self.errors:
                raise self.errors[event.id]


class Post(Rig):
    """A bridge with one sink, `ops`, that refuses some events of one job."""

    def __init__(self, *refused, job=None, sinks=("ops",), **more):
        self.picky = {name: Picky() for name in sinks}
        for picky in self.picky.values():
            picky.errors = {name: PermanentDeliveryError("HTTP 400: no") for name in refused}
        self.job = job or simple()
        super().__init__(
            FakeSource("prod", self.job), sinks={name: FakeSink(self.picky[name]) for name in sinks}, **more
        )

    @property
    def sink(self):
        return self.sinks["ops"]

    def accept(self):
        for picky in self.picky.values():
            picky.errors = {}

    @asynccontextmanager
    async def dead(self):
        """Run until the letters are there."""
        async with self.run() as bridge:
            await asyncio.sleep(60)
            for sink in self.sinks.values():
                sink.events.clear()
                sink.batches.clear()
            yield bridge

    async def order(self, verb, *ids, wait=3.0, **arguments):
        asked = {"ids": list(ids) if ids else None, **arguments}
        number = self.state.give(f"dead_letters.{verb}", asked, who="ada", at=self.clock.now())
        await asyncio.sleep(wait)
        return self.state.outcomes[number]

    def letters(self):
        return [(letter.sink, letter.event_id) for letter in self.state.letters.values()]


def results(outcome):
    return [letter["result"] for letter in outcome.details["letters"]]
