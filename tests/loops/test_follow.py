"""From discovery to receipt, in virtual time: watch, tails, catch-up, lanes and keeper together."""

import asyncio

import pytest

from bridge.errors import TemporaryDeliveryError
from tests.support.jobs import NEVER, events, ids, key, receipt, simple
from tests.support.rig import Rig
from tests.support.source import FakeSink, FakeSource, ScriptedJob, row

pytestmark = pytest.mark.looptime


async def test_a_job_arrives_whole_in_order_and_is_closed_by_its_receipt():
    rig = Rig(FakeSource("prod", simple()))
    async with rig.run():
        await asyncio.sleep(30)
    sink = rig.sinks["all"]
    assert sink.ids == ids("status/running", *(f"event/{n}" for n in range(1, 6)), "status/successful")
    done = receipt(sink)
    assert (done["complete"], done["events_total"], done["events_missing"]) == (True, 5, [])
    assert done["hosts_total"] == 1
    assert rig.state.jobs[key(1)].done


async def test_events_that_become_readable_out_of_order_are_put_in_order():
    rows = {1: 1.0, 2: 3.5, 3: 1.5, 4: 2.9, 5: 1.2, 6: 6.0}
    rig = Rig(FakeSource("prod", ScriptedJob(key(1), rows=rows)))
    async with rig.run():
        await asyncio.sleep(60)
    assert [i for i in rig.sinks["all"].ids if "/event/" in i] == events(1, 2, 3, 4, 5, 6)
    assert receipt(rig.sinks["all"])["complete"] is True


async def test_a_lost_counter_holds_nothing_for_ever_and_is_declared_missing():
    rows = {1: 1.0, 2: NEVER, 3: 1.0, 4: 1.0}
    rig = Rig(FakeSource("prod", ScriptedJob(key(1), rows=rows)))
    async with rig.run():
        await asyncio.sleep(15)
        assert events(3)[0] in rig.sinks["all"].ids
        await asyncio.sleep(300)
    done = receipt(rig.sinks["all"])
    assert (done["complete"], done["events_total"], done["events_missing"]) == (False, 4, [2])
    assert rig.observer.counted("events_missing_total") == 1


async def test_a_counter_that_was_given_up_is_delivered_late():
    rows = {1: 1.0, 2: 60.0, 3: 1.0}
    job = ScriptedJob(key(1), statuses=((0.0, "running"), (70.0, "successful")), rows=rows)
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(120)
    got = rig.sinks["all"]
    assert [i for i in got.ids if "/event/" in i] == events(1, 3, 2)
    late = next(event.read() for event in got.events if event.counter == 2)
    assert late["late"] is True
    assert receipt(got)["complete"] is True


async def test_a_total_above_the_highest_counter_is_found():
    rig = Rig(FakeSource("prod", simple(count=5, emitted=9)))
    async with rig.run():
        await asyncio.sleep(300)
    done = receipt(rig.sinks["all"])
    assert (done["complete"], done["events_total"], done["events_missing"]) == (False, 9, [6, 7, 8, 9])


async def test_a_reaped_job_is_closed_but_not_called_complete():
    rig = Rig(FakeSource("prod", simple(count=5, emitted=0)))
    async with rig.run():
        await asyncio.sleep(300)
    done = receipt(rig.sinks["all"])
    assert (done["complete"], done["events_total"], done["events_missing"]) == (False, 5, [])


async def test_a_canceled_job_without_events_is_believed_only_after_a_while():
    job = ScriptedJob(
        key(1), statuses=((0.0, "running"), (5.0, "canceled")), rows={1: 9.0, 2: 9.0}, emitted=0
    )
    source = FakeSource("prod", job)
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(8)
        job.emitted = 2
        await asyncio.sleep(60)
    done = receipt(rig.sinks["all"], status="canceled")
    assert (done["complete"], done["events_total"]) == (True, 2)


async def test_jobs_that_run_and_end_while_the_bridge_is_down_are_read_then():
    source = FakeSource("prod", simple(1), simple(2, appears=40.0))
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(30)
    await asyncio.sleep(60)
    async with rig.run():
        await asyncio.sleep(30)
    got = [i for i in rig.sinks["all"].ids if "/job/2/" in i]
    assert got == [*events(1, 2, 3, 4, 5, job="prod/job/2"), "prod/job/2/status/successful"]


