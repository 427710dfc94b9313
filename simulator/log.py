"""The event rows of one job and when each can be read.

Pure: the moment is an argument, and within one log it only moves forward. Positions are rows in
(counter, arrival) order, so a read above a counter costs what it returns and not what the job has.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

from simulator.receiver import NEVER


class EventLog:
    """Which rows a job has: parallel arrays, one entry per row.

    `counters[p]` is AWX's counter, `sources[p]` the index of the row's content, `visible[p]` the
    epoch second from which the row can be read (`NEVER` for a lost one).
    """

    __slots__ = ("_order", "_ranks", "_shown", "_top", "counters", "sources", "visible")

    def __init__(
        self, counters: Sequence[int], visible: Sequence[float], doubled: Mapping[int, float]
    ) -> None:
        """Take one row per content and one more for each counter in `doubled` (its second visibility)."""
        rows = [(counter, visible[at], at) for at, counter in enumerate(counters)]
        rows += [
            (counters[at], doubled[counters[at]], at) for at in range(len(rows)) if counters[at] in doubled
        ]
        rows.sort()
        self.counters = array("L", (row[0] for row in rows))
        self.visible = array("d", (row[1] for row in rows))
        self.sources = array("L", (row[2] for row in rows))
        self._order: array[int] | None = None
        self._ranks: array[int] | None = None
        self._shown = 0
        self._top = -1

    def __len__(self) -> int:
        """Count all rows, also those that cannot be read yet or never."""
        return len(self.counters)

    def shown(self, now: float) -> int:
        """Count the rows that can be read."""
        order = self._by_arrival()
        while self._shown < len(order) and self.visible[order[self._shown]] <= now:
            self._top = max(self._top, order[self._shown])
            self._shown += 1
        return self._shown

    def rank(self, position: int) -> int:
        """Return the place of a row in the order of arrival: AWX's serial ids follow it."""
        if self._ranks is None:
            ranks = array("L", bytes(array("L").itemsize * len(self)))
            for rank, at in enumerate(self._by_arrival()):
                ranks[at] = rank
            self._ranks = ranks
        return self._ranks[position]

    def at_rank(self, rank: int) -> int:
        """Return the position of the row that arrived as number `rank`."""
        return self._by_arrival()[rank]

    def readable(self, now: float, low: int = 0, high: int | None = None) -> Iterator[int]:
        """Yield the positions of readable rows with `low <= counter` and `counter <= high`, ascending."""
        first, end = self._span(now, low, high)
        return self._only_visible(range(first, end), now)

    def readable_down(self, now: float, low: int = 0, high: int | None = None) -> Iterator[int]:
        """Yield what `readable` yields, from the highest counter down."""
        first, end = self._span(now, low, high)
        return self._only_visible(range(end - 1, first - 1, -1), now)

    def readable_among(self, now: float, wanted: Iterable[int]) -> Iterator[int]:
        """Yield the positions of readable rows whose counter is wanted, ascending."""
        for counter in sorted(set(wanted)):
            yield from self.readable(now, counter, counter)

    def split(self, now: float) -> tuple[list[int], list[int], list[int]]:
        """Return the counters readable now, readable later, and never readable, each ascending and once."""
        first_seen: dict[int, float] = {}
        for counter, at in zip(self.counters, self.visible, strict=True):
            first_seen[counter] = min(at, first_seen.get(counter, NEVER))
        readable = [counter for counter, at in first_seen.items() if at <= now]
        later = [counter for counter, at in first_seen.items() if now < at < NEVER]
        lost = [counter for counter, at in first_seen.items() if at == NEVER]
        return readable, later, lost

    def repeated(self) -> list[int]:
        """Return the counters that more than one row has."""
        pairs = zip(self.counters, self.counters[1:], strict=False)
        return sorted({counter for counter, following in pairs if counter == following})

    def _span(self, now: float, low: int, high: int | None) -> tuple[int, int]:
        self.shown(now)
        first = bisect_left(self.counters, max(low, 0))
        end = len(self) if high is None else bisect_right(self.counters, max(high, 0))
        return first, min(end, self._top + 1)

    def _only_visible(self, positions: Iterable[int], now: float) -> Iterator[int]:
        visible = self.visible
        return (position for position in positions if visible[position] <= now)

    def _by_arrival(self) -> array[int]:
        if self._order is None:
            self._order = array("L", sorted(range(len(self)), key=self.visible.__getitem__))
        return self._order
