"""Ends of the command: kill -9 at any moment, SIGTERM, two at a time, and a state that cannot be used."""

import asyncio
import json
import random
import shutil
import sqlite3
import time

import pytest

from tests.support.outcome import check_failures, check_secrets
from tests.support.process import bridges, simulated
from tests.support.scene import FAILED, set_up, settled
from tests.support.truth import check_everything

pytestmark = pytest.mark.timeout(180)

STORM = ("--scenario", "storm", "--jobs", 16, "--events", 10_000, "--jitter", 1)


@pytest.mark.parametrize("seed", [1])
async def test_killed_again_and_again(tmp_path, kafka_broker, seed):
    rng = random.Random(seed)
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, *STORM, "--seed", seed) as awx:
        config = scene.write(awx, routes=[{"match": FAILED, "to": ["ops", "cmdb"]}])
        jobs = (await awx.truth())["jobs"]
        ran = []
        with bridges(tmp_path) as start:
            for _ in range(6):
                bridge = start(config)
                ran.append(bridge)
                await bridge.says("bridge.started")
                await asyncio.sleep(rng.uniform(0.0, 3.0))  # the moment of the crash
                bridge.kill()
                assert bridge.code == -9
            ran.append(start(config))
            await scene.idle(ran[-1], jobs, within=90)
            assert await ran[-1].stop() == 0
        truth = await settled(awx)
        told = await scene.told()
    check_everything(told, truth)
    check_failures(scene, truth, repeats=True)
    check_secrets(scene, ran, told)


async def test_killed_and_the_disk_lost_kafka_remembers(tmp_path, kafka_broker):
    rng = random.Random(5)
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, *STORM, "--seed", 5) as awx:
        config = scene.write(awx)
        jobs = (await awx.truth())["jobs"]
        with bridges(tmp_path) as start:
            for _ in range(3):
                bridge = start(config)
                await bridge.says("source.up")
                await asyncio.sleep(rng.uniform(1.0, 4.0))  # the moment of the crash
                bridge.kill()
                shutil.rmtree(scene.state.parent)
            bridge = start(config)
            recovered = await bridge.says("state.recovered")
            assert recovered["lost"].startswith("the places of cmdb, ops; dead letters")
            await scene.idle(bridge, jobs, within=90)
            assert await bridge.stop() == 0
        truth = await settled(awx)
        told = await scene.told()
    check_everything(told, truth)


async def test_stopped_in_good_order_nothing_comes_twice(tmp_path, kafka_broker):
    storm = (*STORM, "--speed", 1.5)
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, *storm) as awx:
        config = scene.write(awx, routes=[{"match": FAILED, "to": ["ops", "cmdb"]}])
        jobs = (await awx.truth())["jobs"]
        with bridges(tmp_path) as start:
            for _ in range(3):
                bridge = start(config)
                await bridge.says("job.closed", within=60)
                asked = time.monotonic()
                assert await bridge.stop(within=15) == 0
                assert time.monotonic() - asked < 10 + 3  # drain_timeout and a little
                events = [entry["event"] for entry in bridge.look()]
                assert "bridge.stopping" in events
                assert events[-1] == "bridge.stopped"
            bridge = start(config)
            await scene.idle(bridge, jobs, within=90)
            assert await bridge.stop() == 0
        truth = await settled(awx)
        told = await scene.told()
    check_everything(told, truth)
    check_failures(scene, truth)


def small(folder, **more):
    """Write a configuration that needs nobody: AWX does not answer."""
    text = {
        "name": "first",
        "sources": {"prod": {"url": "http://127.0.0.1:1", "token": "t"}},
        "sinks": {"out": {"type": "file", "path": str(folder / "out.jsonl")}},
        "routes": [{"to": "out"}],
        "state": {"path": str(folder / "bridge.db")},
        "server": {"listen": None},
        **more,
    }
    path = folder / f"{text['name']}.yaml"
    path.write_text(json.dumps(text))
    return path


async def test_a_second_bridge_on_the_same_state(tmp_path):
    with bridges(tmp_path) as start:
        first = start(small(tmp_path))
        await first.says("bridge.started")
        second = start(small(tmp_path, name="second"))
        assert await second.ends(within=20) == 75
        assert f"is owned by first (process {first.pid} on " in second.errors()
        assert first.code is None
        first.kill()
        third = start(small(tmp_path, name="third"))
        await third.says("bridge.started")
        assert await third.stop() == 0


def garbage(path):
    path.write_bytes(b"no database, but something that somebody may still want" * 100)


def a_folder(path):
    path.mkdir()


def damaged_record(path):
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO sources (name, record) VALUES ('prod', '{')")
    db.close()


def cut_in_half(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("spoil", [garbage, a_folder, damaged_record, cut_in_half])
async def test_a_state_that_cannot_be_used(tmp_path, spoil):
    config, state = small(tmp_path), tmp_path / "bridge.db"
    with bridges(tmp_path) as start:
        if spoil in {damaged_record, cut_in_half}:
            before = start(config)
            await before.says("bridge.started")
            assert await before.stop() == 0
        spoil(state)
        kept = state.read_bytes() if state.is_file() else None
        bridge = start(config)
        assert await bridge.ends(within=20) == 74
        assert str(state) in bridge.errors()
        assert (state.read_bytes() if state.is_file() else None) == kept
