"""The Kafka sink that delivers exactly once, when answers are lost, requests late, and brokers away."""

import asyncio
import json
import random

import pytest

from bridge.errors import TemporaryDeliveryError
from bridge.model import Place
from tests.support.kafka import read_all
from tests.support.kafka_proxy import ADD_PARTITIONS_TO_TXN, END_TXN, INIT_PRODUCER_ID, PRODUCE, running_proxy
from tests.support.kafka_sink import (
    ids_by_key,
    job,
    make_event,
    make_events,
    new_topic,
    open_transactional,
    places_after,
)

IMPATIENT = {"delivery_timeout": 2, "request_timeout": 1, "transaction_timeout": 1}


@pytest.fixture
async def proxy(kafka_broker):
    async with running_proxy(kafka_broker.bootstrap) as proxy:
        yield proxy


async def found(broker, topic):
    return ids_by_key(await read_all(broker.bootstrap, topic))


def all_of(counters, *, jobs=1):
    return {
        f"prod/job/{number}": [f"prod/job/{number}/event/{counter}" for counter in range(1, counters + 1)]
        for number in range(1, jobs + 1)
    }


async def kept(broker, topic):
    async with open_transactional(broker.bootstrap, topic) as sink:
        return await sink.places()


async def expect_no_place_to_move_back(broker, topic):
    """A crash in between would repeat what lies between the two."""
    seen = {}
    for record in await read_all(broker.bootstrap, f"{topic}.events.places"):
        if not record.key.startswith(b"_"):
            through = json.loads(record.value)["through"]
            assert through > seen.get(record.key, 0)
            seen[record.key] = through


async def send_until_committed(sink, events):
    """Send as a lane does, each job's events in order, in other company at each try."""
    chance = random.Random(7)
    left = list(events)
    while left:
        batch = left[: chance.randint(1, len(left))]
        try:
            await sink.send_with_places(batch, places_after(batch))
        except TemporaryDeliveryError:
            await asyncio.sleep(0.1)
        else:
            left = left[len(batch) :]


async def doubtful_commit(sink, proxy, events, *, committed):
    """Send `events` so that their commit has no answer; whether it counted is for us to know."""
    if committed:
        proxy.lose(END_TXN)
    else:
        proxy.hold(END_TXN)
    with pytest.raises(TemporaryDeliveryError, match="committing to Kafka: no answer in time"):
        await sink.send_with_places(events, places_after(events))
    assert (proxy.lost if committed else proxy.held).is_set()
    proxy.holding.clear()  # later requests pass, the held one waits


@pytest.fixture(params=[True, False], ids=["committed", "not committed"])
async def doubt(request, kafka_broker, proxy):
    """A sink with events 1 to 6 of two jobs in doubt; at the end all 9 of both must be there once."""
    topic = new_topic()
    async with open_transactional(proxy.address, topic, **IMPATIENT) as sink:
        await sink.places()
        events = make_events(jobs=2, counters=9)
        await sink.send_with_places(events[:4], places_after(events[:4]))
        await doubtful_commit(sink, proxy, events[4:12], committed=request.param)
        yield sink, events
        proxy.release()  # what was held arrives after all, and must change nothing
        await send_until_committed(sink, [make_event(3, 1)])
    assert (await found(kafka_broker, topic)) == all_of(9, jobs=2) | {"prod/job/3": ["prod/job/3/event/1"]}
    assert await kept(kafka_broker, topic) == {
        job(1): Place(through=9),
        job(2): Place(through=9),
        job(3): Place(through=1),
    }
    await expect_no_place_to_move_back(kafka_broker, topic)


async def test_the_same_batch_again(doubt):
    sink, events = doubt
    await sink.send_with_places(events[4:12], places_after(events[4:12]))
    await sink.send_with_places(events[12:], places_after(events[12:]))


async def test_a_longer_batch(doubt):
    sink, events = doubt
    await sink.send_with_places(events[4:], places_after(events[4:]))


async def test_shorter_batches(doubt):
    sink, events = doubt
    for start in range(4, 18, 2):
        batch = events[start : start + 2]
        await sink.send_with_places(batch, places_after(batch))


async def test_one_job_after_the_other(doubt):
    sink, events = doubt
    for key in ("prod/job/2", "prod/job/1"):
        batch = [event for event in events[4:] if event.key == key]
        await sink.send_with_places(batch, places_after(batch))


async def test_places_that_do_not_reach_as_far(doubt):
    sink, events = doubt
    await sink.send_with_places([], {job(1): Place(through=3)})
    await sink.send_with_places(events[4:], places_after(events[4:]))


async def test_a_doubt_on_top_of_a_doubt(doubt, proxy):
    sink, events = doubt
    proxy.release()
    await doubtful_commit(sink, proxy, events[4:14], committed=True)
    proxy.cut()
    for _ in range(2):
        with pytest.raises(TemporaryDeliveryError):
            await sink.send_with_places(events[4:8], places_after(events[4:8]))
    proxy.mend()
    await doubtful_commit(sink, proxy, events[4:16], committed=False)
    proxy.release()
    await send_until_committed(sink, events[4:])


