"""The Kafka sink that delivers exactly once, against a real broker: what it keeps, and what it refuses."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bridge.errors import (
    PermanentDeliveryError,
    SinkRefusedError,
    StateOwnedError,
    TemporaryDeliveryError,
)
from bridge.model import JobKey, Place
from bridge.ports import TransactionalSink
from bridge.sinks.kafka import keeping, transactions
from tests.support.kafka import read_all
from tests.support.kafka_sink import (
    ids_by_key,
    job,
    make_event,
    make_events,
    new_topic,
    open_sink,
    open_transactional,
    places_after,
)


@pytest.fixture
async def admin(kafka_broker):
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    await client.start()
    yield client
    await client.close()


async def configured(admin, topic):
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    [(_, _, _, _, entries)] = answer.resources
    return {key: value for key, value, *_ in entries}


async def ids(broker, topic):
    return [dict(record.headers)["ce_id"].decode() for record in await read_all(broker.bootstrap, topic)]


async def kept(broker, topic, **more):
    """What a restart would begin with."""
    async with open_transactional(broker.bootstrap, topic, **more) as sink:
        return await sink.places()


async def test_events_and_places_arrive_together(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=5, counters=40)
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        assert isinstance(sink, TransactionalSink)
        assert await sink.places() == {}
        for start in range(0, len(events), 50):
            batch = events[start : start + 50]
            await sink.send_with_places(batch, places_after(batch))
        await sink.send([make_event(9, 1)])
    by_key = ids_by_key(await read_all(kafka_broker.bootstrap, topic))
    assert by_key.pop("prod/job/9") == ["prod/job/9/event/1"]
    assert by_key == {
        f"prod/job/{number}": [f"prod/job/{number}/event/{counter}" for counter in range(1, 41)]
        for number in range(1, 6)
    }
    assert await kept(kafka_broker, topic) == {job(number): Place(through=40) for number in range(1, 6)}


async def test_a_place_keeps_all_its_parts_and_the_last_one_counts(kafka_broker):
    topic = new_topic()
    place = Place(through=90, wanted=((3, 4), (80, 80)), status_number=3, repeats={5: 2})
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        await sink.places()
        await sink.send_with_places([], {job(1): Place(through=1), job(2): Place(through=2)})
        await sink.send_with_places([], {job(1): place})
    assert await kept(kafka_broker, topic) == {job(1): place, job(2): Place(through=2)}


async def test_a_job_is_forgotten_with_a_tombstone(kafka_broker):
    topic = new_topic()
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        await sink.places()
        await sink.send_with_places([], {job(1): Place(through=1), job(2): Place(through=2)})
        await sink.send_with_places([make_event(2, 3)], {job(1): None, job(2): Place(through=3)})
        assert await sink.places() == {job(2): Place(through=3)}
    records = await read_all(kafka_broker.bootstrap, f"{topic}.events.places")
    assert [record.value for record in records if record.key == b"prod/job/1"][-1] is None


async def test_nothing_to_send_is_no_transaction(kafka_broker):
    topic = new_topic()
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        await sink.places()
        await sink.send_with_places([], {})
    [owner] = await read_all(kafka_broker.bootstrap, f"{topic}.events.places")
    assert owner.key == b"_owner"


async def test_the_places_topic_is_made_to_be_compacted(kafka_broker, admin):
    topic = new_topic()
    await kept(kafka_broker, topic, topic_config={"retention.ms": 1000}, partitions=4)
    [found] = await admin.describe_topics([f"{topic}.events.places"])
    assert len(found["partitions"]) == 1
    config = await configured(admin, f"{topic}.events.places")
    assert config["cleanup.policy"] == "compact"
    assert config["segment.bytes"] == str(16 << 20)
    assert config["min.cleanable.dirty.ratio"] == "0.1"
    assert config["delete.retention.ms"] == "600000"
    assert config["retention.ms"] != "1000"


async def test_names_can_be_given(kafka_broker):
    topic = new_topic()
    names = {"transactional_id": f"id of {topic}", "places_topic": f"{topic}-places"}
    async with open_transactional(kafka_broker.bootstrap, topic, **names) as sink:
        await sink.places()
        await sink.send_with_places([], {job(1): Place(through=1)})
    assert await kept(kafka_broker, topic, bridge="another", **names) == {job(1): Place(through=1)}
    del names["places_topic"]
    assert await kept(kafka_broker, topic, **names) == {}
    assert await read_all(kafka_broker.bootstrap, f"id_of_{topic}.places")


async def test_ten_thousand_places_are_loaded_at_once(kafka_broker):
    topic = new_topic()
    places = {job(number): Place(through=number, wanted=((1, 2),)) for number in range(1, 10_001)}
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        await sink.places()
        for _ in range(2):
            await sink.send_with_places([], places)
        start = time.monotonic()
        assert await sink.places() == places
        assert time.monotonic() - start < 5


async def test_loading_may_take_as_long_as_it_goes_on(kafka_broker, monkeypatch):
    """However many places there are, a start must get through them: the limit is for standing still."""
    topic = new_topic()
    places = {job(number): Place(through=number) for number in range(1, 5_001)}
    async with open_transactional(kafka_broker.bootstrap, topic, compression="none") as sink:
        await sink.places()
        for _ in range(4):
            await sink.send_with_places([], places)
    real = AIOKafkaConsumer.getmany

    async def slow(self, *partitions, timeout_ms):
        await asyncio.sleep(0.4)
        return await real(self, *partitions, timeout_ms=timeout_ms)

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", slow)
    monkeypatch.setattr(keeping, "_FETCH_BYTES", 100_000)
    patience = {"delivery_timeout": 2, "request_timeout": 1}
    async with open_transactional(kafka_broker.bootstrap, topic, **patience) as sink:
        start = time.monotonic()
        assert await sink.places() == places
        assert time.monotonic() - start > 2


async def test_a_places_topic_that_forgets_is_refused(kafka_broker, admin):
    topic = new_topic()
    await admin.create_topics([NewTopic(f"{topic}.events.places", 1, 1)])
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        with pytest.raises(SinkRefusedError, match=r"cleanup.policy=delete, which would lose them"):
            await sink.places()
        compact = ConfigResource(
            ConfigResourceType.TOPIC, f"{topic}.events.places", {"cleanup.policy": "compact"}
        )
        await admin.alter_configs([compact])
        assert await sink.places() == {}


async def test_a_places_topic_that_may_not_be_made_is_refused(kafka_broker):
    topic = new_topic()
    async with open_transactional(kafka_broker.bootstrap, topic, create_topics=False) as sink:
        with pytest.raises(SinkRefusedError, match=rf"topic {topic}\.events\.places does not exist"):
            await sink.places()


async def test_two_sinks_with_one_places_topic_are_refused(kafka_broker):
    topic = new_topic()
    one = {"places_topic": f"{topic}-places", "transactional_id": "one"}
    await kept(kafka_broker, topic, **one)
    async with open_transactional(kafka_broker.bootstrap, topic, places_topic=f"{topic}-places") as sink:
        with pytest.raises(SinkRefusedError, match="holds the places of transactional id one"):
            await sink.places()
    assert await kept(kafka_broker, topic, **one) == {}


async def test_a_places_topic_with_other_records_is_refused(kafka_broker):
    topic = new_topic()
    await kept(kafka_broker, topic)
    async with AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap) as other:
        await other.send_and_wait(f"{topic}.events.places", b"?", key=b"something else")
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        with pytest.raises(SinkRefusedError, match="holds more than this sink's places"):
            await sink.places()


async def test_what_another_writer_holds_open_in_the_places_topic_is_waited_for(kafka_broker):
    """Until its end, a reader sees nothing of what was committed after its first record."""
    topic = new_topic()
    patience = {"delivery_timeout": 1.5, "request_timeout": 1}
    async with open_transactional(kafka_broker.bootstrap, topic, **patience) as sink:
        await sink.places()
        async with AIOKafkaProducer(
            bootstrap_servers=kafka_broker.bootstrap, transactional_id=new_topic()
        ) as other:
            await other.begin_transaction()
            await other.send_and_wait(f"{topic}.events.places", b"?", key=b"_foreign")
            await sink.send_with_places([], {job(1): Place(through=1)})
            with pytest.raises(TemporaryDeliveryError, match="no answer in time"):
                await sink.places()
            await other.abort_transaction()
        assert await sink.places() == {job(1): Place(through=1)}


async def test_a_deleted_places_topic_is_not_taken_for_a_new_one(kafka_broker, admin):
    topic = new_topic()
    patience = {"delivery_timeout": 5, "request_timeout": 1}
    async with open_transactional(kafka_broker.bootstrap, topic, **patience) as sink:
        await sink.places()
        await sink.send_with_places([], {job(1): Place(through=1)})
        await admin.delete_topics([f"{topic}.events.places"])
        sink._session.spoil()
        with pytest.raises(SinkRefusedError, match="has lost this sink's places"):
            await sink.send_with_places([], {job(1): Place(through=2)})


async def test_an_event_too_large_even_when_cut_fails_for_all_and_costs_nothing(kafka_broker):
    topic = new_topic()
    events = [make_event(1, 1), make_event(1, 2, job_name="z" * 60_000), make_event(1, 3)]
    config = {"max.message.bytes": 20_000}
    async with open_transactional(kafka_broker.bootstrap, topic, topic_config=config) as sink:
        await sink.places()
        with pytest.raises(PermanentDeliveryError):
            await sink.send_with_places(events, places_after(events))
        assert sink._session.healthy
        await sink.send_with_places(events[:1], places_after(events[:1]))
        await sink.send_with_places(events[2:], places_after(events[2:]))
    assert await ids(kafka_broker, topic) == ["prod/job/1/event/1", "prod/job/1/event/3"]


async def test_a_batch_that_the_broker_refuses_leaves_nothing_of_its_transaction(kafka_broker, admin):
    """The topic's limit went down after it was asked for: the broker refuses one batch of two."""
    topic = new_topic()
    events = [make_event(number, 1) for number in range(1, 9)]
    events[3] = make_event(4, 1, stdout="y" * 5_000)
    async with open_transactional(kafka_broker.bootstrap, topic, partitions=4, compression="none") as sink:
        await sink.places()
        await sink.send_with_places([make_event(99, 1)], {})
        limit = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "4000"})
        await admin.alter_configs([limit])
        with pytest.raises(PermanentDeliveryError):
            await sink.send_with_places(events, places_after(events))
        assert len(await read_all(kafka_broker.bootstrap, topic)) == 1
        good = [event for event in events if event is not events[3]]
        await sink.send_with_places(good, places_after(good))
    assert sorted(await ids(kafka_broker, topic)) == sorted(event.id for event in [make_event(99, 1), *good])
    assert await kept(kafka_broker, topic) == places_after(good)


