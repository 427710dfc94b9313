"""The composition root: a configuration becomes objects, the objects become one task group.

The way of the data: watch finds jobs, tails read their events, lanes carry them, deliveries send
them, the keeper writes down how far each sink has got. Nothing here decides anything about them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Final, NamedTuple

from bridge.assemble import check_destinations, open_sinks, scope_of
from bridge.awx import SourceOptions, open_source
from bridge.backoff import full_jitter
from bridge.config import Config
from bridge.contract import FIELDS
from bridge.deliver import Delivery, Health
from bridge.follow import Following
from bridge.followed import Feed
from bridge.keep import Keeper
from bridge.lane import Lane
from bridge.model import JobKey, Place
from bridge.ports import Clock, Observer, Sink, Snapshot, Source
from bridge.prepare import Preparer
from bridge.redact import Redactor
from bridge.route import compile_routes
from bridge.sinks import SinkKind, sink_kinds
from bridge.state.sqlite import open_state
from bridge.status import health, healthy, observe, status
from bridge.watch import SourceParked, Watch
from bridge.web.server import open_web

HOUSEKEEPING: Final = 60.0
"""Seconds between two looks at what lags for too long."""

LIVE_READS: Final = 8
CATCH_UP_READS: Final = 4
"""Reads of one source that may be under way or wait for the budget at a time: bounds the memory."""


class Bridge:
    """Everything that runs, put together from the configuration and what state remembers."""

    def __init__(
        self, config: Config, snapshot: Snapshot, *, keeper: Keeper, clock: Clock, observer: Observer
    ) -> None:
        """Compile the rules; then `add_sink` each sink, then `add_source` each source."""
        self.config = config
        self.lanes: dict[str, Lane] = {}
        self.deliveries: dict[str, Delivery] = {}
        self.watches: dict[str, Watch] = {}
        self.followings: dict[str, Following] = {}
        self.parked: dict[str, str] = {}
        self._snapshot = snapshot
        self._keeper = keeper
        self.clock = clock
        self.observer = observer
        self._routes = compile_routes(config.route_specs, known_fields=FIELDS)
        self._chance = random.SystemRandom()
        self._preparer = Preparer(
            bridge=config.name,
            public_urls={name: _public_url(options) for name, options in config.sources.items()},
            redactor=Redactor(config.redact),
            rules=self._routes,
            max_hosts=config.max_hosts,
        )

    def _backoff(self, attempt: int) -> float:
        return 0.2 + full_jitter(attempt, self._chance, cap=30.0)

    def add_sink(self, name: str, sink: Sink) -> None:
        """Give `sink` its lane and the loop that empties it."""
        options = self.config.sinks[name]
        lane = Lane(name, batching=options.batching, moved=partial(self._moved, name))
        self.lanes[name] = lane
        self.deliveries[name] = Delivery(
            lane,
            sink,
            backoff=self._backoff,
            retry_for=options.retry_for,
            bury=self._keeper.dead_letter,
            changed=self._sink_changed,
            clock=self.clock,
            observer=self.observer,
        )

    def add_source(self, source: Source) -> None:
        """Watch `source` and go on with the jobs that state remembers of it."""
        options = self.config.sources[source.name]
        feed = Feed(
            source=source,
            preparer=self._preparer,
            lanes=self.lanes,
            wanting=frozenset(name for name in self.lanes if self._routes.wants_events(name)),
            keeper=self._keeper,
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
        following = Following(feed, done=[key for key in self._snapshot.done if key.source == source.name])
        self.followings[source.name] = following
        for key, record in self._snapshot.jobs.items():
            if key.source == source.name:
                following.restore(record, self._places(key))
        self.watches[source.name] = Watch(
            feed,
            following,
            record=self._snapshot.sources.get(source.name),
            scope=scope_of(options, public_url=_public_url(options)),
        )

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

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; then finish what is on its way, within `drain_timeout`."""
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keeper.run(), name="keep")
            delivering = [
                tasks.create_task(delivery.run(), name=f"deliver {name}")
                for name, delivery in self.deliveries.items()
            ]
            reading = [tasks.create_task(self._keep_house(), name="housekeeping")]
            reading += [tasks.create_task(self._read(name), name=f"read {name}") for name in self.watches]
            self.observer.note("bridge.started", sources=sorted(self.watches), sinks=sorted(self.lanes))
            await stop.wait()
            self.observer.note("bridge.stopping", waits_at_most=self.config.drain_timeout)
            await _end(reading)
            await self._drain()
            await _end(delivering)
            await _end([keeping])
        self.observer.note("bridge.stopped")

    async def _read(self, name: str) -> None:
        """Watch and follow one source; park it when another AWX answers."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.watches[name].run(), name=f"watch {name}")
                tasks.create_task(self.followings[name].run(), name=f"follow {name}")
        except* SourceParked as group:
            parked = group.exceptions[0]
            self.parked[name] = str(parked)
            trouble = parked.trouble if isinstance(parked, SourceParked) else "replaced"
            self.observer.note(f"source.{trouble}", source=name, reason=str(parked))
            self.announce("bridge.source.down", name, {"reason": str(parked)})

    async def _drain(self) -> None:
        """Wait until every healthy sink has what is queued for it, at most `drain_timeout`."""
        try:
            async with asyncio.timeout(self.config.drain_timeout):
                for lane in healthy(self):
                    await lane.drained()
        except TimeoutError:
            return

    async def _keep_house(self) -> None:
        """Let sinks that lag for too long give up, once a minute."""
        max_lag = {name: options.max_lag for name, options in self.config.sinks.items()}
        while True:
            await asyncio.sleep(HOUSEKEEPING)
            for following in self.followings.values():
                following.give_up_lagging(max_lag)


def _public_url(options: SourceOptions) -> str:
    return options.public_url or options.url


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel `tasks` and wait for their end; what they raise reaches the task group that owns them."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


class Outside(NamedTuple):
    """What the process gives the bridge: when to stop, the time, where to say things.

    `metrics` renders what `observer` counted, for Prometheus.
    """

    stop: asyncio.Event
    clock: Clock
    observer: Observer
    metrics: Callable[[], bytes]


async def run(
    config: Config,
    outside: Outside,
    *,
    accept: Collection[str] = (),
    kinds: Mapping[str, SinkKind] | None = None,
    started: Callable[[Bridge], None] = lambda _bridge: None,
) -> None:
    """Run the bridge until it is told to stop.

    `accept` names the sinks whose changed destination is wanted; `kinds` are the kinds of sinks
    (default: all installed ones); `started` hears of the bridge just before it runs.

    Raises:
        ConfigError: something only shows when it is opened, or a destination changed.
        StateError: state cannot be read or written, or another bridge owns it.
        ListenError: `server.listen` is not free.
        BaseExceptionGroup: a bug.
    """
    stop, clock, observer, metrics = outside
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(config.state.path, owner=config.name, clock=clock))
        snapshot = await state.load()
        keeper = Keeper(state, observer)
        check_destinations(config, snapshot, keeper=keeper, accept=accept, now=clock.now())
        bridge = Bridge(config, snapshot, keeper=keeper, clock=clock, observer=observer)
        for name, sink in (await open_sinks(config, stack, kinds=kinds or sink_kinds(), clock=clock)).items():
            bridge.add_sink(name, sink)
        for name, options in config.sources.items():
            counted = partial(_count_request, observer, name)
            source = open_source(name, options, clock=clock, counted=counted)
            bridge.add_source(await stack.enter_async_context(source))
        if config.server.address is not None:
            await stack.enter_async_context(_serve(bridge, config.server.address, metrics))
        started(bridge)
        await bridge.run(stop)


def _count_request(observer: Observer, source: str, outcome: str) -> None:
    observer.count("requests_total", source=source, outcome=outcome)


def _serve(
    bridge: Bridge, address: tuple[str, int], metrics: Callable[[], bytes]
) -> AbstractAsyncContextManager[str]:
    def render() -> bytes:
        observe(bridge, now=bridge.clock.now())
        return metrics()

    return open_web(
        address,
        health=lambda: health(bridge),
        metrics=render,
        status=lambda: status(bridge, now=bridge.clock.now()),
    )
