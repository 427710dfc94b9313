"""Exactly once: writers killed at any moment, stopped and woken, or two at a time; every event once."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from tests.support.kafka import read_all
from tests.support.kafka_sink import ids_by_key, job, new_topic, open_transactional
from tests.support.kafka_writer import JOBS, MOMENTS, OWNED

ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def writer(broker, topic, *words):
    """Run a writer; it does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.kafka_writer", broker.bootstrap, topic, *map(str, words)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def started(process):
    assert await process.stdout.readline() == b"started\n", (await process.stderr.read()).decode()


async def expect_every_event_once(broker, topic, *, at_least):
    """Bring all jobs to one end, then look: each event once, in order, and the places at the end."""
    async with open_transactional(broker.bootstrap, topic) as sink:
        before = await sink.places()
    end = max(place.through for place in before.values())
    assert sum(place.through for place in before.values()) >= at_least
    async with writer(broker, topic, "--until", end) as last:
        out, err = await last.communicate()
        assert (last.returncode, out) == (0, b"started\nfinished\n"), err.decode()
    found = ids_by_key(await read_all(broker.bootstrap, topic))
    assert found == {
        f"prod/job/{number}": [f"prod/job/{number}/event/{counter}" for counter in range(1, end + 1)]
        for number in range(1, JOBS + 1)
    }
    async with open_transactional(broker.bootstrap, topic) as sink:
        after = await sink.places()
    assert {key: place.through for key, place in after.items()} == dict.fromkeys(
        map(job, range(1, JOBS + 1)), end
    )


async def test_killed_at_random(kafka_broker):
    topic = new_topic()
    chance = random.Random(11)
    for _ in range(8):
        async with writer(kafka_broker, topic) as process:
            if chance.random() < 0.8:  # else in the middle of its start
                await started(process)
            await asyncio.sleep(chance.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
    await expect_every_event_once(kafka_broker, topic, at_least=500)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_killed_at_a_moment_of_a_transaction(kafka_broker, moment):
    """Once while it takes over (transaction 1), twice while it delivers."""
    topic = new_topic()
    for number in (1, 2, 6):
        async with writer(kafka_broker, topic, "--die", f"{moment}:{number}") as process:
            await process.communicate()
            assert process.returncode == -signal.SIGKILL
    async with writer(kafka_broker, topic) as process:
        await started(process)
        await asyncio.sleep(0.1)
    await expect_every_event_once(kafka_broker, topic, at_least=10)


async def test_a_zombie_finds_itself_replaced(kafka_broker):
    topic = new_topic()
    chance = random.Random(5)
    for _ in range(3):
        async with writer(kafka_broker, topic) as zombie, writer(kafka_broker, topic) as heir:
            heir.send_signal(signal.SIGSTOP)
            await started(zombie)
            await asyncio.sleep(chance.uniform(0.02, 0.1))
            os.kill(zombie.pid, signal.SIGSTOP)
            heir.send_signal(signal.SIGCONT)
            await started(heir)
            await asyncio.sleep(0.2)
            os.kill(zombie.pid, signal.SIGCONT)
            assert await zombie.wait() == OWNED
            assert f"taken over by {topic} (process {heir.pid} on ".encode() in await zombie.stderr.read()
            await asyncio.sleep(0.1)
            assert heir.returncode is None
    await expect_every_event_once(kafka_broker, topic, at_least=100)


async def test_two_that_restart_for_ever(kafka_broker):
    topic = new_topic()
    codes = []

    async def keep_restarting():
        while True:
            async with writer(kafka_broker, topic) as process:
                codes.append(await process.wait())

    rivals = [asyncio.create_task(keep_restarting()) for _ in range(2)]
    await asyncio.sleep(8)
    for rival in rivals:
        rival.cancel()
    await asyncio.wait(rivals)
    assert set(codes) == {OWNED}
    assert len(codes) >= 3
    await expect_every_event_once(kafka_broker, topic, at_least=100)


async def test_killed_while_the_broker_is_killed_too(kafka_broker):
    topic = new_topic()
    async with writer(kafka_broker, topic) as process:
        await started(process)
        await asyncio.sleep(0.2)
        kafka_broker.kill()
        await asyncio.sleep(0.2)
    await asyncio.to_thread(kafka_broker.start)
    await expect_every_event_once(kafka_broker, topic, at_least=10)
