"""How orders come from a command to the bridge, and their outcomes back: the fake and the real one."""

import msgspec
import pytest

from bridge.model import Order, Outcome
from tests.support.fakes import FakeClock
from tests.support.houses import MemoryHouse, SqliteHouse

DAY = 86_400.0


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
def house(request, tmp_path, clock):
    if request.param == "memory":
        return MemoryHouse(clock)
    return SqliteHouse(tmp_path / "state" / "bridge.db", clock)


ASKED = {"ids": ["prod/job/1/event/3", "ä✓"], "sink": None}
DONE = Outcome(done=True, sentence="Gesendet ✓", details={"letters": [{"sink": "ops"}]})


async def test_an_order_comes_to_the_bridge_and_its_outcome_to_the_command(house):
    async with house.open() as state:
        assert list(await state.orders()) == []
        with house.visit() as command:
            number = command.give("dead_letters.retry", ASKED, who="ada", at=5.5)
            order = Order(id=number, kind="dead_letters.retry", arguments=ASKED, who="ada", at=5.5)
            assert list(await state.orders()) == [order]
            assert command.outcome(number) is None
            await state.begin_order(number)
            assert list(await state.orders()) == [msgspec.structs.replace(order, begun=True)]
            await state.end_order(number, DONE)
            assert list(await state.orders()) == []
            assert command.outcome(number) == DONE


async def test_orders_survive_a_restart_in_their_order(house):
    async with house.open() as state:
        await state.load()
        with house.visit() as command:
            numbers = [command.give(kind, {}, who="ada", at=1.0) for kind in "abc"]
        await state.begin_order(numbers[1])
    async with house.open() as state:
        assert [(o.kind, o.begun) for o in await state.orders()] == [("a", False), ("b", True), ("c", False)]


async def test_how_far_an_order_is_survives_a_restart(house):
    async with house.open() as state:
        await state.load()
        with house.visit() as command:
            number = command.give("a", {}, who="ada", at=1.0)
            assert command.progress(number) is None
            await state.begin_order(number)
            for counter in (1, 2):
                await state.note_progress(number, {"job": "prod/job/1", "counter": counter})
            await state.note_progress(99, {"counter": 3})
            assert command.progress(99) is None
    async with house.open() as state:
        (order,) = await state.orders()
        assert order.progress == {"job": "prod/job/1", "counter": 2}
        with house.visit() as command:
            assert command.progress(number) == order.progress


async def test_the_first_outcome_of_an_order_stands(house):
    async with house.open() as state:
        with house.visit() as command:
            number = command.give("a", {}, who="ada", at=1.0)
            await state.end_order(number, DONE)
            await state.end_order(number, Outcome(done=False, sentence="no"))
            assert command.outcome(number) == DONE


async def test_an_order_that_is_not_there_has_no_outcome(house):
    async with house.open() as state:
        await state.begin_order(99)
        await state.end_order(99, DONE)
        with house.visit() as command:
            assert command.outcome(99) is None


async def test_ended_orders_are_kept_for_seven_days(house, clock):
    async with house.open() as state:
        with house.visit() as command:
            ended, waiting = (command.give("a", {}, who="ada", at=clock.now()) for _ in range(2))
            await state.end_order(ended, DONE)
            clock.skew = 7 * DAY - 60
            await state.load()
            assert command.outcome(ended) == DONE
            clock.skew = 7 * DAY + 60
            await state.load()
            assert command.outcome(ended) is None
            assert [order.id for order in await state.orders()] == [waiting]
            assert command.give("a", {}, who="ada", at=1.0) > waiting


async def test_what_is_no_text_is_kept_as_text(house):
    odd = Outcome(done=False, sentence="401 \udce4\x00ä", details={"why": "\udce4"})
    async with house.open() as state:
        with house.visit() as command:
            number = command.give("a", {"id": "\udce4"}, who="ada", at=1.0)
            (order,) = await state.orders()
            assert order.arguments["id"].encode()
            await state.end_order(number, odd)
            found = command.outcome(number)
    assert found.sentence.endswith("\x00ä")
    assert found.sentence.encode()
