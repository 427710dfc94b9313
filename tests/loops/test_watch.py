"""Discovery in virtual time: outages, refused credentials, where it starts, what it must not miss."""

import asyncio

import pytest

from bridge.errors import SourceRefused, SourceUnavailable
from tests.support.jobs import NEVER, events, key, receipt, simple
from tests.support.rig import Rig
from tests.support.source import FakeSource, ScriptedJob

pytestmark = pytest.mark.looptime


async def test_an_outage_of_the_source_loses_nothing_and_is_said_once():
    job = simple(count=100, statuses=((0.0, "running"), (60.0, "successful")))
    job.rows = {counter: counter * 0.5 for counter in range(1, 101)}
    source = FakeSource("prod", job)
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(20)
        source.failure = SourceUnavailable("HTTP 502")
        await asyncio.sleep(300)
        source.failure = None
        await asyncio.sleep(60)
    got = rig.sinks["all"].ids
    assert [i for i in got if "/event/" in i] == events(*range(1, 101))
    assert receipt(rig.sinks["all"])["complete"] is True
    assert len(rig.observer.noted("source.down")) == 1
    assert len(rig.observer.noted("source.up")) == 2
    assert [e.type for e in rig.sinks["all"].events if e.type.startswith("bridge.")] == [
        "bridge.source.down",
        "bridge.source.up",
    ]


async def test_an_outage_gives_no_gap_up():
    job = ScriptedJob(
        key(1), statuses=((0.0, "running"), (100.0, "successful")), rows={1: 1.0, 2: 90.0, 3: 1.0}
    )
    source = FakeSource("prod", job)
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(4)
        source.failure = SourceUnavailable("HTTP 502")
        await asyncio.sleep(100)
        source.failure = None
        await asyncio.sleep(60)
    assert [i for i in rig.sinks["all"].ids if "/event/" in i] == events(1, 2, 3)


async def test_refused_credentials_are_said_once_a_minute_and_tried_on():
    source = FakeSource("prod", simple())
    source.failure = SourceRefused("HTTP 401", status=401)
    rig = Rig(source)
    async with rig.run() as bridge:
        await asyncio.sleep(600)
        assert bridge.watches["prod"].up is False
        assert 6 <= len(rig.observer.noted("source.refused")) <= 11
        source.failure = None
        await asyncio.sleep(60)
        assert bridge.watches["prod"].up is True


WAYS_OUT = (
    "Nothing is read from it until somebody decides: if this is not the AWX that prod stands for, point its "
    "url back to that one and restart; if it is the one to follow from now on, give the source another name "
    "in the configuration and restart, and it is followed like a new one"
)


@pytest.mark.parametrize("restart", [True, False])
async def test_another_awx_behind_the_same_url_parks_the_source_and_no_other(restart):
    source, lab = FakeSource("prod", simple()), FakeSource("lab", simple(2, appears=100.0))
    lab.jobs[2].key = key(2)._replace(source="lab")
    rig = Rig(source, lab)
    async with rig.run():
        await asyncio.sleep(30)
        source.failure = SourceUnavailable("HTTP 502")
        await asyncio.sleep(10)
        source.install_uuid = "22222222-2222-2222-2222-222222222222"
        source.jobs = {2: simple(2)}
        if not restart:
            source.failure = None
            await asyncio.sleep(100)
    source.failure = None
    async with rig.run() as bridge:
        await asyncio.sleep(100)
        assert bridge.parked == {
            "prod": "source prod: another AWX answers: its install_uuid is 22222222-2222-2222-2222-222222222222, "
            "and was 11111111-1111-1111-1111-111111111111. " + WAYS_OUT
        }
    assert {note["reason"] for note in rig.observer.noted("source.replaced")} == set(bridge.parked.values())
    down = [event.read() for event in rig.sinks["all"].events if event.type == "bridge.source.down"]
    assert {event["reason"] for event in down} == {*bridge.parked.values(), "HTTP 502"}
    assert not [i for i in rig.sinks["all"].ids if "prod/job/2/" in i]
    assert [i for i in rig.sinks["all"].ids if "lab/job/2/" in i][-1:] == ["lab/job/2/status/successful"]


async def test_a_source_with_another_name_starts_anew():
    source = FakeSource("prod", simple())
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(30)
    rig.source = FakeSource("prod2", simple(7, appears=40.0))
    rig.source.install_uuid = "22222222-2222-2222-2222-222222222222"
    rig.source.jobs[7].key = key(7)._replace(source="prod2")
    async with rig.run() as bridge:
        await asyncio.sleep(60)
        assert bridge.parked == {}
    assert rig.sinks["all"].ids[-1] == "prod2/job/7/status/successful"


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("over", [True, False])
async def test_a_known_id_that_is_another_job_parks_the_source(over, restart):
    statuses = ((0.0, "running"), (5.0, "successful")) if over else ((0.0, "running"),)
    source = FakeSource("prod", simple(1, statuses=statuses))
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(30)
        other = simple(1, statuses=((0.0, "running"),), created="2026-11-24T09:00:00.000000Z")
        source.jobs = {1: other, 2: simple(2)}
        if not restart:
            await asyncio.sleep(60)
    async with rig.run() as bridge:
        await asyncio.sleep(60)
        assert bridge.parked["prod"] == (
            "source prod: AWX seems to be restored from a backup: job 1 is another one than before. "
            + WAYS_OUT
        )
    assert len(rig.observer.noted("source.rewound")) == (1 if restart else 2)


