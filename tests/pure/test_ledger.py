"""The ledger: settled, wanted and open counters are disjoint and together everything."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge.ledger import Ledger, Ranges
from bridge.model import Place

HIGHEST = 40
counters = st.integers(1, HIGHEST)


class RangesAgainstSet(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.ranges = Ranges()
        self.oracle = set()

    @rule(low=counters, length=st.integers(-2, 6))
    def add(self, low, length):
        self.ranges.add(low, low + length)
        self.oracle |= set(range(low, low + length + 1))

    @rule(low=counters, length=st.integers(-2, 12))
    def discard(self, low, length):
        self.ranges.discard(low, low + length)
        self.oracle -= set(range(low, low + length + 1))

    @rule(number=counters)
    def discard_one(self, number):
        self.ranges.discard(number)
        self.oracle.discard(number)

    @rule(number=counters)
    def take_up_to(self, number):
        taken = self.ranges.take_up_to(number)
        assert set(taken) == {n for n in self.oracle if n <= number}
        self.oracle = {n for n in self.oracle if n > number}

    @rule(number=counters)
    def pop_from(self, number):
        end = self.ranges.pop_from(number)
        if not self.oracle or min(self.oracle) != number:
            assert end is None
        else:
            assert end is not None
            assert set(range(number, end + 1)) <= self.oracle
            assert end + 1 not in self.oracle
            self.oracle -= set(range(number, end + 1))

    @rule(most=st.integers(1, 10), above=st.integers(0, HIGHEST))
    def first(self, most, above):
        assert (
            list(self.ranges.first(most, above=above)) == [n for n in sorted(self.oracle) if n > above][:most]
        )

    @invariant()
    def same_members(self):
        assert list(self.ranges) == sorted(self.oracle)
        assert len(self.ranges) == len(self.oracle)
        assert bool(self.ranges) == bool(self.oracle)
        assert all(n in self.ranges for n in self.oracle)
        pairs = self.ranges.pairs()
        assert all(low <= high for low, high in pairs)
        assert all(left[1] + 1 < right[0] for left, right in pairwise(pairs))


TestRanges = RangesAgainstSet.TestCase


class LedgerWithCrashes(RuleBasedStateMachine):
    """Settle and give up in any order, restart from the last place kept: nothing is ever claimed wrongly."""

    @initialize()
    def begin(self):
        self.settled = set()
        self.given_up = set()
        self.ledger = Ledger(Place())
        self.kept = Place()

    @rule(counter=counters)
    def settle(self, counter):
        self.ledger.settle(counter)
        self.settled.add(counter)
        self.given_up.discard(counter)

    @rule(low=counters, length=st.integers(0, 8))
    def give_up(self, low, length):
        high = low + length
        fresh = {n for n in range(low, high + 1) if n > self.ledger.through}
        self.ledger.give_up(low, high)
        self.given_up |= fresh - self.settled

    @rule()
    def keep(self):
        self.kept = self.ledger.place(3)

    @rule()
    def crash(self):
        self.ledger = Ledger(self.kept)
        wanted = {n for low, high in self.kept.wanted for n in range(low, high + 1)}
        self.settled = set(range(1, self.kept.through + 1)) - wanted
        self.given_up = wanted

    @invariant()
    def everything_is_in_one_place(self):
        through, wanted = self.ledger.through, set(self.ledger.wanted)
        for counter in range(1, HIGHEST + 10):
            assert self.ledger.is_settled(counter) == (counter in self.settled)
            if counter <= through:
                assert (counter in self.settled) != (counter in wanted)
            else:
                assert counter not in wanted
        assert wanted <= self.given_up
        assert through + 1 not in self.settled
        assert through + 1 not in self.given_up

    @invariant()
    def a_place_says_the_same(self):
        again = Ledger(self.ledger.place(3))
        assert again.through == self.ledger.through
        assert again.wanted.pairs() == self.ledger.wanted.pairs()
        assert self.ledger.place(3).status_number == 3


TestLedger = LedgerWithCrashes.TestCase


def test_in_order_settlement_moves_through_by_one():
    ledger = Ledger(Place())
    for counter in range(1, 6):
        ledger.settle(counter)
        assert ledger.place(0) == Place(through=counter)


def test_further_rows_of_a_counter_are_kept_apart():
    ledger = Ledger(Place(through=4))
    assert ledger.is_settled(3)
    assert not ledger.is_settled(3, repeat=2)
    ledger.settle(3, repeat=2)
    assert ledger.is_settled(3, repeat=2)
    assert not ledger.is_settled(3, repeat=3)
    assert ledger.place(0) == Place(through=4, repeats={3: 1})
    assert Ledger(ledger.place(0)).is_settled(3, repeat=2)


@given(st.integers(10**9, 10**12))
def test_a_gap_of_any_size_costs_one_range(size):
    ledger = Ledger(Place())
    ledger.settle(1)
    ledger.give_up(2, size)
    ledger.settle(size + 1)
    assert ledger.place(0) == Place(through=size + 1, wanted=((2, size),))
