"""The Kafka sink against a real broker: topics that are missing, made, refused, changed or deleted."""

from types import SimpleNamespace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bridge.errors import (
    PartialDeliveryError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.sinks.kafka.topics import DEFAULT_MAX_BYTES, Topic, Topics
from tests.support.kafka import read_all
from tests.support.kafka_sink import make_event, make_events, new_topic, open_sink, options_for


@pytest.fixture
async def admin(kafka_broker):
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    await client.start()
    yield client
    await client.close()


async def describe(admin, topic):
    [found] = await admin.describe_topics([topic])
    return found


async def config_of(admin, topic, name):
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    [(_, _, _, _, entries)] = answer.resources
    return next(value for key, value, *_ in entries if key == name)


async def test_a_missing_topic_is_made_as_configured(kafka_broker, admin):
    topic = new_topic()
    config = {"retention.ms": 86_400_000}
    async with open_sink(kafka_broker.bootstrap, topic, partitions=4, topic_config=config) as sink:
        await sink.send([make_event()])
    assert len((await describe(admin, topic))["partitions"]) == 4
    assert await config_of(admin, topic, "retention.ms") == "86400000"


async def test_a_replication_factor_can_be_given(kafka_broker, admin):
    topic = new_topic()
    async with open_sink(kafka_broker.bootstrap, topic, replication_factor=1) as sink:
        await sink.send([make_event()])
    assert (await describe(admin, topic))["partitions"][0]["replicas"] == [1]


async def test_an_existing_topic_stays_as_it_is(kafka_broker, admin):
    topic = new_topic()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    async with open_sink(kafka_broker.bootstrap, topic, partitions=9) as sink:
        await sink.send(make_events(jobs=8, counters=1))
    assert len((await describe(admin, topic))["partitions"]) == 2
    assert len(await read_all(kafka_broker.bootstrap, topic)) == 8


async def test_a_missing_topic_that_may_not_be_made_is_refused_until_it_is_there(kafka_broker, admin):
    topic = new_topic()
    async with open_sink(kafka_broker.bootstrap, topic, create_topics=False) as sink:
        with pytest.raises(SinkRefusedError, match=f"topic {topic} does not exist and create_topics is off"):
            await sink.send([make_event(1), make_event(2)])
        await admin.create_topics([NewTopic(topic, 1, 1)])
        await sink.send([make_event(1), make_event(2)])
    assert len(await read_all(kafka_broker.bootstrap, topic)) == 2


async def test_one_missing_topic_of_a_pattern_does_not_hold_up_the_others(kafka_broker, admin):
    word = new_topic()
    await admin.create_topics([NewTopic(f"{word}.here", 1, 1)])
    events = [make_event(1, project="here"), make_event(2, project="gone"), make_event(3, project="here")]
    async with open_sink(kafka_broker.bootstrap, word + ".{project}", create_topics=False) as sink:
        with pytest.raises(PartialDeliveryError) as caught:
            await sink.send(events)
    assert list(caught.value.errors) == [1]
    assert isinstance(caught.value.errors[1], SinkRefusedError)
    assert len(await read_all(kafka_broker.bootstrap, f"{word}.here")) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"replication_factor": 3}, "InvalidReplicationFactor"),
        ({"topic_config": {"retention.mz": "1"}}, "retention.mz"),
    ],
)
async def test_a_topic_that_the_cluster_will_not_make_is_refused(kafka_broker, options, words):
    topic = new_topic()
    async with open_sink(kafka_broker.bootstrap, topic, **options) as sink:
        with pytest.raises(SinkRefusedError, match=words) as caught:
            await sink.send([make_event()])
    assert topic in caught.value.reason


async def test_a_topic_deleted_meanwhile_is_made_again(kafka_broker, admin):
    topic = new_topic()
    patience = {"delivery_timeout": 2, "request_timeout": 1}
    async with open_sink(kafka_broker.bootstrap, topic, **patience) as sink:
        await sink.send([make_event(1, 1)])
        await admin.delete_topics([topic])
        for _ in range(5):
            try:
                await sink.send([make_event(1, 2)])
            except TemporaryDeliveryError:
                continue
            break
    [record] = await read_all(kafka_broker.bootstrap, topic)
    assert record.value == make_event(1, 2).body


