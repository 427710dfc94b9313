"""Transactions: whatever is killed or doubted, the sink holds each event once, and its places win."""

import asyncio

import pytest

from bridge.errors import PermanentDeliveryError
from bridge.model import Close, HostSummary, Job, JobRecord, Place
from bridge.notes import notes_of, read_notes
from tests.support.fakes import MemoryState
from tests.support.jobs import events, ids, key, simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource
from tests.support.transactional import Broker, FakeTransactionalSink

pytestmark = pytest.mark.looptime


def steady(number=1, count=60, *, every=0.2, **facts):
    rows = {counter: 1.0 + counter * every for counter in range(1, count + 1)}
    end = 1.0 + count * every + 0.5
    return simple(number, rows=rows, **{"statuses": ((0.0, "running"), (end, "successful")), **facts})


def whole(*counters):
    return [*ids("status/running"), *events(*counters), *ids("status/successful")]


async def test_events_and_places_move_together():
    broker = Broker()
    rig = Rig(FakeSource("prod", steady(count=5)), sinks={"all": FakeTransactionalSink(broker)})
    async with rig.run():
        await asyncio.sleep(30)
    assert broker.ids == whole(1, 2, 3, 4, 5)
    assert broker.places[key(1)] == Place(through=5, status_number=2)
    assert rig.state.jobs[key(1)].done


@pytest.mark.parametrize("seed", range(8))
async def test_kills_double_nothing_and_lose_nothing(seed):
    broker = Broker()
    source = FakeSource("prod", steady(), steady(2, count=40, every=0.35))
    rig = Rig(source)
    for round_ in range(7):
        rig.sinks = {"all": FakeTransactionalSink(broker, delay=0.15)}
        async with rig.run(kill=True):
            await asyncio.sleep(0.9 + ((seed * 7 + round_ * 13) % 29) / 10)
    rig.sinks = {"all": FakeTransactionalSink(broker)}
    async with rig.run():
        await asyncio.sleep(60)
    assert len(broker.ids) == len(set(broker.ids))
    assert [i for i in broker.ids if "/job/1/" in i] == whole(*range(1, 61))
    assert [e.counter for e in broker.events if "/job/2/event/" in e.id] == list(range(1, 41))


async def test_a_commit_whose_answer_is_lost_is_not_repeated():
    broker = Broker()
    sink = FakeTransactionalSink(broker, doubt=5)
    rig = Rig(FakeSource("prod", steady()), sinks={"all": sink})
    async with rig.run():
        await asyncio.sleep(60)
    assert sink.doubt == 0
    assert broker.ids == whole(*range(1, 61))


async def test_a_sink_that_is_down_at_the_start_holds_up_no_other():
    broker = Broker()
    sinks = {"kafka": FakeTransactionalSink(broker), "file": FakeSink()}
    rig = Rig(FakeSource("prod", steady()), sinks=sinks)
    async with rig.run():
        await asyncio.sleep(0.5)
    broker.down = True
    async with rig.run():
        await asyncio.sleep(40)
        assert sinks["file"].ids == whole(*range(1, 61))
        assert [i for i in broker.ids if "/event/" in i] == []
        broker.down = False
        await asyncio.sleep(60)
    assert broker.ids == whole(*range(1, 61))


async def test_the_places_of_the_sink_win_over_the_disk():
    """The disk is older: the process died between the sink's commit and its own."""
    broker = Broker()
    rig = Rig(FakeSource("prod", steady()), sinks={"all": FakeTransactionalSink(broker)})
    async with rig.run():
        await asyncio.sleep(5)
    old = dict(rig.state.places)
    async with rig.run():
        await asyncio.sleep(4)
    rig.state.places = old
    async with rig.run():
        await asyncio.sleep(60)
    assert broker.ids == whole(*range(1, 61))


async def test_what_no_rule_sends_moves_the_place_too():
    broker = Broker()
    routes = [{"match": {"type": "awx.event.nothing"}, "to": ["all"]}]
    rig = Rig(
        FakeSource("prod", steady(count=10)), sinks={"all": FakeTransactionalSink(broker)}, routes=routes
    )
    async with rig.run():
        await asyncio.sleep(30)
    assert broker.ids == []
    assert broker.places[key(1)] == Place(through=10, status_number=2)


async def test_a_counter_wanted_before_a_restart_still_comes_late():
    broker = Broker()
    job = steady(count=20, statuses=((0.0, "running"), (90.0, "successful")))
    job.rows[7] = 70.0
    rig = Rig(FakeSource("prod", job), sinks={"all": FakeTransactionalSink(broker)})
    async with rig.run():
        await asyncio.sleep(30)
    assert broker.places[key(1)].wanted == ((7, 7),)
    async with rig.run():
        await asyncio.sleep(100)
    assert sorted(e.counter for e in broker.events if e.counter) == list(range(1, 21))
    assert broker.ids[-1].endswith("successful")
    assert broker.events[-1].read()["complete"] is True


async def test_a_place_of_the_sink_never_goes_back():
    """A counter is given up, events behind it go out in one transaction, and then places are flushed."""
    broker = Broker()
    job = steady(count=20, statuses=((0.0, "running"), (90.0, "successful")))
    job.rows[7] = float("inf")
    rig = Rig(FakeSource("prod", job), sinks={"all": FakeTransactionalSink(broker, delay=0.2)}, close_wait=20)
    async with rig.run():
        await asyncio.sleep(2)
    old = dict(rig.state.places)
    reached = 0
    async with rig.run(kill=True):
        for _ in range(200):
            await asyncio.sleep(0.2)
            through = broker.places[key(1)].through if key(1) in broker.places else 0
            assert through >= reached
            reached = through
    assert reached == 20
    rig.state.places = old
    async with rig.run():
        await asyncio.sleep(120)
    assert len(broker.ids) == len(set(broker.ids))
    done = broker.events[-1].read()
    assert (done["complete"], done["events_total"], done["events_missing"]) == (False, 20, [7])


