"""Every order of offers, answers, commits and crashes that hypothesis thinks of, in one process.

Real: lane, ledger, carrier, delivery, keeper. Of the bridge's surroundings only what a crash leaves is
kept: the disk's last commit, and the sink. Each send waits until a rule says how it ends.
"""

import asyncio
import contextlib
import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.carry import Plain, Transactions
from bridge.deliver import Delivery
from bridge.errors import PartialDeliveryError, PermanentDeliveryError, TemporaryDeliveryError
from bridge.keep import Keeper
from bridge.lane import Lane
from bridge.model import Event, Job, JobRecord, Place
from bridge.options import Batching
from bridge.sinks.kafka.unseen import Doubt, Unseen
from tests.support.fakes import FakeClock, FakeObserver, MemoryState
from tests.support.jobs import key
from tests.support.source import FakeSink
from tests.support.transactional import Broker, at_once

SINK = "all"
JOBS = (key(1), key(2))
TURNS = 12
"""Steps of the event loop in which whatever can go on has gone on."""

MOST_TRIES = 10_000

jobs = st.sampled_from(JOBS)


def routed(number):
    """Whether a rule sends this counter, or this status, to the sink."""
    return number % 4 != 0


def event_of(job, counter, *, late=False):
    return fact(job, f"event/{counter}", counter=counter, late=late)


def status_of(job, number):
    return fact(job, f"status/{number}", status_number=number)


def fact(job, name, **more):
    return Event(id=f"{job}/{name}", type="t", time="", source="", key=str(job), body=b"{}", **more)


def claimed(place):
    """Return the counters that `place` says are settled."""
    wanted = {counter for low, high in place.wanted for counter in range(low, high + 1)}
    return set(range(1, place.through + 1)) - wanted


class Gate:
    """Where sends wait for a rule to say how they end."""

    def __init__(self):
        self.waiting = []

    async def answer(self):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            return await future
        finally:
            self.waiting.remove(future)


def refuse(how):
    if how == "temporary":
        raise TemporaryDeliveryError("not now")
    if how == "permanent":
        raise PermanentDeliveryError("never")


class PlainSink:
    """A sink that may accept without an answer, or accept a part; `out` outlives the bridge."""

    def __init__(self, out, gate):
        self.out = out
        self.gate = gate

    async def send(self, events, /):
        how = await self.gate.answer()
        refuse(how)
        if how == "partial":
            bad = [at for at, event in enumerate(events) if event.key == events[0].key][-2:]
            await self.out.send([event for at, event in enumerate(events) if at not in bad])
            raise PartialDeliveryError({at: TemporaryDeliveryError("this one not") for at in bad})
        await self.out.send(events)
        if how == "doubt":
            raise TemporaryDeliveryError("the answer was lost")


class TransactionalSink:
    """A sink with places, and Kafka's memory of commits whose answer was lost; `broker` outlives it."""

    def __init__(self, broker, gate):
        self.broker = broker
        self.gate = gate
        self.unseen = Unseen()

    async def places(self):
        return dict(self.broker.places)

    def notes(self):
        return {}

    async def send_with_places(self, events, places, /, *, notes=None):
        unsent, unmoved = self.unseen.unsent(events), self.unseen.unmoved(places)
        if unsent or unmoved:
            how = await self.gate.answer()
            refuse(how)
            self.commit(unsent, unmoved)
            if how == "doubt":
                self.unseen.add(Doubt(1, unsent, unmoved))
                raise TemporaryDeliveryError("the answer to the commit was lost")
        self.unseen.told(events, places)

    def commit(self, events, places):
        self.broker.events += events
        for job, place in places.items():
            before = self.broker.places.get(job, Place())
            assert claimed(before) <= claimed(place), f"{job} went back: {before} -> {place}"
            assert before.status_number <= place.status_number, f"{job} went back: {before} -> {place}"
            self.broker.places[job] = place


