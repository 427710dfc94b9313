"""What waits for a sink that takes nothing is bounded in bytes, however many jobs there are."""

import asyncio

import pytest

from bridge.lane import LANE_BYTES
from bridge.parts import CATCH_UP_READS, LIVE_READS
from tests.support.jobs import simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource

pytestmark = pytest.mark.looptime

JOBS, ROWS = 120, 200
PAGE_BYTES = ROWS * 1500
"""More than what a page of these jobs takes in a lane."""


class SlowSink(FakeSink):
    """Takes a batch a minute; `open` lets everything through."""

    def __init__(self):
        super().__init__()
        self.open = asyncio.Event()

    async def send(self, events, /):
        try:
            async with asyncio.timeout(60):
                await self.open.wait()
        except TimeoutError:
            pass
        await super().send(events)


def many():
    rows = dict.fromkeys(range(1, ROWS + 1), 1.0)
    source = FakeSource("prod", *(simple(number, rows=rows) for number in range(1, JOBS + 1)))
    source.latency = 0.1
    return source


async def most_bytes(lane, seconds):
    """Return the most bytes that waited in `lane` at any look during these seconds."""
    most = 0
    for _ in range(seconds * 2):
        most = max(most, lane.bytes)
        await asyncio.sleep(0.5)
    return most


async def test_live_tails_fill_a_lane_and_no_more():
    rig = Rig(many(), sinks={"all": SlowSink()}, max_requests=1000)
    async with rig.run() as bridge:
        most = await most_bytes(bridge.lanes["all"], 120)
        rig.sinks["all"].open.set()
        await asyncio.sleep(120)
    assert LANE_BYTES <= most < LANE_BYTES + LIVE_READS * PAGE_BYTES
    assert len(rig.sinks["all"].ids) == JOBS * (ROWS + 2)


async def test_catch_ups_fill_a_lane_and_no_more():
    rig = Rig(many(), sinks={"quick": FakeSink(), "slow": SlowSink()}, max_requests=1000)
    async with rig.run() as bridge:
        most = await most_bytes(bridge.lanes["slow"], 1200)
        rig.sinks["slow"].open.set()
        await asyncio.sleep(300)
    assert LANE_BYTES <= most < LANE_BYTES + (LIVE_READS + CATCH_UP_READS) * PAGE_BYTES
    for sink in rig.sinks.values():
        assert len(sink.ids) == len(set(sink.ids)) == JOBS * (ROWS + 2)
