"""What every sink promises that keeps its own places: the fake that loops are tested with, and Kafka."""

from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import pytest

from bridge.errors import TemporaryDeliveryError
from bridge.model import Place
from bridge.ports import TransactionalSink
from tests.support.kafka import read_all
from tests.support.kafka_proxy import END_TXN, running_proxy
from tests.support.kafka_sink import job, make_event, new_topic, open_transactional
from tests.support.transactional import Broker, FakeTransactionalSink


@asynccontextmanager
async def fake():
    broker = Broker()

    async def ids():
        return broker.ids

    @asynccontextmanager
    async def opened():
        sink = FakeTransactionalSink(broker)
        yield SimpleNamespace(
            sink=sink,
            lose_the_next_answer=lambda: setattr(sink, "doubt", 1),
            down=partial(setattr, broker, "down"),
        )

    yield SimpleNamespace(opened=opened, ids=ids)


@asynccontextmanager
async def kafka(broker):
    topic = new_topic()

    async def ids():
        return [dict(record.headers)["ce_id"].decode() for record in await read_all(broker.bootstrap, topic)]

    @asynccontextmanager
    async def opened():
        async with running_proxy(broker.bootstrap) as network:

            def down(away):
                if away:
                    network.cut()
                else:
                    network.mend()

            limits = {"delivery_timeout": 3, "request_timeout": 1, "transaction_timeout": 1}
            async with open_transactional(network.address, topic, **limits) as sink:
                yield SimpleNamespace(
                    sink=sink, lose_the_next_answer=lambda: network.lose(END_TXN), down=down
                )

    yield SimpleNamespace(opened=opened, ids=ids)


@pytest.fixture(params=["fake", "kafka"])
async def destination(request):
    made = fake() if request.param == "fake" else kafka(request.getfixturevalue("kafka_broker"))
    async with made as destination:
        yield destination


async def test_it_is_what_the_loops_take_it_for(destination):
    async with destination.opened() as place:
        assert isinstance(place.sink, TransactionalSink)
        assert await place.sink.places() == {}
        assert place.sink.notes() == {}


async def test_a_restart_finds_events_places_and_notes_of_the_same_moment(destination):
    async with destination.opened() as place:
        await place.sink.places()
        await place.sink.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
        await place.sink.send_with_places([], {job(2): Place(through=7)}, notes={"job/a": b"1", "b": b"2"})
        await place.sink.send_with_places([make_event(1, 2)], {job(1): Place(through=2)}, notes={"b": b"3"})
    async with destination.opened() as place:
        assert await place.sink.places() == {job(1): Place(through=2), job(2): Place(through=7)}
        assert place.sink.notes() == {"job/a": b"1", "b": b"3"}
    assert await destination.ids() == ["prod/job/1/event/1", "prod/job/1/event/2"]


async def test_none_forgets(destination):
    async with destination.opened() as place:
        await place.sink.places()
        await place.sink.send_with_places([], {job(1): Place(through=1)}, notes={"a": b"1"})
        await place.sink.send_with_places([], {job(1): None}, notes={"a": None})
    async with destination.opened() as place:
        assert await place.sink.places() == {}
        assert place.sink.notes() == {}


async def test_a_lost_answer_is_found_out_before_anything_is_sent_again(destination):
    events = [make_event(1, counter) for counter in (1, 2, 3)]
    async with destination.opened() as place:
        await place.sink.places()
        place.lose_the_next_answer()
        with pytest.raises(TemporaryDeliveryError):
            await place.sink.send_with_places(events[:2], {job(1): Place(through=2)})
        await place.sink.send_with_places(events, {job(1): Place(through=3)})
    assert await destination.ids() == [event.id for event in events]


async def test_what_is_down_takes_nothing_and_comes_back(destination):
    async with destination.opened() as place:
        await place.sink.places()
        place.down(True)
        for attempt in (place.sink.send_with_places([make_event(1, 1)], {}), place.sink.places()):
            with pytest.raises(TemporaryDeliveryError):
                await attempt
        place.down(False)
        await place.sink.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
        assert await place.sink.places() == {job(1): Place(through=1)}
    assert await destination.ids() == ["prod/job/1/event/1"]
