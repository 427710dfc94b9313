"""The order in which one job's events are released, whatever the order in which they became readable.

Pure: rows and the moments of reads go in, releases come out. A counter that is not readable although
a higher one is holds the later ones back until it appears or is given up; after that it is wanted,
and released late if it still appears. Time counts only while the source answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from bridge.ledger import Ranges
from bridge.model import AwxEvent, EventPage

REREAD_AT_MOST = 50
"""Held rows that are cheaper to read again with the news than to ask for the gaps apart."""

COUNTERS_AT_MOST = 200
"""Counters in one `counter__in` (awx-facts: keep the URL below 8 KB)."""


class Ask(NamedTuple):
    """One read: the rows above `after`, or (when `after` is None) those of `counters`."""

    after: int | None
    counters: tuple[int, ...] = ()


class Release(NamedTuple):
    """Rows of one counter that may go on now; the first of them is row number `repeat`."""

    counter: int
    rows: tuple[AwxEvent, ...]
    repeat: int = 1
    late: bool = False


class GivenUp(NamedTuple):
    """The counters from `low` to `high` are no longer waited for."""

    low: int
    high: int


class _Gap(msgspec.Struct):
    """Counters noticed missing, and last shown missing, by the same reads."""

    counters: Ranges
    noticed: float
    last_read: float


class Sequencer:
    """The release order of one job.

    `released` is the highest counter up to which each was released or given up, `top` the highest
    counter seen. `rows` counts the distinct rows seen so far. `wanted` are the counters given up for
    now, `unreadable` those whose row alone is too large to be read.
    """

    def __init__(
        self, *, after: int, wanted: Ranges, gap_wait: float, rows: int, repeats: Mapping[int, int] | None
    ) -> None:
        """Go on after counter `after` with `wanted` counters below it; `rows` were seen before.

        `repeats` is None where a counter has one row; where it may have several different ones
        (inventory updates), it says of how many counters how many further rows were seen before.
        """
        self.released = after
        self.top = after
        self.rows = rows
        self.wanted = wanted
        self.unreadable = Ranges()
        self.held_bytes = 0
        self._gap_wait = gap_wait
        self._repeats = repeats
        self._seen: dict[int, list[tuple[str | None, str]]] = {}
        self._held: dict[int, list[AwxEvent]] = {}
        self._gaps: list[_Gap] = []
        self._over = Ranges()
        self._asked = 0
        self._clock = 0.0
        self._answered: float | None = None

    @property
    def gaps(self) -> int:
        """How many counters below the highest seen are waited for."""
        return sum(len(gap.counters) for gap in self._gaps)

    @property
    def clock(self) -> float:
        """Seconds during which the source answered."""
        return self._clock

    def plan(self, *, wanted: bool, hold: bool) -> list[Ask]:
        """Say what to read next.

        `wanted` asks for the given-up counters too; `hold` reads no news while rows are held back.
        """
        asks = [self._ask_wanted()] if wanted and self.wanted else []
        if not self.gaps or (len(self._held) <= REREAD_AT_MOST and not hold):
            return [*asks, Ask(self.released)]
        if self.gaps > COUNTERS_AT_MOST:
            asks.append(Ask(self.released))
        else:
            asks.append(Ask(None, tuple(c for gap in self._gaps for c in gap.counters)))
        return asks if hold else [*asks, Ask(self.top)]

    def _ask_wanted(self) -> Ask:
        """Ask for wanted counters: where they are too many for one question, for the next ones in turn."""
        again = self.wanted.first(COUNTERS_AT_MOST, above=self._asked) or self.wanted.first(COUNTERS_AT_MOST)
        self._asked = again[-1]
        return Ask(None, again)

    def missed(self) -> None:
        """Note a read that failed: the time until the next answer does not count."""
        self._answered = None

    def see(self, ask: Ask, page: EventPage, now: float) -> list[Release | GivenUp]:
        """Take in the answer to `ask`, read at loop time `now`; return what may go on."""
        if self._answered is not None:
            self._clock += now - self._answered
        self._answered = now
        out: list[Release | GivenUp] = []
        # A row's number must be the same in every run, so rows of one counter go by age.
        rows = page.rows if self._repeats is None else sorted(page.rows, key=by_age)
        fresh = Ranges()
        for row in rows:
            self._take(row, fresh, out)
        for counter in page.unreadable:
            self._reach(counter, fresh)
            self._drop(counter)
        self._read(ask, page, rows)
        if fresh:
            self._gaps.append(_Gap(fresh, self._clock, self._clock))
        self._expire()
        self._release(out)
        self._detach(rows)
        return out

    def finish(self) -> list[Release | GivenUp]:
        """Give up every gap now and release what is held: the job is about to be closed."""
        for gap in self._gaps:
            for low, high in gap.counters.pairs():
                self._over.add(low, high)
        self._gaps = []
        out: list[Release | GivenUp] = []
        self._release(out)
        return out

    def missing(self) -> Ranges:
        """Return the counters up to `top` that have not been read."""
        missing = Ranges(self.wanted.pairs())
        for part in (self.unreadable, self._over, *(gap.counters for gap in self._gaps)):
            for low, high in part.pairs():
                missing.add(low, high)
        return missing

    def _detach(self, rows: Iterable[AwxEvent]) -> None:
        """Copy what stays behind of this page: one held row must not keep all of it in memory."""
        for counter in {row.counter for row in rows} & self._held.keys():
            self._held[counter] = [
                msgspec.structs.replace(row, event_data=row.event_data.copy()) for row in self._held[counter]
            ]

    def _reach(self, counter: int, fresh: Ranges) -> None:
        fresh.add(self.top + 1, counter - 1)
        self.top = max(self.top, counter)

    def _take(self, row: AwxEvent, fresh: Ranges, out: list[Release | GivenUp]) -> None:
        counter = row.counter
        self._reach(counter, fresh)
        if counter > self.released:
            held = self._held.setdefault(counter, [])
            if all(row.sameness != other.sameness for other in held):
                held.append(row)
                held.sort(key=by_age)
                self.rows += 1
                self.held_bytes += _weight(row)
                self._over.discard(counter)
                for gap in self._gaps:
                    gap.counters.discard(counter)
        elif counter in self.wanted:
            self.wanted.discard(counter)
            self.rows += 1
            self._remember(counter, (row,))
            out.append(Release(counter, (row,), late=True))
        elif self._repeats is not None:
            self._take_repeat(row, out)

    def _take_repeat(self, row: AwxEvent, out: list[Release | GivenUp]) -> None:
        seen = self._seen.setdefault(row.counter, [])
        if row.sameness not in seen:
            seen.append(row.sameness)
            if len(seen) > 1:
                self.rows += len(seen) > 1 + (self._repeats or {}).get(row.counter, 0)
                out.append(Release(row.counter, (row,), repeat=len(seen), late=True))

    def _remember(self, counter: int, rows: Iterable[AwxEvent]) -> None:
        if self._repeats is not None:
            self._seen[counter] = [row.sameness for row in rows]

    def _drop(self, counter: int) -> None:
        """Never wait for `counter` nor ask for it again: it cannot be read."""
        self.wanted.discard(counter)
        self.unreadable.add(counter)
        for gap in self._gaps:
            gap.counters.discard(counter)
        if counter > self.released:
            self._over.add(counter)

    def _read(self, ask: Ask, page: EventPage, rows: Sequence[AwxEvent]) -> None:
        """Mark the gaps that this read would have shown: always those up to some counter."""
        if ask.after is None:
            shown = max(ask.counters)
        elif ask.after > self.released:
            return
        else:
            shown = rows[-1].counter if page.full and rows else self.top
        marked: list[_Gap] = []
        for gap in self._gaps:
            covered = gap.counters.take_up_to(shown)
            if covered:
                marked.append(_Gap(covered, gap.noticed, self._clock))
            if gap.counters:
                marked.append(gap)
        self._gaps = marked

    def _expire(self) -> None:
        left: list[_Gap] = []
        for gap in self._gaps:
            waited = self._clock - gap.noticed >= self._gap_wait
            if waited and gap.last_read - gap.noticed >= self._gap_wait / 2:
                for low, high in gap.counters.pairs():
                    self._over.add(low, high)
            elif gap.counters:
                left.append(gap)
        self._gaps = left

    def _release(self, out: list[Release | GivenUp]) -> None:
        while self.released < self.top:
            counter = self.released + 1
            rows = self._held.pop(counter, None)
            if rows is not None:
                self.held_bytes -= sum(map(_weight, rows))
                self._remember(counter, rows)
                out.append(Release(counter, tuple(rows)))
                self.released = counter
            elif (end := self._over.pop_from(counter)) is not None:
                self.wanted.add(counter, end)
                for lost in self.unreadable:
                    self.wanted.discard(lost)
                out.append(GivenUp(counter, end))
                self.released = end
            else:
                return


def by_age(row: AwxEvent) -> tuple[int, int]:
    """Sort rows by counter, and those of one counter by age."""
    return row.counter, row.id or 0


def _weight(row: AwxEvent) -> int:
    return len(memoryview(row.event_data)) + len(row.stdout) + 500
