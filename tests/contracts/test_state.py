"""What every state promises, the fake and the real one."""

import itertools
import string

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.model import (
    Close,
    DeadLetter,
    Failure,
    HostSummary,
    Job,
    JobKey,
    JobRecord,
    Place,
    SinkRecord,
    SourceRecord,
    StatusSeen,
)
from bridge.ports import Changes
from bridge.state.sqlite import open_state
from tests.support.fakes import FakeClock, MemoryState
from tests.support.houses import MemoryHouse, SqliteHouse

DAY = 86_400.0
KEY = JobKey("prod", "job", 7)
OTHER = JobKey("prod", "project_update", 8)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
def house(request, tmp_path, clock):
    if request.param == "memory":
        return MemoryHouse(clock)
    return SqliteHouse(tmp_path / "state" / "bridge.db", clock)


def record(key=KEY, *, done=False, **facts):
    return JobRecord(job=Job(key=key, status="running", name="Täglich ✓"), first_seen=1.5, done=done, **facts)


FULL = JobRecord(
    job=Job(key=KEY, status="failed", labels=("a", "b"), elapsed=1.25, template_id=3, workflow_job_id=2),
    first_seen=1_780_000_000.125,
    statuses=(
        StatusSeen(number=1, status="running", repeat=1, previous=None, time="t1"),
        StatusSeen(number=2, status="failed", repeat=2, previous="running", time="t2", corrects="error"),
    ),
    close=Close(
        complete=False,
        events_total=12,
        missing=((3, 4), (9, 9)),
        hosts=(HostSummary(host="h", ok=3, dark=1),),
        failures=(Failure(host=None, task=None, message="m", counter=5),),
    ),
)


async def test_a_new_state_is_empty(house):
    async with house.open() as state:
        snapshot = await state.load()
        assert (snapshot.jobs, snapshot.done, snapshot.places) == ({}, {}, {})
        assert (snapshot.sources, snapshot.sinks) == ({}, {})
        assert list(await state.dead_letters()) == []


async def test_everything_comes_back_after_a_restart(house):
    place = Place(through=9, wanted=((3, 3), (5, 7)), status_number=2, repeats={4: 2, 8: 1})
    source = SourceRecord(install_uuid="u", marks={"unified_jobs": 41})
    sink = SinkRecord(destination="https://cmdb.example.com/awx")
    letter = DeadLetter(
        sink="cmdb",
        event_id="e",
        type="t",
        reason="413",
        at=5.5,
        copy=b'{"a": "\xc3\xa4"}',
        whole=True,
        late=True,
    )
    async with house.open() as state:
        await state.commit(
            Changes(
                jobs={KEY: FULL},
                places={(KEY, "cmdb"): place},
                sources={"prod": source},
                sinks={"cmdb": sink},
                dead_letters=[letter],
            )
        )
    async with house.open() as state:
        snapshot = await state.load()
        assert snapshot.jobs == {KEY: FULL}
        assert isinstance(next(iter(snapshot.jobs)), JobKey)
        assert isinstance(snapshot.jobs[KEY].job.key, JobKey)
        assert snapshot.places == {(KEY, "cmdb"): place}
        assert snapshot.sources == {"prod": source}
        assert snapshot.sinks == {"cmdb": sink}
        assert list(await state.dead_letters()) == [letter]


async def test_an_empty_commit_changes_nothing(house):
    async with house.open() as state:
        await state.commit(Changes(jobs={KEY: FULL}))
        await state.commit(Changes())
        assert (await state.load()).jobs == {KEY: FULL}


async def test_the_last_value_wins(house):
    async with house.open() as state:
        for through in (5, 3):
            await state.commit(Changes(jobs={KEY: record()}, places={(KEY, "ops"): Place(through=through)}))
    async with house.open() as state:
        assert (await state.load()).places == {(KEY, "ops"): Place(through=3)}