@pytest.mark.parametrize("moment", [2.2, 3.0, 4.1, 5.5, 6.05, 7.0, 8.0])
async def test_kill_and_restart_lose_nothing(moment):
    source = FakeSource("prod", simple(count=30), simple(2, count=3))
    rig = Rig(source)
    rig.sinks["all"].delay = 0.3
    async with rig.run(kill=True):
        await asyncio.sleep(moment)
    async with rig.run():
        await asyncio.sleep(60)
    got = rig.sinks["all"].ids
    assert set(got) >= {*events(*range(1, 31)), *ids("status/running", "status/successful")}
    assert got[-1].endswith("/status/successful")
    firsts = list(dict.fromkeys(i for i in got if "/job/1/event/" in i))
    assert firsts == events(*range(1, 31))
    assert all(record.done for record in rig.state.jobs.values())


async def test_a_stop_and_restart_double_nothing():
    job = simple(count=50, statuses=((0.0, "running"), (30.0, "successful")))
    job.rows = {counter: counter * 0.5 for counter in range(1, 51)}
    rig = Rig(FakeSource("prod", job))
    for _ in range(4):
        async with rig.run():
            await asyncio.sleep(7)
    async with rig.run():
        await asyncio.sleep(30)
    got = rig.sinks["all"].ids
    assert len(got) == len(set(got))
    assert [i for i in got if "/event/" in i] == events(*range(1, 51))


async def test_a_sink_that_is_down_holds_up_no_other_and_catches_up_alone():
    def down(_events):
        if asyncio.get_running_loop().time() < 200:
            raise TemporaryDeliveryError("connection refused")

    sinks = {"good": FakeSink(), "bad": FakeSink(down)}
    jobs = [simple(n, count=400) for n in range(1, 4)]
    for job in jobs:
        job.rows = {c: 1.0 + c * 0.05 for c in range(1, 401)}
        job.statuses = ((0.0, "running"), (25.0, "successful"))
    rig = Rig(FakeSource("prod", *jobs), sinks=sinks)
    async with rig.run() as bridge:
        bridge.lanes["bad"]._capacity = 100_000
        await asyncio.sleep(100)
        assert len(sinks["good"].ids) == 3 * 402
        assert sinks["bad"].ids == []
        assert bridge.lanes["bad"].bytes < 400_000
        await asyncio.sleep(300)
    assert sorted(sinks["bad"].ids) == sorted(sinks["good"].ids)
    for number in (1, 2, 3):
        got = [e.counter for e in sinks["bad"].events if e.key == f"prod/job/{number}" and e.counter]
        assert got == list(range(1, 401))
        assert [i for i in sinks["bad"].ids if f"/job/{number}/" in i][-1].endswith("successful")
    assert all(record.done for record in rig.state.jobs.values())


async def test_two_tails_at_most_read_one_job():
    def down(_events):
        if asyncio.get_running_loop().time() < 60:
            raise TemporaryDeliveryError("down")

    sinks = {"good": FakeSink(), "bad": FakeSink(down), "worse": FakeSink(down)}
    job = simple(count=300)
    job.rows = {c: 1.0 + c * 0.05 for c in range(1, 301)}
    job.statuses = ((0.0, "running"), (20.0, "successful"))
    source = FakeSource("prod", job)
    rig = Rig(source, sinks=sinks)
    async with rig.run() as bridge:
        for name in ("bad", "worse"):
            bridge.lanes[name]._capacity = 50_000
        await asyncio.sleep(200)
    assert sinks["bad"].ids == sinks["worse"].ids
    assert set(sinks["bad"].ids) == set(sinks["good"].ids)
    reads = [call for call in source.calls if call[0] == "events_after"]
    assert len(reads) < 80


async def test_a_sink_without_event_routes_opens_no_tail_and_still_gets_a_true_receipt():
    routes = [{"match": {"type": ["awx.job.successful", "awx.job.failed"]}, "to": ["all"]}]
    source = FakeSource("prod", simple(rows=dict.fromkeys(range(1, 501), 5.5)))
    rig = Rig(source, routes=routes)
    async with rig.run():
        await asyncio.sleep(30)
    assert rig.sinks["all"].ids == ids("status/successful")
    assert receipt(rig.sinks["all"])["events_total"] == 500
    assert not [call for call in source.calls if call[0] == "events_after"]


