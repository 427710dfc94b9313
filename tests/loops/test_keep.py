"""The keeper, in virtual time."""

import asyncio
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import keep
from bridge.errors import StateError
from bridge.keep import Keeper
from bridge.model import DeadLetter, Job, JobKey, JobRecord, Place, SinkRecord, SourceRecord
from tests.support.fakes import FakeObserver, MemoryState

pytestmark = pytest.mark.looptime(start=0)

KEY = JobKey("prod", "job", 7)
OTHER = JobKey("prod", "job", 8)


def record(key=KEY, status="running"):
    return JobRecord(job=Job(key=key, status=status), first_seen=1.0)


@asynccontextmanager
async def running(keeper):
    task = asyncio.create_task(keeper.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def state():
    return MemoryState(delay=0.5)


@pytest.fixture
def observer():
    return FakeObserver()


@pytest.fixture
async def keeper(state, observer):
    return Keeper(state, observer)


async def test_everything_put_is_committed(keeper, state, observer):
    letter = DeadLetter(sink="ops", event_id="e", type="t", reason="r", at=1.0, copy=b"{}")
    keeper.job(record())
    keeper.place(KEY, "ops", Place(through=3))
    keeper.source("prod", SourceRecord(install_uuid="u"))
    keeper.sink("ops", SinkRecord(destination="d"))
    keeper.dead_letter(letter)
    async with running(keeper):
        await keeper.durable()
        snapshot = await state.load()
    assert snapshot.jobs == {KEY: record()}
    assert snapshot.places == {(KEY, "ops"): Place(through=3)}
    assert snapshot.sources == {"prod": SourceRecord(install_uuid="u")}
    assert snapshot.sinks == {"ops": SinkRecord(destination="d")}
    assert await state.dead_letters() == [letter]
    assert len(state.commits) == 1
    assert observer.counted("state_commits_total") == 1
    assert observer.noted("state.committed") == [
        {"jobs": 1, "places": 1, "dead_letters": 1, "forgotten": 0, "seconds": 0.5}
    ]


async def test_the_last_value_wins_in_one_group(keeper, state):
    async with running(keeper):
        for through in range(5):
            keeper.place(KEY, "ops", Place(through=through))
        await keeper.durable()
    assert [commit.places for commit in state.commits] == [{(KEY, "ops"): Place(through=4)}]


async def test_forgetting_takes_what_was_put_before(keeper, state):
    async with running(keeper):
        keeper.job(record())
        keeper.place(KEY, "ops", Place(through=1))
        keeper.place(OTHER, "ops", Place(through=1))
        keeper.forget(KEY)
        await keeper.durable()
    assert state.jobs == {}
    assert set(state.places) == {(OTHER, "ops")}


async def test_what_is_put_after_forgetting_is_new(keeper, state):
    async with running(keeper):
        keeper.job(record())
        keeper.place(KEY, "ops", Place(through=9))
        keeper.place(KEY, "cmdb", Place(through=9))
        await keeper.durable()
        keeper.forget(KEY)
        keeper.job(record(status="failed"))
        keeper.place(KEY, "ops", Place(through=1))
        await keeper.durable()
    assert state.jobs == {KEY: record(status="failed")}
    assert state.places == {(KEY, "ops"): Place(through=1)}


async def test_a_dead_letter_that_is_gone_takes_what_was_put_before_and_nothing_after(keeper, state):
    first = DeadLetter(sink="ops", event_id="e", type="t", reason="first", at=1.0, copy=b"{}")
    other = msgspec.structs.replace(first, sink="cmdb")
    keeper.dead_letter(first)
    keeper.dead_letter(other)
    keeper.letter_gone("ops", "e")
    async with running(keeper):
        await keeper.durable()
        assert list(state.letters.values()) == [other]
        keeper.letter_gone("cmdb", "e")
        keeper.dead_letter(msgspec.structs.replace(other, reason="again"))
        await keeper.durable()
    assert [letter.reason for letter in state.letters.values()] == ["again"]


async def test_what_comes_during_a_commit_is_one_next_group(keeper, state, looptime):
    async with running(keeper):
        keeper.job(record())
        await asyncio.sleep(0.1)
        for through in range(100):
            keeper.place(KEY, "ops", Place(through=through))
            await asyncio.sleep(0.001)
        assert state.commits == []
        await keeper.durable()
        assert looptime == pytest.approx(0.5 + keep.PAUSE + 0.5)
    assert [len(commit.places) for commit in state.commits] == [0, 1]


async def test_durable_waits_for_a_commit_in_flight_only(keeper, state, looptime):
    async with running(keeper):
        keeper.job(record())
        await asyncio.sleep(0.1)
        await keeper.durable()
        assert looptime == pytest.approx(0.5)
        keeper.job(record(OTHER))
        await keeper.durable()
    assert len(state.commits) == 2


async def test_durable_with_nothing_put_returns_at_once(keeper, looptime):
    await keeper.durable()
    async with running(keeper):
        await keeper.durable()
    assert looptime == 0


async def test_durable_does_not_wait_for_what_others_put_later(keeper, looptime):
    async with running(keeper):
        keeper.job(record())
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(keeper.durable())
        await asyncio.sleep(0)
        keeper.job(record(OTHER))
        await waiting
        assert looptime == pytest.approx(0.5)


async def test_one_impatient_waiter_does_not_disturb_the_others(keeper, state):
    async with running(keeper):
        keeper.job(record())
        waiters = [asyncio.create_task(keeper.durable()) for _ in range(3)]
        await asyncio.sleep(0.1)
        waiters[0].cancel()
        await asyncio.gather(*waiters[1:])
    assert len(state.commits) == 1


async def test_a_busy_bridge_commits_at_most_fifty_times_a_second(observer):
    state = MemoryState()
    keeper = Keeper(state, observer)
    async with running(keeper):
        for through in range(1000):
            keeper.place(KEY, "ops", Place(through=through))
            await asyncio.sleep(0.001)
    assert 40 <= len(state.commits) <= 52
    assert state.places == {(KEY, "ops"): Place(through=999)}


async def test_a_quiet_bridge_sleeps(keeper):
    async with running(keeper):
        keeper.job(record())
        await keeper.durable()
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
        assert list(loop._ready) == []


async def test_stopping_writes_what_is_pending(keeper, state):
    async with running(keeper) as task:
        keeper.job(record())
        await asyncio.sleep(0.1)
        keeper.job(record(OTHER))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert set(state.jobs) == {KEY, OTHER}


async def test_stopping_before_the_first_step_writes_what_is_pending(keeper, state):
    keeper.job(record())
    async with running(keeper):
        await asyncio.sleep(0)
    assert set(state.jobs) == {KEY}


async def test_stopping_with_nothing_pending_writes_nothing(keeper, state, looptime):
    async with running(keeper):
        await asyncio.sleep(1)
    assert state.commits == []
    assert looptime == pytest.approx(1)


async def test_a_stop_does_not_wait_for_ever(observer):
    state = MemoryState(delay=3600)
    keeper = Keeper(state, observer)
    keeper.job(record())
    task = asyncio.create_task(keeper.run())
    waiter = asyncio.create_task(keeper.durable())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(StateError, match="did not end within 10 s"):
        await task
    with pytest.raises(StateError):
        await waiter
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_failed_commit_ends_the_loop_and_everyone_who_waits(keeper, state):
    state.failure = StateError("the disk is full")
    task = asyncio.create_task(keeper.run())
    keeper.job(record())
    waiters = [asyncio.create_task(keeper.durable()) for _ in range(2)]
    with pytest.raises(StateError, match="the disk is full"):
        await task
    for waiter in waiters:
        with pytest.raises(StateError, match="the disk is full"):
            await waiter
    with pytest.raises(StateError, match="the disk is full"):
        await keeper.durable()
    keeper.job(record(OTHER))
    with pytest.raises(StateError, match="the disk is full"):
        await keeper.durable()


async def test_a_commit_that_fails_half_way_ends_those_who_wait_for_the_next_group(keeper, state):
    task = asyncio.create_task(keeper.run())
    keeper.job(record())
    await asyncio.sleep(0.1)
    keeper.job(record(OTHER))
    next_group = asyncio.create_task(keeper.durable())
    await asyncio.sleep(0)
    state.failure = StateError("the disk is full")
    for waiter in (task, next_group):
        with pytest.raises(StateError, match="the disk is full"):
            await waiter
    assert state.jobs == {}


async def test_a_failed_last_commit_is_not_hidden_by_the_stop(keeper, state):
    task = asyncio.create_task(keeper.run())
    keeper.job(record())
    await asyncio.sleep(0.1)
    task.cancel()
    state.failure = StateError("the disk is full")
    with pytest.raises(StateError, match="the disk is full"):
        await task


async def test_after_the_stop_nothing_new_is_promised(keeper):
    async with running(keeper):
        keeper.job(record())
        await keeper.durable()
    await keeper.durable()
    keeper.job(record(OTHER))
    with pytest.raises(StateError, match="nothing is written any more"):
        await keeper.durable()


async def test_a_bug_in_state_leaves_nobody_waiting(keeper, state):
    state.failure = RuntimeError("a bug")
    task = asyncio.create_task(keeper.run())
    keeper.job(record())
    waiter = asyncio.create_task(keeper.durable())
    with pytest.raises(RuntimeError):
        await task
    with pytest.raises(StateError):
        await waiter


async def test_a_task_group_sees_the_failure(keeper, state):
    state.failure = StateError("the disk is full")

    async def lane():
        keeper.job(record())
        await asyncio.sleep(3600)

    async def bridge():
        async with asyncio.TaskGroup() as group:
            group.create_task(keeper.run())
            group.create_task(lane())

    with pytest.raises(ExceptionGroup) as caught:
        await bridge()
    assert caught.value.subgroup(StateError) is not None


keys = st.sampled_from([KEY, OTHER])
steps = st.one_of(
    st.tuples(st.just("job"), keys, st.sampled_from(["running", "failed"])),
    st.tuples(st.just("place"), keys, st.integers(0, 9)),
    st.tuples(st.just("forget"), keys, st.none()),
    st.tuples(st.just("sleep"), st.sampled_from([0, 0.01, 0.3, 2]), st.none()),
    st.tuples(st.just("durable"), st.none(), st.none()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=25))
async def test_state_ends_as_if_each_step_had_been_written_alone(script):
    jobs, places = {}, {}
    state = MemoryState(delay=0.1)
    keeper = Keeper(state, FakeObserver())
    async with running(keeper):
        await asyncio.sleep(0)  # a task that is cancelled before its first step never runs at all
        for what, key, value in script:
            if what == "job":
                keeper.job(record(key, value))
                jobs[key] = record(key, value)
            elif what == "place":
                keeper.place(key, "ops", Place(through=value))
                places[key, "ops"] = Place(through=value)
            elif what == "forget":
                keeper.forget(key)
                jobs.pop(key, None)
                places.pop((key, "ops"), None)
            elif what == "sleep":
                await asyncio.sleep(key)
            else:
                await keeper.durable()
                assert (state.jobs, state.places) == (jobs, places)
    assert (state.jobs, state.places) == (jobs, places)
