"""Kafka's topic taken away under the bridge, and two bridges that fight for one name."""

import contextlib
from collections import Counter

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.process import bridges, simulated
from tests.support.scene import PARTITIONS, set_up, settled
from tests.support.truth import by_job, check_receipt, expected_events, key_of

pytestmark = pytest.mark.timeout(150)

STORM = ("--scenario", "storm", "--jobs", 14, "--events", 3_000, "--jitter", 1)
IMPATIENT = {"events": {"request_timeout": "1s", "delivery_timeout": "3s"}}
RIVALRY = 16.0
"""Seconds for which both of two bridges are started again whenever they end."""


@contextlib.asynccontextmanager
async def admin_of(broker):
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def check_what_follows(told, truth):
    """The new topic has an unbroken end of every job that went on: no gap, nothing twice."""
    twice = [name for name, count in Counter(one.id for one in told).items() if count > 1]
    assert twice == []
    jobs = by_job(told)
    whole = 0
    for job in truth["jobs"]:
        of_job = jobs.get(key_of(job), [])
        if not of_job:
            continue  # it was over before
        assert of_job[-1].terminal
        check_receipt(of_job[-1].fields, job)
        counters = {
            one.fields["counter"] for one in of_job if one.tail[0] == "event" and not one.fields.get("late")
        }
        if counters:
            readable = {int(tail[1]) for tail in expected_events(job)}
            late = {one.fields["counter"] for one in of_job if one.fields.get("late")}
            missing = {n for n in readable if n >= min(counters)} - counters - late
            assert missing == set(), f"{key_of(job)}: {sorted(missing)[:9]} did not come"
            whole += len(counters)
    assert whole > 200, "the topic went too late to show anything"


async def test_the_topic_is_deleted_in_the_middle_and_made_anew(tmp_path, kafka_broker):
    async with (
        admin_of(kafka_broker) as admin,
        set_up(tmp_path, kafka_broker) as scene,
        simulated(tmp_path, *STORM) as awx,
    ):
        config = scene.write(awx, sinks=IMPATIENT)
        with bridges(tmp_path) as start:
            bridge = start(config)
            await bridge.says("job.closed", within=30)
            await admin.delete_topics([scene.topic])
            await scene.idle(bridge, (await awx.truth())["jobs"], within=60)
            assert await bridge.stop() == 0
        truth = await settled(awx)
        told = await scene.told()
    check_what_follows(told, truth)
    assert bridge.said("sink.failing", sink="events")
    assert bridge.said("sink.recovered", sink="events")
    assert scene.dead_letters() == []
    assert "Traceback" not in bridge.errors()


async def test_the_topic_is_deleted_in_the_middle_and_may_not_be_made(tmp_path, kafka_broker):
    """The sink is parked with a sentence that says what to do; done so, it goes on from its places."""
    async with (
        admin_of(kafka_broker) as admin,
        set_up(tmp_path, kafka_broker) as scene,
        simulated(tmp_path, *STORM) as awx,
    ):
        topics = [NewTopic(scene.topic, PARTITIONS, 1)]
        places = NewTopic(f"{scene.topic}.events.places", 1, 1, topic_configs={"cleanup.policy": "compact"})
        await admin.create_topics([*topics, places])
        config = scene.write(awx, sinks={"events": {**IMPATIENT["events"], "create_topics": False}})
        with bridges(tmp_path) as start:
            bridge = start(config)
            await bridge.says("job.closed", within=30)
            await admin.delete_topics([scene.topic])
            parked = await bridge.says("sink.parked", sink="events", within=30)
            assert parked["reason"] == (
                f"topic {scene.topic} does not exist and create_topics is off: "
                "make the topic, or set create_topics: true"
            )
            status = await scene.status()
            assert (status["sinks"]["events"]["state"], bridge.code) == ("parked", None)
            assert await bridge.stop() == 0
            await admin.create_topics(topics)
            second = start(config)
            await scene.idle(second, (await awx.truth())["jobs"], within=60)
            assert await second.stop() == 0
        truth = await settled(awx)
        told = await scene.told()
    check_what_follows(told, truth)
    assert "Traceback" not in bridge.errors() + second.errors()
