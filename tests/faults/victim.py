"""`awx-bridge run` with fail points around its ports: `python -m tests.faults.victim FILE NOTE POINT AT SIGNAL`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path

import aiokafka

from bridge import app, watch
from bridge.cli import run as command
from bridge.cli.clock import SystemClock
from bridge.config import load
from bridge.observe import LogObserver, Metrics, library_logs, open_log
from bridge.ports import TransactionalSink
from bridge.sinks import SinkKind, builtin_kinds
from bridge.sinks.kafka import session as kafka_session
from tests.faults.points import Points


class Passing:
    """Stands in front of `target`, and passes fail points around its methods."""

    def __init__(self, target, points, names):
        self._target = target
        self._points = points
        self._names = names

    def __getattr__(self, name):
        method = getattr(self._target, name)
        before, after = self._names.get(name, (None, None))
        if before is None and after is None:
            return method

        @wraps(method)
        async def passing(*args, **kwargs):
            if before:
                self._points.passed(before)
            answer = await method(*args, **kwargs)
            if after:
                self._points.passed(after)
            return answer

        return passing


class FaultyState(Passing):
    """State; receipts and marks are points of their own."""

    def __init__(self, state, points):
        super().__init__(state, points, {})

    async def commit(self, changes, /):
        receipt = any(record.close is not None and not record.done for record in changes.jobs.values())
        self._points.passed("state.commit.begins")
        if receipt:
            self._points.passed("state.receipt.begins")
        await self._target.commit(changes)
        self._points.passed("state.commit.done")
        if receipt:
            self._points.passed("state.receipt.done")
        if changes.sources:
            self._points.passed("state.mark.done")


SOURCE_POINTS = {
    "jobs_above": (None, "awx.jobs.answered"),
    "jobs_changed": (None, "awx.jobs.answered"),
    "events_after": ("awx.events.asked", "awx.events.answered"),
    "events_at": ("awx.events.asked", "awx.events.answered"),
    "emitted_is": (None, "awx.proof.answered"),
}


def faulty(points, opener, wrap):
    """Return `opener` with `wrap` around what it opens."""

    @asynccontextmanager
    async def opened(*args, **kwargs):
        async with opener(*args, **kwargs) as target:
            yield wrap(target)

    return opened


def faulty_kinds(points):
    """Return the kinds of sinks with fail points around their sends."""
    kinds = dict(builtin_kinds())
    for name in ("webhook", "slack"):
        around = {"send": (f"{name}.send.begins", f"{name}.send.done")}
        kind = kinds[name]
        wrap = lambda sink, around=around: Passing(sink, points, around)  # noqa: E731 - bound per kind
        kinds[name] = SinkKind(kind.options, faulty(points, kind.open, wrap))
    kinds["kafka"] = SinkKind(
        kinds["kafka"].options, faulty(points, kinds["kafka"].open, lambda sink: Places(sink, points))
    )
    return kinds


class Places:
    """A transactional sink; reading its places is a point."""

    def __init__(self, sink, points):
        assert isinstance(sink, TransactionalSink)
        self._sink = sink
        self._points = points

    async def send(self, events, /):
        await self._sink.send(events)

    def notes(self):
        return self._sink.notes()

    async def send_with_places(self, events, places, /, **more):
        await self._sink.send_with_places(events, places, **more)

    async def places(self):
        places = await self._sink.places()
        self._points.passed("kafka.places.read")
        return places


def faulty_producer(points):
    """Return aiokafka's producer with fail points around each step of a transaction."""

    class Producer(aiokafka.AIOKafkaProducer):
        async def start(self):
            await super().start()
            points.passed("kafka.started")

        async def begin_transaction(self):
            await super().begin_transaction()
            points.passed("kafka.begun")

        async def commit_transaction(self):
            points.passed("kafka.sent")
            if points.is_armed("kafka.commit.called"):
                # The request is on its way, the answer is not back: nobody knows what became of it.
                asyncio.get_running_loop().call_later(0.001, points.passed, "kafka.commit.called")
            else:
                points.passed("kafka.commit.called")
            await super().commit_transaction()
            points.passed("kafka.commit.done")

    return Producer


async def main(file, points):
    kafka_session.AIOKafkaProducer = faulty_producer(points)
    app.open_state = faulty(points, app.open_state, lambda state: FaultyState(state, points))
    app.open_source = faulty(points, app.open_source, lambda source: Passing(source, points, SOURCE_POINTS))
    watch.LOOK_BACK_EVERY = 1.0  # a round is short
    metrics, stop = Metrics(), asyncio.Event()
    observer = LogObserver(open_log(sys.stderr, clock=SystemClock(), console=False), metrics)
    command._stop_on_signals(asyncio.get_running_loop(), stop)
    with library_logs(observer):
        outside = app.Outside(stop, SystemClock(), observer, metrics.render)
        await app.run(load(file, os.environ), outside, kinds=faulty_kinds(points))


if __name__ == "__main__":
    _, _file, _note, _point, _at, _by = sys.argv
    _points = Points(_point, int(_at), Path(_note), signal.Signals(int(_by)))
    asyncio.run(main(Path(_file), _points))