async def test_a_sink_that_begins_to_keep_places_takes_over_those_of_the_disk():
    source = FakeSource("prod", steady(1), steady(2, count=10, statuses=((0.0, "running"), (60.0, "failed"))))
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(6)
    before = rig.sinks["all"].ids
    broker = Broker()
    for _ in range(3):
        rig.sinks = {"all": FakeTransactionalSink(broker)}
        async with rig.run(kill=True):
            await asyncio.sleep(3)
    async with rig.run():
        await asyncio.sleep(90)
    everything = before + broker.ids
    assert len(everything) == len(set(everything))
    assert {i for i in everything if "/job/1/" in i} == set(whole(*range(1, 61)))
    assert "prod/job/2/status/failed" in everything


@pytest.mark.parametrize("moment", [2.0, 6.0, 12.5, 13.2, 20.0])
async def test_with_the_disk_lost_the_sink_alone_is_memory_enough(moment):
    broker = Broker()
    source = FakeSource("prod", steady(1), steady(2, count=20, appears=9.0), steady(3, appears=25.0))
    rig = Rig(source, sinks={"all": FakeTransactionalSink(broker)})
    async with rig.run(kill=True):
        await asyncio.sleep(moment)
    rig.state = MemoryState()
    rig.sinks = {"all": FakeTransactionalSink(broker)}
    await asyncio.sleep(10)
    async with rig.run():
        await asyncio.sleep(90)
    assert len(broker.ids) == len(set(broker.ids))
    for number, count in ((1, 60), (2, 20), (3, 60)):
        name = f"prod/job/{number}"
        got = [i for i in broker.ids if i.startswith(f"{name}/")]
        assert [i for i in got if "/event/" in i] == events(*range(1, count + 1), job=name)
        assert got[-1] == f"{name}/status/successful"
    assert [note["lost"] for note in rig.observer.noted("state.recovered")] == [
        "dead letters, orders, and what sinks remember of messages"
    ]


async def test_a_blank_disk_waits_for_the_sink_that_may_remember():
    broker = Broker()
    broker.down = True
    source = FakeSource("prod", steady(count=5))
    rig = Rig(source, sinks={"all": FakeTransactionalSink(broker)}, start="all")

    async def mend():
        await asyncio.sleep(60)
        broker.down = False

    mending = asyncio.create_task(mend())
    async with rig.run():
        assert len(rig.observer.noted("state.waiting")) == 1
        await asyncio.sleep(30)
    await mending
    assert broker.ids[-1] == "prod/job/1/status/successful"


async def test_a_huge_receipt_is_noted_without_its_hosts():
    hosts = tuple(HostSummary(host=f"host-{n:05}.example.com", ok=n) for n in range(5_000))
    close = Close(complete=True, events_total=9, last_counter=9, hosts=hosts)
    record = JobRecord(job=Job(key=key(1), status="successful"), first_seen=0.0, close=close)
    ((name, note),) = notes_of([record], {}).items()
    assert len(note) < 1_000
    jobs, _ = read_notes({name: note})
    assert jobs[key(1)].close.events_total == 9


class Choosy(FakeTransactionalSink):
    """Refuses counter 3 for good."""

    async def send_with_places(self, events, places, /, **more):
        if any(event.counter == 3 for event in events):
            raise PermanentDeliveryError("record too large")
        await super().send_with_places(events, places, **more)


@pytest.mark.parametrize("moment", [1.9, 2.5, 3.5, 4.6, 5.5, 7.5, 9.0])
async def test_no_place_moves_over_a_dead_letter_that_is_not_on_disk(moment):
    broker = Broker()
    rig = Rig(FakeSource("prod", steady(count=12)), sinks={"all": Choosy(broker)})
    rig.state.delay = 1.0
    async with rig.run(kill=True):
        await asyncio.sleep(moment)
    through = broker.places[key(1)].through if key(1) in broker.places else 0
    assert through < 3 or rig.state.letters
    rig.sinks = {"all": Choosy(broker)}
    async with rig.run():
        await asyncio.sleep(60)
    assert [letter.event_id for letter in rig.state.letters.values()] == ["prod/job/1/event/3"]
    assert sorted(e.counter for e in broker.events if e.counter) == [n for n in range(1, 13) if n != 3]


async def test_what_the_sink_went_on_without_comes_late_whoever_reads_it():
    """The disk is older than the sink: what is read in order again is late for the sink."""
    broker = Broker()
    job = steady(count=20, statuses=((0.0, "running"), (90.0, "successful")))
    job.rows[7] = 40.0
    rig = Rig(FakeSource("prod", job), sinks={"all": FakeTransactionalSink(broker)})
    async with rig.run():
        await asyncio.sleep(2)
    old = dict(rig.state.places)
    async with rig.run():
        await asyncio.sleep(28)
    assert broker.places[key(1)] == Place(through=20, wanted=((7, 7),), status_number=1)
    rig.state.places = old
    await asyncio.sleep(15)
    async with rig.run():
        await asyncio.sleep(60)
    late = {event.counter for event in broker.events if event.counter and event.read().get("late")}
    assert late == {7}
    assert sorted(e.counter for e in broker.events if e.counter) == list(range(1, 21))
