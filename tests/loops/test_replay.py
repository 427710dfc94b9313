"""Replays through the whole bridge in virtual time: by the place, apart from it, and over a kill."""

import asyncio

import pytest

from bridge.errors import PermanentDeliveryError, TemporaryDeliveryError
from bridge.model import Place
from bridge.ports import Purpose
from tests.support.jobs import NEVER, events, key, receipt, simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource
from tests.support.transactional import Broker, FakeTransactionalSink

pytestmark = pytest.mark.looptime

STATUS = "prod/job/1/status/successful"
ONE = [{"source": "prod", "id": 1, "type": "job"}]


class Desk(Rig):
    """A bridge with orders to replay."""

    def ask(self, **arguments):
        asked = {"to": "all", **arguments}
        return self.state.give("replay.run", asked, who="ada", at=self.clock.now())

    async def order(self, wait=10.0, **arguments):
        number = self.ask(**arguments)
        await asyncio.sleep(wait)
        return self.state.outcomes[number]

    @property
    def sink(self):
        return self.sinks["all"]

    def old(self, *jobs):
        """Take `jobs` as over before the bridge began: state does not know them."""
        for job in jobs:
            job.statuses = ((-10.0, "successful"),)
            self.source.jobs[job.key.job_id] = job


def desk(*jobs, **more):
    return Desk(FakeSource("prod", *jobs), **more)


def backfill(count=5, jobs=1, **more):
    """Make a desk whose jobs were over before its very first start."""
    made = [simple(number, count) for number in range(1, jobs + 1)]
    for job in made:
        job.statuses = ((-10.0, "successful"),)
        job.rows = dict.fromkeys(job.rows, 0.0)
    return desk(*made, **more)


async def test_a_late_counter_of_a_closed_job_comes_once_and_by_its_place():
    job = simple(rows={1: 1.0, 2: 1.1, 3: 400.0, 4: 1.2, 5: 1.3})
    rig = desk(job)
    async with rig.run():
        await asyncio.sleep(390)
        assert rig.state.places[key(1), "all"].wanted == ((3, 3),)
        assert receipt(rig.sink)["events_missing"] == [3]
        await asyncio.sleep(20)
        rig.sink.events.clear()
        outcome = await rig.order(jobs=ONE)
        assert outcome.done
        assert outcome.details["events"] == 1
        assert rig.sink.ids == events(3)
        assert rig.sink.events[0].read()["late"] is True
        assert "replayed" not in rig.sink.events[0].read()
        assert rig.state.places[key(1), "all"] == Place(through=5, status_number=2)
        assert (await rig.order(jobs=ONE)).details["events"] == 0
    assert rig.sink.ids == events(3)


async def test_a_sink_that_holds_its_places_gets_them_in_the_same_transaction():
    broker = Broker()
    rig = desk(simple(rows={1: 1.0, 2: 300.0, 3: 1.2}), sinks={"all": FakeTransactionalSink(broker)})
    async with rig.run():
        await asyncio.sleep(310)
        assert broker.places[key(1)].wanted == ((2, 2),)
        sent = list(broker.ids)
        number = rig.ask(jobs=ONE)
        await asyncio.sleep(10)
        assert rig.state.outcome(number).details["events"] == 1
        assert broker.ids == [*sent, *events(2)]
        assert broker.places[key(1)].wanted == ()
        assert (await rig.order(jobs=ONE)).details["events"] == 0
        places = dict(broker.places)
        assert (await rig.order(jobs=ONE, again=True)).details["events"] == 4
    assert broker.places == places


async def test_what_is_still_missing_stays_wanted():
    rig = desk(simple(rows={1: 1.0, 2: NEVER, 3: 1.2}))
    async with rig.run():
        await asyncio.sleep(300)
        before = list(rig.sink.ids)
        assert (await rig.order(jobs=ONE)).details["events"] == 0
    assert rig.sink.ids == before
    assert rig.state.places[key(1), "all"].wanted == ((2, 2),)


async def test_counters_above_the_receipt_are_fetched():
    job = simple(rows={1: 1.0, 2: 1.1, 3: 300.0, 4: 300.0}, emitted=4)
    rig = desk(job)
    async with rig.run():
        await asyncio.sleep(310)
        rig.sink.events.clear()
        assert (await rig.order(jobs=ONE)).details["events"] == 2
        assert (await rig.order(jobs=ONE)).details["events"] == 0
    assert rig.sink.ids == events(3, 4)
    assert rig.state.places[key(1), "all"].through == 4


async def test_what_was_settled_is_sent_again_only_when_asked_for():
    rig = desk(simple())
    async with rig.run():
        await asyncio.sleep(60)
        places = dict(rig.state.places)
        rig.sink.events.clear()
        assert (await rig.order(jobs=ONE)).done
        assert rig.sink.ids == []
        outcome = await rig.order(jobs=ONE, again=True)
        assert outcome.sentence == "replayed to all: 1 job, 6 events sent"
    assert rig.sink.ids == [*events(1, 2, 3, 4, 5), STATUS]
    assert all(event.read()["replayed"] for event in rig.sink.events)
    assert receipt(rig.sink)["complete"] is True
    assert rig.state.places == places