async def test_a_sink_without_event_routes_learns_what_is_missing():
    routes = [{"match": {"type": ["awx.job.successful", "awx.job.failed"]}, "to": ["all"]}]
    job = ScriptedJob(key(1), rows={1: 1.0, 2: NEVER, 3: 1.0})
    rig = Rig(FakeSource("prod", job), routes=routes)
    async with rig.run():
        await asyncio.sleep(400)
    done = receipt(rig.sinks["all"])
    assert (done["complete"], done["events_missing"]) == (False, [2])


async def test_a_workflow_is_followed_by_its_statuses():
    job = ScriptedJob(key(7, "workflow_job"), statuses=((0.0, "pending"), (3.0, "running"), (9.0, "failed")))
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(30)
    assert rig.sinks["all"].ids == ids(
        "status/pending", "status/running", "status/failed", job="prod/workflow_job/7"
    )


async def test_a_job_that_goes_back_to_pending_is_told_so():
    job = simple(
        statuses=((0.0, "pending"), (3.0, "running"), (8.0, "pending"), (14.0, "running"), (25.0, "failed"))
    )
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(60)
    assert [i for i in rig.sinks["all"].ids if "/status/" in i] == ids(
        "status/pending", "status/running", "status/pending/2", "status/running/2", "status/failed"
    )


async def test_a_deleted_job_is_told_once():
    job = simple(statuses=((0.0, "running"),), deleted=12.0)
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(120)
    assert rig.sinks["all"].ids[-1] == "prod/job/1/deleted"
    assert rig.sinks["all"].ids.count("prod/job/1/deleted") == 1
    assert rig.state.jobs[key(1)].done


async def test_excluded_jobs_and_types_are_not_followed():
    rig = Rig(
        FakeSource("prod", simple(1), simple(2), ScriptedJob(key(3, "workflow_job"))),
        jobs={"types": ["job"], "exclude": {"job_name": "job 1"}},
    )
    async with rig.run():
        await asyncio.sleep(30)
    assert {event.key for event in rig.sinks["all"].events} == {"prod/job/2"}


async def test_a_new_sink_starts_with_the_open_jobs_from_counter_one():
    job = simple(count=40, statuses=((0.0, "running"), (60.0, "successful")))
    source = FakeSource("prod", job)
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(20)
    rig.sinks["new"] = FakeSink()
    async with rig.run():
        await asyncio.sleep(90)
    assert [e.counter for e in rig.sinks["new"].events if e.counter] == list(range(1, 41))
    got = rig.sinks["all"].ids
    assert len(got) == len(set(got))


async def test_an_inventory_update_may_use_one_counter_twice():
    job = ScriptedJob(
        key(1, "inventory_update"),
        rows={1: 1.0, 2: 1.0, 3: 1.0},
        further=(row(2, event="verbose", stdout="another line", number=90),),
        emitted=4,
    )
    rig = Rig(FakeSource("prod", job))
    async with rig.run():
        await asyncio.sleep(60)
    name = "prod/inventory_update/1"
    assert [i for i in rig.sinks["all"].ids if "/event/" in i] == [
        f"{name}/event/1",
        f"{name}/event/2",
        f"{name}/event/2/2",
        f"{name}/event/3",
    ]
    assert receipt(rig.sinks["all"], job=name)["complete"] is True


async def test_an_event_that_trips_our_own_code_is_a_dead_letter_and_stops_nothing(monkeypatch):
    rig = Rig(FakeSource("prod", simple(count=5)))
    async with rig.run() as bridge:
        preparer = bridge.followings["prod"]._feed.preparer
        whole = type(preparer).event

        def trips(self, one, *args, **kwargs):
            if one.counter == 3:
                raise ZeroDivisionError("secret text")
            return whole(self, one, *args, **kwargs)

        monkeypatch.setattr(type(preparer), "event", trips)
        await asyncio.sleep(30)
    assert [i for i in rig.sinks["all"].ids if "/event/" in i] == events(1, 2, 4, 5)
    (letter,) = rig.state.letters.values()
    assert (letter.event_id, letter.reason) == ("prod/job/1/event/3", "bug")
    (note,) = rig.observer.noted("event.tripped")
    assert "secret text" not in str(note)
    assert receipt(rig.sinks["all"])["complete"] is True


async def test_a_short_job_costs_few_requests():
    source = FakeSource("prod", simple(count=20))
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(60)
    own = [call for call in source.calls if len(call) > 1 and call[1] == key(1)]
    assert len(own) <= 10
