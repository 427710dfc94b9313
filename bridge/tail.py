"""Reads one job's events as they become readable, releases them in order, and closes the job.

The live tail: it serves the sinks that keep up. Whoever falls behind is left to the catch-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from bridge.closing import Closing, Step
from bridge.errors import SourceDataError, SourceError, SourceRefused, SourceUnavailable
from bridge.feed import Feed, Patience, first
from bridge.followed import Followed
from bridge.ledger import Ranges
from bridge.model import Close, EventPage, Failure, HostSummary
from bridge.ports import Purpose, listing_of
from bridge.sequence import COUNTERS_AT_MOST, Ask, GivenUp, Release, Sequencer

POLL_SOON: Final = 1.0
POLL_SELDOM: Final = 5.0
"""Seconds between two reads of a running job: after news, and after a long silence."""

WANTED_EVERY: Final = 10.0
"""Seconds between two asks for counters that were given up."""

HELD_BYTES: Final = 4 << 20
"""Held rows above which no news is read until the gap is filled or given up."""

TYPES_WITH_STATS: Final = frozenset({"job", "project_update", "ad_hoc_command"})
"""Job types that end with a stats event (awx/main/models/events.py, WRAPUP_EVENT)."""

SETTLE: Final = 10.0
"""Seconds a terminal status must stand before "no events" is believed."""

ASK_STATUS_AFTER: Final = 5.0
"""Seconds after its end from which a job's status is asked for once more before it is closed: what
proves the count so late may be the same save that replaces the status (a reaped job that was alive).
"""

LAST_ASKS: Final = 10
"""Questions for missing counters, of 200 each, before a job is closed without them."""

UNREAD_TRIES: Final = (1.0, 2.0, 4.0, 8.0)
"""Waits before each try to prove the count of a job that nobody reads; then it is read after all."""


class Tail:
    """The live reading of one job."""

    def __init__(self, followed: Followed) -> None:
        """Go on where `followed` says."""
        self._job = followed
        self._feed: Feed = followed.feed
        self._closing: Closing | None = None
        self._ended = 0.0
        self._reading = Patience(self._feed)
        self._ending = Patience(self._feed)
        self._error = ""
        self._pause = POLL_SOON
        self._failures = 0
        self._resting = 0.0
        self._asked_wanted = 0.0
        self._swept = False

    async def run(self) -> None:
        """Read until the job is closed or gone."""
        job = self._job
        if not job.reading():
            while not (job.terminal or job.gone):
                await self._changed(None)
            if not job.record.job.has_events:
                await self._close_surely(Close(complete=True, events_total=0))
            elif not job.over:
                await self._prove_unread()
        if not job.over:
            await self._read_on()

    async def _close_surely(self, close: Close) -> None:
        """Close, however often AWX must be asked; not when it has replaced the status meanwhile."""
        while not self._job.over:
            if await self._guarded(self._close(close), self._ending) is not None:
                return

    async def _prove_unread(self) -> None:
        """Close a job whose events no sink wants by its counts alone, where they agree soon."""
        for wait in UNREAD_TRIES:
            await self._changed(wait)
            counts: list[int] = []
            if await self._guarded(self._agree(counts), self._ending):
                rows, top = counts
                await self._close_surely(Close(complete=True, events_total=rows, last_counter=top))
                return

    async def _agree(self, counts: list[int]) -> bool:
        counts[:] = await self._feed.source.event_count(self._job.key)
        return counts[0] > 0 and await self._feed.source.emitted_is(self._job.key, counts[0])

    async def _read_on(self) -> None:
        job = self._job
        while not (job.over or job.terminal or job.record.job.status == "running"):
            await self._changed(None)
        await self._have_room()  # a sink that holds its own places tells them only now
        sequencer = self._resume()
        job.flush = partial(self._flush, sequencer)
        while not job.over:
            await self._have_room()
            async with self._feed.live:
                if not self._has_room():  # others have filled the lanes while this one waited its turn
                    continue
                full = await self._tried(self._read(sequencer), self._reading)
            await self._rest()
            if await self._ends(sequencer, full=full):
                return
            if not full:
                await self._changed(self._pause)

    async def _flush(self, sequencer: Sequencer) -> None:
        """Go on without what is not readable, so that nothing is held back any more."""
        await self._take_in(sequencer.finish(), sequencer)

    async def _ends(self, sequencer: Sequencer, *, full: bool | None) -> bool:
        """Close the job if it is time for it, after a read that was `full`, or failed (None)."""
        if self._job.over or not self._job.terminal:
            return False
        spent = self._ending.spent
        if full is False:
            step = self._step(sequencer)
            if step is not Step.WAIT and await self._guarded(self._try_close(step, sequencer), self._ending):
                return True
        if self._reading.spent or spent:
            await self._flush(sequencer)
            await self._job.close(
                Close(
                    complete=False,
                    events_total=sequencer.top,
                    last_counter=sequencer.top,
                    missing=sequencer.missing().pairs(),
                ),
                reason=f"not readable for too long: {self._error}",
            )
            return True
        return False

    def _resume(self) -> Sequencer:
        job = self._job
        wanted = Ranges()
        repeats: dict[int, int] = {}
        for lane in job.live():
            ledger = lane.stream(job.key).ledger
            for low, high in ledger.wanted.pairs():
                wanted.add(low, min(high, job.released))
            repeats.update(ledger.repeats)
        for low, high in job.missed.pairs():
            wanted.add(low, min(high, job.released))
        return Sequencer(
            after=job.released,
            wanted=wanted,
            gap_wait=self._feed.gap_wait,
            rows=job.released - len(wanted) + sum(repeats.values()),
            repeats=repeats if job.key.job_type == "inventory_update" else None,
        )

    async def _changed(self, seconds: float | None) -> None:
        """Wait for the next status, at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._job.changed.wait()
        except TimeoutError:
            return
        self._job.changed.clear()
        self._pause = POLL_SOON

    async def _guarded(self, asking: Awaitable[bool], patience: Patience) -> bool | None:
        """Await an exchange with AWX; None when it failed and the wait for the next try is over."""
        answer = await self._tried(asking, patience)
        if answer is None:
            await self._rest()
        return answer

    async def _tried(self, asking: Awaitable[bool], patience: Patience) -> bool | None:
        """Await an exchange with AWX; None when it failed: then `_rest` before the next try."""
        try:
            answer = await asking
        except SourceError as error:
            patience.failed()
            self._error = str(error)
            if not (isinstance(error, SourceRefused) and error.gone and await self._job.is_gone()):
                self._failures += 1
                asked = error.retry_after if isinstance(error, SourceUnavailable) else None
                self._resting = asked or self._feed.backoff(self._failures)
            return None
        self._failures = 0
        patience.renew()
        return answer

    async def _rest(self) -> None:
        """Wait as long as the last failure asks for: never with one of the source's reads in hand."""
        resting, self._resting = self._resting, 0.0
        if resting:
            await self._changed(resting)

    def _has_room(self) -> bool:
        """Whether some sink can take events now; the ones that cannot are left behind."""
        lanes = self._job.live()
        full = [lane for lane in lanes if lane.full]
        if len(full) < len(lanes):
            for lane in full:
                self._job.fall_behind(lane)
            return True
        return not self._job.reading() or self._job.gone

    async def _have_room(self) -> None:
        """Wait until some sink can take events."""
        while not self._has_room():
            if lanes := self._job.live():
                await first(lane.room() for lane in lanes)
            else:
                self._job.attached.clear()
                await first([self._job.attached.wait(), self._job.changed.wait()])

    async def _read(self, sequencer: Sequencer) -> bool:
        """Read once what is due; whether there is more to read at once."""
        loop = asyncio.get_running_loop()
        job = self._job
        late = loop.time() - self._asked_wanted >= min(WANTED_EVERY, self._feed.close_wait / 4)
        if late:
            self._asked_wanted = loop.time()
        urgent = job.terminal or sequencer.gaps > 0
        full = news = False
        for ask in sequencer.plan(wanted=late, hold=sequencer.held_bytes > HELD_BYTES):
            try:
                page = await self._ask(ask, Purpose.CLOSING if urgent else Purpose.LIVE)
            except SourceError:
                sequencer.missed()
                raise
            before = sequencer.rows
            self._say_unreadable(
                counter for counter in page.unreadable if counter not in sequencer.unreadable
            )
            await self._take_in(sequencer.see(ask, page, loop.time()), sequencer)
            self._feed.observer.count("events_read_total", len(page.rows), source=self._feed.source.name)
            news = news or sequencer.rows > before
            full = page.full and sequencer.rows > before
        self._pause = (
            POLL_SOON if news or sequencer.gaps or job.terminal else min(POLL_SELDOM, self._pause * 1.5)
        )
        return full

    def _say_unreadable(self, counters: Iterable[int]) -> None:
        for counter in counters:
            self._feed.observer.note(
                "event.unreadable", source=self._feed.source.name, job=str(self._job.key), counter=counter
            )

    async def _ask(self, ask: Ask, purpose: Purpose) -> EventPage:
        source, key = self._feed.source, self._job.key
        if ask.after is None:
            return await source.events_at(key, ask.counters, purpose=purpose)
        return await source.events_after(key, ask.after, limit=self._feed.page_limit, purpose=purpose)

    async def _take_in(self, out: Sequence[Release | GivenUp], sequencer: Sequencer) -> None:
        job, observer, name = self._job, self._feed.observer, self._feed.source.name
        for item in out:
            if isinstance(item, GivenUp):
                observer.note("gap.given_up", source=name, job=str(job.key), low=item.low, high=item.high)
            elif item.late and item.repeat == 1:
                observer.count("events_late_total", len(item.rows), source=name)
                observer.note("gap.filled", source=name, job=str(job.key), counter=item.counter)
        async with job.turn:
            if job.gone:  # its end was told while this page was under way: nothing comes after that
                return
            await job.hand(job.live(), out)
            job.released = sequencer.released

    def _step(self, sequencer: Sequencer) -> Step:
        """Say what is next on the way from the terminal status to the receipt."""
        if self._closing is None:
            never_ran = self._job.record.job.started is None
            settle = 0.0 if never_ran else min(SETTLE, self._feed.close_wait / 2)
            self._ended = sequencer.clock
            self._closing = Closing(sequencer.clock, close_wait=self._feed.close_wait, settle=settle)
        return self._closing.step(sequencer.clock, sequencer.rows)

    async def _try_close(self, step: Step, sequencer: Sequencer) -> bool:
        """Close the job if its count is proven, or if it is to be given up and was looked at once more."""
        key, source = self._job.key, self._feed.source
        proven = await source.emitted_is(key, sequencer.rows)
        if not proven and step is Step.PROVE:
            if key.job_type == "inventory_update" and not self._swept:
                self._swept = await self._sweep(sequencer)
            return False
        if not proven:
            rows = sequencer.rows
            await self._ask_missing(sequencer)
            proven = sequencer.rows > rows and await source.emitted_is(key, sequencer.rows)
        if proven:
            close = Close(complete=True, events_total=sequencer.rows, last_counter=sequencer.top)
        else:
            close = await self._account(sequencer)
        await self._flush(sequencer)
        if sequencer.clock - self._ended > ASK_STATUS_AFTER and await self._is_replaced():
            return False
        reason = "AWX counted fewer events than are readable"
        if close.missing:
            reason = f"{close.events_total} emitted, {sequencer.rows} readable"
        return await self._close(close, reason=reason)

    async def _is_replaced(self) -> bool:
        """Whether AWX shows another status than the one that the job would be closed with."""
        job, feed = self._job, self._feed
        listing, status = listing_of(job.key.job_type), job.record.job.status
        for row in await feed.source.jobs_changed(listing, [job.key.job_id], status):
            if job.see(row, feed.clock.now()):
                await feed.keeper.durable()
                job.offer_statuses()
                return True
        return False

    async def _ask_missing(self, sequencer: Sequencer) -> None:
        """Ask for what is missing one last time: it may have appeared since it was asked for."""
        left, above = sequencer.missing(), 0
        for _ in range(LAST_ASKS):
            counters = left.first(COUNTERS_AT_MOST, above=above)
            if not counters:
                return
            above = counters[-1]
            ask = Ask(None, counters)
            page = await self._ask(ask, Purpose.CLOSING)
            await self._take_in(sequencer.see(ask, page, asyncio.get_running_loop().time()), sequencer)

    async def _sweep(self, sequencer: Sequencer) -> bool:
        """Read everything once more: a counter may have got a second row after it was released."""
        ask = Ask(0)
        while ask.after is not None:
            page = await self._ask(ask, Purpose.CLOSING)
            await self._take_in(sequencer.see(ask, page, asyncio.get_running_loop().time()), sequencer)
            ask = Ask(page.rows[-1].counter if page.full and page.rows else None)
        return True

    async def _account(self, sequencer: Sequencer) -> Close:
        """Find the total that AWX emitted, and say what of it could not be read."""
        top = total = sequencer.top
        key, source = self._job.key, self._feed.source
        if await source.emitted_above(key, top):
            step = 1
            while await source.emitted_above(key, top + step):
                step *= 2
            low, total = top + step // 2, top + step
            while low + 1 < total:
                middle = (low + total) // 2
                if await source.emitted_above(key, middle):
                    low = middle
                else:
                    total = middle
        missing = sequencer.missing()
        missing.add(top + 1, total)
        return Close(complete=False, events_total=total, last_counter=top, missing=missing.pairs())

    async def _close(self, close: Close, *, reason: str | None = None) -> bool:
        """Add what happened on the hosts and write the receipt, unless the status was replaced meanwhile."""
        job, source = self._job.record.job, self._feed.source
        hosts: Sequence[HostSummary] = ()
        failures: Sequence[Failure] = ()
        try:
            if close.events_total and job.key.job_type in TYPES_WITH_STATS:
                hosts = await source.hosts(job.key)
            if job.status != "successful" and (close.events_total or not job.has_events):
                failures = await source.failures(job.key)
        except SourceError as error:
            if not (isinstance(error, SourceDataError) or self._ending.spent):
                raise
            self._feed.observer.note(
                "event.malformed", source=source.name, job=str(job.key), error=str(error)
            )
        if self._job.over or self._job.record.job.status != job.status:
            return False
        close = msgspec.structs.replace(close, hosts=tuple(hosts), failures=tuple(failures))
        await self._job.close(close, reason=reason)
        return True
