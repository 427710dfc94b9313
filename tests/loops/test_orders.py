"""The clerk in virtual time: each order once, whatever ends the bridge, and rooms do not wait for each other."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from bridge.errors import OrderError, StateError
from bridge.model import Outcome
from bridge.orders import EXPIRES, LOOK_EVERY, Clerk
from tests.support.fakes import FakeClock, FakeObserver, MemoryState

pytestmark = pytest.mark.looptime


class Office:
    """State, and handlers that note what they did: `slow.*` takes 10 s."""

    def __init__(self):
        self.state = MemoryState()
        self.clock = FakeClock()
        self.observer = FakeObserver()
        self.done = []

    async def quick(self, order):
        self.done.append(order.arguments.get("n"))
        return Outcome(done=True, sentence="done", details={"n": order.arguments.get("n")})

    async def slow(self, order):
        await asyncio.sleep(10)
        return await self.quick(order)

    async def refuse(self, order):
        raise OrderError("that cannot be")

    async def break_down(self, order):
        raise ZeroDivisionError

    async def lose_state(self, order):
        raise StateError("the disk is full")

    def give(self, kind, **arguments):
        return self.state.give(kind, arguments, who="ada", at=self.clock.now())

    @asynccontextmanager
    async def open(self):
        handlers = {
            "quick.do": self.quick,
            "quick.refuse": self.refuse,
            "slow.do": self.slow,
            "bad.break": self.break_down,
            "bad.state": self.lose_state,
        }
        clerk = Clerk(self.state, handlers, clock=self.clock, observer=self.observer)
        task = asyncio.create_task(clerk.run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def outcome(self, number):
        return self.state.outcomes.get(number)


@pytest.fixture
async def office():
    return Office()


async def test_an_order_is_carried_out_within_a_second_and_once(office):
    async with office.open():
        await asyncio.sleep(5.5)
        number = office.give("quick.do", n=1)
        await asyncio.sleep(LOOK_EVERY)
        assert office.outcome(number) == Outcome(done=True, sentence="done", details={"n": 1})
        await asyncio.sleep(60)
    assert office.done == [1]
    (line,) = office.observer.noted("order.carried_out")
    assert (line["kind"], line["who"], line["order"]) == ("quick.do", "ada", number)
    assert office.observer.counted("orders_total", kind="quick.do", done="true") == 1


async def test_an_order_given_while_the_bridge_was_down_is_carried_out_at_the_start(office):
    number = office.give("quick.do", n=1)
    await asyncio.sleep(600)
    async with office.open():
        await asyncio.sleep(0.1)
        assert office.outcome(number).done


async def test_what_the_room_refuses_is_not_done(office):
    number = office.give("quick.refuse")
    async with office.open():
        await asyncio.sleep(2)
        assert office.outcome(number) == Outcome(done=False, sentence="that cannot be")
    assert office.observer.noted("order.failed")[0]["result"] == "that cannot be"


async def test_what_nobody_knows_is_not_done_and_is_no_new_label(office):
    number = office.give("silences.add")
    async with office.open():
        await asyncio.sleep(2)
    assert "does not know how to do silences.add" in office.outcome(number).sentence
    assert office.observer.counted("orders_total", kind="unknown", done="false") == 1


async def test_orders_of_one_room_wait_for_each_other_and_other_rooms_do_not(office):
    slow = [office.give("slow.do", n=n) for n in range(3)]
    quick = office.give("quick.do", n="quick")
    async with office.open():
        await asyncio.sleep(1)
        assert office.outcome(quick).done
        await asyncio.sleep(10.5)
        assert [office.outcome(number) is not None for number in slow] == [True, False, False]
        await asyncio.sleep(25)
    assert office.done == ["quick", 0, 1, 2]


async def test_an_order_under_way_when_the_bridge_ends_is_answered_and_not_begun_again(office):
    number, later = office.give("slow.do", n=1), office.give("slow.do", n=2)
    async with office.open():
        await asyncio.sleep(5)
    assert office.outcome(number) is None
    async with office.open():
        await asyncio.sleep(15)
    assert office.outcome(number).sentence.startswith("the bridge ended while")
    assert office.outcome(later).done
    assert office.done == [2]


async def test_an_order_that_ends_the_bridge_ends_it_once(office):
    number = office.give("bad.break")
    with pytest.raises(ExceptionGroup) as caught:
        async with office.open() as task:
            await task
    assert caught.group_contains(ZeroDivisionError)
    async with office.open():
        await asyncio.sleep(5)
        assert not office.outcome(number).done


async def test_a_state_that_fails_ends_the_bridge(office):
    office.give("bad.state")
    with pytest.raises(ExceptionGroup) as caught:
        async with office.open() as task:
            await task
    assert caught.group_contains(StateError)


async def test_an_order_that_waited_for_a_day_is_not_carried_out(office):
    number = office.give("quick.do", n=1)
    await asyncio.sleep(EXPIRES + 1)
    async with office.open():
        await asyncio.sleep(2)
    assert "too late" in office.outcome(number).sentence
    assert office.done == []