async def test_the_youngest_takes_over_and_the_other_finds_out_without_disturbing_it(kafka_broker):
    topic = new_topic()
    async with (
        open_transactional(kafka_broker.bootstrap, topic) as old,
        open_transactional(kafka_broker.bootstrap, topic) as young,
    ):
        await old.places()
        await old.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
        assert await young.places() == {job(1): Place(through=1)}
        with pytest.raises(TemporaryDeliveryError):
            await old.send_with_places([make_event(1, 2)], {job(1): Place(through=2)})
        producer = young._session._producer
        for again in (
            old.send_with_places([make_event(1, 2)], {job(1): Place(through=2)}),
            old.send([make_event(1, 2)]),
            old.places(),
        ):
            with pytest.raises(StateOwnedError, match=rf"taken over by {topic} \(process \d+ on "):
                await again
        await young.send_with_places([make_event(1, 2)], {job(1): Place(through=2)})
        assert young._session._producer is producer
    assert await ids(kafka_broker, topic) == ["prod/job/1/event/1", "prod/job/1/event/2"]


async def test_a_rival_that_only_started_is_pushed_aside_until_it_takes_over(kafka_broker):
    """A start fences before it claims; the one that was fenced comes back and goes on."""
    topic = new_topic()
    async with (
        open_transactional(kafka_broker.bootstrap, topic) as sink,
        AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap, transactional_id=f"{topic}.events"),
    ):
        await sink.places()
        async with AIOKafkaProducer(
            bootstrap_servers=kafka_broker.bootstrap, transactional_id=f"{topic}.events"
        ):
            with pytest.raises(TemporaryDeliveryError):
                await sink.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
            await sink.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
    assert await ids(kafka_broker, topic) == ["prod/job/1/event/1"]


