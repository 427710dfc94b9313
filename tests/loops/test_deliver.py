"""A lane and its delivery: order, retry, parking, dead letters, and what a slow sink may hold."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from bridge.carry import Plain
from bridge.deliver import PROBE_EVERY, Delivery, Health
from bridge.errors import (
    PartialDeliveryError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.lane import Lane
from bridge.model import Event, JobKey, Place
from bridge.options import Batching
from tests.support.fakes import FakeClock, FakeObserver
from tests.support.source import FakeSink

pytestmark = pytest.mark.looptime

ONE, TWO = JobKey("prod", "job", 1), JobKey("prod", "job", 2)
MANY = Batching(max_events=100, max_bytes=1 << 20, in_flight=1)
SINGLE = Batching(max_events=1, max_bytes=1 << 20, in_flight=8)


def event(job, counter, *, body=b"{}"):
    return Event(
        id=f"{job}/event/{counter}",
        type="awx.event.runner_on_ok",
        time="",
        source="prod",
        key=str(job),
        body=body,
        counter=counter,
    )


def status(job, number):
    return Event(
        id=f"{job}/status/{number}",
        type="awx.job.running",
        time="",
        source="prod",
        key=str(job),
        body=b"{}",
        status_number=number,
    )


class Rig:
    def __init__(self, script=None, *, batching=MANY, retry_for=3600.0, capacity=1 << 20):
        self.places = {}
        self.buried = []
        self.changes = []
        self.observer = FakeObserver()
        self.sink = FakeSink(script)
        self.lane = Lane("ops", batching=batching, moved=self.places.__setitem__, capacity=capacity)
        self.delivery = Delivery(
            self.lane,
            Plain(self.sink),
            backoff=lambda attempt: min(30.0, 2.0**attempt),
            retry_for=retry_for,
            bury=self.buried.append,
            changed=lambda name, health, _reason: self.changes.append((name, health)),
            clock=FakeClock(),
            observer=self.observer,
        )
        for job in (ONE, TWO):
            self.lane.open(job, Place())

    def offer(self, job, *counters):
        for counter in counters:
            self.lane.offer(event(job, counter))

    @asynccontextmanager
    async def running(self):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.delivery.run())
            yield
            task.cancel()

    def counters(self, job):
        return [one.counter for one in self.sink.events if one.key == str(job)]


async def test_events_arrive_in_order_and_places_follow():
    rig = Rig()
    async with rig.running():
        rig.offer(ONE, 1, 2, 3)
        rig.offer(TWO, 1)
        await rig.lane.drained()
    assert rig.counters(ONE) == [1, 2, 3]
    assert rig.places == {ONE: Place(through=3), TWO: Place(through=1)}
    assert rig.observer.counted("events_delivered_total", sink="ops") == 4


async def test_what_was_settled_before_is_not_sent_again():
    rig = Rig()
    rig.lane.open(ONE, Place(through=2, wanted=((1, 1),), status_number=1))
    async with rig.running():
        rig.offer(ONE, 1, 2, 3)
        rig.lane.offer(status(ONE, 1))
        rig.lane.offer(status(ONE, 2))
        await rig.lane.drained()
    assert rig.counters(ONE) == [1, 3, None]
    assert rig.places[ONE] == Place(through=3, status_number=2)


async def test_what_waits_or_is_under_way_is_not_queued_again():
    rig = Rig()
    rig.lane.open(ONE, Place(through=3, wanted=((2, 2),)))
    rig.sink.delay = 1.0
    async with rig.running():
        rig.offer(ONE, 2, 4, 2)
        await asyncio.sleep(0.5)
        rig.offer(ONE, 2, 4)
        await rig.lane.drained()
    assert rig.counters(ONE) == [2, 4]
    assert rig.places[ONE] == Place(through=4)


async def test_two_sends_are_never_under_way_for_one_job():
    rig = Rig(batching=SINGLE)
    rig.sink.delay = 1.0
    async with rig.running():
        rig.offer(ONE, 1, 2)
        rig.offer(TWO, 1, 2)
        await asyncio.sleep(0.5)
        assert len(rig.sink.batches) == 2
        await rig.lane.drained()
    assert rig.counters(ONE) == [1, 2]
    assert asyncio.get_running_loop().time() == pytest.approx(2.0, abs=0.1)


async def test_a_failing_event_holds_back_its_own_job_only():
    def script(events):
        if events[0].id == f"{ONE}/event/1" and asyncio.get_running_loop().time() < 60:
            raise TemporaryDeliveryError("HTTP 500")

    rig = Rig(script, batching=SINGLE)
    async with rig.running():
        rig.offer(ONE, 1, 2)
        rig.offer(TWO, *range(1, 30))
        await asyncio.sleep(30)
        assert rig.counters(ONE) == []
        assert rig.counters(TWO) == list(range(1, 30))
        assert rig.delivery.health is not Health.PARKED
        await rig.lane.drained()
    assert rig.counters(ONE) == [1, 2]
    assert rig.buried == []
    assert rig.delivery.health is Health.HEALTHY


async def test_while_others_pass_a_failing_event_has_retry_for_then_it_is_a_dead_letter():
    def script(events):
        if events[0].id == f"{ONE}/event/1":
            raise TemporaryDeliveryError("HTTP 500")

    rig = Rig(script, batching=SINGLE, retry_for=300.0)
    async with rig.running():
        rig.offer(ONE, 1, 2)
        for counter in range(1, 90):
            rig.offer(TWO, counter)
            await asyncio.sleep(5)
    assert [letter.event_id for letter in rig.buried] == [f"{ONE}/event/1"]
    assert "retry_for" in rig.buried[0].reason
    assert rig.counters(ONE) == [2]
    assert rig.places[ONE] == Place(through=2)


async def test_a_sink_that_takes_nothing_is_down_and_nothing_is_given_up():
    def script(events):
        if asyncio.get_running_loop().time() < 10_000:
            raise TemporaryDeliveryError("connection refused")

    rig = Rig(script, batching=SINGLE, retry_for=60.0)
    async with rig.running():
        rig.offer(ONE, 1, 2)
        rig.offer(TWO, 1)
        await asyncio.sleep(9_000)
        assert rig.delivery.health is Health.DOWN
        tried = len(rig.sink.batches)
        assert tried < 9_000 / 10
        await rig.lane.drained()
    assert rig.buried == []
    assert rig.counters(ONE) == [1, 2]
    assert len(rig.observer.noted("sink.down")) == 1
    assert len(rig.observer.noted("sink.recovered")) == 1


async def test_retry_after_is_obeyed_by_the_whole_sink():
    def script(events):
        if asyncio.get_running_loop().time() < 1:
            raise TemporaryDeliveryError("429", retry_after=120.0)

    rig = Rig(script, batching=SINGLE)
    async with rig.running():
        rig.offer(ONE, 1)
        await asyncio.sleep(0.5)
        rig.offer(TWO, 1)
        await asyncio.sleep(100)
        assert len(rig.sink.batches) == 1
        await rig.lane.drained()
    assert asyncio.get_running_loop().time() == pytest.approx(120.0, abs=5)


async def test_a_refused_sink_is_parked_probed_every_minute_and_resumes():
    def script(events):
        if asyncio.get_running_loop().time() < 150:
            raise SinkRefusedError("invalid_auth")

    rig = Rig(script)
    async with rig.running():
        rig.offer(ONE, 1, 2)
        await asyncio.sleep(1)
        assert rig.delivery.health is Health.PARKED
        assert rig.delivery.reason == "invalid_auth"
        await rig.lane.drained()
    assert len(rig.sink.batches) == 4
    assert asyncio.get_running_loop().time() == pytest.approx(3 * PROBE_EVERY, abs=1)
    assert rig.changes == [("ops", Health.PARKED), ("ops", Health.HEALTHY)]
    assert rig.counters(ONE) == [1, 2]


async def test_a_poisoned_event_is_found_by_halving_and_buried_alone():
    def script(events):
        if any(one.counter == 37 and one.key == str(ONE) for one in events):
            raise PermanentDeliveryError("record too large")

    rig = Rig(script)
    async with rig.running():
        rig.offer(ONE, *range(1, 65))
        await rig.lane.drained()
    assert [letter.event_id for letter in rig.buried] == [f"{ONE}/event/37"]
    assert rig.counters(ONE) == [n for n in range(1, 65) if n != 37]
    assert rig.places[ONE] == Place(through=64)
    assert len(rig.sink.batches) < 20


async def test_a_dead_letter_keeps_at_most_16_kb():
    def script(events):
        raise PermanentDeliveryError("no")

    rig = Rig(script)
    async with rig.running():
        rig.lane.offer(event(ONE, 1, body=b"x" * 100_000))
        await rig.lane.drained()
    assert len(rig.buried[0].copy) == 16 << 10
    assert not rig.buried[0].whole


async def test_a_dead_letter_says_that_its_copy_is_whole():
    def script(events):
        raise PermanentDeliveryError("no")

    rig = Rig(script)
    async with rig.running():
        rig.lane.offer(event(ONE, 1, body=b"x" * (16 << 10)))
        await rig.lane.drained()
    assert rig.buried[0].whole


async def test_what_a_batch_accepted_in_part_is_settled_and_the_rest_keeps_its_order():
    failed = []

    def script(events):
        if not failed:
            failed.append(True)
            errors = {at: TemporaryDeliveryError("leader moved") for at, one in enumerate(events) if at >= 2}
            errors[1] = PermanentDeliveryError("too large")
            rig.sink.events += [events[0]]
            raise PartialDeliveryError(errors)

    rig = Rig(script)
    rig.offer(ONE, 1, 2, 3, 4)
    async with rig.running():
        await rig.lane.drained()
    assert rig.counters(ONE) == [1, 3, 4]
    assert [letter.event_id for letter in rig.buried] == [f"{ONE}/event/2"]
    assert rig.places[ONE] == Place(through=4)


async def test_a_temporary_failure_behind_a_halved_batch_keeps_the_order():
    calls = []

    def script(events):
        calls.append(len(events))
        if len(calls) == 1:
            raise PermanentDeliveryError("one of these")
        if len(calls) == 2:
            raise TemporaryDeliveryError("now the network fails")

    rig = Rig(script)
    rig.offer(ONE, *range(1, 9))
    async with rig.running():
        await rig.lane.drained()
    assert rig.counters(ONE) == list(range(1, 9))
    assert rig.buried == []


async def test_a_full_lane_says_so_and_has_room_again_at_half():
    rig = Rig(capacity=10_000)
    rig.sink.delay = 1.0
    rig.offer(ONE, *range(1, 40))
    assert rig.lane.full
    waiting = asyncio.create_task(rig.lane.room())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    async with rig.running():
        await waiting
    assert not rig.lane.full


async def test_a_spared_status_is_settled_only_after_what_waits_before_it():
    rig = Rig()
    rig.sink.delay = 1.0
    rig.offer(ONE, 1)
    rig.lane.spare_status(ONE, 1)
    rig.lane.report(rig.lane.stream(ONE))
    assert rig.places[ONE] == Place(through=0, status_number=0)
    async with rig.running():
        await rig.lane.drained()
    assert rig.places[ONE] == Place(through=1, status_number=1)


async def test_the_bridges_own_events_pass_and_leave_no_place():
    rig = Rig()
    own = Event(id="b/1", type="bridge.source.down", time="", source="prod", key="b", body=b"{}")
    async with rig.running():
        rig.lane.offer(own)
        await rig.lane.drained()
    assert rig.sink.ids == ["b/1"]
    assert rig.places == {}


async def test_a_bug_in_a_sink_ends_the_delivery():
    def script(events):
        raise ZeroDivisionError

    rig = Rig(script)
    rig.offer(ONE, 1)
    with pytest.raises(ExceptionGroup) as caught:
        await rig.delivery.run()
    assert caught.group_contains(ZeroDivisionError)
