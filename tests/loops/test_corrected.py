"""A status that AWX replaces after all: a second terminal event, whatever became of the job meanwhile."""

import asyncio
import random

import pytest

from bridge.errors import TemporaryDeliveryError
from tests.support.jobs import events, ids, key, receipt, simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource, ScriptedJob
from tests.support.transactional import Broker, FakeTransactionalSink

pytestmark = pytest.mark.looptime

REAPED = ((0.0, "running"), (5.0, "failed"))
BACK = (5.5, "successful")
WHOLE = ids("status/running", *(f"event/{n}" for n in range(1, 6)), "status/failed")


def reaped(*turns, number=1, kind="job", **facts):
    """A job that the reaper took for dead at 5 s; `turns` are what AWX says of it later."""
    rows = {counter: 1.0 + counter * 0.1 for counter in range(1, 6)} if kind == "job" else {}
    return ScriptedJob(key(number, kind), statuses=(*REAPED, *turns), **{"rows": rows, **facts})


def statuses(sink):
    return [
        (event.read()["status"], event.read()["corrects"])
        for event in sink.events
        if "corrects" in event.read()
    ]


async def test_while_the_job_is_open():
    rig = Rig(FakeSource("prod", reaped((20.0, "successful"), emitted=((20.0, 5),))))
    async with rig.run():
        await asyncio.sleep(80)
    assert rig.sinks["all"].ids == [*WHOLE, *ids("status/successful")]
    assert statuses(rig.sinks["all"]) == [("failed", None), ("successful", "failed")]
    done = receipt(rig.sinks["all"])
    assert (done["complete"], done["events_total"], done["previous_status"]) == (True, 5, "failed")


async def test_while_the_job_is_being_closed():
    class Slow(FakeSource):
        async def failures(self, key, /):
            await asyncio.sleep(20)
            return await super().failures(key)

    rig = Rig(Slow("prod", reaped((10.0, "successful"))))
    async with rig.run():
        await asyncio.sleep(120)
    assert rig.sinks["all"].ids == [*WHOLE, *ids("status/successful")]
    assert len(rig.observer.noted("job.closed")) == 1


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("kind", ["job", "workflow_job", "workflow_approval", "system_job"])
async def test_after_every_sink_had_finished_with_the_job(restarts, kind):
    rig = Rig(FakeSource("prod", reaped((60.0, "successful"), kind=kind)))
    async with rig.run():
        await asyncio.sleep(40)
        assert rig.state.jobs[key(1, kind)].done
        if not restarts:
            await asyncio.sleep(60)
    async with rig.run():
        await asyncio.sleep(100)
    sink, name = rig.sinks["all"], f"prod/{kind}/1"
    assert len(sink.ids) == len(set(sink.ids))
    assert sink.ids[-2:] == ids("status/failed", "status/successful", job=name)
    assert statuses(sink) == [("failed", None), ("successful", "failed")]
    assert rig.state.jobs[key(1, kind)].done


async def test_events_that_came_since_are_delivered_before_it():
    rows = {1: 1.0, 2: 2.0, 3: 45.0, 4: 50.0}
    rig = Rig(FakeSource("prod", reaped((60.0, "successful"), rows=rows, emitted=((5.0, 2), (60.0, 4)))))
    async with rig.run():
        await asyncio.sleep(40)
        assert receipt(rig.sinks["all"], status="failed")["events_total"] == 2
        await asyncio.sleep(60)
    assert rig.sinks["all"].ids[-3:] == ids("event/3", "event/4", "status/successful")
    assert receipt(rig.sinks["all"])["complete"] is True