async def test_a_trial_before_the_places_pushes_nobody_out(kafka_broker):
    topic = new_topic()
    async with (
        open_transactional(kafka_broker.bootstrap, topic) as running,
        open_transactional(kafka_broker.bootstrap, topic) as trial,
    ):
        await running.places()
        await trial.send([make_event(1, 1)])
        await running.send_with_places([make_event(1, 2)], {})
    assert await ids(kafka_broker, topic) == ["prod/job/1/event/1", "prod/job/1/event/2"]


async def test_a_cancelled_transaction_is_aborted_so_that_no_reader_waits(kafka_broker, monkeypatch):
    topic = new_topic()
    sent = asyncio.Event()
    push = transactions.push

    async def push_and_wait(producer, queues, deadline):
        await push(producer, queues, deadline)
        sent.set()
        await asyncio.sleep(30)

    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        await sink.places()
        await sink.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
        monkeypatch.setattr(transactions, "push", push_and_wait)
        sending = asyncio.create_task(sink.send_with_places([make_event(1, 2)], {}))
        await sent.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        monkeypatch.undo()
        async with open_sink(kafka_broker.bootstrap, topic) as other:
            await other.send([make_event(1, 3)])
        async with asyncio.timeout(5):  # far less than brokers need to end a transaction by themselves
            assert await ids(kafka_broker, topic) == ["prod/job/1/event/1", "prod/job/1/event/3"]
        await sink.send_with_places([make_event(1, 2)], {job(1): Place(through=2)})
    assert (await ids(kafka_broker, topic))[-1] == "prod/job/1/event/2"