async def test_a_done_job_comes_back_apart_with_its_places(house):
    async with house.open() as state:
        await state.commit(Changes(jobs={KEY: record(), OTHER: record(OTHER)}))
        await state.commit(
            Changes(
                jobs={KEY: record(done=True)}, places={(k, "ops"): Place(through=1) for k in (KEY, OTHER)}
            )
        )
        snapshot = await state.load()
    assert snapshot.done == {KEY: record(done=True)}
    assert snapshot.jobs == {OTHER: record(OTHER)}
    assert set(snapshot.places) == {(KEY, "ops"), (OTHER, "ops")}


async def test_a_job_that_is_opened_again_has_its_places(house):
    async with house.open() as state:
        await state.commit(Changes(jobs={KEY: record(done=True)}, places={(KEY, "ops"): Place(through=4)}))
        await state.commit(Changes(jobs={KEY: record()}))
        assert (await state.load()).places == {(KEY, "ops"): Place(through=4)}


async def test_a_forgotten_job_goes_with_its_places(house):
    async with house.open() as state:
        keys = (KEY, OTHER)
        await state.commit(
            Changes(
                jobs={key: record(key) for key in keys},
                places={(key, sink): Place(through=1) for key, sink in itertools.product(keys, "ab")},
            )
        )
        await state.commit(Changes(forgotten={KEY, JobKey("never", "job", 1)}))
        snapshot = await state.load()
    assert set(snapshot.jobs) == {OTHER}
    assert set(snapshot.places) == {(OTHER, "a"), (OTHER, "b")}


async def test_what_is_put_with_the_forgetting_is_new(house):
    async with house.open() as state:
        await state.commit(
            Changes(jobs={KEY: record()}, places={(KEY, "a"): Place(through=9), (KEY, "b"): Place(through=9)})
        )
        await state.commit(Changes(forgotten={KEY}, jobs={KEY: FULL}, places={(KEY, "b"): Place(through=1)}))
        snapshot = await state.load()
    assert snapshot.jobs == {KEY: FULL}
    assert snapshot.places == {(KEY, "b"): Place(through=1)}


async def test_a_place_of_an_unknown_job_is_left_out(house):
    async with house.open() as state:
        await state.commit(Changes(places={(KEY, "ops"): Place(through=1)}))
        assert (await state.load()).places == {}


async def test_extra_vars_are_never_written(house):
    job = Job(key=KEY, status="running", extra_vars='{"password": "hunter2"}')
    async with house.open() as state:
        await state.commit(Changes(jobs={KEY: JobRecord(job=job, first_seen=1.0)}))
        assert (await state.load()).jobs[KEY].job.extra_vars is None


def letter(number, sink="ops"):
    return DeadLetter(sink=sink, event_id=f"e{number}", type="t", reason="r", at=float(number), copy=b"{}")


async def test_the_newest_thousand_dead_letters_of_each_sink_are_kept(house):
    async with house.open() as state:
        await state.commit(Changes(dead_letters=[letter(1, "cmdb"), *map(letter, range(800))]))
        await state.commit(Changes(dead_letters=[letter(n) for n in range(800, 1_200)]))
        kept = await state.dead_letters()
    assert [x.event_id for x in kept if x.sink == "ops"] == [f"e{n}" for n in range(200, 1_200)]
    assert [x for x in kept if x.sink == "cmdb"] == [letter(1, "cmdb")]


async def test_a_dead_letter_that_is_refused_again_is_one_letter_and_the_newest(house):
    again = msgspec.structs.replace(letter(1), reason="again")
    async with house.open() as state:
        await state.commit(Changes(dead_letters=[letter(1), letter(2)]))
        await state.commit(Changes(dead_letters=[again]))
        assert list(await state.dead_letters()) == [letter(2), again]


async def test_a_dead_letter_that_is_gone_is_gone_for_its_sink_only(house):
    async with house.open() as state:
        await state.commit(Changes(dead_letters=[letter(1), letter(2), letter(1, "cmdb")]))
        await state.commit(Changes(letters_gone={("ops", "e1"), ("ops", "never")}))
        assert list(await state.dead_letters()) == [letter(2), letter(1, "cmdb")]