class Machine(RuleBasedStateMachine):
    """Both kinds of sink; a subclass says which, and what a life begins with."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.state = MemoryState()
        self.shown = dict.fromkeys(JOBS, 0)
        self.statuses = dict.fromkeys(JOBS, 0)
        self.buried = set()
        self.do(self._live)

    async def _live(self):
        """Start as the bridge does: from the disk, then from the sink if it keeps places."""
        self.gate = Gate()
        self.tasks = set()
        self.keeper = Keeper(self.state, FakeObserver())
        self.lane = Lane(
            SINK,
            batching=Batching(5, 1 << 20, 2),
            moved=lambda job, place: self.keeper.place(job, SINK, place),
        )
        carrier = self.carrier()
        kept = await self.state.load()
        for job in JOBS:
            self.keeper.job(JobRecord(job=Job(key=job, status="running"), first_seen=0.0))
            self.lane.open(job, kept.places.get((job, SINK), Place()))
        await carrier.begin()
        self.flush_to = carrier
        self.delivery = Delivery(
            self.lane,
            carrier,
            backoff=lambda _: 0.0,
            retry_for=math.inf,
            bury=lambda letter: self.buried.add(letter.event_id),
            changed=lambda *_: None,
            clock=FakeClock(),
            observer=FakeObserver(),
        )
        self.at = {}
        self.open_ = {}
        for job in JOBS:
            place = self.lane.place(job)
            self.at[job] = place.through
            self.open_[job] = set(range(1, place.through + 1)) - claimed(place)
            for number in range(place.status_number + 1, self.statuses[job] + 1):
                self.tell_status(job, number)

    def do(self, what, *words):
        """Call or await `what` in the loop, then let everything go on that can."""

        async def doing():
            found = what(*words)
            if asyncio.iscoroutine(found):
                found = await found
            for _ in range(TURNS):
                await asyncio.sleep(0)
            return found

        found = self.loop.run_until_complete(doing())
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.discard(task)
            task.result()
        return found

    def begin(self, coroutine):
        self.tasks.add(self.loop.create_task(coroutine))

    def tell(self, job, counter, *, late=False):
        if routed(counter):
            self.lane.offer(event_of(job, counter, late=late))
        else:
            self.lane.spare(job, counter)
            self.lane.report(self.lane.stream(job))

    def tell_status(self, job, number):
        if routed(number):
            self.lane.offer(status_of(job, number))
        else:
            self.lane.spare_status(job, number)
            self.lane.report(self.lane.stream(job))

    @rule(job=jobs, count=st.integers(1, 5))
    def rows_come(self, job, count):
        """Some are sent, some spared; after a crash the same rows again."""
        for _ in range(count):
            self.at[job] += 1
            self.shown[job] = max(self.shown[job], self.at[job])
            self.do(self.tell, job, self.at[job])

    @rule(job=jobs, count=st.integers(1, 3))
    def rows_do_not_come(self, job, count):
        low, self.at[job] = self.at[job] + 1, self.at[job] + count
        self.shown[job] = max(self.shown[job], self.at[job])
        self.open_[job] |= set(range(low, low + count))
        self.lane.give_up(job, low, low + count - 1)

    @rule(job=jobs, pick=st.integers(0, 9))
    def a_row_comes_late(self, job, pick):
        if self.open_[job]:
            counter = sorted(self.open_[job])[pick % len(self.open_[job])]
            self.open_[job].discard(counter)
            self.do(lambda: self.tell(job, counter, late=True))

    @rule(job=jobs)
    def the_status_changes(self, job):
        self.statuses[job] += 1
        self.do(self.tell_status, job, self.statuses[job])

    @rule()
    def a_send_begins(self):
        if self.delivery._in_flight < self.most_in_flight and (batch := self.lane.take(math.inf)):
            self.delivery._in_flight += 1
            self.begin(self.delivery._carry(batch))
            self.do(lambda: None)

    @precondition(lambda self: self.gate.waiting)
    @rule(data=st.data())
    def a_send_ends(self, data):
        how = data.draw(st.sampled_from(self.ends))
        self.do(self.gate.waiting[data.draw(st.integers(0, 9)) % len(self.gate.waiting)].set_result, how)

    @rule()
    def the_disk_commits(self):
        if self.keeper._next.changes:
            self.do(self.keeper._commit)

    @rule(committed=st.booleans())
    def crash(self, committed):
        """The last thing the sink did may have counted without anybody's hearing of it."""
        if committed and self.gate.waiting:
            self.do(self.gate.waiting[0].set_result, "doubt")
        self.end_life()
        self.do(self._live)

    def end_life(self):
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            self.loop.run_until_complete(asyncio.wait(self.tasks))

    def check_place(self, job, place):
        done = self.received() | self.buried
        for counter in claimed(place):
            assert not routed(counter) or f"{job}/event/{counter}" in done, (job, counter, place)
        for number in range(1, place.status_number + 1):
            assert not routed(number) or f"{job}/status/{number}" in done, (job, number, place)

    @invariant()
    def places_claim_no_more_than_was_settled(self):
        for (job, _), place in self.state.places.items():
            self.check_place(job, place)
        for job in JOBS:
            self.check_place(job, self.lane.place(job))

    def teardown(self):
        """Everything gets well: then nothing is missing, and a new life has nothing to do."""
        try:
            self.settle_all()
            self.check_end()
        finally:
            self.end_life()
            self.loop.close()

    def settle_all(self):
        for job in JOBS:
            while self.at[job] < self.shown[job]:
                self.at[job] += 1
                self.do(self.tell, job, self.at[job])
            for counter in sorted(self.open_[job]):
                self.do(lambda job=job, counter=counter: self.tell(job, counter, late=True))
        tries = 0
        while self.lane.bytes or self.gate.waiting:
            self.a_send_begins()  # what was committed in doubt passes without asking
            if self.gate.waiting:
                self.do(self.gate.waiting[0].set_result, "accepted")
            tries += 1
            assert tries < MOST_TRIES, "something waits that is never tried"

    def check_end(self):
        done = self.received() | self.buried
        for job in JOBS:
            sent = {f"{job}/event/{n}" for n in range(1, self.shown[job] + 1) if routed(n)}
            sent |= {f"{job}/status/{n}" for n in range(1, self.statuses[job] + 1) if routed(n)}
            assert sent <= done, f"lost: {sorted(sent - done)}"
            assert self.lane.place(job).through == self.shown[job]
            assert self.lane.place(job).wanted == ()
            assert self.lane.place(job).status_number == self.statuses[job]
        assert self.lane.bytes == 0