async def test_cancelled_at_any_moment_it_neither_loses_nor_doubles(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=3, counters=60)
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        await sink.places()
        for number, start in enumerate(range(0, len(events), 30)):
            batch = events[start : start + 30]
            for patience in (0.0, 0.002 + number / 1000, 0.005 + number / 1000):
                try:
                    async with asyncio.timeout(patience):
                        await sink.send_with_places(batch, places_after(batch))
                except (TimeoutError, TemporaryDeliveryError):
                    continue
            await sink.send_with_places(batch, places_after(batch))
    assert len(asyncio.all_tasks()) == 1
    for key, found in ids_by_key(await read_all(kafka_broker.bootstrap, topic)).items():
        assert found == [f"{key}/event/{counter}" for counter in range(1, 61)]


async def test_one_missing_topic_of_a_pattern_refuses_the_whole_call(kafka_broker, admin):
    word = new_topic()
    await admin.create_topics([NewTopic(f"{word}.here", 1, 1)])
    await kept(kafka_broker, word)
    async with open_transactional(
        kafka_broker.bootstrap, word + ".{project}", bridge=word, create_topics=False
    ) as sink:
        await sink.places()
        with pytest.raises(SinkRefusedError, match=rf"{word}\.gone does not exist"):
            await sink.send_with_places([make_event(1, project="here"), make_event(2, project="gone")], {})
        await sink.send_with_places([make_event(1, project="here")], {JobKey("prod", "job", 1): Place()})
    assert len(await read_all(kafka_broker.bootstrap, f"{word}.here")) == 1
