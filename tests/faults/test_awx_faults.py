"""Every fault of AWX at once while much runs, and pages that no client expects: nothing lost, nothing twice.

What fails is chosen by the seed in the test's name; the same seed asks for the same faults.
"""

import time

import pytest

from bridge.awx import SourceOptions, open_source
from simulator import scenarios
from simulator.access import TOKEN
from simulator.faults import KINDS
from simulator.server import serve
from simulator.world import World
from tests.support.jobs import events, receipt
from tests.support.process import bridges, simulated, until
from tests.support.rig import Rig
from tests.support.scene import set_up, settled
from tests.support.truth import check_everything
from tests.support.wallclock import WallClock

SHARE = 0.009
"""Of the requests, for each kind: all of them together, with one of each for sure, are about 15 in 100."""

AT_RANDOM = [kind for kind in KINDS if kind != "flood"]
"""A flood of a single row reads as a row that is too large: that one would rightly be missing."""

STORM = ("--scenario", "storm", "--jobs", 16, "--events", 6000, "--jitter", 1, "--speed", 3)
PAGE_BYTES = 1 << 20
JOBS, ROWS = 3, 300


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1])
async def test_a_storm_while_every_fault_strikes(tmp_path, kafka_broker, seed):
    async with (
        set_up(tmp_path, kafka_broker) as scene,
        simulated(tmp_path, *STORM, "--seed", seed) as awx,
    ):
        for kind in AT_RANDOM:
            await awx.outage(kind, share=0.2, count=1, path="events", delay=0.4)
            await awx.outage(kind, share=SHARE, delay=0.4)
        config = scene.write(awx, source={"timeout": "0.5s", "close_wait": "8s", "page_limit": 25})
        jobs = (await awx.truth())["jobs"]
        with bridges(tmp_path) as start:
            bridge = start(config)
            await scene.idle(bridge, jobs, within=90)
            stats = await awx.stats()
            assert await bridge.stop() == 0
        truth = await settled(awx)
        told = await scene.told()

    check_everything(told, truth)
    assert set(stats["faults"]) == set(AT_RANDOM)
    assert 0.10 < sum(stats["faults"].values()) / stats["requests"] < 0.20


@pytest.mark.parametrize("kind", ["drip", "flood", "other_json"])
async def test_pages_that_no_client_expects(kind):
    """A page that never ends, one of 200 MB, and JSON of another shape, three times each."""
    world = World(time.time)
    world.stage(scenarios.bulk(jobs=JOBS, events=ROWS))
    options = {"token": TOKEN, "timeout": 1, "page_bytes": PAGE_BYTES, "max_requests": 100}
    async with serve(world) as awx:
        awx.faults.add(kind, path="job_events", count=3)
        asked = SourceOptions.model_validate({"url": awx.url, **options})
        async with open_source("prod", asked, clock=WallClock()) as source:
            rig = Rig(source, start="all", gap_wait=1, close_wait=5)
            async with rig.run():
                sink = rig.sinks["all"]
                await until(lambda: len(ends(sink)) == JOBS, within=30, what="every receipt")
        assert awx.faults.met == {kind: 3}
        # the rest of a flood is not read: what was sent is what the sockets hold beside a page
        assert awx.faults.poured < 3 * 16 * PAGE_BYTES
    for job in (f"prod/job/{number}" for number in range(1, JOBS + 1)):
        assert [i for i in sink.ids if i.startswith(f"{job}/event/")] == events(*range(1, ROWS + 1), job=job)
        assert receipt(sink, job)["complete"] is True
    assert len(sink.ids) == len(set(sink.ids))


def ends(sink):
    return [event for event in sink.events if event.type == "awx.job.successful"]
