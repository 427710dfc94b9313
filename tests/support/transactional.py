"""A sink that keeps its places like Kafka's transactions do: events and places together, or neither."""

import asyncio

from bridge.errors import TemporaryDeliveryError


class Broker:
    """What survives the death of the bridge: committed events, committed places."""

    def __init__(self):
        self.events = []
        self.places = {}
        self.notes = {}
        self.down = False

    @property
    def ids(self):
        return [event.id for event in self.events]


class FakeTransactionalSink:
    """`ports.TransactionalSink` over a broker. `delay` is the time a commit takes, on both sides of it.

    `doubt`, when set, lets that many commits succeed whose answer is lost.
    """

    def __init__(self, broker, *, delay=0.0, doubt=0):
        self.broker = broker
        self.delay = delay
        self.doubt = doubt
        self.commits = 0
        self._accepted = set()

    async def places(self):
        if self.broker.down:
            raise TemporaryDeliveryError("the broker is down")
        return dict(self.broker.places)

    def notes(self):
        return dict(self.broker.notes)

    async def send(self, events, /):
        await self.send_with_places(events, {})

    async def send_with_places(self, events, places, /, *, notes=None):
        if self.broker.down:
            raise TemporaryDeliveryError("the broker is down")
        offered = {event.id for event in events}
        events = [event for event in events if event.id not in self._accepted]
        await asyncio.sleep(self.delay)
        self.broker.events += events
        for job, place in places.items():
            if place is None:
                self.broker.places.pop(job, None)
            else:
                self.broker.places[job] = place
        for name, note in (notes or {}).items():
            if note is None:
                self.broker.notes.pop(name, None)
            else:
                self.broker.notes[name] = note
        self.commits += 1
        if self.doubt:
            self.doubt -= 1
            self._accepted |= {event.id for event in events}
            raise TemporaryDeliveryError("the answer to the commit was lost")
        await asyncio.sleep(self.delay)
        self._accepted -= offered


async def at_once():
    """Stand in for `Keeper.letters_safe` where letters are not what is looked at."""
