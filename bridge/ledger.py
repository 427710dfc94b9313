"""Which counters of one job one sink has settled, wants, or has still to come.

Pure. The invariant: settled, wanted and open counters are disjoint and together everything, for
any order of `settle` and `give_up`; a `Place` made from it never claims more than was settled.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from bridge.model import Place


class Ranges:
    """A set of integers kept as ascending inclusive ranges: small where its members are adjacent."""

    __slots__ = ("_highs", "_lows")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        """Start with the inclusive ranges `pairs`, in any order."""
        self._lows: list[int] = []
        self._highs: list[int] = []
        for low, high in pairs:
            self.add(low, high)

    def add(self, low: int, high: int | None = None, /) -> None:
        """Add `low`, or every integer from `low` to `high`."""
        high = low if high is None else high
        if high < low:
            return
        first = bisect_right(self._highs, low - 2)
        last = bisect_right(self._lows, high + 1)
        if first < last:
            low = min(low, self._lows[first])
            high = max(high, self._highs[last - 1])
        self._lows[first:last] = [low]
        self._highs[first:last] = [high]

    def discard(self, low: int, high: int | None = None, /) -> None:
        """Take out `low`, or every integer from `low` to `high`, as far as they are in."""
        high = low if high is None else high
        first = bisect_left(self._highs, low)
        last = bisect_right(self._lows, high)
        if high < low or first >= last:
            return
        ends = ((self._lows[first], low - 1), (high + 1, self._highs[last - 1]))
        kept = [(a, b) for a, b in ends if a <= b]
        self._lows[first:last] = [a for a, _ in kept]
        self._highs[first:last] = [b for _, b in kept]

    def pop_from(self, number: int, /) -> int | None:
        """Take out the range that starts at `number` and return its end, None when there is none."""
        if not self._lows or self._lows[0] != number:
            return None
        del self._lows[0]
        return self._highs.pop(0)

    def take_up_to(self, number: int, /) -> Ranges:
        """Take out every member up to `number` and return them."""
        at = bisect_right(self._lows, number)
        taken = Ranges()
        taken._lows, taken._highs = self._lows[:at], self._highs[:at]
        del self._lows[:at], self._highs[:at]
        if taken and taken._highs[-1] > number:
            self.add(number + 1, taken._highs[-1])
            taken._highs[-1] = number
        return taken

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Return the ranges, ascending."""
        return tuple(zip(self._lows, self._highs, strict=True))

    def first(self, most: int, /, *, above: int = 0) -> tuple[int, ...]:
        """Return the `most` smallest members above `above`."""
        found: list[int] = []
        for at in range(bisect_right(self._highs, above), len(self._lows)):
            low, high = max(self._lows[at], above + 1), self._highs[at]
            found.extend(range(low, min(high, low + most - len(found) - 1) + 1))
            if len(found) >= most:
                break
        return tuple(found)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._lows, number) - 1
        return at >= 0 and number <= self._highs[at]

    def __iter__(self) -> Iterator[int]:
        for low, high in zip(self._lows, self._highs, strict=True):
            yield from range(low, high + 1)

    def __len__(self) -> int:
        return sum(self._highs) - sum(self._lows) + len(self._lows)

    def __bool__(self) -> bool:
        return bool(self._lows)


class Ledger:
    """One sink's account of one job's counters.

    `through` is the highest counter up to which each is settled or wanted. Above it, counters
    settle and are given up in any order and are folded in once the ones below them are.
    """

    __slots__ = ("_given_up", "_settled", "repeats", "through", "wanted")

    def __init__(self, place: Place) -> None:
        """Go on from `place`."""
        self.through = place.through
        self.wanted = Ranges(place.wanted)
        self.repeats = dict(place.repeats)
        self._settled = Ranges()
        self._given_up = Ranges()

    def copy(self) -> Ledger:
        """Return an account of its own with the same counters."""
        twin = Ledger(self.place(0))
        for part, mine in ((twin._settled, self._settled), (twin._given_up, self._given_up)):
            for low, high in mine.pairs():
                part.add(low, high)
        return twin

    def is_settled(self, counter: int, /, *, repeat: int = 1) -> bool:
        """Whether row number `repeat` of `counter` is accepted, dead-lettered or dropped by a rule."""
        if repeat > 1:
            return repeat <= 1 + self.repeats.get(counter, 0)
        if counter <= self.through:
            return counter not in self.wanted
        return counter in self._settled

    def settle(self, counter: int, /, *, repeat: int = 1) -> None:
        """Note that nothing more will be done about row number `repeat` of `counter`."""
        if repeat > 1:
            self.repeats[counter] = max(repeat - 1, self.repeats.get(counter, 0))
        elif counter == self.through + 1 and not self._settled and not self._given_up:
            self.through = counter
        elif counter <= self.through:
            self.wanted.discard(counter)
        else:
            self._given_up.discard(counter)
            self._settled.add(counter)
            self._fold()

    def give_up(self, low: int, high: int, /) -> None:
        """Go on without the counters from `low` to `high`: those not settled become wanted."""
        low = max(low, self.through + 1)
        for first, last in self._settled.pairs():
            if first <= high:
                self._given_up.add(low, min(first - 1, high))
                low = max(low, last + 1)
        self._given_up.add(low, high)
        self._fold()

    def _fold(self) -> None:
        while True:
            start = self.through + 1
            if (end := self._settled.pop_from(start)) is not None:
                self.through = end
            elif (end := self._given_up.pop_from(start)) is not None:
                self.wanted.add(start, end)
                self.through = end
            else:
                return

    def place(self, status_number: int) -> Place:
        """Return what a restart needs to go on from here."""
        return Place(
            through=self.through,
            wanted=self.wanted.pairs(),
            status_number=status_number,
            repeats=dict(self.repeats),
        )
