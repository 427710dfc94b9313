"""The Kafka sink against a real broker: what is written, where, and in which order."""

import json
import time
import uuid

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, from_structured_event

from bridge import encode
from bridge.errors import PartialDeliveryError, PermanentDeliveryError
from bridge.sinks.kafka.batches import partition_of
from tests.support.kafka import read_all
from tests.support.kafka_sink import ids_by_key, make_event, make_events, new_topic, open_sink


def as_message(record):
    return KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)


async def test_an_event_is_a_record_with_its_attributes_as_headers(kafka_broker):
    topic = new_topic()
    event = make_event(7, 3)
    created = {"topic_config": {"message.timestamp.type": "CreateTime"}}
    async with open_sink(kafka_broker.bootstrap, topic, **created) as sink:
        await sink.send([event])
    [record] = await read_all(kafka_broker.bootstrap, topic)
    headers = dict(record.headers)
    assert len(headers) == len(record.headers)
    assert record.key == b"prod/job/7"
    assert record.value == event.body
    assert record.timestamp == 1772359200250
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == b"prod/job/7/event/3"
    assert headers["ce_type"] == b"awx.event.runner_on_ok"
    assert headers["ce_source"] == b"prod"
    assert headers["content-type"] == b"application/json"
    assert str(uuid.UUID(headers["message_uuid"].decode())) == encode.message_uuid(event.id)
    assert all(value.decode() for value in headers.values())


async def test_in_a_topic_that_the_sink_made_retention_counts_from_the_delivery(kafka_broker):
    topic, before = new_topic(), time.time()
    async with open_sink(kafka_broker.bootstrap, topic) as sink:
        await sink.send([make_event(7, 3)])
    [record] = await read_all(kafka_broker.bootstrap, topic)
    assert before - 60 < record.timestamp / 1000 < time.time() + 60


async def test_cloudevents_own_library_reads_binary_mode(kafka_broker):
    topic = new_topic()
    event = make_event(7, 3)
    async with open_sink(kafka_broker.bootstrap, topic) as sink:
        await sink.send([event])
    [record] = await read_all(kafka_broker.bootstrap, topic)
    read = from_binary_event(as_message(record))
    assert (read.get_id(), read.get_type(), read.get_source()) == (event.id, event.type, event.source)
    assert read.get_subject() == "job/7"
    assert read.get_datacontenttype() == "application/json"
    assert read.get_time().isoformat() == "2026-03-01T10:00:00.250000+00:00"
    assert read.get_data() == event.read()


async def test_cloudevents_own_library_reads_structured_mode(kafka_broker):
    topic = new_topic()
    event = make_event(7, 3)
    async with open_sink(kafka_broker.bootstrap, topic, content_mode="structured") as sink:
        await sink.send([event])
    [record] = await read_all(kafka_broker.bootstrap, topic)
    assert dict(record.headers)["content-type"].startswith(b"application/cloudevents+json")
    assert dict(record.headers)["message_uuid"].decode() == encode.message_uuid(event.id)
    read = from_structured_event(as_message(record))
    assert (read.get_id(), read.get_type()) == (event.id, event.type)
    assert read.get_data() == event.read()


async def test_every_job_stays_in_order_in_the_partition_of_its_key(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=20, counters=30)
    async with open_sink(kafka_broker.bootstrap, topic, partitions=5) as sink:
        for start in range(0, len(events), 100):
            await sink.send(events[start : start + 100])
    records = await read_all(kafka_broker.bootstrap, topic)
    assert {record.partition for record in records} == set(range(5))
    assert all(record.partition == partition_of(record.key, range(5)) for record in records)
    for key, ids in ids_by_key(records).items():
        assert ids == [f"{key}/event/{counter}" for counter in range(1, 31)]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records_read_back(kafka_broker, compression):
    topic = new_topic(compression)
    events = make_events(jobs=3, counters=10, stdout="grün " * 50)
    async with open_sink(kafka_broker.bootstrap, topic, compression=compression) as sink:
        await sink.send(events)
    records = await read_all(kafka_broker.bootstrap, topic)
    assert {record.value for record in records} == {event.body for event in events}


async def test_a_pattern_makes_one_topic_per_project(kafka_broker):
    word = new_topic("awx")
    events = [make_event(1, 1, project="Demo Project"), make_event(2, 1, project=None), make_event(3, 1)]
    async with open_sink(kafka_broker.bootstrap, word + ".{job_type}.{project}") as sink:
        await sink.send(events)
    [record] = await read_all(kafka_broker.bootstrap, f"{word}.job.Demo_Project")
    assert record.value == events[0].body
    records = await read_all(kafka_broker.bootstrap, f"{word}.job.none")
    assert {record.value for record in records} == {events[1].body, events[2].body}


async def test_twenty_thousand_events_arrive_once(kafka_broker):
    topic = new_topic()
    events = make_events(jobs=40, counters=500, stdout="x" * 700)
    async with open_sink(kafka_broker.bootstrap, topic) as sink:
        for start in range(0, len(events), 1000):
            await sink.send(events[start : start + 1000])
    by_key = ids_by_key(await read_all(kafka_broker.bootstrap, topic))
    assert len(by_key) == 40
    for key, ids in by_key.items():
        assert ids == [f"{key}/event/{counter}" for counter in range(1, 501)]


async def test_a_batch_larger_than_one_record_batch_arrives_in_order(kafka_broker):
    topic = new_topic()
    events = [make_event(1, counter, stdout=f"{counter}" * 300_000) for counter in range(1, 8)]
    async with open_sink(kafka_broker.bootstrap, topic) as sink:
        await sink.send(events)
    records = await read_all(kafka_broker.bootstrap, topic)
    assert [record.value for record in records] == [event.body for event in events]


async def test_a_large_event_is_cut_to_what_the_topic_takes(kafka_broker):
    topic = new_topic()
    events = [make_event(1, 1), make_event(1, 2, stdout="y" * 50_000), make_event(1, 3)]
    config = {"max.message.bytes": 20_000}
    async with open_sink(kafka_broker.bootstrap, topic, topic_config=config, compression="none") as sink:
        await sink.send(events)
    records = await read_all(kafka_broker.bootstrap, topic)
    cut = json.loads(records[1].value)
    assert cut["truncated"] == ["stdout"]
    assert 15_000 < len(records[1].value) < 20_000
    assert [records[0].value, records[2].value] == [events[0].body, events[2].body]


async def test_max_event_bytes_cuts_too(kafka_broker):
    topic = new_topic()
    async with open_sink(kafka_broker.bootstrap, topic, max_event_bytes=2000) as sink:
        await sink.send([make_event(1, 1, stdout="y" * 5_000)])
    [record] = await read_all(kafka_broker.bootstrap, topic)
    assert len(record.value) <= 2000


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_an_event_too_large_even_when_cut_fails_alone(kafka_broker, mode):
    topic = new_topic()
    huge = make_event(1, 2, job_name="z" * 60_000)
    events = [make_event(1, 1), huge, make_event(1, 3)]
    config = {"max.message.bytes": 20_000}
    async with open_sink(kafka_broker.bootstrap, topic, topic_config=config, content_mode=mode) as sink:
        with pytest.raises(PartialDeliveryError) as caught:
            await sink.send(events)
        assert list(caught.value.errors) == [1]
        assert isinstance(caught.value.errors[1], PermanentDeliveryError)
        with pytest.raises(PermanentDeliveryError):
            await sink.send([huge])
        await sink.send([make_event(1, 4)])
    assert len(await read_all(kafka_broker.bootstrap, topic)) == 3