async def test_what_was_missing_is_delivered_late_and_not_missed_twice():
    rows = {1: 1.0, 2: 200.0, 3: 2.0, 4: float("inf"), 5: 2.0}
    rig = Rig(FakeSource("prod", reaped((210.0, "successful"), rows=rows)), close_wait=20)
    async with rig.run():
        await asyncio.sleep(100)
        assert receipt(rig.sinks["all"], status="failed")["events_missing"] == [2, 4]
        await asyncio.sleep(200)
    sink = rig.sinks["all"]
    assert [i for i in sink.ids if "/event/" in i] == events(1, 3, 5, 2)
    assert receipt(sink)["events_missing"] == [4]
    assert rig.observer.counted("events_missing_total") == 2
    assert len([event for event in sink.events if event.type == "bridge.events.missing"]) == 1
    assert rig.observer.noted("event.after_close") == []


@pytest.mark.parametrize("moment", [60.5, 75.05, 75.4, 76.0, 77.0])
async def test_killed_around_the_correction(moment):
    rig = Rig(FakeSource("prod", reaped((60.0, "successful"))))
    async with rig.run(kill=True):
        await asyncio.sleep(moment)
    async with rig.run():
        await asyncio.sleep(60)
    got = rig.sinks["all"].ids
    assert list(dict.fromkeys(got)) == [*WHOLE, *ids("status/successful")]
    assert got.count(*ids("status/failed")) == 1


async def test_with_places_that_the_sink_keeps():
    broker = Broker()
    rig = Rig(FakeSource("prod", reaped((60.0, "successful"))))
    for _ in range(3):
        rig.sinks = {"all": FakeTransactionalSink(broker)}
        async with rig.run():
            await asyncio.sleep(40)
    assert broker.ids == [*WHOLE, *ids("status/successful")]


async def test_a_sink_that_lags_gets_both_ends_in_order():
    def down(_events):
        if asyncio.get_running_loop().time() < 150:
            raise TemporaryDeliveryError("down")

    sinks = {"good": FakeSink(), "bad": FakeSink(down)}
    rig = Rig(FakeSource("prod", reaped((60.0, "successful"))), sinks=sinks)
    async with rig.run() as bridge:
        bridge.lanes["bad"]._capacity = 2_000
        await asyncio.sleep(280)
    assert sinks["good"].ids == sinks["bad"].ids == [*WHOLE, *ids("status/successful")]
    assert rig.state.jobs[key(1)].done


async def test_back_and_forth():
    turns = ((40.0, "successful"), (80.0, "failed"), (120.0, "canceled"), (160.0, "failed"))
    rig = Rig(FakeSource("prod", reaped(*turns)))
    async with rig.run():
        await asyncio.sleep(250)
    assert rig.sinks["all"].ids[-4:] == ids(
        "status/successful", "status/failed/2", "status/canceled", "status/failed/3"
    )
    assert statuses(rig.sinks["all"])[-2:] == [("canceled", "failed"), ("failed", "canceled")]


async def test_only_sinks_with_a_route_for_it_hear_of_it():
    sinks = {"all": FakeSink(), "failures": FakeSink()}
    routes = [{"to": "all"}, {"match": {"type": "awx.job.failed"}, "to": "failures"}]
    rig = Rig(FakeSource("prod", reaped((60.0, "successful"))), sinks=sinks, routes=routes)
    async with rig.run():
        await asyncio.sleep(120)
    async with rig.run():
        await asyncio.sleep(60)
    assert sinks["all"].ids == [*WHOLE, *ids("status/successful")]
    assert sinks["failures"].ids == ids("status/failed")


def beside_others(*turns, count):
    """A job that runs long, with an event every 10 s, while the mark passes over it."""
    rows = {counter: counter * 10.0 for counter in range(1, count + 1)}
    last = turns[-1][0]
    long = ScriptedJob(key(1), statuses=((0.0, "running"), *turns), rows=rows, emitted=((last, count),))
    others = [simple(number, appears=number * 5.0) for number in range(2, 200)]
    for other in others:
        other.statuses = ((0.0, "running"), (other.appears + 5.0, "successful"))
    return FakeSource("prod", long, *others)


