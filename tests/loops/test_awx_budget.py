"""The request budget on virtual time."""

import asyncio
from itertools import pairwise

import pytest

from bridge.awx.budget import AT_ONCE, BULK_AT_ONCE, RequestBudget
from bridge.ports import Purpose

pytestmark = pytest.mark.looptime(start=0)

CLOSING, LIVE, DISCOVERY, CATCH_UP, BACKFILL = Purpose


class Log:
    """Runs requests through a budget and notes (purpose, label, moment) of each turn."""

    def __init__(self, budget, lasts=0.0):
        self.budget = budget
        self.lasts = lasts
        self.turns = []
        self.running = []
        self.most = {"all": 0, "bulk": 0}

    async def ask(self, purpose, label=None):
        async with self.budget.turn(purpose):
            self.running.append(purpose)
            bulk = sum(p in {CATCH_UP, BACKFILL} for p in self.running)
            self.most = {
                "all": max(self.most["all"], len(self.running)),
                "bulk": max(self.most["bulk"], bulk),
            }
            self.turns.append((purpose, label, asyncio.get_running_loop().time()))
            try:
                await asyncio.sleep(self.lasts)
            finally:
                self.running.remove(purpose)

    async def keep_asking(self, purpose):
        while True:
            await self.ask(purpose)

    def moments(self, purpose):
        return [at for turn, _, at in self.turns if turn is purpose]


async def while_asking(log, *purposes, seconds, each=4):
    tasks = [asyncio.create_task(log.keep_asking(p)) for p in purposes for _ in range(each)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("rate", [0.5, 5, 50])
async def test_the_average_is_kept_and_a_burst_is_one_seconds_worth(rate):
    log = Log(RequestBudget(rate))
    await while_asking(log, LIVE, seconds=60)
    at_once = sum(at < 0.0005 for at in log.moments(LIVE))
    assert at_once == max(1, int(rate))
    assert len(log.turns) == pytest.approx(60 * rate + max(1, rate), abs=rate * 0.1 + 1)


async def test_an_idle_minute_saves_no_more_than_a_burst():
    log = Log(RequestBudget(5))
    await log.ask(LIVE)
    await asyncio.sleep(60)
    start = asyncio.get_running_loop().time()
    await asyncio.gather(*(log.ask(LIVE) for _ in range(8)))
    assert sum(0 <= at - start < 0.0005 for at in log.moments(LIVE)) == 5


async def test_the_more_urgent_goes_first():
    log = Log(RequestBudget(1))
    await log.ask(LIVE)
    order = [BACKFILL, CATCH_UP, DISCOVERY, LIVE, CLOSING]
    tasks = [asyncio.create_task(log.ask(purpose)) for purpose in order]
    await asyncio.gather(*tasks)
    assert [purpose for purpose, _, _ in log.turns[1:]] == sorted(order)


async def test_first_come_first_served_within_a_purpose():
    log = Log(RequestBudget(1))
    await asyncio.gather(*(log.ask(LIVE, label) for label in range(10)))
    assert [label for _, label, _ in log.turns] == list(range(10))


@pytest.mark.parametrize("rate", [0.5, 5])
async def test_discovery_gets_a_request_in_ten_seconds(rate):
    log = Log(RequestBudget(rate), lasts=0.3)
    await while_asking(log, CLOSING, LIVE, DISCOVERY, seconds=120)
    moments = [0.0, *log.moments(DISCOVERY)]
    gaps = [b - a for a, b in pairwise(moments)]
    assert gaps
    assert max(gaps) <= 10.5


async def test_catching_up_gets_a_fifth_and_backfill_nothing_while_others_wait():
    log = Log(RequestBudget(10))
    await while_asking(log, LIVE, CATCH_UP, BACKFILL, seconds=60)
    assert len(log.moments(CATCH_UP)) / len(log.turns) == pytest.approx(0.2, abs=0.01)
    assert not log.moments(BACKFILL)


async def test_backfill_uses_what_nobody_else_wants():
    log = Log(RequestBudget(10))
    await while_asking(log, BACKFILL, seconds=10)
    assert len(log.turns) == pytest.approx(110, abs=2)


async def test_only_so_many_at_once_and_one_way_stays_open_for_the_urgent():
    log = Log(RequestBudget(1000), lasts=5)
    bulk = asyncio.create_task(while_asking(log, CATCH_UP, BACKFILL, seconds=20))
    await asyncio.sleep(1)
    start = asyncio.get_running_loop().time()
    await log.ask(LIVE)
    assert log.moments(LIVE) == [start]
    await bulk
    assert log.most == {"all": AT_ONCE, "bulk": BULK_AT_ONCE}
    await while_asking(log, LIVE, seconds=20)
    assert log.most["all"] == AT_ONCE


async def test_who_gives_up_waiting_takes_nothing():
    log = Log(RequestBudget(1))
    await log.ask(LIVE)
    waits = [asyncio.create_task(log.ask(LIVE, label)) for label in range(3)]
    await asyncio.sleep(0.1)
    assert log.budget.waiting == 3
    waits[0].cancel()
    waits[1].cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    assert [label for _, label, _ in log.turns] == [None, 2]
    assert log.moments(LIVE)[1] == pytest.approx(1, abs=0.01)
    assert log.budget.waiting == 0


async def test_a_turn_given_to_one_who_is_gone_goes_to_the_next():
    budget = RequestBudget(1000)
    held = [asyncio.Event() for _ in range(AT_ONCE)]

    async def hold(until):
        async with budget.turn(LIVE):
            await until.wait()

    holders = [asyncio.create_task(hold(event)) for event in held]
    await asyncio.sleep(1)
    log = Log(budget)
    first = asyncio.create_task(log.ask(LIVE, "first"))
    second = asyncio.create_task(log.ask(LIVE, "second"))
    await asyncio.sleep(1)
    held[0].set()
    await asyncio.sleep(0)  # the holder ends and hands its turn to the first …
    await asyncio.sleep(0)
    first.cancel()  # … who is cancelled before it runs
    await asyncio.gather(first, second, return_exceptions=True)
    assert "second" in [label for _, label, _ in log.turns]
    for event in held:
        event.set()
    await asyncio.gather(*holders)
    await asyncio.gather(*(log.ask(LIVE, n) for n in range(AT_ONCE)))


async def test_a_cancelled_request_gives_its_way_back():
    log = Log(RequestBudget(1000), lasts=100)
    tasks = [asyncio.create_task(log.ask(LIVE)) for _ in range(AT_ONCE)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    log.lasts = 0
    async with asyncio.timeout(1):
        await log.ask(LIVE)


async def test_it_tells_how_much_is_used():
    log = Log(RequestBudget(5))
    assert log.budget.used == 0
    await asyncio.gather(*(log.ask(LIVE) for _ in range(10)))
    assert (log.budget.used, log.budget.rate) == (10, 5)
    await asyncio.sleep(61)
    assert log.budget.used == 0
