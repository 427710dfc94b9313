"""Discovery in virtual time: outages, refused credentials, where it starts, what it must not miss."""

import asyncio

import pytest

from bridge.errors import SourceRefused, SourceUnavailable
from tests.support.jobs import events, key, receipt, simple
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


async def test_another_awx_behind_the_same_url_parks_the_source():
    source = FakeSource("prod", simple())
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(30)
    source.install_uuid = "22222222-2222-2222-2222-222222222222"
    source.jobs = {2: simple(2)}
    async with rig.run() as bridge:
        await asyncio.sleep(60)
        assert "install_uuid" in bridge.parked["prod"]
    assert len(rig.observer.noted("source.replaced")) == 1
    assert not [i for i in rig.sinks["all"].ids if "/job/2/" in i]


async def test_an_awx_restored_from_a_backup_parks_the_source():
    source = FakeSource("prod", *[simple(n) for n in (1, 2, 3)])
    rig = Rig(source, start="all")
    async with rig.run():
        await asyncio.sleep(400)
    source.jobs = {1: source.jobs[1]}
    async with rig.run() as bridge:
        await asyncio.sleep(10)
        assert "backup" in bridge.parked["prod"]


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


async def test_an_id_that_becomes_visible_after_a_higher_one_is_found():
    source = FakeSource("prod", simple(5), simple(3, appears=20.0))
    rig = Rig(source)
    async with rig.run():
        await asyncio.sleep(60)
    assert "prod/job/3/status/successful" in rig.sinks["all"].ids


async def test_the_mark_moves_only_over_ids_seen_a_while_ago_and_done_jobs_are_forgotten():
    rig = Rig(FakeSource("prod", *[simple(n) for n in range(1, 4)]), start="all")
    async with rig.run():
        await asyncio.sleep(200)
        assert rig.state.sources["prod"].marks["unified_jobs"] == 0
        await asyncio.sleep(200)
        assert rig.state.sources["prod"].marks["unified_jobs"] == 3
    assert rig.state.jobs == {}
    assert rig.state.places == {}
