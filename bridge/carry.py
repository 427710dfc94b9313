"""How a lane's batches reach its sink: plainly, or in transactions that move the sink's places too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from bridge.errors import DeliveryError
from bridge.lane import Lane
from bridge.model import Event, JobKey, Place
from bridge.ports import Sink, TransactionalSink

FLUSH_EVERY: Final = 1.0
"""Seconds after which places that moved without an event are written to the sink."""


class Carrier(Protocol):
    """What a delivery needs of a sink."""

    async def begin(self) -> None:
        """Make ready, once before the first batch; raises what `Sink.send` raises."""
        ...

    async def carry(self, events: Sequence[Event], /) -> None:
        """Deliver `events`; raises what `Sink.send` raises."""
        ...

    async def apart(self, events: Sequence[Event], /) -> None:
        """Deliver `events` out of their jobs' order: no place moves; raises what `Sink.send` raises."""
        ...

    async def keep_up(self) -> None:
        """Do what is to be done beside the batches, until cancelled."""
        ...


class Plain:
    """A sink whose places the bridge keeps."""

    def __init__(self, sink: Sink) -> None:
        """Carry to `sink`."""
        self._sink = sink

    async def begin(self) -> None:
        """Nothing is to be made ready."""

    async def carry(self, events: Sequence[Event], /) -> None:
        """Send."""
        await self._sink.send(events)

    async def apart(self, events: Sequence[Event], /) -> None:
        """Send."""
        await self._sink.send(events)

    async def keep_up(self) -> None:
        """Nothing is to be done beside the batches."""


class Transactions:
    """A sink that holds its own places: on start they win over the disk, then both move together."""

    def __init__(
        self,
        sink: TransactionalSink,
        lane: Lane,
        *,
        notes: Mapping[str, bytes],
        letters_safe: Callable[[], Awaitable[None]],
    ) -> None:
        """Hold `lane` until the places of `sink` are known, and listen to how its places move.

        `notes` are what it should hold beside them at the start; `note` tells what changes. No place
        moves over an event that was buried before `letters_safe` says that its letter is on disk.
        """
        self._letters_safe = letters_safe
        self._sink = sink
        self._lane = lane
        self._tell: Callable[[JobKey, Place], None] = lane.moved
        self._known: dict[JobKey, Place] = {}
        self._moved: dict[JobKey, Place] = {}
        self._forgotten: set[JobKey] = set()
        self._notes: dict[str, bytes | None] = dict(notes)
        self._one = asyncio.Lock()
        lane.moved, lane.forget = self.moved, self.forget
        lane.hold()

    async def begin(self) -> None:
        """Read the places that the sink holds, and let the lane go on from them.

        A sink that holds none takes over those of the disk: it has just been told to keep its own.
        """
        self._known = dict(await self._sink.places())
        if self._known:
            self._lane.place_of = lambda job, _disk: self._known.get(job, Place())
        else:
            self._moved = {job: self._lane.place(job) for job in self._lane.jobs()}
        held = self._sink.notes()
        self._notes = {name: note for name, note in self._notes.items() if held.get(name) != note}
        self._lane.go_on()

    def moved(self, job: JobKey, place: Place) -> None:
        """Note a place that moved: the disk may know at once, the sink with the next transaction."""
        self._moved[job] = place
        self._tell(job, place)

    def note(self, name: str, note: bytes | None, /) -> None:
        """Have `note` kept with the next transaction; see `keep.Mirror`."""
        self._notes[name] = note

    def forget(self, job: JobKey) -> None:
        """Let the sink forget a job that nobody will ask for again."""
        self._moved.pop(job, None)
        if self._known.pop(job, None) is not None:
            self._forgotten.add(job)

    def _news(self) -> dict[JobKey, Place]:
        """Return the places that the sink does not hold: as they are now, whatever was told before."""
        now = {
            job: self._lane.place(job) if self._lane.carries(job) else told
            for job, told in self._moved.items()
        }
        self._moved = {job: place for job, place in now.items() if self._known.get(job, Place()) != place}
        return dict(self._moved)

    async def carry(self, events: Sequence[Event], /) -> None:
        """Deliver `events` and every place that moved, in one transaction."""
        async with self._one:
            await self._letters_safe()
            # Nothing of this lane is under way now, so what the lane says is what has been accepted.
            forgotten = frozenset(self._forgotten)
            places = self._news() | self._lane.places_after(events)
            notes = dict(self._notes)
            await self._sink.send_with_places(events, {**dict.fromkeys(forgotten), **places}, notes=notes)
            self._known.update(places)
            self._forgotten -= forgotten
            self._notes = {name: note for name, note in self._notes.items() if notes.get(name, b"") != note}

    async def apart(self, events: Sequence[Event], /) -> None:
        """Deliver `events` in a transaction of their own."""
        async with self._one:
            await self._sink.send_with_places(events, {})

    async def keep_up(self) -> None:
        """Write places that moved without an event; what fails goes with the next transaction."""
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            if self._forgotten or self._notes or self._news():
                try:
                    await self.carry(())
                except DeliveryError:
                    continue
