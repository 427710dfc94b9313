"""The parts of the running bridge, joined: lanes between sources and sinks, and what they share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Final

from bridge.anew import Anew
from bridge.assemble import scope_of
from bridge.awx import SourceOptions
from bridge.backoff import full_jitter
from bridge.carry import Carrier, Plain, Transactions
from bridge.config import Config
from bridge.contract import FIELDS
from bridge.deliver import Delivery, Health
from bridge.feed import Feed
from bridge.follow import Following
from bridge.keep import Keeper
from bridge.lane import Lane
from bridge.letters import Letters
from bridge.model import JobKey, Place
from bridge.notes import notes_of
from bridge.orders import Clerk
from bridge.ports import Clock, Observer, Sink, Snapshot, Source, State, TransactionalSink
from bridge.prepare import Preparer
from bridge.redact import Redactor
from bridge.replay import Room
from bridge.route import compile_routes
from bridge.watch import Watch

LIVE_READS: Final = 8
CATCH_UP_READS: Final = 4
"""Reads of one source that may be under way or wait for the budget at a time: bounds the memory."""


class Bridge:
    """Everything that runs, made from the configuration and what state remembers."""

    def __init__(
        self, config: Config, snapshot: Snapshot, *, keeper: Keeper, clock: Clock, observer: Observer
    ) -> None:
        """Compile the rules; then `add_sink` each sink, then `add_source` each source."""
        self.config = config
        self.lanes: dict[str, Lane] = {}
        self.deliveries: dict[str, Delivery] = {}
        self.watches: dict[str, Watch] = {}
        self.followings: dict[str, Following] = {}
        self.sources: dict[str, Source] = {}
        self.parked: dict[str, str] = {}
        self.loops: dict[str, Callable[[], Coroutine[None, None, None]]] = {}
        self._snapshot = snapshot
        self.keeper = keeper
        self.clock = clock
        self.observer = observer
        self._routes = compile_routes(config.route_specs, known_fields=FIELDS)
        self._chance = random.SystemRandom()
        self._redactor = Redactor(config.redact)
        self._preparer = Preparer(
            bridge=config.name,
            public_urls={name: _public_url(options) for name, options in config.sources.items()},
            redactor=self._redactor,
            rules=self._routes,
            max_hosts=config.max_hosts,
        )

    def _backoff(self, attempt: int) -> float:
        return 0.2 + full_jitter(attempt, self._chance, cap=10.0)

    def add_sink(self, name: str, sink: Sink) -> None:
        """Give `sink` its lane and the loop that empties it."""
        options = self.config.sinks[name]
        lane = Lane(name, batching=options.batching, moved=partial(self._moved, name))
        carrier: Carrier = Plain(sink)
        if isinstance(sink, TransactionalSink):
            carrier = transactions = Transactions(
                sink, lane, notes=self._notes(), letters_safe=self.keeper.letters_safe
            )
            self.keeper.mirrors.append(transactions)
        self.lanes[name] = lane
        self.deliveries[name] = Delivery(
            lane,
            carrier,
            backoff=self._backoff,
            retry_for=options.retry_for,
            bury=self.keeper.dead_letter,
            changed=self._sink_changed,
            clock=self.clock,
            observer=self.observer,
        )

    def _notes(self) -> dict[str, bytes]:
        snapshot = self._snapshot
        return notes_of([*snapshot.jobs.values(), *snapshot.done.values()], snapshot.sources)

    def add_source(self, source: Source) -> None:
        """Watch `source` and go on with the jobs that state remembers of it."""
        options = self.config.sources[source.name]
        self.sources[source.name] = source
        feed = Feed(
            source=source,
            preparer=self._preparer,
            lanes=self.lanes,
            wanting=frozenset(name for name in self.lanes if self._routes.wants_events(name)),
            keeper=self.keeper,
            clock=self.clock,
            observer=self.observer,
            announce=self.announce,
            backoff=self._backoff,
            gap_wait=options.gap_wait,
            close_wait=options.close_wait,
            page_limit=options.page_limit,
            live=asyncio.Semaphore(LIVE_READS),
            behind=asyncio.Semaphore(CATCH_UP_READS),
        )
        following = Following(feed)
        self.followings[source.name] = following
        for key, record in (*self._snapshot.jobs.items(), *self._snapshot.done.items()):
            if key.source == source.name:
                following.restore(record, self._places(key))
        self.watches[source.name] = Watch(
            feed,
            following,
            record=self._snapshot.sources.get(source.name),
            scope=scope_of(options, public_url=_public_url(options)),
        )

    def take_orders(self, state: State) -> None:
        """Carry out what commands ask for, beside everything else."""
        anew = Anew(
            sources=self.sources,
            parked=self.parked,
            state=state,
            preparer=self._preparer,
            redactor=self._redactor,
        )
        letters = Letters(
            anew,
            self.deliveries,
            state=state,
            keeper=self.keeper,
            clock=self.clock,
            observer=self.observer,
        )
        replays = Room(
            sources=self.sources,
            followings=self.followings,
            parked=self.parked,
            deliveries=self.deliveries,
            preparer=self._preparer,
            keeper=self.keeper,
            state=state,
            clock=self.clock,
            observer=self.observer,
        )
        clerk = Clerk(
            state,
            {**letters.handlers(), **replays.handlers()},
            resumable=replays.handlers(),
            clock=self.clock,
            observer=self.observer,
        )
        self.loops["orders"] = clerk.run

    def _places(self, key: JobKey) -> dict[str, Place]:
        places = self._snapshot.places
        return {name: places[key, name] for name in self.lanes if (key, name) in places}

    def _moved(self, sink: str, key: JobKey, place: Place) -> None:
        self.followings[key.source].moved(sink, key, place)

    def _sink_changed(self, sink: str, health: Health, reason: str) -> None:
        kind = "bridge.sink.parked" if health is Health.PARKED else "bridge.sink.resumed"
        self.announce(kind, None, {"sink": sink, "reason": reason or None})

    def announce(self, kind: str, source: str | None, facts: Mapping[str, str | None]) -> None:
        """Route one of the bridge's own events like any other; `source` is the AWX it concerns."""
        prepared = self._preparer.own(kind, at=self.clock.now(), source=source, **facts)
        for name in prepared.sinks:
            self.lanes[name].offer(prepared.event)


def _public_url(options: SourceOptions) -> str:
    return options.public_url or options.url
