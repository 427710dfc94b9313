"""Odd things that AWX does to the events of a job, in virtual time: each has its deadline and its outcome."""

import asyncio

import msgspec
import pytest

from bridge.errors import SourceRefused, SourceUnavailable, TemporaryDeliveryError
from bridge.model import Job, JobRecord, SourceRecord
from bridge.status import lag
from tests.support.fakes import BASE
from tests.support.jobs import NEVER, events, ids, key, receipt, simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource, ScriptedJob, row

pytestmark = pytest.mark.looptime

CANCELED = ((0.0, "running"), (5.0, "canceled"))


def down_until(moment):
    def script(_events):
        if asyncio.get_running_loop().time() < moment:
            raise TemporaryDeliveryError("down")

    return script


def told(sink, kind):
    return [event.read() for event in sink.events if event.type == kind]


async def test_a_job_deleted_while_it_is_read_ends_with_what_was_read():
    """What waits behind a gap has been read and is not thrown away."""
    job = simple(statuses=((0.0, "running"),), deleted=7.0)
    job.rows = {1: 1.0, 2: NEVER, 3: 1.0, 4: 1.5}
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(100)
    assert rig.sinks["all"].ids == ids(
        "status/running", "event/1", "event/3", "event/4", "missing/1", "deleted"
    )
    end = rig.sinks["all"].events[-1].read()
    assert (end["complete"], end["events_total"], end["events_missing"]) == (False, 4, [2])
    assert end["previous_status"] == "running"


async def test_a_job_deleted_before_its_receipt_still_has_one():
    job = simple(emitted=9, deleted=40.0)
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(200)
    assert rig.sinks["all"].ids[-2:] == ids("status/successful", "deleted")
    assert receipt(rig.sinks["all"])["complete"] is False
    assert rig.observer.counted("jobs_closed_total", complete="false") == 1


@pytest.mark.parametrize("gone", ["deleted", "cleaned", "hidden"])
async def test_what_a_lagging_sink_can_no_longer_read_is_counted_and_told(gone):
    sinks = {"good": FakeSink(), "bad": FakeSink(down_until(100))}
    job = simple(count=40)
    setattr(job, gone, 90.0 if gone != "hidden" else (90.0, NEVER))
    rig = Rig(FakeSource("prod", job), sinks=sinks, close_wait=20)
    async with rig.run() as bridge:
        bridge.lanes["bad"]._capacity = 10_000
        await asyncio.sleep(80)
        assert sinks["good"].ids[-1:] == ids("status/successful")
        await asyncio.sleep(600)
    got = [e.counter for e in sinks["bad"].events if e.counter]
    assert got == list(range(1, len(got) + 1))
    assert 0 < len(got) < 40
    assert sinks["bad"].ids[-1:] == ids("status/successful")
    lost = list(range(len(got) + 1, 41))
    assert rig.observer.counted("events_missing_total") == len(lost)
    [note] = rig.observer.noted("sink.gave_up")
    assert (note["sink"], note["events"]) == ("bad", len(lost))
    assert [event["events_missing"] for event in told(sinks["good"], "bridge.events.missing")] == [lost]
    assert [event["sink"] for event in told(sinks["bad"], "bridge.events.missing")] == ["bad"]
    assert sinks["good"].events[-1].id == f"prod/job/1/missing/bad/{len(lost)}"


async def test_a_job_that_a_lost_role_hides_is_ended_in_time():
    job = simple(statuses=((0.0, "running"),), hidden=(10.0, NEVER))
    rig = Rig(FakeSource("prod", job), close_wait=20)
    async with rig.run():
        await asyncio.sleep(190)
        assert rig.sinks["all"].ids == ids("status/running", *(f"event/{n}" for n in range(1, 6)))
        await asyncio.sleep(200)
    assert rig.sinks["all"].ids[-1:] == ids("deleted")
    [note] = rig.observer.noted("job.vanished")
    assert "HTTP 403" in note["reason"] or "no permission" in note["reason"]
    assert rig.observer.noted("job.deleted") == []


@pytest.mark.parametrize("kind", ["workflow_job", "workflow_approval", "system_job"])
async def test_a_hidden_job_of_any_kind_is_ended_in_time(kind):
    job = ScriptedJob(key(1, kind), statuses=((0.0, "pending"),), hidden=(10.0, NEVER))
    rig = Rig(FakeSource("prod", job), close_wait=20)
    async with rig.run():
        await asyncio.sleep(400)
    assert rig.sinks["all"].ids == ids("status/pending", "deleted", job=f"prod/{kind}/1")