async def test_the_same_moment_written_otherwise_is_the_same_job():
    source = FakeSource("prod", simple(1, statuses=((0.0, "running"), (60.0, "successful"))))
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(30)
    source.jobs[1].created = "2026-11-23T08:00:01+01:00"
    async with rig.run() as bridge:
        await asyncio.sleep(60)
        assert bridge.parked == {}
    assert "prod/job/1/status/successful" in rig.sinks["all"].ids


async def test_an_install_uuid_that_was_not_known_is_learned():
    source = FakeSource("prod", simple())
    source.install_uuid = None
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(30)
        source.install_uuid = "22222222-2222-2222-2222-222222222222"
        await asyncio.sleep(100)
    assert rig.state.sources["prod"].install_uuid == source.install_uuid


async def test_an_awx_restored_from_a_backup_parks_the_source():
    source = FakeSource("prod", *[simple(n) for n in (1, 2, 3)])
    rig = Rig(source, start="all")
    async with rig.run():
        await asyncio.sleep(400)
    source.jobs = {1: source.jobs[1]}
    async with rig.run() as bridge:
        await asyncio.sleep(10)
        assert bridge.parked["prod"] == (
            "source prod: AWX seems to be restored from a backup: its newest job is 1, and 3 was seen before "
            "(should that one merely be deleted or hidden from the bridge's user, restart once a newer job can "
            "be seen). " + WAYS_OUT
        )


@pytest.mark.parametrize("hidden", [(3, 4), (1, 2, 3, 4)])
async def test_jobs_that_a_lost_role_hides_do_not_look_like_a_backup(hidden):
    running = simple(4, appears=360.0, statuses=((0.0, "running"),))
    source = FakeSource("prod", *[simple(n) for n in (1, 2, 3)], running)
    rig = Rig(source, start="all")
    async with rig.run() as bridge:
        await asyncio.sleep(400)
        for number in hidden:
            source.jobs[number].hidden = (400.0, NEVER)
        await asyncio.sleep(200)
        assert bridge.parked == {}
        assert rig.state.sources["prod"].marks["unified_jobs"] == 3


async def test_start_now_follows_running_jobs_from_their_first_event_and_no_older_ones():
    done = simple(1, statuses=((-50.0, "successful"),))
    running = simple(2)
    rig = Rig(FakeSource("prod", done, running))
    async with rig.run():
        await asyncio.sleep(30)
    assert not [i for i in rig.sinks["all"].ids if "/job/1/" in i]
    assert events(1, job="prod/job/2")[0] in rig.sinks["all"].ids


async def test_start_all_reads_old_jobs_too():
    rig = Rig(FakeSource("prod", simple(1, statuses=((-50.0, "successful"),))), start="all")
    async with rig.run():
        await asyncio.sleep(30)
    assert rig.sinks["all"].ids == [*events(1, 2, 3, 4, 5), "prod/job/1/status/successful"]


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("kind", ["job", "system_job", "workflow_approval"])
async def test_an_id_that_becomes_visible_after_a_higher_one_is_found(kind, started):
    """Whether the bridge saw the higher one come, or began when it was the newest."""
    above, below = (ScriptedJob(key(n, kind), rows={}, appears=0.5) for n in (500, 499))
    below.appears, below.statuses = 20.0, ((0.0, "running"), (30.0, "successful"))
    over = ScriptedJob(key(498, kind), rows={}, statuses=((0.0, "successful"),))
    rig = Rig(FakeSource("prod", above, below, over))
    await asyncio.sleep(0 if started else 1)
    async with rig.run():
        await asyncio.sleep(90)
    assert f"prod/{kind}/499/status/successful" in rig.sinks["all"].ids
    assert not [i for i in rig.sinks["all"].ids if f"{kind}/498/" in i]


async def test_of_many_open_jobs_each_is_asked_about_in_turn():
    jobs = [simple(n, rows={}, statuses=((0.0, "pending" if n % 2 else "running"),)) for n in range(1, 901)]
    source = FakeSource("prod", *jobs)
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(8)
    asked = {number for call in source.calls if call[0] == "jobs_changed" for number in call[2]}
    assert asked == set(range(1, 901))


async def test_the_mark_moves_only_over_ids_seen_a_while_ago_and_done_jobs_are_forgotten():
    rig = Rig(FakeSource("prod", *[simple(n) for n in range(1, 4)]), start="all")
    async with rig.run():
        await asyncio.sleep(200)
        assert rig.state.sources["prod"].marks["unified_jobs"] == 0
        await asyncio.sleep(200)
        assert rig.state.sources["prod"].marks["unified_jobs"] == 3
    assert rig.state.jobs == {}
    assert rig.state.places == {}