async def test_a_caller_that_begins_anew_from_the_places(doubt):
    sink, events = doubt
    places = await sink.places()
    left = [event for event in events if event.counter > places[job(int(event.key[-1]))].through]
    assert len(left) in (6, 14)
    await sink.send_with_places(left, places_after(left))


async def test_a_commit_in_doubt_that_counted_costs_no_second_transaction(kafka_broker, proxy):
    topic = new_topic()
    async with open_transactional(proxy.address, topic, **IMPATIENT) as sink:
        await sink.places()
        await doubtful_commit(sink, proxy, [make_event(1, 1)], committed=True)
        before = len(await read_all(kafka_broker.bootstrap, f"{topic}.events.places"))
        await sink.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
        assert len(await read_all(kafka_broker.bootstrap, f"{topic}.events.places")) == before


async def test_taking_over_in_doubt_is_done_again(kafka_broker, proxy):
    topic = new_topic()
    async with open_transactional(proxy.address, topic, **IMPATIENT) as sink:
        for disturb in (proxy.lose, proxy.hold):
            disturb(END_TXN)
            with pytest.raises(TemporaryDeliveryError):
                await sink.places()
            proxy.release()
        assert await sink.places() == {}
        await sink.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
    assert await found(kafka_broker, topic) == all_of(1)


@pytest.mark.parametrize("api", [INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, PRODUCE, END_TXN])
async def test_requests_that_arrive_late_change_nothing(kafka_broker, proxy, api):
    topic = new_topic()
    events = make_events(jobs=2, counters=40)
    async with open_transactional(proxy.address, topic, **IMPATIENT) as sink:
        await sink.places()
        await send_until_committed(sink, events[:20])
        if api == INIT_PRODUCER_ID:
            sink._session.spoil()
        proxy.hold(api)
        with pytest.raises(TemporaryDeliveryError):
            await sink.send_with_places(events[20:40], places_after(events[20:40]))
        assert proxy.held.is_set()
        proxy.holding.clear()  # later requests pass, the held ones wait
        await send_until_committed(sink, events[20:60])
        proxy.release()
        await asyncio.sleep(0.2)
        await send_until_committed(sink, events[60:])
    assert await found(kafka_broker, topic) == all_of(40, jobs=2)
    assert await kept(kafka_broker, topic) == places_after(events)


async def test_a_network_that_tears_at_any_moment(kafka_broker, proxy):
    topic = new_topic()
    events = make_events(jobs=4, counters=250)
    chance = random.Random(3)

    async def tear():
        for _ in range(25):
            await asyncio.sleep(chance.uniform(0.01, 0.12))
            proxy.cut()
            await asyncio.sleep(chance.uniform(0, 0.05))
            proxy.mend()

    async with open_transactional(proxy.address, topic, **IMPATIENT) as sink:
        await sink.places()
        tearing = asyncio.create_task(tear())
        for start in range(0, len(events), 20):
            await send_until_committed(sink, events[start : start + 20])
        await tearing
        await send_until_committed(sink, [make_event(5, 1)])
    assert await found(kafka_broker, topic) == all_of(250, jobs=4) | {"prod/job/5": ["prod/job/5/event/1"]}


async def test_a_broker_killed_in_the_middle(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=6, counters=400)
    async with open_transactional(kafka_broker.bootstrap, topic, **IMPATIENT) as sink:
        await sink.places()
        await send_until_committed(sink, events[:6])
        crash = asyncio.create_task(asyncio.to_thread(kafka_broker.restart))
        for start in range(6, len(events), 60):
            await send_until_committed(sink, events[start : start + 60])
        await crash
        await send_until_committed(sink, [make_event(9, 1)])
    assert len(asyncio.all_tasks()) == 1
    assert await found(kafka_broker, topic) == all_of(400, jobs=6) | {"prod/job/9": ["prod/job/9/event/1"]}


async def test_a_frozen_broker(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=6, counters=100)
    async with open_transactional(kafka_broker.bootstrap, topic, **IMPATIENT) as sink:
        await sink.places()
        await send_until_committed(sink, events[:60])
        for start in (60, 120):
            sending = asyncio.create_task(send_until_committed(sink, events[start : start + 60]))
            await asyncio.sleep(start / 60 * 0.003)
            with kafka_broker.paused():
                await asyncio.sleep(6.5 if start == 60 else 2.5)
            await sending
        await send_until_committed(sink, events[180:])
    assert len(asyncio.all_tasks()) == 1
    assert await found(kafka_broker, topic) == all_of(100, jobs=6)


async def test_closing_with_a_commit_that_hangs_takes_seconds(kafka_broker, proxy):
    topic = new_topic()
    loop = asyncio.get_running_loop()
    async with open_transactional(proxy.address, topic) as sink:
        await sink.places()
        await sink.send([make_event(1, 1)])
        proxy.hold(END_TXN)
        sending = asyncio.create_task(sink.send_with_places([make_event(1, 2)], {}))
        await proxy.held.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        start = loop.time()
    assert loop.time() - start < 6
    assert await kept(kafka_broker, topic) == {}
    assert await found(kafka_broker, topic) == all_of(1)
