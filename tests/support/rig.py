"""The whole bridge but for HTTP, disk and real sinks: its loops over fakes, in virtual time."""

import asyncio
from contextlib import asynccontextmanager

import yaml

from bridge.app import live
from bridge.config import parse
from bridge.keep import Keeper
from bridge.parts import Bridge
from bridge.recover import recovered
from bridge.sinks import builtin_kinds
from tests.support.fakes import FakeClock, FakeObserver, MemoryState
from tests.support.source import FakeSink


class Lifeline:
    """State as one process sees it: once `cut`, nothing that it does reaches the memory any more."""

    def __init__(self, state):
        self._state = state
        self.cut = False

    async def load(self):
        return await self._state.load()

    async def commit(self, changes, /):
        if self.cut:
            await asyncio.get_running_loop().create_future()
        await self._state.commit(changes)

    def __getattr__(self, name):
        async def ask(*words):
            if self.cut:
                await asyncio.get_running_loop().create_future()
            return await getattr(self._state, name)(*words)

        return ask


class Rig:
    """One bridge over one source, or `more`; `run` may be entered again and again, with the same memory."""

    def __init__(self, source, *more, sinks=None, routes=None, **source_options):
        self.source = source
        self.more = more
        self.sinks = sinks or {"all": FakeSink()}
        self.state = MemoryState()
        self.observer = FakeObserver()
        self.clock = FakeClock()
        self.routes = routes
        self.source_options = {"gap_wait": 10, "close_wait": 120, **source_options}

    def config(self):
        return parse(
            yaml.safe_dump(
                {
                    "sources": {
                        source.name: {"url": "http://awx.invalid", "token": "t", **self.source_options}
                        for source in (self.source, *self.more)
                    },
                    "sinks": {name: {"type": "file", "path": f"{name}.jsonl"} for name in self.sinks},
                    "routes": self.routes or [{"to": list(self.sinks)}],
                }
            ).encode(),
            {},
            builtin_kinds(),
        )

    @asynccontextmanager
    async def run(self, *, kill=False):
        """Run the bridge; at the end stop it as a signal would, or kill it."""
        life = Lifeline(self.state)
        keeper = Keeper(life, self.observer)
        stop = asyncio.Event()
        snapshot = await recovered(
            await life.load(), self.sinks, keeper=keeper, stop=stop, observer=self.observer
        )
        bridge = Bridge(self.config(), snapshot, keeper=keeper, clock=self.clock, observer=self.observer)
        for name, sink in self.sinks.items():
            bridge.add_sink(name, sink)
        for source in (self.source, *self.more):
            bridge.add_source(source)
        bridge.take_orders(life)
        task = asyncio.create_task(live(bridge, stop))
        try:
            yield bridge
        finally:
            if kill:
                life.cut = True
                task.cancel()
                await asyncio.wait([task])
                task.exception() if not task.cancelled() else None
            else:
                stop.set()
                await task
