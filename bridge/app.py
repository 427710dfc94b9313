"""The composition root: a configuration becomes objects, the objects become one task group.

The way of the data: watch finds jobs, tails read their events, lanes carry them, deliveries send
them, the keeper writes down how far each sink has got. Nothing here decides anything about them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Final, NamedTuple

from bridge import __version__
from bridge.assemble import check_destinations, open_sinks
from bridge.awx import open_source
from bridge.config import Config
from bridge.keep import Keeper
from bridge.parts import Bridge
from bridge.ports import Clock, Observer
from bridge.recover import recovered
from bridge.sinks import SinkKind, sink_kinds
from bridge.state.sqlite import open_state
from bridge.status import health, healthy, observe, status
from bridge.watch import SourceParked
from bridge.web.server import open_web

PULSE: Final = 5.0
"""Seconds between two looks at how late the event loop wakes up."""

HOUSEKEEPING: Final = 60.0
"""Seconds between two looks at what lags for too long."""


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
        sinks = await open_sinks(config, stack, kinds=kinds or sink_kinds(), state=state, clock=clock)
        snapshot = await recovered(snapshot, sinks, keeper=keeper, stop=stop, observer=observer)
        bridge = Bridge(config, snapshot, keeper=keeper, clock=clock, observer=observer)
        for name, sink in sinks.items():
            bridge.add_sink(name, sink)
        for name, options in config.sources.items():
            counted = partial(_count_request, observer, name)
            source = open_source(name, options, clock=clock, counted=counted)
            bridge.add_source(await stack.enter_async_context(source))
        bridge.take_orders(state)
        if config.server.address is not None:
            await stack.enter_async_context(_serve(bridge, config.server.address, metrics))
        started(bridge)
        await live(bridge, stop)


async def live(bridge: Bridge, stop: asyncio.Event) -> None:
    """Run until `stop` is set; then finish what is on its way, within `drain_timeout`."""
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(bridge.keeper.run(), name="keep")
        delivering = [
            tasks.create_task(delivery.run(), name=f"deliver {name}")
            for name, delivery in bridge.deliveries.items()
        ]
        reading = [tasks.create_task(_keep_house(bridge)), tasks.create_task(_feel_pulse(bridge))]
        reading += [tasks.create_task(_read(bridge, name), name=f"read {name}") for name in bridge.watches]
        reading += [tasks.create_task(loop(), name=name) for name, loop in bridge.loops.items()]
        bridge.observer.gauge("build_info", 1, version=__version__)
        bridge.observer.note("bridge.started", sources=sorted(bridge.watches), sinks=sorted(bridge.lanes))
        await stop.wait()
        bridge.observer.note("bridge.stopping", waits_at_most=bridge.config.drain_timeout)
        await _end(reading)
        await _drain(bridge)
        await _end(delivering)
        await _end([keeping])
    bridge.observer.note("bridge.stopped")


async def _read(bridge: Bridge, name: str) -> None:
    """Watch and follow one source; park it when another AWX answers."""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bridge.watches[name].run(), name=f"watch {name}")
            tasks.create_task(bridge.followings[name].run(), name=f"follow {name}")
    except* SourceParked as group:
        parked = group.exceptions[0]
        bridge.parked[name] = str(parked)
        trouble = parked.trouble if isinstance(parked, SourceParked) else "replaced"
        bridge.observer.note(f"source.{trouble}", source=name, reason=str(parked))
        bridge.announce("bridge.source.down", name, {"reason": str(parked)})


async def _drain(bridge: Bridge) -> None:
    """Wait until every healthy sink has what is queued for it, at most `drain_timeout`."""
    try:
        async with asyncio.timeout(bridge.config.drain_timeout):
            for lane in healthy(bridge):
                await lane.drained()
    except TimeoutError:
        return


async def _keep_house(bridge: Bridge) -> None:
    """Let sinks that lag for too long give up, once a minute."""
    max_lag = {name: options.max_lag for name, options in bridge.config.sinks.items()}
    while True:
        await asyncio.sleep(HOUSEKEEPING)
        for following in bridge.followings.values():
            following.give_up_lagging(max_lag)


async def _feel_pulse(bridge: Bridge) -> None:
    """Measure how late the event loop wakes up: the first sign of a process that cannot keep up."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PULSE
        await asyncio.sleep(PULSE)
        bridge.observer.gauge("loop_lag_seconds", round(max(0.0, loop.time() - due), 6))


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel `tasks` and wait for their end; what they raise reaches the task group that owns them."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


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
