"""The Kafka sink against a broker that is away, frozen, killed in the middle, or not there yet."""

import asyncio
import socket

import pytest

from bridge.errors import TemporaryDeliveryError
from tests.support.kafka import read_all
from tests.support.kafka_sink import (
    first_sight,
    ids_by_key,
    make_event,
    make_events,
    new_topic,
    open_sink,
    send_until_accepted,
)

IMPATIENT = {"delivery_timeout": 2, "request_timeout": 1}


def others():
    """The tasks beside this test's own."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_opening_needs_no_broker_and_the_first_send_says_what_is_wrong():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        async with open_sink(address, "t") as sink:
            for _ in range(2):
                with pytest.raises(TemporaryDeliveryError, match=f"connecting to {address}"):
                    await sink.send([make_event()])
    assert not others()


async def test_a_server_that_never_answers_costs_no_more_than_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start = asyncio.get_running_loop().time()
        async with open_sink(address, "t", **IMPATIENT) as sink:
            with pytest.raises(TemporaryDeliveryError, match=f"connecting to {address}"):
                await sink.send([make_event()])
        assert asyncio.get_running_loop().time() - start < 6


async def expect_everything_in_order(broker, topic, jobs, counters):
    by_key = ids_by_key(await read_all(broker.bootstrap, topic))
    assert len(by_key) == jobs
    for key, ids in by_key.items():
        assert first_sight(ids) == [f"{key}/event/{counter}" for counter in range(1, counters + 1)]


async def test_a_broker_killed_in_the_middle_loses_nothing(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=6, counters=300)
    batches = [events[start : start + 60] for start in range(0, len(events), 60)]
    async with open_sink(kafka_broker.bootstrap, topic, **IMPATIENT) as sink:
        await send_until_accepted(sink, batches[0])
        kafka_broker.kill()
        with pytest.raises(TemporaryDeliveryError):
            await sink.send(batches[1])
        back = asyncio.create_task(asyncio.to_thread(kafka_broker.start))
        tries = [await send_until_accepted(sink, batch) for batch in batches[1:]]
        await back
        assert tries[-1] == 1
    assert not others()
    await expect_everything_in_order(kafka_broker, topic, 6, 300)


async def test_a_broker_killed_while_sending_loses_nothing(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=6, counters=2000)
    async with open_sink(kafka_broker.bootstrap, topic, **IMPATIENT) as sink:
        await send_until_accepted(sink, events[:6])
        crash = asyncio.create_task(asyncio.to_thread(kafka_broker.restart))
        for start in range(6, len(events), 60):
            await send_until_accepted(sink, events[start : start + 60])
            await asyncio.sleep(0.002)
        await crash
    await expect_everything_in_order(kafka_broker, topic, 6, 2000)


@pytest.mark.parametrize("patience", [IMPATIENT, {"delivery_timeout": 30, "request_timeout": 2}])
async def test_a_frozen_broker_loses_nothing(kafka_broker, patience):
    topic = new_topic()
    events = make_events(jobs=6, counters=100)
    async with open_sink(kafka_broker.bootstrap, topic, **patience) as sink:
        await send_until_accepted(sink, events[:60])
        with kafka_broker.paused():
            sending = asyncio.create_task(send_until_accepted(sink, events[60:120]))
            await asyncio.sleep(6)
            assert not sending.done()
        await sending
        await send_until_accepted(sink, events[120:])
    assert not others()
    await expect_everything_in_order(kafka_broker, topic, 6, 100)


async def test_closing_while_the_broker_is_frozen_takes_seconds(kafka_broker):
    topic = new_topic()
    async with open_sink(kafka_broker.bootstrap, topic) as sink:
        await sink.send([make_event(1, 1)])
        with kafka_broker.paused():
            sending = asyncio.create_task(sink.send([make_event(1, 2, stdout="x" * 500_000)] * 6))
            await asyncio.sleep(0.5)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            start = asyncio.get_running_loop().time()
            await sink._session.close()
            assert asyncio.get_running_loop().time() - start < 6
            assert not others()
        await sink.send([make_event(1, 3)])
    ids = ids_by_key(await read_all(kafka_broker.bootstrap, topic))["prod/job/1"]
    assert (ids[0], ids[-1]) == ("prod/job/1/event/1", "prod/job/1/event/3")


async def test_a_cancelled_send_leaves_a_sink_that_works(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=3, counters=200)
    async with open_sink(kafka_broker.bootstrap, topic) as sink:
        for start in range(0, len(events), 60):
            batch = events[start : start + 60]
            for patience in (0.0, 0.001, 0.004):
                try:
                    async with asyncio.timeout(patience):
                        await sink.send(batch)
                except (TimeoutError, TemporaryDeliveryError):
                    continue
            await send_until_accepted(sink, batch)
    assert not others()
    by_key = ids_by_key(await read_all(kafka_broker.bootstrap, topic))
    for key, ids in by_key.items():
        assert first_sight(ids) == [f"{key}/event/{counter}" for counter in range(1, 201)]
