"""AWX away, sinks away, sinks that refuse: nothing is lost, nobody else waits, and the log says it once."""

import asyncio
import time
from collections import Counter

import pytest

from tests.support.outcome import check_secrets
from tests.support.process import bridges, simulated, until
from tests.support.scene import SECRET, set_up, settled
from tests.support.truth import check_everything
from tests.support.webhook import Reply

pytestmark = pytest.mark.timeout(240)

HOLD = 1.5
"""Seconds that an outage lasts after the bridge has noticed it."""

OUTAGES = {
    "502_html": "source.down",
    "reset": "source.down",
    "hang": "source.down",
    "migration": "source.down",
    "401": "source.refused",
    "half_body": "source.down",
}
LONG_STORM = ("--scenario", "storm", "--jobs", 16, "--events", 4000, "--jitter", 1, "--speed", 0.45)
STATUSES = {"match": {"type": "awx.job.*"}, "to": ["ops", "cmdb"]}
IMPATIENT = {"request_timeout": "1s", "delivery_timeout": "2s"}


async def test_awx_away_in_every_way(tmp_path, kafka_broker):
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, *LONG_STORM) as awx:
        source = {"timeout": "2s", "close_wait": "12s"}
        config = scene.write(awx, source=source, routes=[STATUSES])
        with bridges(tmp_path) as start:
            bridge = start(config)
            await bridge.says("source.up")
            for number, (kind, said) in enumerate(OUTAGES.items(), 1):
                assert await scene.ready()
                await awx.outage(kind)
                await bridge.says("source.down", count=number)
                assert bridge.said(said)[-1]["reason"]
                assert not await scene.ready()
                await asyncio.sleep(HOLD)
                await awx.mend()
                await bridge.says("source.up", count=number + 1)
            jobs = (await awx.truth())["jobs"]
            await scene.idle(bridge, jobs, within=120)
            assert await bridge.stop() == 0
        truth = await settled(awx)
        told = await scene.told()

    check_everything(told, truth)
    lines = Counter(entry["event"] for entry in bridge.look() if entry["event"].startswith("source."))
    assert lines == {"source.up": 7, "source.down": 6, "source.refused": 1}
    own = [one.fields["type"] for one in told if one.fields["type"].startswith("bridge.source.")]
    assert own == ["bridge.source.down", "bridge.source.up"] * 6
    check_statuses(scene, told)
    check_secrets(scene, [bridge], told)


async def test_each_sink_away_in_turn(tmp_path, kafka_broker):
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, "--scenario", "empty") as awx:
        config = scene.write(awx, sinks={"events": IMPATIENT}, routes=[STATUSES])
        away = {}
        with bridges(tmp_path) as start:
            bridge = start(config)
            await bridge.says("source.up")
            for name, outage in {
                "events": broker_killed(kafka_broker),
                "cmdb": webhook_fails(scene.receiver),
                "cmdb ": webhook_gone(scene.receiver),
                "ops": slack_fails(scene.slack),
            }.items():
                away[name] = await one_outage(scene, bridge, awx, sink=name.strip(), outage=outage)
            await scene.idle(bridge, (await awx.truth())["jobs"], within=90)
            assert await bridge.stop() == 0
        truth = await settled(awx)
        told = await scene.told()

    check_everything(told, truth)
    check_statuses(scene, told)
    for name, (begun, ended) in away.items():
        if name != "events":
            assert [one for one in told if begun < one.moment < ended], f"Kafka waited for {name}"
    lines = Counter((entry["event"], entry["sink"]) for entry in bridge.look() if "sink" in entry)
    for sink, outages in {"events": 1, "cmdb": 2, "ops": 1}.items():
        for event in ("sink.failing", "sink.down", "sink.recovered"):
            assert lines.pop((event, sink)) == outages
    assert lines == {}
    check_secrets(scene, [bridge], told)


async def one_outage(scene, bridge, awx, *, sink, outage):
    """Let jobs run while `sink` is away; return when the outage began and ended, in epoch seconds."""
    others = {
        "events": lambda: (len(scene.receiver.received), len(scene.slack.ids())),
        "cmdb": lambda: (len(scene.slack.ids()),),
        "ops": lambda: (len(scene.receiver.received),),
    }[sink]
    count = len(bridge.said("sink.down", sink=sink)) + 1
    await awx.play("demo")
    begun = time.time()
    end = await outage()
    await bridge.says("sink.down", sink=sink, count=count, within=30)
    before = others()
    await until(
        lambda: all(now > was for now, was in zip(others(), before, strict=True)),
        within=20,
        what=f"the other sinks going on while {sink} is away",
    )
    assert (await scene.status())["sinks"][sink]["state"] == "down"
    assert await scene.ready()
    ended = time.time()
    await end()
    await bridge.says("sink.recovered", sink=sink, count=count, within=40)
    return begun, ended


def broker_killed(broker):
    async def begin():
        await asyncio.to_thread(broker.kill)
        return lambda: asyncio.to_thread(broker.start)

    return begin


def webhook_fails(receiver):
    async def begin():
        receiver.always = Reply(503)
        return end

    async def end():
        receiver.always = Reply()

    return begin


def webhook_gone(receiver):
    async def begin():
        port = receiver.port
        await receiver.close()
        return lambda: receiver.listen(port=port)

    return begin


def slack_fails(slack):
    async def begin():
        for _ in range(100):
            slack.fail("chat.postMessage", status=503, body="upstream is away")
            slack.fail("chat.postMessage", error="ratelimited", status=429, retry_after="1")
        return end

    async def end():
        slack.mend("chat.postMessage")

    return begin


def check_statuses(scene, told, *, without=()):
    """Webhook and Slack have each status once, as Kafka has."""
    ids = {one.id for one in told if one.fields["type"].startswith("awx.job.")}
    assert Counter(got.headers["webhook-id"] for got in scene.receiver.received) == Counter(
        ids - set(without)
    )
    scene.receiver.verify(SECRET)
    assert Counter(scene.slack.ids()) == Counter(ids)


async def test_a_webhook_that_refuses(tmp_path, kafka_broker):
    """400 is the end of one event; 401 parks the sink, and a restart tries it again at once."""
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, "--speed", 2) as awx:
        config = scene.write(awx, routes=[STATUSES])
        jobs = (await awx.truth())["jobs"]
        scene.receiver.reply(400)
        with bridges(tmp_path) as start:
            bridge = start(config)
            dead = await bridge.says("event.dead_lettered", sink="cmdb")
            await until(lambda: scene.receiver.received, within=20, what="what comes after a dead letter")
            scene.receiver.always = Reply(401, body=b"who are you?")
            parked = await bridge.says("sink.parked", sink="cmdb")
            assert "401" in parked["reason"]
            await until(
                lambda: len(scene.jobs_over()) == 0 and len(scene.slack.ids()) > 20,
                within=30,
                what="Slack going on beside a parked webhook",
            )
            assert await bridge.stop() == 0
            scene.receiver.always = Reply()
            again = start(config)
            await scene.idle(again, jobs, within=60)
            assert await again.stop() == 0
        truth = await settled(awx)
        told = await scene.told()

    check_everything(told, truth)
    check_statuses(scene, told, without=[dead["id"]])
    assert scene.dead_letters() == [("cmdb", dead["id"])]
    assert scene.receiver.attempts[0].headers["webhook-id"] == dead["id"]
    [own] = [one.fields for one in told if one.fields["type"] == "bridge.sink.parked"]
    assert (own["sink"], own["bridge"]) == ("cmdb", scene.topic)
    assert len(bridge.said("sink.parked")) == 1
    check_secrets(scene, [bridge, again], told)
