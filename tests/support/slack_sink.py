"""The Slack sink over one disk, start after start."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from bridge.errors import TemporaryDeliveryError
from bridge.ports import SinkContext
from bridge.sinks.slack import SlackOptions, open_slack
from tests.support.fakes import FakeSinkMemory
from tests.support.samples import sample
from tests.support.slack import TOKEN
from tests.support.wallclock import WallClock


@asynccontextmanager
async def opened(slack, disk, *, name="ops", skew=0.0, memory=None, **more):
    """One start of the bridge; `disk` is what survives it."""
    given = {"type": "slack", "token": TOKEN, "channel": "#ops", "base_url": slack.url} | more
    clock = WallClock()
    clock.skew = skew
    memory = memory or FakeSinkMemory(disk)
    context = SinkContext(bridge="b", name=name, clock=clock, memory=memory)
    async with open_slack(SlackOptions(**given), context) as sink:
        yield sink


def calls(slack, method="chat.postMessage"):
    return [asked for name, asked in slack.calls if name == method]


async def lose_reply(slack, disk, event=None, **more):
    """Post a message whose answer never comes."""
    slack.fail("chat.postMessage", drop=True, taken=True)
    async with opened(slack, disk, **more) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([event or sample(1)])


def older(slack, seconds, name="ops"):
    """Let everything in the channel have been posted `seconds` earlier."""
    for message in slack.messages(name):
        message["ts"] = f"{float(message['ts']) - seconds:.6f}"


def chatter(slack, count, name="ops"):
    """Let people talk in the channel."""
    channel = slack.channel(name)
    for number in range(count):
        channel.messages.append({"type": "message", "text": str(number), "ts": slack._next_ts()})