async def test_jobs_from_before_the_bridge_are_sent_with_a_receipt_of_today():
    rig = backfill(jobs=2)
    rig.source.jobs[2].rows[3] = NEVER
    async with rig.run():
        await asyncio.sleep(30)
        assert rig.sink.ids == []
        outcome = await rig.order(sources=["prod"], since="2026-01-01T00:00:00Z")
    assert outcome.details["jobs"] == 2
    second = [*events(1, 2, 4, 5, job="prod/job/2"), "prod/job/2/status/successful"]
    assert rig.sink.ids == [*events(1, 2, 3, 4, 5), STATUS, *second]
    assert receipt(rig.sink)["complete"] is True
    assert receipt(rig.sink)["events_total"] == 5
    assert receipt(rig.sink, "prod/job/2")["events_missing"] == [3]
    assert receipt(rig.sink, "prod/job/2")["complete"] is False
    asked = [call for call in rig.source.calls if call[0] == "events_after"]
    assert {call[-1] for call in asked} == {Purpose.BACKFILL}


async def test_rules_still_filter():
    rig = backfill(routes=[{"match": {"type": "awx.job.*"}, "to": ["all"]}])
    async with rig.run():
        await asyncio.sleep(5)
        assert (await rig.order(jobs=[{"source": "prod", "id": 1}])).done
    assert rig.sink.ids == [STATUS]


async def test_a_dry_run_says_how_many_and_sends_nothing():
    rig = backfill(jobs=3)
    async with rig.run():
        await asyncio.sleep(5)
        outcome = await rig.order(sources=["prod"], since=None, dry_run=True)
        assert outcome.sentence == "would replay to all: 3 jobs, about 15 events"
        assert [one["events"] for one in outcome.details["told"]] == [5, 5, 5]
        failed = await rig.order(sources=["prod"], statuses=["failed"], dry_run=True)
        assert failed.details["jobs"] == 0
    assert rig.sink.ids == []


async def test_a_bridge_that_is_killed_goes_on_where_it_was():
    rig = backfill(count=1000, jobs=2)
    rig.sink.delay = 1.0
    async with rig.run(kill=True):
        await asyncio.sleep(2)
        number = rig.ask(sources=["prod"])
        await asyncio.sleep(8)
        assert rig.state.outcome(number) is None
        assert rig.state.progress(number)["counter"] > 0
        done = len(rig.sink.ids)
        assert done > 0
    async with rig.run():
        await asyncio.sleep(60)
        assert rig.state.outcome(number).done
    sent = rig.sink.ids
    wanted = [f"{job}/event/{n}" for job in ("prod/job/1", "prod/job/2") for n in range(1, 1001)]
    assert {one for one in sent if "/event/" in one} == set(wanted)
    assert len(sent) - len(set(sent)) <= 200
    assert receipt(rig.sink)["complete"] is True
    assert [one["resumed"] for one in rig.observer.noted("replay.started")] == [False, True]


async def test_a_replay_that_ends_the_bridge_is_begun_three_times():
    rig = backfill(sinks={"all": FakeSink()})
    rig.sink.delay = 1000.0
    number = rig.ask(jobs=ONE)
    for _ in range(5):
        async with rig.run(kill=True):
            await asyncio.sleep(5)
    assert "ended 3 times" in rig.state.outcome(number).sentence


async def test_live_work_has_the_lane_first():
    rig = backfill()
    async with rig.run() as bridge:
        await asyncio.sleep(2)
        bridge.lanes["all"].hold()
        number = rig.ask(jobs=ONE)
        await asyncio.sleep(60)
        assert rig.sink.ids == []
        bridge.lanes["all"].go_on()
        await asyncio.sleep(30)
        assert rig.state.outcome(number).done
    assert rig.sink.ids == [*events(1, 2, 3, 4, 5), STATUS]


async def test_a_sink_that_fails_for_now_gets_everything_in_order():
    failures = iter([TemporaryDeliveryError("HTTP 503"), TemporaryDeliveryError("HTTP 429", retry_after=20)])

    def fail(_events):
        if error := next(failures, None):
            raise error

    rig = backfill(sinks={"all": FakeSink(fail)})
    async with rig.run():
        outcome = await rig.order(wait=60, jobs=ONE)
    assert outcome.done
    assert rig.sink.ids == [*events(1, 2, 3, 4, 5), STATUS]


async def test_what_is_refused_for_good_is_a_dead_letter():
    def refuse(batch):
        if any(event.counter == 3 for event in batch):
            raise PermanentDeliveryError("HTTP 422: no")

    rig = backfill(sinks={"all": FakeSink(refuse)})
    async with rig.run():
        outcome = await rig.order(jobs=ONE)
    assert not outcome.done
    assert rig.sink.ids == [*events(1, 2, 4, 5), STATUS]
    assert [letter.event_id for letter in rig.state.letters.values()] == events(3)


async def test_what_cannot_be_replayed_is_said():
    rig = desk(simple(statuses=((0.0, "running"),)))
    async with rig.run():
        await asyncio.sleep(5)
        running = await rig.order(jobs=ONE)
        assert running.details["told"][0]["why"] == "it is being followed: the sink gets all of it"
        again = await rig.order(jobs=ONE, again=True)
        assert again.details["told"][0]["why"] == "it has not finished"
        gone = await rig.order(jobs=[{"source": "prod", "id": 7}, {"source": "prod", "id": 8, "type": "job"}])
        assert [one["why"] for one in gone.details["told"]] == ["AWX shows no such job"] * 2
        assert "not in the configuration" in (await rig.order(to="nobody", jobs=ONE)).sentence