async def test_a_record_that_the_broker_refuses_is_found_among_many(kafka_broker, admin):
    """The topic's limit went down after it was asked for: the broker refuses the whole batch."""
    topic = new_topic()
    events = [make_event(1, counter) for counter in range(1, 21)]
    events[12] = make_event(1, 13, stdout="y" * 5_000)
    async with open_sink(kafka_broker.bootstrap, topic, partitions=1, compression="none") as sink:
        await sink.send([make_event(1, 0)])
        limit = {"max.message.bytes": "4000"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, limit)])
        left, dead = events, []
        sink._layout.topics.forget = lambda: None  # as if the cluster did not tell its limits
        for _ in range(30):
            try:
                await sink.send(left)
            except (TemporaryDeliveryError, PermanentDeliveryError) as err:
                failed = dict.fromkeys(range(len(left)), err)
            except PartialDeliveryError as err:
                failed = err.errors
            else:
                break
            dead += [left[at] for at, error in failed.items() if isinstance(error, PermanentDeliveryError)]
            left = [left[at] for at, error in failed.items() if isinstance(error, TemporaryDeliveryError)]
    assert dead == [events[12]]
    records = await read_all(kafka_broker.bootstrap, topic)
    assert [record.value for record in records[1:]] == [event.body for event in events if event not in dead]


class Answers:
    """A producer whose client gets prepared answers; a broker with topic ACLs is more than tests need."""

    def __init__(self, *, metadata=0, created=0, configs=0):
        self.client = self
        self.cluster = SimpleNamespace(controller=None)
        self._codes = {
            "MetadataRequest": metadata,
            "CreateTopicsRequest": created,
            "DescribeConfigsRequest": configs,
        }

    def get_random_node(self):
        return 1

    async def send(self, node, request):
        code = self._codes[type(request).__name__]
        return SimpleNamespace(
            topics=[(code, "t")],
            topic_errors=[("t", code, "because")],
            resources=[(code, None, 2, "t", [("max.message.bytes", "5000", False, 5, False)])],
        )

    async def partitions_for(self, name):
        return {1, 0, 2}


async def test_what_the_cluster_tells_is_used():
    assert await Topics(options_for("a", "t")).find(Answers(), "t") == Topic("t", (0, 1, 2), 5000)


async def test_who_may_not_read_the_configuration_gets_kafkas_default():
    found = await Topics(options_for("a", "t")).find(Answers(configs=29), "t")
    assert found.max_bytes == DEFAULT_MAX_BYTES


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        (Answers(metadata=29), SinkRefusedError, "asking for topic t: .*TopicAuthorizationFailed"),
        (Answers(metadata=17), SinkRefusedError, "InvalidTopic"),
        (Answers(metadata=7), TemporaryDeliveryError, "RequestTimedOut"),
        (Answers(metadata=3, created=29), SinkRefusedError, "topic t does not exist and we may not make it"),
        (Answers(metadata=3, created=31), SinkRefusedError, "topic t does not exist and we may not make it"),
        (Answers(metadata=3, created=44), SinkRefusedError, "PolicyViolation.*because"),
        (Answers(metadata=3, created=41), TemporaryDeliveryError, "NotController"),
        (Answers(configs=3), TemporaryDeliveryError, "UnknownTopic"),
    ],
)
async def test_what_the_cluster_refuses_is_sorted(answers, error, words):
    with pytest.raises(error, match=words):
        await Topics(options_for("a", "t")).find(answers, "t")


@pytest.mark.parametrize("answers", [Answers(metadata=5), Answers(metadata=3, created=36)])
async def test_a_topic_that_is_just_being_made_is_there(answers):
    assert (await Topics(options_for("a", "t")).find(answers, "t")).name == "t"


async def test_without_brokers_it_is_temporary():
    answers = Answers()
    answers.get_random_node = lambda: None
    with pytest.raises(TemporaryDeliveryError, match="names no broker"):
        await Topics(options_for("a", "t")).find(answers, "t")
