"""A process with a real state file is killed between any two steps of a post; Slack stays."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.support.samples import sample, status_sample
from tests.support.slack import running_slack

ROOT = Path(__file__).parents[2]
EVENTS = [sample(1).id, status_sample().id, sample(2).id]

BRIDGE = """
import asyncio, os, signal, sys
from pathlib import Path
from bridge.ports import SinkContext
from bridge.sinks.slack import SlackOptions, open_slack
from bridge.state.sqlite import open_state
from tests.support.samples import sample, status_sample
from tests.support.slack import TOKEN
from tests.support.wallclock import WallClock

class Killing:
    steps = 0

    def __init__(self, memory):
        self.memory = memory
        self.get, self.delete = memory.get, memory.delete

    async def put(self, key, value, /):
        self.step()
        await self.memory.put(key, value)
        self.step()

    def step(self):
        self.steps += 1
        if self.steps == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    clock = WallClock()
    async with open_state(Path(sys.argv[1]), owner="b", clock=clock) as state:
        context = SinkContext(bridge="b", name="ops", clock=clock, memory=Killing(state.memory_of("ops")))
        options = SlackOptions(type="slack", token=TOKEN, channel="#ops", base_url=sys.argv[2])
        async with open_slack(options, context) as sink:
            for event in (sample(1), status_sample(), sample(2)):
                await sink.send([event])

asyncio.run(main())
"""


async def start(path, slack, kill_at):
    """Run until the end, or until killed; return the exit code."""
    arguments = [sys.executable, "-c", BRIDGE, str(path), slack.url, str(kill_at)]
    process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT)
    return await asyncio.wait_for(process.wait(), 60)


@pytest.mark.parametrize("steps", [(1, 2, 3, 4), (5, 2, 3, 3), (7, 4, 1, 2)], ids=str)
async def test_after_kills_at_any_step_each_message_is_there_once(tmp_path, steps):
    path = tmp_path / "bridge.db"
    async with running_slack() as slack:
        killed = [await start(path, slack, step) for step in steps]
        assert killed.count(-signal.SIGKILL) >= 3
        assert await start(path, slack, 0) == 0
    assert sorted(slack.ids()) == sorted(EVENTS)