class PlainMachine(Machine):
    most_in_flight = 2
    ends = ("accepted", "accepted", "temporary", "doubt", "permanent", "partial")

    def __init__(self):
        self.out = FakeSink()
        super().__init__()

    def carrier(self):
        return Plain(PlainSink(self.out, self.gate))

    def received(self):
        return set(self.out.ids)


class TransactionalMachine(Machine):
    most_in_flight = 1
    ends = ("accepted", "accepted", "temporary", "doubt", "permanent")

    def __init__(self):
        self.broker = Broker()
        super().__init__()

    def carrier(self):
        sink = TransactionalSink(self.broker, self.gate)
        return Transactions(sink, self.lane, notes={}, letters_safe=at_once)

    def received(self):
        return set(self.broker.ids)

    @rule()
    def places_are_flushed(self):
        if self.flush_to._news():
            self.begin(self.flush())
            self.do(lambda: None)

    async def flush(self):
        with contextlib.suppress(TemporaryDeliveryError, PermanentDeliveryError):
            await self.flush_to.carry(())

    @invariant()
    def nothing_comes_twice_and_all_in_order(self):
        ids = self.broker.ids
        assert len(ids) == len(set(ids)), [name for name in ids if ids.count(name) > 1]
        for job in JOBS:
            of_job = [event for event in self.broker.events if event.key == str(job)]
            counters = [event.counter for event in of_job if event.counter and not event.late]
            assert counters == sorted(counters)
            numbers = [event.status_number for event in of_job if event.status_number]
            assert numbers == sorted(numbers)

    @invariant()
    def the_sinks_places_claim_no_more_than_it_holds(self):
        for job, place in self.broker.places.items():
            self.check_place(job, place)

    def check_end(self):
        super().check_end()
        self.places_are_flushed()
        while self.gate.waiting:
            self.do(self.gate.waiting[0].set_result, "accepted")
        for job in JOBS:
            held = self.broker.places.get(job, Place())
            assert (held.through, held.wanted) == (self.shown[job], ())
            assert held.status_number == self.statuses[job]
        self.nothing_comes_twice_and_all_in_order()


BOUNDED = settings(derandomize=True, max_examples=80, stateful_step_count=40, deadline=None, database=None)

TestPlain = PlainMachine.TestCase
TestPlain.settings = BOUNDED
TestTransactional = TransactionalMachine.TestCase
TestTransactional.settings = BOUNDED
