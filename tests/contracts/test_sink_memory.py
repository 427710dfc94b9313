"""What a sink's memory promises: in memory, in SQLite, and the one that ends with its process."""

import pytest

from bridge.model import SinkRecord
from bridge.ports import Changes, ShortMemory
from tests.support.fakes import SINK_MEMORY_KEPT, FakeClock
from tests.support.houses import MemoryHouse, SqliteHouse

DAY = 86_400.0
VALUE = {"channel": "C1", "ts": "1.000002", "n": 1, "more": ["ä✓", None, 1.5, True]}


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
def house(request, tmp_path, clock):
    if request.param == "memory":
        return MemoryHouse(clock)
    return SqliteHouse(tmp_path / "state" / "bridge.db", clock)


async def keeps_values(memory):
    assert await memory.get("a") is None
    await memory.delete("a")
    await memory.put("a", VALUE)
    await memory.put("b", 1)
    assert await memory.get("a") == VALUE
    await memory.put("a", {"n": 2})
    assert (await memory.get("a"), await memory.get("b")) == ({"n": 2}, 1)
    await memory.delete("a")
    assert (await memory.get("a"), await memory.get("b")) == (None, 1)


async def test_values_are_put_over_and_deleted(house):
    async with house.open() as state:
        await keeps_values(state.memory_of("ops"))


async def test_a_memory_that_ends_with_its_process_keeps_the_same_promise():
    await keeps_values(ShortMemory())


async def test_values_survive_a_restart(house):
    async with house.open() as state:
        await state.memory_of("ops").put("ä", VALUE)
    async with house.open() as state:
        await state.load()
        assert await state.memory_of("ops").get("ä") == VALUE


async def test_sinks_do_not_see_each_others_values(house):
    async with house.open() as state:
        one, two = state.memory_of("one"), state.memory_of("two")
        await one.put("a", 1)
        assert await two.get("a") is None
        await two.put("a", 2)
        await two.delete("a")
        assert await one.get("a") == 1


async def test_the_newest_values_are_kept(house, monkeypatch):
    monkeypatch.setattr("bridge.state.memory.KEPT", 3)
    monkeypatch.setattr("tests.support.fakes.SINK_MEMORY_KEPT", 3)
    async with house.open() as state:
        for sink in ("one", "two"):
            for key in "abcd":
                await state.memory_of(sink).put(key, key)
        await state.memory_of("one").put("b", "anew")
        await state.load()
        left = {s: [k for k in "abcd" if await state.memory_of(s).get(k)] for s in ("one", "two")}
    assert left == {"one": ["b", "c", "d"], "two": ["b", "c", "d"]}
    assert SINK_MEMORY_KEPT == 10_000


async def test_a_removed_sink_is_forgotten_after_seven_days(house, clock):
    async with house.open() as state:
        await state.memory_of("ops").put("a", 1)
        record = SinkRecord(destination="d", removed_at=clock.now())
        await state.commit(Changes(sinks={"ops": record}))
        clock.skew = 6 * DAY
        await state.load()
        assert await state.memory_of("ops").get("a") == 1
        clock.skew = 8 * DAY
        await state.load()
        assert await state.memory_of("ops").get("a") is None
