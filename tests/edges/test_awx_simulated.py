"""The client against the simulated AWX, which speaks for itself: every question, one whole demo."""

import pytest

from bridge.awx import SourceOptions, open_source
from bridge.model import JOB_TYPES
from bridge.ports import Purpose
from simulator import scenarios
from simulator.access import TOKEN
from simulator.server import serve
from simulator.world import World
from tests.support.fakes import FakeClock


class Time:
    def __init__(self):
        self.now = 1_780_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["", "controller"], ids=["direct", "gateway"])
async def simulator(request):
    time = Time()
    world = World(time, seed=7)
    world.stage(scenarios.demo())
    time.now += 600
    async with serve(world, prefix=request.param) as simulator:
        yield simulator


@pytest.fixture
async def prod(simulator):
    options = SourceOptions.model_validate({"url": simulator.url, "token": TOKEN, "max_requests": 1000})
    async with open_source("prod", options, clock=FakeClock()) as prod:
        yield prod


async def all_jobs(prod):
    return [job for listing in prod.listings for job in await prod.jobs_above(listing, 0)]


async def test_it_is_who_it_is(simulator, prod):
    identity = await prod.identify()
    assert identity.install_uuid == simulator.world.install_uuid


async def test_every_job_is_found(simulator, prod):
    jobs = await all_jobs(prod)
    assert {job.key.job_id for job in jobs} == set(simulator.world.jobs)
    assert {job.key.job_type for job in jobs} == set(JOB_TYPES)
    assert await prod.newest_id() == max(simulator.world.jobs)
    assert await prod.first_id_since("2020-01-01T00:00:00Z") == min(simulator.world.jobs)
    assert await prod.first_id_since("2090-01-01T00:00:00Z") is None


async def test_details_equal_rows(prod):
    for job in await all_jobs(prod):
        assert await prod.job(job.key) == job


async def test_changes_and_existence(prod):
    jobs = await prod.jobs_above("unified_jobs", 0)
    ids = [job.key.job_id for job in jobs]
    successful = {job.key.job_id for job in jobs if job.status == "successful"}
    changed = await prod.jobs_changed("unified_jobs", ids, "successful")
    assert {job.key.job_id for job in changed} == set(ids) - successful
    assert await prod.jobs_existing("unified_jobs", [*ids, 99_999]) == set(ids)


async def test_events_counts_and_proofs_agree(prod):
    proven = 0
    for job in await all_jobs(prod):
        counters = []
        full = True
        while full:
            page = await prod.events_after(
                job.key, counters[-1] if counters else 0, limit=17, purpose=Purpose.BACKFILL
            )
            counters += [event.counter for event in page.rows]
            full = page.full
        assert counters == sorted(counters)
        assert await prod.event_count(job.key) == (len(counters), max(counters, default=0))
        again = await prod.events_at(job.key, counters[:200], purpose=Purpose.CLOSING)
        assert [event.counter for event in again.rows] == counters[:200]
        proven += await prod.emitted_is(job.key, len(counters))
        assert not await prod.emitted_above(job.key, 10**6)
    assert proven >= 8


async def test_the_failures_of_the_demo(prod):
    jobs = {job.name: job for job in await all_jobs(prod)}
    deploy = await prod.failures(jobs["deploy-web"].key)
    assert {failure.host for failure in deploy} == {"web03", "web07"}
    assert {failure.message for failure in deploy} == {"No space left on device"}
    hosts = {host.host: host for host in await prod.hosts(jobs["deploy-web"].key)}
    assert hosts["web03"].failures == 1
    assert hosts["web01"].failures == 0
    patch = await prod.failures(jobs["patch-databases"].key)
    assert [failure.host for failure in patch] == ["db02"]
    (node, *_) = await prod.failures(jobs["release"].key)
    assert node.host is None
    assert node.message.endswith("failed")
