"""Kafka's topic taken away under the bridge, and two bridges that fight for one name."""

import asyncio
import contextlib
import json
import re
import time
from collections import Counter

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.process import bridges, free_port, simulated
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


async def test_two_bridges_under_one_name(tmp_path, kafka_broker):
    """Each takes the sink over as it starts; the one before ends, and says who has it now."""
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, *STORM, "--speed", 0.5) as awx:
        text = json.loads(scene.write(awx).read_text())
        with contextlib.ExitStack() as stack:
            ended = []
            end = time.monotonic() + RIVALRY
            left = await asyncio.gather(
                *(keep_running(tmp_path / name, text, stack, end=end, ended=ended) for name in ("one", "two"))
            )
            owners = {bridge.pid for bridge in (*ended, *left)}
            assert len(ended) >= 3, "they did not fight"
            for bridge in ended:
                assert bridge.code == 75, bridge.errors()[-2000:]
                owner = re.search(r"taken over by \S+ \(process (\d+) on ", bridge.errors())
                assert int(owner[1]) in owners - {bridge.pid}
                assert "Traceback" not in bridge.errors()
            for bridge in left:
                bridge.kill()
            last = stack.enter_context(bridges(tmp_path))(scene.config)
            await scene.idle(last, (await awx.truth())["jobs"], within=60)
            assert await last.stop() == 0
        truth = await settled(awx)
        told = await scene.told()
    ids = [one.id for one in told]
    assert len(ids) == len(set(ids))
    assert {"/".join(i.split("/")[:3]) for i in ids if "/event/" in i} <= {
        key_of(job) for job in truth["jobs"]
    }


async def keep_running(folder, text, stack, *, end, ended):
    """Start a bridge with a state of its own, and again whenever it ends; return the last one."""
    folder.mkdir()
    start = stack.enter_context(bridges(folder))
    config = folder / "bridge.yaml"
    own = {"state": {"path": str(folder / "bridge.db")}, "server": {"listen": f"127.0.0.1:{free_port()}"}}
    config.write_text(json.dumps({**text, **own}))
    bridge = start(config)
    while time.monotonic() < end:
        await asyncio.sleep(0.05)  # for as long as the rivalry lasts
        if bridge.code is not None:
            ended.append(bridge)
            bridge = start(config)
    return bridge
