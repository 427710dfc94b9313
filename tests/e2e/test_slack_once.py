"""The command, a Slack that loses answers, and kill -9: every event is one message in the channel."""

import asyncio
import json
import random
from collections import Counter
from types import SimpleNamespace

import pytest

from tests.support.process import bridges, simulated
from tests.support.scene import Scene, settled
from tests.support.slack import running_slack
from tests.support.truth import expected_events, key_of

pytestmark = pytest.mark.timeout(180)

STORM = ("--scenario", "storm", "--jobs", 3, "--events", 480, "--jitter", 0.3)
LOST = ({"drop": True, "taken": True}, {"drop": True}, {"status": 502, "taken": True}, {"status": 429})


def write(scene, awx):
    """Write a configuration with nothing but Slack in it, which gets everything."""
    config = scene.write(awx)
    text = json.loads(config.read_text())
    text["sinks"] = {"ops": text["sinks"]["ops"]}
    text["routes"] = [{"to": "ops"}]
    config.write_text(json.dumps(text))
    return config


@pytest.mark.parametrize("seed", [3])
async def test_every_event_is_one_message(tmp_path, seed):
    rng = random.Random(seed)
    async with running_slack() as slack, simulated(tmp_path, *STORM, "--seed", seed) as awx:
        absent = SimpleNamespace(bootstrap="", url="")
        scene = Scene(tmp_path, absent, absent, slack)
        config = write(scene, awx)
        jobs = (await awx.truth())["jobs"]
        with bridges(tmp_path) as start:
            for _ in range(5):
                slack.fail("chat.postMessage", **rng.choice(LOST))
                bridge = start(config)
                await bridge.says("bridge.started")
                await asyncio.sleep(rng.uniform(0.3, 2.5))  # the moment of the crash
                bridge.kill()
            bridge = start(config)
            await scene.idle(bridge, jobs, within=90)
            assert await bridge.stop() == 0
        truth = await settled(awx)
    told = Counter(slack.ids())
    assert {event_id for event_id, times in told.items() if times > 1} == set()
    ends = {f"{key_of(job)}/status/{job['final_status']}" for job in truth["jobs"]}
    events = sum(len(expected_events(job)) for job in truth["jobs"])
    assert ends <= set(told)
    assert sum("/event/" in event_id for event_id in told) == events
    assert scene.dead_letters() == []
