"""The moment at which a job is closed, and what may happen beside it, in virtual time."""

import asyncio

import pytest

from bridge.model import Failure
from tests.support.jobs import ids, key, receipt, simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("delay", [0.3, 0.9, 1.7, 2.6])
async def test_no_sink_has_a_terminal_status_before_the_receipt_is_safe(delay):
    """A slow disk lets the tail close the job while its terminal status is still being written."""
    rig = Rig(FakeSource("prod", *map(simple, range(1, 8))))
    rig.state.delay = delay
    too_early = []

    def look(events):
        for event in events:
            job = int(event.key.rpartition("/")[2])
            if event.type == "awx.job.successful" and rig.state.jobs[key(job)].close is None:
                too_early.append(event.id)

    rig.sinks["all"].script = look
    async with rig.run():
        await asyncio.sleep(60)
    assert too_early == []
    assert {record.done for record in rig.state.jobs.values()} == {True}


class SlowRows(FakeSource):
    """AWX answers reads of events `slow` seconds after it made them."""

    slow = 0.0

    async def events_after(self, key, counter, /, **how):
        page = await super().events_after(key, counter, **how)
        await asyncio.sleep(self.slow)
        return page


async def test_a_page_that_arrives_after_its_job_was_deleted_and_settled():
    rows = {counter: counter * 0.5 for counter in range(1, 120)}
    source = SlowRows("prod", simple(deleted=58.0, statuses=((0.0, "running"),), rows=rows))
    rig = Rig(source, sinks={"all": FakeSink()})
    async with rig.run():
        await asyncio.sleep(50)
        source.slow = 20.0
        await asyncio.sleep(100)
    assert rig.sinks["all"].ids[-1:] == ids("deleted")
    assert rig.state.jobs[key(1)].done


class TalkativeFailure(FakeSource):
    async def failures(self, key, /):
        return [Failure(host="web1", task="Log in", message="exit 1: token: s3cr3t-0f-web1", counter=3)]


async def test_a_receipt_is_kept_without_secrets():
    failed = ((0.0, "running"), (5.0, "failed"))
    rig = Rig(TalkativeFailure("prod", simple(statuses=failed)))
    async with rig.run():
        await asyncio.sleep(30)
    [kept] = rig.state.jobs[key(1)].close.failures
    assert kept == Failure(host="web1", task="Log in", message="exit 1: token: [redacted]", counter=3)
    assert receipt(rig.sinks["all"], status="failed")["failures"][0]["message"] == kept.message
    assert rig.observer.counted("redactions_total") == 1