async def test_a_job_hidden_for_a_while_goes_on():
    job = simple(count=60, statuses=((0.0, "running"), (150.0, "successful")), hidden=(10.0, 160.0))
    job.rows = {counter: counter * 1.0 for counter in range(1, 61)}
    rig = Rig(FakeSource("prod", job), close_wait=20)
    async with rig.run():
        await asyncio.sleep(300)
    assert rig.sinks["all"].ids == ids(
        "status/running", *(f"event/{n}" for n in range(1, 61)), "status/successful"
    )


async def test_a_finished_job_that_is_hidden_is_closed_as_far_as_it_was_read():
    job = simple(rows={1: 1.0, 2: 20.0}, hidden=(7.0, NEVER))
    rig = Rig(FakeSource("prod", job), close_wait=20)
    async with rig.run():
        await asyncio.sleep(400)
    assert rig.sinks["all"].ids == ids("status/running", "event/1", "status/successful")
    assert receipt(rig.sinks["all"])["complete"] is False
    [note] = rig.observer.noted("job.closed_incomplete")
    assert "no permission" in note["reason"]


@pytest.mark.parametrize("what", ["emitted_is", "failures", "hosts"])
async def test_one_question_that_always_fails_does_not_hold_a_job_for_ever(what):
    source = FakeSource("prod", simple(statuses=((0.0, "running"), (5.0, "failed"))))
    source.failing[what] = SourceUnavailable("HTTP 500")
    rig = Rig(source, close_wait=20)
    async with rig.run():
        await asyncio.sleep(300)
    done = receipt(rig.sinks["all"], status="failed")
    assert (done["complete"], done["events_total"]) == (what != "emitted_is", 5)


async def test_an_outage_uses_up_no_patience():
    source = FakeSource("prod", simple(hidden=(7.0, 100.0), rows={1: 1.0, 2: 90.0}))
    rig = Rig(source, close_wait=20)
    async with rig.run():
        await asyncio.sleep(30)
        source.failure = SourceUnavailable("HTTP 502")
        await asyncio.sleep(3600)
        source.failure = None
        await asyncio.sleep(90)
    assert [i for i in rig.sinks["all"].ids if "/job/" in i][-2:] == ids("event/2", "status/successful")
    assert receipt(rig.sinks["all"])["complete"] is True


async def test_a_cleanup_that_drops_the_events_of_a_job_is_said():
    rows = {counter: 4.0 + counter for counter in range(1, 41)}
    rig = Rig(FakeSource("prod", simple(rows=rows, cleaned=20.0)))
    async with rig.run():
        await asyncio.sleep(400)
    done = receipt(rig.sinks["all"])
    read = [e.counter for e in rig.sinks["all"].events if e.counter]
    assert read == list(range(1, len(read) + 1))
    assert (done["complete"], done["events_total"]) == (False, 40)
    assert done["events_missing"] == list(range(len(read) + 1, 41))
    [note] = rig.observer.noted("job.closed_incomplete")
    assert note["reason"] == f"40 emitted, {len(read)} readable"


async def test_a_job_that_lost_all_its_events():
    rig = Rig(FakeSource("prod", simple(rows=dict.fromkeys(range(1, 8), NEVER))))
    async with rig.run():
        await asyncio.sleep(400)
    done = receipt(rig.sinks["all"])
    assert (done["complete"], done["events_total"], done["events_missing"]) == (
        False,
        7,
        [1, 2, 3, 4, 5, 6, 7],
    )


async def test_a_job_that_never_ran_is_closed_at_once():
    job = ScriptedJob(key(1), statuses=((0.0, "pending"), (5.0, "canceled")))
    source = FakeSource("prod", job)
    whole = source._row
    source._row = lambda job, now: msgspec.structs.replace(whole(job, now), started=None)
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(9)
        assert receipt(rig.sinks["all"], status="canceled")["complete"] is True


