"""What a changed configuration does to what is under way, and a sink that lags for too long, in virtual time."""

import asyncio

import pytest

from bridge.assemble import check_destinations
from bridge.errors import ConfigError, TemporaryDeliveryError
from bridge.keep import Keeper
from bridge.status import status
from tests.support.jobs import events, ids, simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource

pytestmark = pytest.mark.looptime

DAY = 86_400.0
STATUSES = {"match": {"type": "awx.job.*"}, "to": ["ops"]}
EVENTS = {"match": {"type": "awx.event.*"}, "to": ["ops"]}
ALL = {"to": ["all"]}


class Changing(Rig):
    """A rig whose starts look at destinations first, as the command does."""

    async def check(self, *accept):
        keeper = Keeper(self.state, self.observer)
        now = self.clock.now()
        check_destinations(self.config(), await self.state.load(), keeper=keeper, accept=accept, now=now)
        writer = asyncio.create_task(keeper.run())
        await keeper.durable()
        writer.cancel()
        await asyncio.wait([writer])

    async def restarted_for(self, seconds):
        await self.check()
        async with self.run():
            await asyncio.sleep(seconds)


def long_job(number=1, count=40, *, until=60.0):
    job = simple(number, count=count, statuses=((0.0, "running"), (until, "successful")))
    job.rows = {counter: float(counter) for counter in range(1, count + 1)}
    return job


def down_until(moment):
    def script(_events):
        if asyncio.get_running_loop().time() < moment:
            raise TemporaryDeliveryError("down")

    return script


def counters(sink):
    return [event.counter for event in sink.events if event.counter]


async def test_an_added_route_sends_nothing_again_and_nothing_of_jobs_that_are_over():
    """A sink without routes for events has settled none of the open jobs: it gets those, for the first time."""
    over, running = simple(1), long_job(2)
    rig = Changing(FakeSource("prod", over, running), sinks={"ops": FakeSink(), "all": FakeSink()})
    rig.routes = [ALL, STATUSES]
    await rig.restarted_for(20)
    before = ["prod/job/1/status/running", "prod/job/2/status/running", "prod/job/1/status/successful"]
    assert sorted(rig.sinks["ops"].ids) == sorted(before)
    rig.routes = [ALL, STATUSES, EVENTS]
    await rig.restarted_for(70)
    assert rig.sinks["ops"].ids[3:] == [
        *events(*range(1, 41), job="prod/job/2"),
        "prod/job/2/status/successful",
    ]
    assert len(rig.sinks["all"].ids) == len(set(rig.sinks["all"].ids)) == 7 + 42


async def test_a_widened_route_sends_nothing_again_and_applies_from_now_on():
    rig = Changing(FakeSource("prod", long_job()), sinks={"ops": FakeSink()})
    rig.routes = [{"match": {"counter": {"lt": 3}, "type": "awx.event.*"}, "to": ["ops"]}]
    await rig.restarted_for(20)
    assert counters(rig.sinks["ops"]) == [1, 2]
    rig.routes = [{"to": ["ops"]}]
    await rig.restarted_for(70)
    later = counters(rig.sinks["ops"])[2:]
    assert later == list(range(min(later), 41))
    assert 15 < min(later) < 25


async def test_a_new_rule_decides_about_what_a_sink_had_not_taken_yet():
    rig = Changing(FakeSource("prod", long_job()), sinks={"ops": FakeSink(down_until(30.0))})
    rig.routes = [{"to": ["ops"]}]
    await rig.restarted_for(20)
    assert rig.sinks["ops"].ids == []
    rig.routes = [STATUSES, {"match": {"counter": {"gt": 35}, "type": "awx.event.*"}, "to": ["ops"]}]
    await rig.restarted_for(90)
    assert rig.sinks["ops"].ids == [
        *ids("status/running"),
        *events(*range(36, 41)),
        *ids("status/successful"),
    ]


async def test_a_renamed_sink_is_a_new_one_and_the_old_name_has_left():
    rig = Changing(FakeSource("prod", long_job()), sinks={"old": FakeSink()})
    await rig.restarted_for(20)
    rig.sinks, rig.routes = {"new": FakeSink()}, None
    await rig.restarted_for(70)
    assert counters(rig.sinks["new"]) == list(range(1, 41))
    assert rig.state.sinks["old"].removed_at is not None
    assert rig.state.sinks["new"].removed_at is None


@pytest.mark.parametrize(("away", "again"), [(6.9 * DAY, False), (7.1 * DAY, True)])
async def test_a_removed_sink_that_comes_back_goes_on_for_seven_days(away, again):
    rig = Changing(FakeSource("prod", long_job(until=200.0)), sinks={"all": FakeSink(), "ops": FakeSink()})
    rig.state.clock = rig.clock
    await rig.restarted_for(20)
    before = counters(rig.sinks["ops"])
    ops = rig.sinks.pop("ops")
    await rig.restarted_for(10)
    rig.clock.skew += away
    rig.sinks["ops"] = ops
    await rig.restarted_for(60)
    after = counters(ops)[len(before) :]
    assert after == list(range(1 if again else before[-1] + 1, 41))
    assert counters(rig.sinks["all"]) == list(range(1, 41))


async def test_a_changed_destination_is_refused_until_it_is_accepted(monkeypatch):
    rig = Changing(FakeSource("prod", long_job()))
    await rig.restarted_for(20)
    config = rig.config()
    elsewhere = config.sinks["all"].model_copy(update={"path": "elsewhere.jsonl"})
    monkeypatch.setattr(rig, "config", lambda: config.model_copy(update={"sinks": {"all": elsewhere}}))
    commits = len(rig.state.commits)
    with pytest.raises(ConfigError, match="start once with --accept all to go on from its places"):
        await rig.check()
    assert len(rig.state.commits) == commits
    await rig.check("all")
    await rig.restarted_for(70)
    assert counters(rig.sinks["all"]) == list(range(1, 41))


async def test_a_sink_that_lags_longer_than_max_lag_gives_up_with_a_count_and_an_event():
    sinks = {"good": FakeSink(), "bad": FakeSink(down_until(400.0))}
    rig = Rig(FakeSource("prod", simple(count=40), simple(2, appears=350.0)), sinks=sinks, close_wait=20)
    async with rig.run() as bridge:
        await asyncio.sleep(100)
        assert status(bridge, now=rig.clock.now())["sinks"]["bad"]["state"] == "down"
        rig.clock.skew += 6.9 * DAY
        await asyncio.sleep(100)
        assert rig.observer.noted("sink.gave_up") == []
        rig.clock.skew += 0.2 * DAY
        await asyncio.sleep(100)
        [note] = rig.observer.noted("sink.gave_up")
        assert (note["sink"], note["events"], note["reason"]) == ("bad", 40, "lagged longer than max_lag")
        await asyncio.sleep(300)
    assert rig.observer.counted("events_missing_total") == 40
    told = [event.read() for event in sinks["good"].events if event.type == "bridge.events.missing"]
    assert [(fields["sink"], fields["events_missing_total"]) for fields in told] == [("bad", 40)]
    assert told[0]["events_missing"] == list(range(1, 41))
    of_next = [event.counter for event in sinks["bad"].events if event.key == "prod/job/2" and event.counter]
    assert of_next == [1, 2, 3, 4, 5]
    assert not [event for event in sinks["bad"].events if event.key == "prod/job/1" and event.counter]
