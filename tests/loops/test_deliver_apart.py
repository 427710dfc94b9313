"""An event sent out of its job's order, between two batches: no place moves, nothing is retried."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from bridge.carry import Plain, Transactions
from bridge.deliver import Delivery
from bridge.errors import (
    PartialDeliveryError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.keep import Keeper
from bridge.lane import Lane
from bridge.model import Event, JobKey, Place
from bridge.options import Batching
from tests.support.fakes import FakeClock, FakeObserver, MemoryState
from tests.support.source import FakeSink
from tests.support.transactional import Broker, FakeTransactionalSink

pytestmark = pytest.mark.looptime

JOB = JobKey("prod", "job", 1)


def event(counter):
    return Event(
        id=f"{JOB}/event/{counter}",
        type="t",
        time="",
        source="prod",
        key=str(JOB),
        body=b"{}",
        counter=counter,
    )


class Rig:
    def __init__(self, script=None, *, broker=None, in_flight=1):
        self.places = {}
        self.buried = []
        self.observer = FakeObserver()
        self.sink = FakeSink(script)
        batching = Batching(max_events=1, max_bytes=1 << 20, in_flight=in_flight)
        self.lane = Lane("ops", batching=batching, moved=self.places.__setitem__)
        carrier = Plain(self.sink)
        if broker:
            safe = Keeper(MemoryState(), self.observer).letters_safe
            carrier = Transactions(FakeTransactionalSink(broker), self.lane, notes={}, letters_safe=safe)
        self.delivery = Delivery(
            self.lane,
            carrier,
            backoff=lambda attempt: min(30.0, 2.0**attempt),
            retry_for=3600.0,
            bury=self.buried.append,
            changed=lambda *_: None,
            clock=FakeClock(),
            observer=self.observer,
        )
        self.lane.open(JOB, Place(through=10))

    @asynccontextmanager
    async def running(self):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.delivery.run())
            yield
            task.cancel()


async def test_it_arrives_and_no_place_moves():
    rig = Rig()
    async with rig.running():
        await rig.delivery.send_apart(event(3))
    assert rig.sink.ids == [f"{JOB}/event/3"]
    assert rig.places == {}
    assert rig.observer.counted("events_delivered_total", sink="ops") == 1


async def test_it_waits_for_its_turn_and_comes_before_what_waits():
    rig = Rig()
    rig.sink.delay = 1.0
    async with rig.running():
        for counter in (11, 12, 13):
            rig.lane.offer(event(counter))
        await asyncio.sleep(0.5)
        await rig.delivery.send_apart(event(3))
        assert [one.counter for one in rig.sink.events] == [11, 3]
        assert asyncio.get_running_loop().time() == pytest.approx(2.0, abs=0.1)
        await rig.lane.drained()
    assert [one.counter for one in rig.sink.events] == [11, 3, 12, 13]
    assert rig.places == {JOB: Place(through=13)}


@pytest.mark.parametrize(
    "error",
    [
        TemporaryDeliveryError("HTTP 503"),
        PermanentDeliveryError("HTTP 400"),
        SinkRefusedError("HTTP 401"),
        PartialDeliveryError({0: PermanentDeliveryError("HTTP 400")}),
    ],
)
async def test_what_the_sink_says_is_said_and_nothing_is_buried(error):
    def script(events):
        if events[0].counter == 3:
            raise error

    rig = Rig(script)
    async with rig.running():
        with pytest.raises((TemporaryDeliveryError, PermanentDeliveryError, SinkRefusedError), match="HTTP"):
            await rig.delivery.send_apart(event(3))
        rig.lane.offer(event(11))
        await rig.lane.drained()
    assert rig.buried == []
    assert rig.delivery.health == 0
    assert rig.places == {JOB: Place(through=11)}
    assert rig.observer.counted("deliveries_failed_total", sink="ops") == 1


async def test_a_wait_that_the_sink_asks_for_holds_the_batches_too():
    def script(events):
        if asyncio.get_running_loop().time() < 1:
            raise TemporaryDeliveryError("429", retry_after=20.0)

    rig = Rig(script)
    async with rig.running():
        with pytest.raises(TemporaryDeliveryError):
            await rig.delivery.send_apart(event(3))
        assert rig.delivery.pause == pytest.approx(20.0, abs=0.1)
        rig.lane.offer(event(11))
        await rig.lane.drained()
        assert asyncio.get_running_loop().time() == pytest.approx(20.0, abs=0.1)
    assert len(rig.sink.batches) == 2


async def test_what_nobody_waits_for_any_more_is_not_sent():
    rig = Rig()
    rig.sink.delay = 10.0
    async with rig.running():
        rig.lane.offer(event(11))
        await asyncio.sleep(0.5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await rig.delivery.send_apart(event(3))
        await rig.lane.drained()
        await asyncio.sleep(20)
    assert [one.counter for one in rig.sink.events] == [11]


async def test_a_transaction_of_its_own_moves_no_place():
    broker = Broker()
    broker.places[JOB] = Place(through=10)
    rig = Rig(broker=broker)
    async with rig.running():
        await rig.delivery.send_apart(event(3))
        assert broker.places == {JOB: Place(through=10)}
        rig.lane.offer(event(11))
        await rig.lane.drained()
    assert [one.counter for one in broker.events] == [3, 11]
    assert broker.places == {JOB: Place(through=11)}
