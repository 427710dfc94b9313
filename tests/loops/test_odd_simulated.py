"""The whole bridge but for sockets and sinks, over the simulated AWX, in virtual time: scenario `odd`, and access."""

import asyncio

import pytest

from simulator import scenarios
from simulator.world import World
from tests.support.fakes import FakeClock
from tests.support.in_process import simulated_source
from tests.support.rig import Rig

pytestmark = pytest.mark.looptime

KILLS = [[], [3.0, 2.0], [5.0, 5.0, 5.0]]


def stage(scenario, *, seed=1, **options):
    clock = FakeClock()
    world = World(clock.now, seed=seed)
    world.stage(scenarios.NAMES[scenario]())
    source, simulator = simulated_source(world, clock=clock, **options)
    rig = Rig(source, close_wait=30)
    rig.clock = clock
    return rig, simulator


def by_name(rig, truth):
    """What the sink got of each job, the first time that it got it: (its truth, events, statuses)."""
    firsts = {event.id: event.read() for event in reversed(rig.sinks["all"].events)}
    of_job = {}
    for body in reversed(firsts.values()):
        if body["type"].startswith("awx."):
            of_job.setdefault(f"{body['job_type']}/{body['job_id']}", []).append(body)
    told = {}
    for job in truth["jobs"]:
        bodies = of_job.get(f"{job['type']}/{job['id']}", [])
        rows = [body for body in bodies if "counter" in body]
        told[job["name"]] = (job, rows, [body for body in bodies if "status" in body])
    return told


def flat(ranges):
    return [counter for low, high in ranges or [] for counter in range(low, high + 1)]


def check(job, rows, statuses):
    """Whatever is odd about a job: it has one true end after all that can be read."""
    name, deleted = job["name"], job["deleted"]
    readable = flat(job.get("readable"))
    counters = sorted({body["counter"] for body in rows})
    if deleted and not any(body["terminal"] for body in statuses):
        assert counters == readable[: len(counters)]
        assert [(body["status"], body["complete"]) for body in statuses[-1:]] in ([], [("deleted", False)])
        return
    assert counters == readable, name
    in_order = [body["counter"] for body in rows if "late" not in body]
    assert in_order == sorted(in_order), name
    ends = [body for body in statuses if body["terminal"]]
    assert ends[-1]["status"] == job["final_status"], name
    if not deleted:
        assert statuses[-1] is ends[-1]
    lost = flat(job.get("lost"))
    assert ends[-1]["complete"] == (not lost and name != "reaped"), name
    assert ends[-1]["events_missing"] == lost, name
    assert [body["corrects"] for body in ends] == [None, "failed"][: len(ends)], name
    assert len(ends) <= (2 if name == "reaped-and-alive" else 1), name
    repeats = {body["id"] for body in rows if body["id"].count("/") > 4}
    assert len(repeats) == (len(job["repeated"]) if name == "counter-twice" else 0), name


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kills", KILLS, ids=len)
async def test_every_odd_job_has_one_true_end(kills, seed):
    rig, simulator = stage("odd", seed=seed)
    for moment in kills:
        async with rig.run(kill=True):
            await asyncio.sleep(moment)
    async with rig.run():
        await asyncio.sleep(90)
    told = by_name(rig, simulator.world.truth())
    assert len(told) == 15
    for job, rows, statuses in told.values():
        check(job, rows, statuses)
    ids = [event.id for event in rig.sinks["all"].events]
    assert kills or len(ids) == len(set(ids))


async def test_a_token_that_expires_is_renewed_from_its_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("first")
    rig, simulator = stage("demo", token_file=file)
    simulator.access.tokens = {"first": "admin"}
    async with rig.run() as bridge:
        await asyncio.sleep(4)
        simulator.access.tokens = {"second": "admin"}
        await asyncio.sleep(600)
        assert bridge.watches["prod"].up is False
        assert "HTTP 401" in bridge.watches["prod"].reason
        file.write_text("second\n")
        await asyncio.sleep(120)
        assert bridge.watches["prod"].up is True
    assert 7 <= len(rig.observer.noted("source.refused")) <= 11
    for job, rows, statuses in by_name(rig, simulator.world.truth()).values():
        assert sorted({body["counter"] for body in rows}) == flat(job.get("readable")), job["name"]
        assert statuses[-1]["status"] == job["final_status"]
        assert statuses[-1]["events_missing"] == flat(job.get("lost"))


@pytest.mark.parametrize("regained", [True, False])
async def test_a_role_that_is_lost(regained):
    """AWX answers as before, lists nothing and refuses every job."""
    rig, simulator = stage("demo")
    async with rig.run() as bridge:
        await asyncio.sleep(4)
        simulator.access.readers.clear()
        await asyncio.sleep(250)
        assert bridge.watches["prod"].up is True
        if regained:
            simulator.access.readers.add("admin")
        await asyncio.sleep(200)
        assert bridge.followings["prod"].jobs == {}
    told = by_name(rig, simulator.world.truth())
    if regained:
        assert {statuses[-1]["status"] for _, _, statuses in told.values()} <= {
            "successful",
            "failed",
            "error",
        }
        assert rig.observer.noted("job.vanished") == []
    else:
        begun = [statuses[-1] for _, _, statuses in told.values() if statuses]
        assert {body["status"] for body in begun} <= {"deleted", "successful", "failed"}
        assert {note["job"].split("/")[0] for note in rig.observer.noted("job.vanished")} == {"prod"}


async def test_another_awx_parks_the_source():
    rig, simulator = stage("demo")
    async with rig.run() as bridge:
        await asyncio.sleep(30)
        simulator.world.restore("22222222-2222-2222-2222-222222222222", None)
        await asyncio.sleep(100)
        assert "22222222-2222-2222-2222-222222222222" in bridge.parked["prod"]


async def test_a_restored_awx_parks_the_source():
    rig, simulator = stage("demo")
    async with rig.run() as bridge:
        await asyncio.sleep(400)
        simulator.world.restore(None, 3)
        await asyncio.sleep(100)
        assert "restored from a backup" in bridge.parked["prod"]
