"""Which jobs the very first start takes in when it is given a moment, in virtual time."""

import asyncio

import pytest

from tests.support.jobs import simple
from tests.support.rig import Rig
from tests.support.source import FakeSource

pytestmark = pytest.mark.looptime


class Dated(FakeSource):
    """AWX whose first job since any moment is number 2."""

    async def first_id_since(self, moment):
        await self._ask("first_id_since", moment)
        return 2


async def test_a_start_at_a_moment_reads_the_jobs_since_then_and_none_before():
    source = Dated("prod", simple(1), simple(2), simple(3, appears=30.0))
    rig = Rig(source, start="2026-11-01T00:00:00Z")
    await asyncio.sleep(20)
    async with rig.run():
        await asyncio.sleep(60)
    assert ("first_id_since", "2026-11-01T00:00:00Z") in [
        (c[0], str(c[1])) for c in source.calls if len(c) == 2
    ]
    for number, expected in ((1, 0), (2, 5), (3, 5)):
        got = [
            event for event in rig.sinks["all"].events if event.key == f"prod/job/{number}" and event.counter
        ]
        assert len(got) == expected