async def test_events_of_a_canceled_job_that_come_late_are_waited_for():
    rows = {1: 1.0, 2: 2.0, 3: 30.0, 4: 100.0}
    rig = Rig(FakeSource("prod", ScriptedJob(key(1), statuses=CANCELED, rows=rows)))
    async with rig.run():
        await asyncio.sleep(200)
    assert rig.sinks["all"].ids[1:] == ids(*(f"event/{n}" for n in range(1, 5)), "status/canceled")
    assert receipt(rig.sinks["all"], status="canceled")["complete"] is True


def twice(kind, moment, *, stdout):
    again = row(2, stdout=stdout, number=90)
    return ScriptedJob(
        key(1, kind),
        statuses=((0.0, "running"), (60.0, "successful")),
        rows={1: 1.0, 2: 1.0, 3: 1.0},
        further=(again,),
        further_at=moment,
        emitted=3 if stdout == "line 2" or kind == "job" else 4,
    )


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("moment", [0.0, 30.0])
@pytest.mark.parametrize("kind", ["job", "inventory_update"])
async def test_one_event_stored_twice_is_one_event(kind, moment, restart):
    rig = Rig(FakeSource("prod", twice(kind, moment, stdout="line 2")))
    async with rig.run():
        await asyncio.sleep(20)
        if not restart:
            await asyncio.sleep(100)
    async with rig.run():
        await asyncio.sleep(100)
    name = f"prod/{kind}/1"
    assert rig.sinks["all"].ids == ids(
        "status/running", "event/1", "event/2", "event/3", "status/successful", job=name
    )
    assert receipt(rig.sinks["all"], job=name)["complete"] is True


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("moment", [0.0, 30.0])
async def test_one_counter_with_two_contents_is_two_events(moment, restart):
    rig = Rig(FakeSource("prod", twice("inventory_update", moment, stdout="other")))
    async with rig.run():
        await asyncio.sleep(20)
        if not restart:
            await asyncio.sleep(100)
    async with rig.run():
        await asyncio.sleep(100)
    name = "prod/inventory_update/1"
    assert sorted(i for i in rig.sinks["all"].ids if "/event/" in i) == sorted(
        ids("event/1", "event/2", "event/2/2", "event/3", job=name)
    )
    assert rig.sinks["all"].ids[-1:] == ids("status/successful", job=name)
    assert receipt(rig.sinks["all"], job=name)["complete"] is True


async def test_rows_of_one_counter_go_by_age_whatever_their_order():
    source = FakeSource("prod", ScriptedJob(key(1), rows={1: 1.0}, further=(row(1, stdout="old", number=0),)))
    plain = source._rows
    source._rows = lambda job, now: plain(job, now)[::-1]
    sinks = {"good": FakeSink(), "late": FakeSink()}
    rig = Rig(source, sinks={"good": sinks["good"]})
    async with rig.run():
        await asyncio.sleep(4)
    rig.sinks = sinks
    async with rig.run():
        await asyncio.sleep(300)
    for sink in sinks.values():
        stdout = {event.id: event.read()["stdout"] for event in sink.events if event.counter}
        assert stdout == dict(zip(events(1) + ids("event/1/2"), ("old", "line 1"), strict=True))


async def test_a_wanted_counter_that_is_stored_twice_comes_once_to_a_sink_that_caught_up():
    sinks = {"good": FakeSink(), "bad": FakeSink(down_until(60))}
    job = simple(rows={1: 1.0, 2: 50.0, 3: 1.0}, further=(row(2, number=90),), emitted=3)
    job.statuses = ((0.0, "running"), (100.0, "successful"))
    rig = Rig(FakeSource("prod", job), sinks=sinks)
    async with rig.run() as bridge:
        bridge.lanes["bad"]._capacity = 2_500
        await asyncio.sleep(55)
        assert list(bridge.followings["prod"].jobs[1].lagging) == ["bad"]
        await asyncio.sleep(150)
    for sink in sinks.values():
        assert [i for i in sink.ids if "/event/" in i] == events(1, 3, 2)
    assert receipt(sinks["bad"])["complete"] is True


async def test_a_wanted_counter_that_appears_as_the_job_is_given_up_is_delivered():
    """It appears after it was last asked for as wanted, and before the receipt would call it missing."""
    job = simple(rows={1: 1.0, 2: 124.9, 3: 1.0})
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(300)
    assert [i for i in rig.sinks["all"].ids if "/event/" in i] == events(1, 3, 2)
    assert rig.sinks["all"].ids[-1:] == ids("status/successful")
    assert receipt(rig.sinks["all"])["complete"] is True