async def test_a_dead_letter_put_with_its_going_is_new(house):
    again = msgspec.structs.replace(letter(1), reason="again")
    async with house.open() as state:
        await state.commit(Changes(dead_letters=[letter(1), letter(2)]))
        await state.commit(Changes(letters_gone={("ops", "e1")}, dead_letters=[again]))
        assert list(await state.dead_letters()) == [letter(2), again]


async def test_a_visitor_sees_the_dead_letters(house):
    async with house.open() as state:
        await state.commit(Changes(dead_letters=[letter(1), letter(2)]))
        seen = await state.dead_letters()
    if isinstance(house, SqliteHouse):
        with house.visit() as command:
            assert list(command.dead_letters()) == list(seen) == [letter(1), letter(2)]


async def test_a_job_is_remembered_until_it_is_forgotten(house):
    async with house.open() as state:
        await state.commit(Changes(jobs={KEY: FULL, OTHER: record(OTHER, done=True)}))
        assert await state.job(KEY) == FULL
        assert await state.job(OTHER) == record(OTHER, done=True)
        await state.commit(Changes(forgotten={KEY}))
        assert await state.job(KEY) is None


async def test_a_reason_with_undecoded_bytes_is_kept_as_text(house):
    odd = msgspec.structs.replace(letter(1), reason="401 \udce4\x00ä")
    async with house.open() as state:
        await state.commit(Changes(dead_letters=[odd]))
        assert [x.reason for x in await state.dead_letters()] == ["401 ?\x00ä"]


async def test_a_removed_sink_keeps_its_places_for_seven_days(house, clock):
    there = {"gone": SinkRecord(destination="x", removed_at=clock.now()), "here": SinkRecord(destination="y")}
    async with house.open() as state:
        await state.commit(
            Changes(
                jobs={KEY: record()},
                places={(KEY, sink): Place(through=1) for sink in there},
                sinks=there,
                dead_letters=[letter(1, sink) for sink in there],
            )
        )
        clock.skew = 7 * DAY - 60
        assert set((await state.load()).places) == {(KEY, "gone"), (KEY, "here")}
        clock.skew = 7 * DAY + 60
        snapshot = await state.load()
        assert set(snapshot.places) == {(KEY, "here")}
        assert set(snapshot.sinks) == {"here"}
        assert [x.sink for x in await state.dead_letters()] == ["here"]


names = st.text(string.ascii_lowercase, min_size=1, max_size=2)
keys = st.builds(JobKey, names, st.sampled_from(["job", "workflow_job"]), st.integers(1, 4))
places = st.builds(
    Place, through=st.integers(0, 2**53), repeats=st.dictionaries(st.integers(1, 9), st.integers(1, 3))
)
records = st.builds(
    JobRecord,
    job=st.builds(Job, key=keys, status=st.sampled_from(["running", "failed"]), name=st.text()),
    first_seen=st.floats(0, 2e9),
    done=st.booleans(),
)
changes = st.builds(
    Changes,
    jobs=st.dictionaries(keys, records, max_size=4),
    places=st.dictionaries(st.tuples(keys, names), places, max_size=6),
    sources=st.dictionaries(
        names, st.builds(SourceRecord, marks=st.dictionaries(st.text(), st.integers(0, 9)))
    ),
    sinks=st.dictionaries(names, st.builds(SinkRecord, destination=st.text())),
    forgotten=st.sets(keys, max_size=3),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes, max_size=5))
async def test_the_fake_and_the_real_one_remember_the_same(tmp_path_factory, commits):
    memory = MemoryState()
    path = tmp_path_factory.mktemp("state") / "bridge.db"
    async with open_state(path, owner="test", clock=memory.clock) as real:
        for commit in commits:
            await memory.commit(commit)
            await real.commit(commit)
        assert await real.load() == await memory.load()