async def test_a_long_job_that_no_list_shows_by_itself():
    rig = Rig(beside_others((500.0, "failed"), (1000.0, "successful"), count=99))
    async with rig.run():
        await asyncio.sleep(700)
        assert rig.state.sources["prod"].marks["unified_jobs"] > 1
        await asyncio.sleep(400)
    got = [i for i in rig.sinks["all"].ids if "/job/1/" in i]
    assert got[-2:] == ids("status/failed", "status/successful")
    assert len(got) == 3 + 99


async def test_an_incomplete_job_is_remembered_until_its_last_look():
    rig = Rig(beside_others((500.0, "failed"), (900.0, "successful"), count=50))
    async with rig.run() as bridge:
        await asyncio.sleep(800)
        assert rig.state.jobs[key(1)].done
        assert rig.state.sources["prod"].marks["unified_jobs"] > 1
        await asyncio.sleep(200)
        assert ids("status/successful")[0] in rig.sinks["all"].ids
        await asyncio.sleep(1500)
        assert bridge.followings["prod"].done == {}
    assert receipt(rig.sinks["all"])["complete"] is True
    assert rig.state.jobs == {}


async def test_a_job_that_was_over_before_the_first_start_stays_untold():
    source = FakeSource("prod", ScriptedJob(key(1), statuses=((-50.0, "failed"), (60.0, "successful"))))
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(120)
    assert rig.sinks["all"].ids == []


async def test_times_of_a_correction_and_a_repeat_are_when_they_were_seen():
    turns = ((0.0, "pending"), (3.0, "running"), (8.0, "pending"), (14.0, "running"), (25.0, "failed"))
    rig = Rig(FakeSource("prod", simple(statuses=(*turns, (60.0, "successful")))))
    async with rig.run():
        await asyncio.sleep(120)
    told = {event.id.split("/status/")[-1]: event.read() for event in rig.sinks["all"].events}
    assert told["pending"]["time"] == "2026-11-23T07:00:01.000000Z"
    assert told["running"]["time"] == "2026-11-23T07:01:00.000000Z"
    assert told["failed"]["time"] == told["failed"]["finished"] == "2026-11-23T07:02:00.000000Z"
    seen = [told[name]["time"] for name in ("pending/2", "running/2", "successful")]
    assert seen == sorted(seen)
    assert min(seen) > "2026-05"
    assert len(set(seen)) == 3
    assert told["successful"]["finished"] == told["failed"]["finished"]
    assert [told[name]["previous_status"] for name in ("pending/2", "running/2")] == ["running", "pending"]


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_moments_of_rows_statuses_and_kills(seed, transactional):
    rng = random.Random(seed)
    count, reaped_at = rng.randint(3, 30), rng.uniform(5, 60)
    corrected_at = reaped_at + rng.uniform(1, 200)
    rows = {counter: rng.uniform(0.5, corrected_at) for counter in range(1, count + 1)}
    turns = ((0.0, "running"), (reaped_at, "failed"), (corrected_at, "successful"))
    job = ScriptedJob(key(1), statuses=turns, rows=rows, emitted=((corrected_at, count),))
    rig = Rig(FakeSource("prod", job), close_wait=rng.choice([10, 40, 120]), gap_wait=3)
    broker, got = Broker(), rig.sinks["all"]
    stays = [(rng.uniform(0.5, 80), rng.random() < 0.6) for _ in range(rng.randint(0, 5))]
    for stay, kill in [*stays, (900, False)]:
        if transactional:
            got = broker
            rig.sinks = {"all": FakeTransactionalSink(broker, delay=0.1)}
        async with rig.run(kill=kill):
            await asyncio.sleep(stay)
    told = [i for i in got.ids if "/missing/" not in i]
    assert not transactional or len(told) == len(set(told))
    assert {i for i in told if "/event/" in i} == set(events(*range(1, count + 1)))
    assert list(dict.fromkeys(told))[-1:] == ids("status/successful")
    assert receipt(got)["complete"] is True