async def test_every_wanted_counter_is_asked_for_in_turn():
    rows = dict.fromkeys(range(1, 1001), 1.0) | dict.fromkeys(range(100, 700), NEVER) | {650: 60.0}
    job = simple(rows=rows, statuses=((0.0, "running"), (200.0, "successful")))
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(120)
    assert events(650)[0] in rig.sinks["all"].ids


@pytest.mark.parametrize("lost", [True, False])
async def test_events_that_appear_after_the_receipt_are_counted_and_said(lost):
    """`lost`: named as missing; else above all that AWX had counted, as of a reaped job."""
    rows = {1: 1.0, 2: 600.0, 3: 1.0} if lost else {1: 1.0, 2: 1.0, 3: 600.0}
    source = FakeSource("prod", simple(rows=rows, emitted=None if lost else 0))
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(300)
        assert receipt(rig.sinks["all"])["complete"] is False
        before = len(source.calls)
        await asyncio.sleep(1800)
    [note] = rig.observer.noted("event.after_close")
    assert (note["job"], note["events"], note["first"]) == ("prod/job/1", 1, 2 if lost else 3)
    assert rig.observer.counted("events_after_close_total") == 1
    assert len([call for call in source.calls[before:] if call[1:2] == (key(1),)]) == 1
    assert len([i for i in rig.sinks["all"].ids if "/event/" in i]) == 2


async def test_a_token_that_expires_and_is_renewed_loses_nothing():
    job = simple(statuses=((0.0, "running"), (60.0, "successful")))
    job.rows = {counter: counter * 0.5 for counter in range(1, 101)} | {7: 45.0}
    source = FakeSource("prod", job)
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(4)
        source.failure = SourceRefused("HTTP 401", status=401)
        await asyncio.sleep(4000)
        source.failure = None
        await asyncio.sleep(60)
    assert [i for i in rig.sinks["all"].ids if "/event/" in i] == events(*range(1, 101))
    assert receipt(rig.sinks["all"])["complete"] is True
    assert rig.observer.noted("job.vanished") == rig.observer.noted("job.deleted") == []


@pytest.mark.parametrize("skew", [-600.0, 600.0])
async def test_clocks_that_differ_change_nothing(skew):
    rows = {1: 1.0, 2: 30.0, 3: 1.0, 4: NEVER, 5: 2.0}
    job = simple(
        rows=rows, statuses=((0.0, "pending"), (1.0, "running"), (40.0, "failed"), (220.0, "successful"))
    )
    sinks = {"good": FakeSink(), "bad": FakeSink(down_until(100))}
    rig = Rig(FakeSource("prod", job, simple(2)), sinks=sinks)
    rig.clock.skew = skew
    async with rig.run() as bridge:
        await asyncio.sleep(50)
        assert 48 < lag(bridge, "bad", now=rig.clock.now()) <= 50
        assert lag(bridge, "good", now=rig.clock.now()) == 0
        await asyncio.sleep(400)
        assert bridge.parked == {}
    for sink in sinks.values():
        got = [i for i in sink.ids if "/job/1/" in i]
        assert [i for i in got if "/event/" in i] == events(1, 3, 5, 2)
        assert got[-2:] == ids("status/failed", "status/successful")
        assert told(sink, "awx.job.successful")[0]["finished"] == "2026-11-23T07:02:00.000000Z"
    assert rig.state.sources["prod"].marks["unified_jobs"] == 2
    assert rig.observer.noted("sink.gave_up") == []


async def test_a_job_that_ran_longer_than_max_lag_is_not_given_up_at_its_end():
    """Its sink has lagged for a minute, not for as long as the job ran."""
    sinks = {"good": FakeSink(), "bad": FakeSink(down_until(130))}
    rig = Rig(FakeSource("prod", simple()), sinks=sinks)
    rig.state.jobs[key(1)] = JobRecord(job=Job(key=key(1), status="running"), first_seen=BASE)
    rig.state.sources["prod"] = SourceRecord(marks={"unified_jobs": 1})
    rig.clock.skew = 8 * 86_400.0
    async with rig.run():
        await asyncio.sleep(300)
    assert sinks["bad"].ids[-1:] == ids("status/successful")
    assert rig.observer.noted("sink.gave_up") == []
